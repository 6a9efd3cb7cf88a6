"""``pynst reconstruct``: what a layer of the network keeps of a picture."""

from __future__ import annotations

import argparse
from functools import partial

from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.single import add_run_options, add_settings, given_settings, run_single

__all__ = ["add_arguments", "run"]

_OUTPUT = "reconstruction.png"
_WITHOUT = (
    "aspect", "content_layers", "style_layers", "style_weight", "style_scale", "style_blend",
    "match_color", "style_masks", "style_source_masks", "regions", "style_regions", "guidance",
)  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst reconstruct PICTURE [--layer LAYER [LAYER ...]] [-o OUTPUT] [options]"
    parser.description = "Make an image from noise that looks like PICTURE to a layer of VGG-19."
    parser.add_argument("PICTURE", help="what is reconstructed")
    parser.option(
        "--layer", metavar="LAYER", nargs="+",
        help="conv1_1 ... conv5_4, pool1 ... pool4, or several; default: conv4_2",
    )  # fmt: skip
    parser.option(
        "--paper", action="store_true",
        help="Eq. 1 alone, as in the paper: without total variation, driven by SciPy",
    )  # fmt: skip
    add_run_options(parser, _OUTPUT)
    add_settings(parser, _WITHOUT)


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.experiments.reconstruction import reconstruct

    make = partial(
        reconstruct, given.PICTURE, given.layer, paper=given.paper, **given_settings(given)
    )
    return run_single(given, signals, _OUTPUT, make)
