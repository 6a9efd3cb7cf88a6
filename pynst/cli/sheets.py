"""What ``pynst sweep`` and ``pynst figure`` share: a contact sheet, its curves and its table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.terminal import Display, path_line, say
from pynst.errors import PyNSTError
from pynst.files import shown

if TYPE_CHECKING:
    from pynst.experiments.sheets import CellProgress, Sheet

__all__ = ["add_sheet_options", "run_sheet"]

_FILES = ("sheet.png", "sheet.svg", "sheet.csv")


def add_sheet_options(parser: Parser, default: str) -> None:
    """Where the sheet goes."""
    parser.option(
        "-o", "--output", metavar="FOLDER", default=default,
        help="gets sheet.png, sheet.svg (curves), sheet.csv (table) and each cell as a picture with"
        " its record; cells that are finished there are not run again; default: %(default)s",
    )  # fmt: skip
    parser.option(
        "--workers", metavar="N", type=int,
        help="cells at the same time, in processes that share threads and memory; default: 1",
    )  # fmt: skip
    parser.option("--force", action="store_true", help="make more than 64 cells")
    parser.option("--quiet", action="store_true", help="no progress line")


def run_sheet(given: argparse.Namespace, signals: Signals, make: Callable[..., Sheet]) -> int:
    """Make a sheet and save it; a part of it after a signal. Exit code 1 if a cell has failed.

    Parameters
    ----------
    make : callable
        Makes the sheet; takes ``folder``, ``force``, ``workers`` and ``callback``.
    """
    display, folder = Display(given.quiet), Path(given.output)

    def show(progress: CellProgress) -> None:
        run = progress.run
        due = run.iteration in (1, run.iterations // 2, run.iterations) if run else display.updates
        if due and not given.quiet:
            loss = f"  loss {run.terms.total:.4g}" if run else ""
            shares = [f"{name}  {100 * share:.0f} %" for name, share in progress.running.items()]
            display.update(f"cell {progress.number}/{progress.cells} {', '.join(shares)}{loss}")

    try:
        sheet = make(
            folder=folder / "cells", force=given.force, workers=given.workers, callback=show
        )
        signals.ignore()
    except (KeyboardInterrupt, PyNSTError) as error:
        display.close()
        part: Sheet | None = getattr(error, "sheet", None)
        if isinstance(error, PyNSTError) or part is None:
            raise
        _save(part, folder)
        say("interrupted; the same command goes on with the cells that are missing")
        return signals.exit_code
    display.close()
    _save(sheet, folder)
    for name in sheet.failed:
        say(f"error: {name}: {sheet.results[name].error}")
    return 1 if sheet.failed else 0


def _save(sheet: Sheet, folder: Path) -> None:
    """Write the three files; the path of the picture goes to standard output."""
    if not folder.is_dir():
        raise PyNSTError(f"output: no such folder: {shown(folder)}")
    picture, curves, table = (folder / name for name in _FILES)
    sheet.save(picture)
    sheet.curves(curves)
    sheet.table(table)
    path_line(picture)
