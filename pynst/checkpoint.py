"""Checkpoints: a run on disk, from which it goes on to the same bits.

A checkpoint is an uncompressed .npz: the state of the optimiser between two steps as arrays, and
settings, pictures, history as JSON. L-BFGS and Adam go on exactly where they stood; SciPy does not
give its state away, so that ``optimizer="scipy"`` begins its level again. Reading one executes
nothing, and believes nothing: every array has the shape that belongs to the run, or is refused.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import OptionError, RecordError
from pynst.files import shown, whole_file
from pynst.formats.common import DAMAGE, Container, DamagedFile, StoredArray
from pynst.formats.npz import read_npz, write_npz
from pynst.formats.zipped import Archive
from pynst.losses.terms import LossTerms
from pynst.optimizers.descent import Descent, Snapshot
from pynst.optimizers.lbfgs import PAIRS
from pynst.optimizers.table import state_shapes
from pynst.options import MASK_SETTINGS, TransferOptions, with_changes
from pynst.record import NO_PATH, Record

__all__ = ["Checkpoint", "Checkpoints", "read_checkpoint", "write_checkpoint"]

_LOG = logging.getLogger("pynst")
_FORMAT = 2
_SECONDS = 60.0  # between two checkpoints at most,
_RARE, _OFTEN = 20, 100  # and so many times as long as the last one took: always, and if it is less
_PART, _SHORT = 4, 10  # or a fourth of a level, where that is so many times as long
_LONGEST = 1e9  # seconds that a run may have taken: 30 years
_FREE_TO_CHANGE = ("memory", "minutes", "threads", "weights")  # they change no bit of the result
# Masks may be given again, as arrays have to be; by their checksums they are those of the run.
_FREE_TO_GIVE = (*_FREE_TO_CHANGE, *MASK_SETTINGS)


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps of its optimiser.

    Attributes
    ----------
    record : Record
        Settings, pictures, weights and programs of the run.
    level : int
        The level it is at, from 0.
    histories : tuple of tuple of LossTerms
        The losses of the levels before, one tuple per level.
    restarts, seconds : int, float
        Restarts of the optimiser before this level; seconds of the whole run so far.
    snapshot : Snapshot
        Where the level stands.
    """

    record: Record
    level: int
    histories: tuple[tuple[LossTerms, ...], ...]
    restarts: int
    seconds: float
    snapshot: Snapshot

    def options_to_go_on(
        self, options: TransferOptions | None, changes: Mapping[str, Any]
    ) -> TransferOptions:
        """The settings of the run that goes on, with the network that it has found.

        Raises
        ------
        OptionError
            A setting was given that would change the bits of the result.
        """
        wrong = [name for name in changes if name not in _FREE_TO_GIVE]
        if options is not None or wrong:
            raise OptionError(
                f"{wrong[0] if wrong else 'options'} cannot be given with resume: the run goes on"
                f" with its own settings; {', '.join(_FREE_TO_CHANGE)} may change"
            )
        options = replace(self.record.options, network=self.record.network)
        made = with_changes(self.fitted(options), changes)
        for name in MASK_SETTINGS:
            value = getattr(made, name)
            masks = value if isinstance(value, tuple) else (value,)
            if any(isinstance(mask, str) and mask == NO_PATH for mask in masks):
                raise RecordError(
                    f"{name}: the run had a mask that came from no path; give it anew"
                )
        return made

    def fitted(self, options: TransferOptions) -> TransferOptions:
        """These settings as the run had made them fit into memory, however much there is now."""
        used = self.record.options
        # A run that has chosen tiles or pairs says so; any other had none, and ten in full.
        return replace(
            options,
            tile=None if used.tile == "auto" else used.tile,
            pairs=PAIRS if used.pairs is None else used.pairs,
            pair_precision=used.pair_precision or "full",
            variables=used.variables,
        )


