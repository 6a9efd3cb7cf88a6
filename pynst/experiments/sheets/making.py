"""Making a contact sheet: its cells are run here one after another, or as the jobs of a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from tempfile import TemporaryDirectory

from pynst.errors import OptionError, PyNSTError
from pynst.experiments.sheets.cells import (
    Cell,
    CellProgress,
    CellResult,
    job_of,
    read_cell,
    run_cell,
)
from pynst.experiments.sheets.sheet import Sheet
from pynst.images.files import is_readable
from pynst.jobs.engine import BatchProgress, Engine, check_workers
from pynst.jobs.manifest import Manifest
from pynst.jobs.messages import Outcome
from pynst.jobs.plan import Job
from pynst.jobs.work import Workplace
from pynst.result import Progress

__all__ = ["make_sheet"]

_MOST_CELLS = 64
"""A sheet of more cells is made only where that is asked for."""


def make_sheet(
    rows: Sequence[Sequence[Cell]],
    title: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    workers: int | None = None,
    callback: Callable[[CellProgress], None] | None = None,
) -> Sheet:
    """Run all cells.

    Parameters
    ----------
    rows : sequence of sequence of Cell
        As they stand on the sheet.
    title : str
    folder : str or path, optional
        Where each cell is kept as a picture with its record; those that are finished there are not
        run again.
    force : bool
        Whether there may be more than 64 cells.
    workers : int, optional
        Cells at the same time, each in a process of its own, which share threads and memory as
        those of `pynst.batch` do; by default one after another in this process.
    callback : callable, optional
        Called after every evaluation with a `CellProgress`; of other processes, about twice a
        second. Raise ``StopIteration`` in it to end the cell that runs in this process.

    Raises
    ------
    OptionError
        There are too many cells, none, or two of the same name; `workers` is no number of them, or
        a picture that several would read is an open file.
    PyNSTError
        The folder cannot be written to, or another sheet or batch is being made in it.
    Interrupted, KeyboardInterrupt
        Ctrl-C; what there is of the sheet is the attribute ``sheet`` of the exception.
    """
    cells = [cell for row in rows for cell in row]
    if not cells:
        raise OptionError("a sheet must have at least one cell")
    if len(cells) > _MOST_CELLS and not force:
        raise OptionError(
            f"the sheet would have {len(cells)} cells; more than {_MOST_CELLS} are made only with"
            " force"
        )
    if len({cell.name for cell in cells}) != len(cells):
        raise OptionError("two cells of the sheet have the same name")
    check_workers(workers)
    sheet = Sheet(title, [[cell.name for cell in row] for row in rows], {})
    run_all = _run_here if workers in (None, 1) else partial(_run_in_processes, workers=workers)
    with TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        try:
            run_all([(cell, job_of(cell, os.fspath(place))) for cell in cells], sheet, callback)
        except BaseException as error:
            error.sheet = sheet  # type: ignore[attr-defined]
            raise
    return sheet


def _run_here(
    jobs: Sequence[tuple[Cell, Job]],
    sheet: Sheet,
    callback: Callable[[CellProgress], None] | None,
) -> None:
    """Run the cells one after another in this process."""
    workplace = Workplace()
    with Manifest(jobs[0][1].folder) as manifest:
        for number, (cell, job) in enumerate(jobs, 1):
            report = _report(callback, number, len(jobs), cell.name)
            found = sheet.results[cell.name] = run_cell(cell, job, workplace, report)
            if found.error or found.result is not None:  # else the cell was there already
                manifest.append(job, _outcome(found))


def _outcome(found: CellResult) -> Outcome:
    """How a cell has ended, for the log."""
    state = "failed" if found.error else "done"
    return Outcome(state, found.seconds, found.evaluations, error=found.error)


def _run_in_processes(
    jobs: Sequence[tuple[Cell, Job]],
    sheet: Sheet,
    callback: Callable[[CellProgress], None] | None,
    workers: int,
) -> None:
    """Run the cells in processes, as the jobs of a batch."""
    if any(map(is_readable, (each for _, job in jobs for each in (job.content, *job.styles)))):
        raise OptionError(
            f"workers: {workers} processes cannot read the same open file; give the picture as a"
            " path, an array or a PIL image"
        )
    numbers = {job.name: number for number, (_, job) in enumerate(jobs)}

    def tell(progress: BatchProgress) -> None:
        running = {jobs[numbers[name]][0].name: share for name, share in progress.running.items()}
        if callback is not None and running:
            first = min(numbers[name] for name in progress.running)
            callback(CellProgress(first + 1, len(jobs), jobs[first][0].name, running, None))

    engine = Engine(jobs[0][1].folder, workers=workers, retry_failed=True, callback=tell)
    with closing(engine.ended_jobs([job for _, job in jobs])) as ended:
        for job, outcome in ended:
            cell = jobs[numbers[job.name]][0]
            sheet.results[cell.name] = _made_elsewhere(cell, job, outcome)
    sheet.results = {cell.name: sheet.results[cell.name] for cell, _ in jobs}  # in their order


def _made_elsewhere(cell: Cell, job: Job, outcome: Outcome) -> CellResult:
    """What another process has made of a cell."""
    try:
        if outcome.state != "failed":
            return read_cell(cell, job)
        error = outcome.error
    except PyNSTError as unreadable:
        error = str(unreadable)
    return CellResult(cell.name, cell.settings, error=error)


def _report(
    callback: Callable[[CellProgress], None] | None, number: int, cells: int, name: str
) -> Callable[[Progress], None] | None:
    """What a cell's run calls after each evaluation."""
    if callback is None:
        return None
    return lambda run: callback(CellProgress(number, cells, name, {name: run.fraction}, run))
