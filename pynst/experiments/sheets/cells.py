"""The cells of a contact sheet: each is one run, and may lie finished in a folder.

A finished cell is a picture with its record and, beside it, the history of its loss. A cell whose
record is that of the run which is asked for is not run again; one that was broken off goes on from
its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.checkpoint import read_checkpoint
from pynst.errors import ImageError, PyNSTError, RecordError, WeightsError
from pynst.files import write_whole
from pynst.images import load_image, to_uint8
from pynst.inputs import read_inputs
from pynst.jobs.kept import COMPLETE, is_record_of
from pynst.losses.terms import LossTerms
from pynst.options import TransferOptions
from pynst.record import Record
from pynst.replay import read_record
from pynst.result import Progress, TransferResult
from pynst.transfer import stylize

__all__ = ["Cell", "CellProgress", "CellResult", "Folder", "run_cell"]

History = tuple[tuple[LossTerms, ...], ...]

_LONGEST_NAME = 80  # characters of a file name, besides its ending
_LARGEST_HISTORY = 1 << 28  # bytes


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of a sheet.

    Attributes
    ----------
    name : str
        Unique in its sheet, e.g. ``"style_weight=1000"``.
    settings : mapping of str to str
        What differs from the other cells, as the label shows it.
    content, style : as for `pynst.stylize`
    options : TransferOptions
    """

    name: str
    settings: Mapping[str, str]
    content: Any
    style: Any
    options: TransferOptions


@dataclass(frozen=True, eq=False)
class CellResult:
    """What a cell came to.

    Attributes
    ----------
    name : str
    settings : mapping of str to str
        The settings of the cell.
    image : ndarray (H, W, 3), uint8, or None
        The picture; None where the run failed before it had one.
    history : tuple of tuple of LossTerms
        As in `TransferResult`.
    seconds : float
        Wall time of the run.
    stopped_early : str
        As in `TransferResult`.
    error : str
        What went wrong; empty if nothing did.
    result : TransferResult or None
        The whole result; None where the cell was read from a folder, or failed.
    """

    name: str
    settings: Mapping[str, str]
    image: NDArray[np.uint8] | None = None
    history: History = ()
    seconds: float = 0.0
    stopped_early: str = ""
    error: str = ""
    result: TransferResult | None = field(default=None, repr=False)

    @property
    def terms(self) -> LossTerms | None:
        """The terms of the loss at the image: the best evaluation of the last level."""
        levels = [level for level in self.history if level]
        return min(levels[-1], key=lambda terms: terms.total) if levels else None

    @property
    def evaluations(self) -> int:
        """Evaluations of the objective, over all levels."""
        return sum(map(len, self.history))


@dataclass(frozen=True)
class CellProgress:
    """Where a sheet stands, after one evaluation of the objective.

    Attributes
    ----------
    number, cells : int
        The cell that runs, from 1, and how many there are.
    name : str
        Name of the cell.
    run : Progress
        Where its run stands.
    """

    number: int
    cells: int
    name: str
    run: Progress