class Checkpoints:
    """Writes the checkpoints of a run: at the start of each level, and every minute at least.

    Small ones are written as often as takes a hundredth of the time, and at each fourth of a level,
    so that little is lost of a short run either. Large ones are written so seldom that it takes a
    twentieth of the time.

    Parameters
    ----------
    path : str or path, optional
        Where; without one, nothing is written.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        self._last: float | None = None
        self._evaluations = 0  # of the level, when the last one was written
        self._took = 0.0

    def offer(self, run: Descent, here: Callable[[Snapshot], Checkpoint]) -> None:
        """Write one if it is due; only the first may fail: a run begins with a sound path."""
        begun = time.monotonic()
        due = self._path is not None and self._is_due(run, begun)
        rest = run.snapshot if due else None
        if rest is None:
            return
        try:
            self.write(here(rest))
        except RecordError as error:
            if self._last is None:
                raise
            _LOG.warning("%s; the run goes on", error)
        self._last = time.monotonic()
        self._took = self._last - begun
        self._evaluations = len(run.history)

    def _is_due(self, run: Descent, now: float) -> bool:
        if self._last is None or not run.history:
            return True
        since, made = now - self._last, len(run.history) - self._evaluations
        if made * _PART >= run.budget and since >= _SHORT * self._took:
            return True
        return since >= max(_RARE * self._took, min(_SECONDS, _OFTEN * self._took))

    def write(self, checkpoint: Checkpoint) -> None:
        """Write one now."""
        if self._path is not None:
            write_checkpoint(checkpoint, self._path)


def write_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint: the old file stays until the new one is complete.

    Raises
    ------
    RecordError
        It cannot be written.
    """
    rest = checkpoint.snapshot
    header = {
        "format": _FORMAT,
        "record": checkpoint.record.to_json(),
        "level": checkpoint.level,
        "histories": [_to_json(history) for history in (*checkpoint.histories, rest.history)],
        "restarts": [checkpoint.restarts, rest.restarts],
        "seconds": checkpoint.seconds,
        "gradient_scale": rest.gradient_scale,
    }
    arrays: dict[str, NDArray[Any]] = {
        "pynst": np.frombuffer(json.dumps(header).encode(), np.uint8),
        **rest.state,
    }
    if rest.best is not None:
        arrays["best"] = rest.best
    try:
        with whole_file(path) as file:
            write_npz(file, arrays)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RecordError(f"checkpoint {shown(path)}: cannot be written: {reason}") from error


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    RecordError
        The file is missing, damaged, hostile, or of another version; the message says which.
    """
    try:
        with Path(path).open("rb") as file:
            archive = Archive(file)
            if sum(archive.sizes.values()) > file.seek(0, 2):
                raise RecordError("is compressed, which no checkpoint is")
            return _checkpoint(read_npz(archive))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RecordError(f"checkpoint {shown(path)}: cannot be read: {reason}") from error
    except (RecordError, DamagedFile) as error:
        raise RecordError(f"checkpoint {shown(path)}: {error}") from error
    except MemoryError as error:
        raise RecordError(f"checkpoint {shown(path)}: there is not enough memory") from error
    except (AttributeError, *DAMAGE) as error:
        raise RecordError(f"checkpoint {shown(path)}: damaged: {shown(str(error))}") from error


def _checkpoint(container: Container) -> Checkpoint:
    """Check and assemble what a file holds; anything may be raised."""
    stored = dict(container.arrays)
    text = stored.pop("pynst", None)
    if text is None or text.dtype != np.uint8:
        raise RecordError("is no checkpoint of PyNST's")
    header = json.loads(text.read().tobytes())
    if header["format"] != _FORMAT:
        raise RecordError("is of another version of PyNST")
    record = Record.from_json(header["record"])
    histories = [_from_json(history) for history in header["histories"]]
    before, at_level = (_whole(count) for count in header["restarts"])
    state = _state(stored, record.options)
    best = state.pop("best", None)
    if _whole(header["level"]) != len(histories) - 1 or (best is None) != (not histories[-1]):
        raise RecordError("damaged: its parts do not agree with its history")
    if "t" in state and int(state["t"]) != len(histories[-1]):
        raise RecordError("damaged: the steps of Adam are not those of its history")
    totals = [terms.total for terms in histories[-1]]
    scale = float(header["gradient_scale"])
    if not 2.0**-60 <= scale <= 2.0**60 or math.frexp(scale)[0] != 0.5:
        raise RecordError("damaged: the gradient scale is no power of two")
    rest = Snapshot(state, histories[-1], best, min(totals, default=math.inf), at_level, scale)
    seconds = float(header["seconds"])
    if not 0 <= seconds < _LONGEST:
        raise RecordError("damaged: the seconds are out of range")
    return Checkpoint(record, len(histories) - 1, tuple(histories[:-1]), before, seconds, rest)


def _state(stored: dict[str, StoredArray], options: TransferOptions) -> dict[str, NDArray[Any]]:
    """Arrays of the optimiser's state, and the best image; each of its type and shape."""
    shape = stored["x"].shape
    # An image that is walked in tiles is kept in float32.
    image = np.float32 if stored["x"].dtype == np.float32 else np.float64
    if len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise RecordError(f"damaged: x has shape {shape}")
    half = options.pair_precision == "half"
    shapes = state_shapes(options.optimizer, shape, image, options.pairs, half=half)
    wanted = {"best": (image, shape), **shapes}
    names = set(stored) - {"best"}
    if names != {"x"} and names != set(wanted) - {"best"}:
        raise RecordError(f"damaged: it holds {shown(str(sorted(stored)))}")
    arrays = {}
    for name, found in stored.items():
        dtype, expected = wanted[name]
        if found.dtype != np.dtype(dtype) or found.shape != expected:
            raise RecordError(f"damaged: {name} is {found.dtype} of shape {found.shape}")
        arrays[name] = found.read()
        if not np.isfinite(arrays[name]).all():
            raise RecordError(f"damaged: {name} holds numbers that are not finite")
    return arrays


def _to_json(history: tuple[LossTerms, ...]) -> list[dict[str, Any]]:
    return [asdict(terms) for terms in history]


def _from_json(history: Any) -> tuple[LossTerms, ...]:
    """Loss terms; each number becomes a finite float or raises."""
    return tuple(
        LossTerms(
            total=_number(terms["total"]),
            content=_number(terms["content"]),
            style=_number(terms["style"]),
            tv=_number(terms["tv"]),
            layers=_numbers(terms["layers"]),
            others=_numbers(terms.get("others", {})),
        )
        for terms in history
    )


def _numbers(values: Any) -> dict[str, float]:
    return {str(name): _number(value) for name, value in values.items()}


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise RecordError("damaged: a loss is not finite")
    return number


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 10**9:
        raise RecordError("damaged: a number is out of range")
    return value
