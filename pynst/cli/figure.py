"""``pynst figure``: a figure of the paper with pictures of one's own."""

from __future__ import annotations

import argparse
from functools import partial

from pynst.cli.parser import Parser
from pynst.cli.sheets import add_sheet_options, run_sheet
from pynst.cli.signals import Signals
from pynst.cli.single import add_settings, given_settings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst figure {1,3,4,5,6,7} [CONTENT STYLE [STYLE ...]] [-o FOLDER] [options]"
    parser.description = (
        "Make a figure of the paper. 1: what each layer keeps. 3: several styles. 4: ratios.\n"
        "5: content from a low and a high layer. 6: starts. 7: from photograph to photograph.\n"
        "Without pictures it takes the two that PyNST draws itself."
    )
    parser.add_argument("NUMBER", type=int, help="of the figure in the paper")
    parser.add_argument("CONTENT", nargs="?", help="the photograph")
    parser.add_argument("STYLE", nargs="*", default=[], help="the painting; figure 3: several")
    parser.option("--image-size", metavar="N", type=int, default=256, help="long side, pixels")
    parser.option("--seeds", metavar="N", type=int, default=4, help="noise starts of figure 6")
    parser.option(
        "--ratios", metavar="X", type=float, nargs="+", continues=_is_number,
        help="alpha / beta of each cell; default: the paper's",
    )  # fmt: skip
    parser.option(
        "--reading", choices=("plain", "sums", "means"), default="plain",
        help="what alpha / beta means: plain (at 1e-3 content and style are both there), sums (Eq."
        " 1 and 4 to the letter) or means; default: %(default)s",
    )  # fmt: skip
    parser.option(
        "--paper", action="store_true",
        help="as in the paper with SciPy's L-BFGS-B at one size, instead of from coarse to fine;"
        " figure 1: also without total variation",
    )  # fmt: skip
    add_sheet_options(parser, "figure")
    add_settings(parser, ("aspect", "image_size", "seed", "init"))


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.experiments.figures import figure

    settings = {**given_settings(given), "image_size": given.image_size}
    make = partial(
        figure,
        given.NUMBER,
        given.CONTENT,
        given.STYLE or None,
        seeds=given.seeds,
        ratios=given.ratios,
        reading=given.reading,
        paper=given.paper,
        **settings,
    )
    return run_sheet(given, signals, make)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