class Folder:
    """Where the cells of a sheet are kept; without a path, nowhere.

    Parameters
    ----------
    path : str or path, optional
        Made if it is not there.

    Raises
    ------
    ImageError
        It cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ImageError(f"folder: cannot make {path}: {error.strerror}") from error

    def finished(self, cell: Cell) -> CellResult | None:
        """The cell as an earlier sheet has left it; None where it is missing or another run's."""
        picture = self._file(cell, ".png")
        if picture is None or not picture.exists():
            return None
        try:
            record = read_record(picture)
            if record.stopped_early not in COMPLETE or not _is_of(record, cell):
                return None
            return _read(cell, picture, self._text(cell), record)
        except (PyNSTError, OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # damaged: the cell is run again

    def checkpoint(self, cell: Cell) -> tuple[Path | None, bool]:
        """Where the cell's run is written on its way, and whether it can go on from there."""
        path = self._file(cell, ".checkpoint.npz")
        if path is None or not path.exists():
            return path, False
        try:
            return path, _is_of(read_checkpoint(path).record, cell)
        except PyNSTError:
            return path, False

    def keep(self, cell: Cell, result: TransferResult) -> None:
        """Write a finished cell; the picture last, as it says that the cell is complete."""
        picture, text = self._file(cell, ".png"), self._file(cell, ".json")
        if picture is None or text is None:
            return
        content = {
            "pixels_sha256": result.record.pixels_sha256,
            "seconds": result.seconds,
            "stopped_early": result.stopped_early,
            "history": [[asdict(terms) for terms in level] for level in result.history],
        }
        write_whole(json.dumps(content).encode(), text)
        result.save(picture)
        path = self._file(cell, ".checkpoint.npz")
        if path is not None and result.stopped_early in COMPLETE:
            path.unlink(missing_ok=True)

    def _file(self, cell: Cell, ending: str) -> Path | None:
        return None if self.path is None else self.path / f"{_stem(cell.name)}{ending}"

    def _text(self, cell: Cell) -> bytes:
        path = self._file(cell, ".json")
        if path is None or path.stat().st_size > _LARGEST_HISTORY:
            raise RecordError("no history")
        return path.read_bytes()


def run_cell(
    cell: Cell, folder: Folder, callback: Callable[[Progress], None] | None = None
) -> CellResult:
    """Run one cell, or take it from the folder; an error of its run becomes a part of the result.

    Raises
    ------
    Interrupted
        Ctrl-C.
    WeightsError
        There is no weights file, and the cell names none.
    """
    done = folder.finished(cell)
    if done is not None:
        return done
    try:
        result = _result(cell, folder, callback)
        folder.keep(cell, result)
    except PyNSTError as error:
        if isinstance(error, WeightsError) and cell.options.weights is None:
            raise  # there is no file, which every other cell would say as well
        found = CellResult(cell.name, cell.settings)
        if error.result is not None:
            found = replace(_of(cell, error.result), result=None)
        return replace(found, error=str(error))
    return _of(cell, result)


def _result(
    cell: Cell, folder: Folder, callback: Callable[[Progress], None] | None
) -> TransferResult:
    """Go on with the cell where it was broken off, or run it from its start."""
    path, goes_on = folder.checkpoint(cell)
    if goes_on:
        with suppress(RecordError):  # of other weights, for instance
            return stylize(cell.content, cell.style, callback=callback, resume=path)
    return stylize(cell.content, cell.style, cell.options, callback=callback, checkpoint=path)


def _of(cell: Cell, result: TransferResult) -> CellResult:
    return CellResult(
        cell.name,
        cell.settings,
        result.image,
        result.history,
        result.seconds,
        result.stopped_early,
        result=result,
    )


def _is_of(record: Record, cell: Cell) -> bool:
    """Whether a record is of the run that the cell asks for."""
    return is_record_of(
        record, cell.options, lambda: read_inputs(cell.content, cell.style, cell.options)
    )


def _read(cell: Cell, picture: Path, text: bytes, record: Record) -> CellResult:
    """Read a finished cell; anything may be raised."""
    content = json.loads(text)
    if content["pixels_sha256"] != record.pixels_sha256:
        raise RecordError("the history is of another picture")
    history = tuple(tuple(_terms(terms) for terms in level) for level in content["history"])
    image = to_uint8(load_image(picture))
    seconds, early = float(content["seconds"]), str(content["stopped_early"])
    return CellResult(cell.name, cell.settings, image, history, seconds, early)


def _terms(values: Mapping[str, Any]) -> LossTerms:
    total, content, style, tv = (float(values[key]) for key in ("total", "content", "style", "tv"))
    layers = {str(name): float(value) for name, value in values["layers"].items()}
    others = {str(name): float(value) for name, value in values.get("others", {}).items()}
    return LossTerms(total, content, style, tv, layers, others)


def _stem(name: str) -> str:
    """A cell's name as that of a file: unique, and of letters that every system takes."""
    plain = re.sub(r"[^A-Za-z0-9=+,.-]+", "_", name)[:_LONGEST_NAME].strip("._ ") or "cell"
    if plain == name:
        return plain
    with suppress(UnicodeEncodeError):
        return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain}-{hashlib.sha256(repr(name).encode()).hexdigest()[:8]}"
