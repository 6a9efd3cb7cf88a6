"""The cells of a contact sheet: each is one run, and a job as those of a batch are.

A finished cell is a picture with its record and, beside it, the history of its loss. A cell whose
record is that of the run which is asked for is not run again; one that was broken off goes on from
its checkpoint.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import PyNSTError, WeightsError
from pynst.images import load_image, to_uint8
from pynst.jobs.histories import History, read_history
from pynst.jobs.plan import Job
from pynst.jobs.work import Workplace
from pynst.losses.terms import LossTerms
from pynst.options import TransferOptions
from pynst.replay import read_record
from pynst.result import Progress, TransferResult

__all__ = ["Cell", "CellProgress", "CellResult", "job_of", "read_cell", "run_cell"]

_LONGEST_NAME = 80  # characters of a file name, besides its ending


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
        The whole result; None where the cell was read from a folder, was run by another process, or
        failed.
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
    """Where a sheet stands: after one evaluation of the objective, or about twice a second.

    Attributes
    ----------
    number, cells : int
        The cell that runs, from 1, and how many there are. Of several, the first.
    name : str
        Name of the cell.
    running : mapping of str to float
        The cells that run, by their names, each with the share of its work that is done.
    run : Progress or None
        Where the run of the cell stands; None where another process runs it.
    """

    number: int
    cells: int
    name: str
    running: Mapping[str, float]
    run: Progress | None


def job_of(cell: Cell, folder: str) -> Job:
    """The job that makes a cell in a folder."""
    one = () if cell.style is None else (cell.style,)
    styles = tuple(cell.style) if isinstance(cell.style, list | tuple) else one
    name = f"{_stem(cell.name)}.png"
    return Job(cell.content, styles, folder, name, cell.options, history=True)


def run_cell(
    cell: Cell,
    job: Job,
    workplace: Workplace,
    callback: Callable[[Progress], None] | None = None,
) -> CellResult:
    """Run one cell, or take it from its folder; an error of its run becomes a part of the result.

    Raises
    ------
    Interrupted
        Ctrl-C.
    WeightsError
        There is no weights file, and the cell names none.
    """
    try:
        _, result = workplace.make(job, callback)
        return read_cell(cell, job) if result is None else _of(cell, result)
    except PyNSTError as error:
        if isinstance(error, WeightsError) and cell.options.weights is None:
            raise  # there is no file, which every other cell would say as well
        found = CellResult(cell.name, cell.settings)
        if error.result is not None:
            found = replace(_of(cell, error.result), result=None)
        return replace(found, error=str(error))


def read_cell(cell: Cell, job: Job) -> CellResult:
    """Read a cell that is finished.

    Raises
    ------
    ImageError, RecordError
        Its files are missing or damaged.
    """
    record = read_record(job.output)
    history, seconds = read_history(job.output, record.pixels_sha256)
    image = to_uint8(load_image(job.output))
    return CellResult(cell.name, cell.settings, image, history, seconds, record.stopped_early)


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


def _stem(name: str) -> str:
    """A cell's name as that of a file: unique, and of letters that every system takes."""
    plain = re.sub(r"[^A-Za-z0-9=+,.-]+", "_", name)[:_LONGEST_NAME].strip("._ ") or "cell"
    if plain == name:
        return plain
    with suppress(UnicodeEncodeError):
        return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain}-{hashlib.sha256(repr(name).encode()).hexdigest()[:8]}"
