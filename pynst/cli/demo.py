"""``pynst demo``: two pictures drawn by formula, and the one in the style of the other."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pynst
from pynst.cli.terminal import Display, Signals, say
from pynst.options import TransferOptions

__all__ = ["run"]

_OUTPUT = "pynst-demo.png"
_MARK = "demo"  # in the metadata of a demo's picture


def run(words: Sequence[str], signals: Signals) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pynst demo",
        description="Draw a scene and a painting, render one in the style of the other, and save"
        " content, style and result side by side. Nothing is downloaded.",
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH",
        help=f"default: {_OUTPUT}, which is overwritten where it is an earlier demo's",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", metavar="N", type=int, default=384,
        help="long side, pixels; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--threads", metavar="N", type=int, help="CPU threads; default: all")
    parser.add_argument("--quiet", action="store_true", help="no progress line")
    given = parser.parse_args(words)

    from pynst.demo import compose_triptych, draw_painting, draw_scene
    from pynst.transfer import stylize
    from pynst.weights import find_weights

    network = "builtin" if find_weights() is None else "vgg19"
    options = TransferOptions(network=network, image_size=given.image_size, threads=given.threads)
    path = _checked_output(given.output)
    if network == "builtin" and not given.quiet:
        say('the built-in filters paint; "pynst weights fetch" gets the paper\'s network')
    width, height = options.image_size, round(options.image_size * 3 / 4)
    content, style = draw_scene(width, height), draw_painting(width, height)
    display = Display(given.quiet)
    try:
        result = stylize(content, style, options, callback=display.show)
        code = 0
    except pynst.Interrupted as interrupted:
        result, code = interrupted.result, signals.exit_code
    finally:
        display.close()
    signals.ignore()
    triptych = compose_triptych(content, style, result.image)
    pynst.save_image(triptych, path, metadata={_MARK: pynst.__version__})
    print(path)
    return code


def _checked_output(output: str | None) -> Path:
    """Check before the work that the picture can be written, over no other one unasked."""
    from pynst.images import check_output, read_metadata

    path = Path(output or _OUTPUT)
    check_output(path)
    if output is None and path.exists() and _MARK not in read_metadata(path):
        raise pynst.PyNSTError(f"{path} exists and is no demo: name another output with -o")
    return path
