"""What ``pynst reconstruct`` and ``pynst texture`` share: one picture in, one run, one result."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Any

import pynst
from pynst.cli.parser import Parser
from pynst.cli.saving import add_curves_option, check_curves, checked_output, save
from pynst.cli.signals import Signals
from pynst.cli.stylize import Report, add_setting, save_early
from pynst.cli.terminal import say
from pynst.errors import PyNSTError
from pynst.options import GROUPS, TransferOptions

__all__ = ["add_run_options", "add_settings", "given_settings", "run_single"]


def add_run_options(parser: Parser, default: str) -> None:
    """Where the result goes, and what is told on the way."""
    parser.option("-o", "--output", metavar="PATH", help=f"result; default: {default}")
    parser.option("--force", action="store_true", help=f"overwrite {default}")
    parser.option("--bits", type=int, choices=(8, 16), default=8, help="bits per channel")
    parser.option(
        "--record", action=argparse.BooleanOptionalAction, default=True,
        help="embed settings and paths in the result, for pynst replay",
    )  # fmt: skip
    parser.option(
        "--checkpoint", metavar="PATH",
        help="write the run to this file every minute; pynst --resume PATH goes on with it",
    )  # fmt: skip
    parser.option(
        "--save-every", metavar="N", type=int, default=0,
        help="also write the current image to OUTPUT every N iterations",
    )  # fmt: skip
    add_curves_option(parser)
    parser.option("--live", action="store_true", help="show the run on a page in the browser")
    parser.option("--quiet", action="store_true", help="no progress line")
    parser.set_defaults(resume=None)


def add_settings(parser: Parser, without: Collection[str] = ()) -> None:
    """One option per setting of a transfer, but those that the command does not have."""
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for each in fields(TransferOptions):
        if each.name not in without:
            add_setting(parser, groups[each.metadata["group"]], each)


def given_settings(given: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line."""
    names = {each.name for each in fields(TransferOptions)}
    return {name: value for name, value in vars(given).items() if name in names}


def run_single(
    given: argparse.Namespace,
    signals: Signals,
    default: str,
    make: Callable[..., pynst.TransferResult],
) -> int:
    """Check the output, run, save; what there is on an error or a signal is saved as well.

    Parameters
    ----------
    make : callable
        Makes the result; takes ``callback`` and ``checkpoint``.
    """
    path = checked_output(given.output, default, force=given.force, bits=given.bits)
    check_curves(given.curves)
    report = Report(given, path)
    asked = bool(given.output or given.force or given.save_every)
    settings = {
        "bits": given.bits, "record": given.record, "overwrite": asked, "curves": given.curves,
    }  # fmt: skip
    try:
        result = make(callback=report, checkpoint=given.checkpoint)
        signals.ignore()
    except (pynst.Interrupted, Exception) as error:
        report.display.close()
        code = save_early(error, path, signals, given, settings)
        report.finish(error)
        if not isinstance(error, (pynst.Interrupted, PyNSTError, OSError)):
            raise  # a defect: its traceback is wanted
        return code
    report.display.close()
    for note in () if given.quiet else result.notes:
        say(note)
    code = save(result, path, given.quiet, **settings)
    report.finish(result)
    return code
