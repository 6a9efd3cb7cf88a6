"""``pynst sweep``: settings against each other on a contact sheet."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from pynst.cli.parser import Parser
from pynst.cli.sheets import add_sheet_options, run_sheet
from pynst.cli.signals import Signals
from pynst.cli.single import add_settings, given_settings
from pynst.errors import OptionError
from pynst.options import TransferOptions, from_text

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst sweep CONTENT STYLE --over NAME=V1,V2,... [--over NAME=V1,...] [options]"
    parser.description = (
        "Stylise with each value of a setting, or with each pair of values of two, on one sheet.\n"
        "A value of several parts has plus signs: style-layers=conv1_1,conv1_1+conv2_1."
    )
    parser.add_argument("CONTENT", help="the photograph")
    parser.add_argument("STYLE", nargs="+", help="the painting, or several to blend")
    parser.option(
        "--over", metavar="NAME=V1,V2,...", action="append", default=[],
        help="a setting, content or style with its values; the first goes across, a second down",
    )  # fmt: skip
    parser.option("--paper", action="store_true", help="begin with the paper's setting")
    add_sheet_options(parser, "sweep")
    add_settings(parser)


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.experiments.sweeps import sweep

    if not 1 <= len(given.over) <= 2:
        given.error("--over NAME=V1,V2,... must be given once or twice")
    axes = [_axis(word) for word in given.over]
    settings = given_settings(given)
    options = TransferOptions.paper(**settings) if given.paper else TransferOptions(**settings)
    style = given.STYLE if len(given.STYLE) > 1 else given.STYLE[0]
    make = partial(sweep, given.CONTENT, style, axes[0], axes[1] if axes[1:] else None, options)
    return run_sheet(given, signals, make)


def _axis(word: str) -> dict[str, list[Any]]:
    """``"style-weight=1e3,1e4"`` as a setting with its values."""
    name, equals, values = word.partition("=")
    if not equals or not values:
        raise OptionError(f"--over must be NAME=V1,V2,..., got {word!r}")
    name = name.lstrip("-").replace("-", "_")
    return {name: [from_text(name, part) for part in values.split(",")]}
