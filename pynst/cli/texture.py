"""``pynst texture``: an image of any size with the texture of a picture."""

from __future__ import annotations

import argparse
import re
from functools import partial

from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.single import add_run_options, add_settings, given_settings, run_single

__all__ = ["add_arguments", "run"]

_OUTPUT = "texture.png"
_WITHOUT = (
    "aspect", "image_size", "content_layers", "content_weight", "style_layers", "style_scale",
    "padding", "preserve_color", "match_color", "keep_alpha", "style_masks", "regions",
    "style_regions", "content_mask", "content_mask_weight", "keep_mask",
)  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst texture PICTURE [--size WxH] [--tileable] [-o OUTPUT] [options]"
    parser.description = "Make an image from noise with the texture of PICTURE, of any size."
    parser.add_argument("PICTURE", help="the source of the texture")
    parser.option(
        "--size", metavar="WxH", type=_size, help="of the result, pixels; default: 256x256"
    )
    parser.option(
        "--layers", metavar="LAYER", nargs="+",
        help="LAYER or LAYER=WEIGHT; default: the network's style layers",
    )  # fmt: skip
    parser.option(
        "--source-size", metavar="N", type=int,
        help="long side at which PICTURE is read, pixels; default: its own, at most 512",
    )  # fmt: skip
    parser.option("--tileable", action="store_true", help="copies fit together without a seam")
    parser.option(
        "--paper", action="store_true",
        help="the model of 2015: conv1_1 and pool1 ... pool4, no total variation, SciPy",
    )  # fmt: skip
    add_run_options(parser, _OUTPUT)
    add_settings(parser, _WITHOUT)


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.experiments.textures import texture

    make = partial(
        texture,
        given.PICTURE,
        given.size,
        layers=given.layers,
        source_size=given.source_size,
        tileable=given.tileable,
        paper=given.paper,
        **given_settings(given),
    )
    return run_single(given, signals, _OUTPUT, make)


def _size(word: str) -> tuple[int, int]:
    """``"768x512"``, or ``"512"`` for a square."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", word)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be WxH, such as 768x512, got {word!r}")
    return int(found[1]), int(found[2] or found[1])
