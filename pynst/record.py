"""What a result was made from: settings, pictures, weights, programs; enough to make it again.

A record travels in the metadata of a saved picture and in a checkpoint. Both come back as files
that anybody may have written, so that everything in them is checked on the way in.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Backend
from pynst.errors import OptionError, RecordError
from pynst.inputs import Inputs
from pynst.levels import Level
from pynst.networks import Network
from pynst.options import MASK_SETTINGS, TransferOptions, with_changes
from pynst.version import __version__

__all__ = [
    "NO_PATH",
    "PictureUsed",
    "Record",
    "finished",
    "options_to_json",
    "pixels_sha256",
    "record_of",
    "versions",
]

NO_PATH = "<array>"
"""What stands in recorded settings for a mask that came from no path."""

_PROGRAMS = ("pynst", "numpy", "scipy", "pillow")


@dataclass(frozen=True)
class PictureUsed:
    """One picture that went into a run.

    Attributes
    ----------
    name : str
        ``"content"``, ``"style"`` or ``"style 1"``, ``"style 2"``, ..., ``"init"``; of a mask as
        in `pynst.regions.mask_names`, ``"mask of style 1"``.
    source : str
        Its path as it is shown to people, ``"array"`` or ``"PIL image"``.
    sha256 : str
        Checksum of its pixels as read, see `pixels_sha256`.
    notes : tuple of str
        What was done to read it, e.g. ``"converted from CMYK"``.
    path : str or None
        The path itself, byte by byte as the file system has it (`os.fsencode` gives the bytes);
        None where the picture did not come from a path.
    """

    name: str
    source: str
    sha256: str
    notes: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run was made from.

    Attributes
    ----------
    options : TransferOptions
    pictures : tuple of PictureUsed
        Content, styles, the start if that was a picture, and masks.
    network, weights_source, weights_sha256 : str
        The network used; for VGG-19 also whose weights, and the checksum of their numbers.
    backend : str
    versions : mapping of str to str
        Versions of PyNST, NumPy, SciPy and Pillow.
    tuned : mapping of str to str
        What was chosen by measurement on the device of the run, see `pynst.backends.tuning`; empty
        on the CPU.
    evaluations : tuple of int
        Evaluations of the objective at each level.
    stopped_early : str
        As in `TransferResult`.
    pixels_sha256 : str
        Checksum of the result's float64 pixels; empty before there are any.
    """

    options: TransferOptions
    pictures: tuple[PictureUsed, ...]
    network: str
    weights_source: str
    weights_sha256: str
    backend: str
    versions: Mapping[str, str]
    tuned: Mapping[str, str] = field(default_factory=dict)
    evaluations: tuple[int, ...] = ()
    stopped_early: str = ""
    pixels_sha256: str = ""

    def picture(self, name: str) -> PictureUsed | None:
        """The picture of this name, if there was one."""
        return next((used for used in self.pictures if used.name == name), None)

    def started_as(self, earlier: Record) -> Record:
        """Return this record with the picture that an earlier part of the run started from."""
        start = earlier.picture("init")
        if start is None or self.picture("init") is not None:
            return self
        return replace(self, pictures=(*self.pictures, start))

    def check_same_input(self, other: Record) -> None:
        """Raise `RecordError` where another run has other pictures or weights than this one."""
        for used in self.pictures:
            found = other.picture(used.name)
            if found is None and used.name == "init":
                continue  # a run that goes on does not read it again
            if found is None:
                raise RecordError(f"{used.name}: the record has {used.source}, this run has none")
            if found.sha256 != used.sha256:
                raise RecordError(
                    f"{used.name}: {found.source} is not the picture of the record, {used.source}"
                )
        names = {used.name for used in self.pictures} | {"init"}
        more = next((used for used in other.pictures if used.name not in names), None)
        if more is not None:
            raise RecordError(f"{more.name}: the record has none, this run {more.source}")
        for name, here, there in (
            ("network", self.network, other.network),
            ("weights", self.weights_sha256[:12], other.weights_sha256[:12]),
        ):
            if here != there:
                raise RecordError(f"{name}: the record has {here or 'none'}, got {there or 'none'}")

    def check_levels(self, evaluations: Collection[int], levels: int) -> None:
        """Raise `RecordError` where numbers of evaluations are not those of so many levels."""
        if not 0 < len(evaluations) <= levels or min(evaluations) < 1:
            raise RecordError(
                f"the record is of {len(evaluations)} levels, its settings make {levels}"
            )

    def levels_done(self, levels: Sequence[Level]) -> tuple[Level, ...]:
        """Those of the planned levels that the run had, with as many evaluations as it made."""
        self.check_levels(self.evaluations, len(levels))
        return tuple(
            replace(level, evaluations=count)
            for level, count in zip(levels, self.evaluations, strict=False)
        )

    def other_programs(self, other: Record) -> tuple[str, ...]:
        """What may make the bits of another run differ: backend and versions, in sentences."""
        pairs = [("backend", _without_threads(self.backend), _without_threads(other.backend))]
        for name in _PROGRAMS:  # whatever else a file may name
            pairs.append((name, self.versions.get(name, "none"), other.versions.get(name, "none")))
        return tuple(
            f"{name}: the record has {here}, this run {there}"
            for name, here, there in pairs
            if here != there
        )

    def choose_on(self, backend: Backend, *, measure: bool) -> None:
        """Let a backend choose as the run did, if that ran on the same one.

        Raises
        ------
        RecordError
            The record names a choice that there is not.
        """
        if _without_threads(self.backend) != _without_threads(backend.name):
            return
        try:
            backend.choose_as(self.tuned, measure=measure)
        except ValueError as error:
            raise RecordError(f"the record is damaged or of another version: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Everything as strings, numbers, lists and dicts."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["options"] = options_to_json(self.options)
        values["pictures"] = [asdict(used) for used in self.pictures]
        values |= {"versions": dict(self.versions), "evaluations": list(self.evaluations)}
        if self.tuned:
            return {**values, "tuned": dict(self.tuned)}
        del values["tuned"]  # the CPU's records stay as they were
        return values

    @classmethod
    def from_json(cls, data: Any) -> Record:
        """Get back what `to_json` gave; raises `RecordError` on anything else."""
        try:
            values = dict(data)
            values["options"] = _options_from_json(values["options"])
            values["pictures"] = tuple(
                PictureUsed(**{**used, "notes": _strings(used["notes"])})
                for used in values["pictures"]
            )
            values["versions"] = {str(k): str(v) for k, v in values["versions"].items()}
            if "tuned" in values:
                values["tuned"] = {str(k): str(v) for k, v in values["tuned"].items()}
            values["evaluations"] = tuple(_counts(values["evaluations"]))
            record = cls(**values)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise RecordError(f"the record is damaged or of another version: {error}") from error
        text = [record.network, record.weights_source, record.weights_sha256, record.backend]
        text += [record.stopped_early, record.pixels_sha256]
        for used in record.pictures:
            text += [used.name, used.source, used.sha256, used.path or ""]
        _strings(text)
        return record

    def to_metadata(self) -> dict[str, str]:
        """As the metadata of `pynst.save_image`: each entry a string, or JSON."""
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in self.to_json().items()
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Record:
        """Get back what `to_metadata` gave."""
        values: dict[str, Any] = dict(metadata)
        try:
            known = {"tuned"} & values.keys()
            for key in ("options", "pictures", "versions", "evaluations", *known):
                values[key] = json.loads(values[key])
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise RecordError("the picture holds no record of PyNST's, or a damaged one") from error
        return cls.from_json(values)


def record_of(options: TransferOptions, inputs: Inputs, network: Network) -> Record:
    """What a run is made from, before it has a result."""
    return Record(
        options=options,
        pictures=tuple(
            PictureUsed(
                name,
                picture.source,
                pixels_sha256(picture.pixels),
                picture.notes,
                inputs.paths.get(name),
            )
            for name, picture in inputs.pictures.items()
        ),
        network=network.name,
        weights_source=network.weights_source,
        weights_sha256=network.weights_sha256,
        backend=network.backend.name,
        versions=versions(),
    )


def pixels_sha256(pixels: NDArray[np.float64]) -> str:
    """SHA-256 of the shape and the float64 values of an image."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, "<f8").data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of the programs on which the bits of a result may depend."""
    own, *others = _PROGRAMS
    return {own: __version__, **{name: importlib.metadata.version(name) for name in others}}


def options_to_json(options: TransferOptions) -> dict[str, Any]:
    """Fields by name; layers as a mapping; a start that is no word or path as null.

    A mask that has no path is written as a word that stands for it.
    """
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    for name in ("content_layers", "style_layers"):
        values[name] = None if values[name] is None else dict(values[name])
    start = values["init"]
    values["init"] = os.fspath(start) if isinstance(start, str | os.PathLike) else None
    for name in MASK_SETTINGS:
        mask = values[name]
        values[name] = [_path_of(each) for each in mask] if isinstance(mask, tuple) else mask
        if mask is not None and not isinstance(mask, tuple):
            values[name] = _path_of(mask)
    return values


def _path_of(mask: Any) -> str:
    return mask if isinstance(mask, str) else NO_PATH


def _options_from_json(values: Any) -> TransferOptions:
    """Settings, checked as any others; a start that was an array is left to the caller."""
    changes = {str(name): value for name, value in dict(values).items()}
    if changes.get("init") is None:
        changes["init"] = "content"
    try:
        return with_changes(None, changes)
    except OptionError as error:
        raise RecordError(f"the record's settings are not of this version: {error}") from error


def _without_threads(backend: str) -> str:
    """A backend's name without what changes no bit."""
    return re.sub(r", \d+ threads?", "", backend)


def _strings(values: Any) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise RecordError("the record is damaged: it has something else where text belongs")
    return tuple(values)


def _counts(values: Any) -> list[int]:
    if not all(type(value) is int and 0 <= value <= 10**9 for value in values):
        raise ValueError("numbers of evaluations are out of range")
    return list(values)


def finished(
    record: Record, evaluations: tuple[int, ...], stopped_early: str, pixels: NDArray[np.float64]
) -> Record:
    """The record of a run that has ended."""
    return replace(
        record,
        evaluations=evaluations,
        stopped_early=stopped_early,
        pixels_sha256=pixels_sha256(pixels),
    )
