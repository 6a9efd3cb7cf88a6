"""``pynst demo``: two pictures drawn by formula, and the one in the style of the other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pynst
from pynst.cli.parser import Parser
from pynst.cli.saving import checked_output, written
from pynst.cli.signals import Signals
from pynst.cli.terminal import Display, path_line, say
from pynst.files import shown
from pynst.options import TransferOptions, with_changes

__all__ = ["add_arguments", "run"]

_OUTPUT = "pynst-demo.png"
_MARK = "demo"  # in the metadata of a demo's picture
_IMAGE_SIZE = 384  # two cores with AVX-512 take half a minute for VGG-19 and the filters


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.description = (
        "Draw a scene and a painting, render the one in the style of the other, and save all in\n"
        "one sheet. VGG-19, the paper's network, paints where its weights are at hand or can be\n"
        "downloaded (once), and the built-in filters beside it; else the filters alone."
    )
    parser.option(
        "-o", "--output", metavar="PATH",
        help=f"default: {_OUTPUT}, which is overwritten where it is an earlier demo's",
    )  # fmt: skip
    parser.option(
        "--image-size", metavar="N", type=int, default=_IMAGE_SIZE,
        help="long side of each picture, pixels; default: %(default)s",
    )  # fmt: skip
    parser.option("--threads", metavar="N", type=int, help="CPU threads; default: all")
    parser.option("--quiet", action="store_true", help="no progress line")


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.demo import compose_sheet, draw_painting, draw_scene

    options = TransferOptions(image_size=given.image_size, threads=given.threads)
    path = _checked_output(given.output, options.image_size)
    width, height = options.image_size, round(options.image_size * 3 / 4)
    content, style = draw_scene(width, height), draw_painting(width, height)
    results, finished = _paint(content, style, options, given.quiet)
    signals.ignore()
    images = [content, style, *(result.image for result in results)]
    half = len(images) // 2 if len(images) == 4 else len(images)
    sheet = compose_sheet([images[start : start + half] for start in range(0, len(images), half)])

    def write(place: Path, overwrite: bool) -> None:
        pynst.save_image(sheet, place, metadata={_MARK: pynst.__version__}, overwrite=overwrite)

    if not written(write, path, overwrite=True):
        return 1
    if not given.quiet:
        say(f"the sheet shows the content, the style, and what came out with {_painters(results)}")
    path_line(path)
    return 0 if finished else signals.exit_code


def _paint(
    content: Any, style: Any, options: TransferOptions, quiet: bool
) -> tuple[list[pynst.TransferResult], bool]:
    """Stylise with VGG-19, if it is to be had, and with the built-in filters.

    Returns the results, and whether nothing has interrupted them.
    """
    from pynst.transfer import stylize

    display = Display(quiet)
    results: list[pynst.TransferResult] = []
    try:
        for network in ("auto", "builtin"):
            if results and results[0].network == "builtin":
                break
            chosen = with_changes(options, {"network": network})
            results.append(stylize(content, style, chosen, callback=display.show))
            display.close()
    except KeyboardInterrupt as interrupted:
        display.close()
        results += [interrupted.result] if isinstance(interrupted, pynst.Interrupted) else []
        if not results:
            raise
        return results, False
    finally:
        display.close()
    return results, True


def _painters(results: list[pynst.TransferResult]) -> str:
    """The networks of the results, in words."""
    names = {"vgg19": "VGG-19", "builtin": "the built-in filters"}
    return " and with ".join(names.get(result.network, result.network) for result in results)


def _checked_output(output: str | None, side: int) -> Path:
    """Check before the work that the picture can be written, over no other one unasked."""
    from pynst.images import read_metadata

    path = checked_output(output, _OUTPUT, side=2 * side)
    if output is None and path.exists() and _MARK not in read_metadata(path):
        raise pynst.PyNSTError(f"{shown(path)} exists and is no demo: name another output with -o")
    return path
