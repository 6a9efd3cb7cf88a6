"""The command line: ``pynst CONTENT STYLE -o OUTPUT``, ``pynst demo``. The one file that prints."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pynst
from pynst.errors import Interrupted, PyNSTError
from pynst.options import TransferOptions

if TYPE_CHECKING:
    from pynst.transfer import Progress, TransferResult

__all__ = ["main"]

_DEFAULT_OUTPUT = "out.png"
_DEMO_OUTPUT = "pynst-demo.png"

_EPILOG = """\
other commands:
  pynst demo          draw two pictures, stylise one after the other, save all three side by side

examples:
  pynst photo.jpg painting.jpg -o result.png
  pynst photo.jpg painting.jpg --image-size 1024 --quality fine --preserve-color
  pynst photo.jpg painting.jpg --paper --weights vgg19.npz
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 done, 1 a `PyNSTError` (printed as one line), 2 wrong usage, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["demo"]:
            return _demo(words[1:])
        return _stylize(words)
    except PyNSTError as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("\npynst: interrupted before there was an image", file=sys.stderr)
        return 130


def _stylize(words: Sequence[str]) -> int:
    parser = _parser()
    given = vars(parser.parse_args(words))
    content, styles = given.pop("CONTENT"), given.pop("STYLE")
    output, force = given.pop("output"), given.pop("force")
    save_every, quiet, paper = given.pop("save_every"), given.pop("quiet"), given.pop("paper")
    options = TransferOptions.paper(**given) if paper else pynst.options.with_changes(None, given)

    from pynst.images import check_output
    from pynst.transfer import stylize

    path = Path(output or _DEFAULT_OUTPUT)
    check_output(path)
    if output is None and path.exists() and not force:
        raise PyNSTError(
            f"{path} exists: name another output with -o, or overwrite it with --force"
        )

    display = _Display(quiet)

    def report(progress: Progress) -> None:
        display.show(progress)
        if save_every and progress.iteration % save_every == 0:
            pynst.save_image(progress.image(), path)

    try:
        result = stylize(content, styles, options, callback=report)
    except Interrupted as interrupted:
        display.close()
        _save(interrupted.result, path, quiet)
        print("pynst: interrupted; the best image so far is saved", file=sys.stderr)
        return 130
    except pynst.DivergedError as error:
        display.close()
        if error.result is not None:
            _save(error.result, path, quiet)
            print("pynst: the best image before that is saved", file=sys.stderr)
        return _fail(error)
    display.close()
    _save(result, path, quiet)
    return 0


def _demo(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pynst demo",
        description="Draw a scene and a painting, render one in the style of the other, and save"
        " content, style and result side by side.",
    )
    parser.add_argument(
        "-o", "--output", metavar="PATH", default=_DEMO_OUTPUT, help="default: %(default)s"
    )
    parser.add_argument(
        "--image-size",
        metavar="N",
        type=int,
        default=384,
        help="long side, pixels; default: %(default)s",
    )
    parser.add_argument("--threads", metavar="N", type=int, help="CPU threads; default: all")
    parser.add_argument("--quiet", action="store_true", help="no progress line")
    given = parser.parse_args(words)
    options = TransferOptions(image_size=given.image_size, threads=given.threads)

    from pynst.demo import compose_triptych, draw_painting, draw_scene
    from pynst.images import check_output
    from pynst.transfer import stylize

    check_output(given.output)
    width, height = options.image_size, round(options.image_size * 3 / 4)
    content, style = draw_scene(width, height), draw_painting(width, height)
    display = _Display(given.quiet)
    result = stylize(content, style, options, callback=display.show)
    display.close()
    pynst.save_image(compose_triptych(content, style, result.image), given.output)
    print(given.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Arguments of the main command: those of the CLI itself, and one per field of the options."""
    parser = argparse.ArgumentParser(
        prog="pynst",
        description="Neural style transfer: render a photograph in the style of a painting.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("CONTENT", help="the photograph")
    parser.add_argument("STYLE", nargs="+", help="the painting, or several to blend")
    parser.add_argument(
        "-o", "--output", metavar="PATH", default=None,
        help=f"result: .png, .jpg, .webp, .tif or .bmp; default: {_DEFAULT_OUTPUT}",
    )  # fmt: skip
    parser.add_argument(
        "--paper", action="store_true", default=False,
        help="the paper's setting: its formula and network, start from noise, one size",
    )  # fmt: skip
    parser.add_argument(
        "--save-every", metavar="N", type=int, default=0,
        help="also write the current image to OUTPUT every N iterations",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true", default=False, help=f"overwrite {_DEFAULT_OUTPUT}"
    )
    parser.add_argument("--quiet", action="store_true", default=False, help="no progress line")
    parser.add_argument("--version", action="version", version=f"pynst {pynst.__version__}")
    for each in fields(TransferOptions):
        _add_option(parser, each)
    return parser


def _add_option(parser: argparse.ArgumentParser, option: Any) -> None:
    """Make one command-line option of one field of the options."""
    name, check = "--" + option.name.replace("_", "-"), option.metadata["check"]
    text = option.metadata["help"].replace("%", "%%")
    if option.default not in (None, False) and "default" not in text:
        text += f"; default: {option.default}"
    choices = getattr(check, "choices", None)
    if check.__name__ == "flag" or option.default is False or option.name == "normalised":
        parser.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
        return
    parser.add_argument(
        name,
        type=getattr(check, "parse", str),
        choices=choices,
        metavar=None if choices else option.metadata["metavar"] or None,
        nargs="+" if getattr(check, "many", False) else None,
        help=text,
    )


class _Display:
    """One updating line on stderr; a plain line per tenth of a level where that is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._width = 0
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._quiet:
            return
        finished = progress.iteration == progress.iterations
        if self._terminal:
            if time.monotonic() - self._last < 0.1 and not finished:
                return
        elif not finished and progress.iteration % max(1, progress.iterations // 2):
            return
        self._last = time.monotonic()
        terms = progress.terms
        line = (
            f"level {progress.level}/{progress.levels}"
            f"  iter {progress.iteration}/{progress.iterations}"
            f"  loss {terms.total:.4g} (content {terms.content:.3g}, style {terms.style:.3g})"
            f"  {100 * progress.fraction:.0f} %"
            f"  left {_clock(progress.seconds * (1 / max(progress.fraction, 1e-9) - 1))}"
        )
        if self._terminal:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the updating line."""
        if self._width:
            print(file=sys.stderr)
            self._width = 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _save(result: TransferResult, path: Path, quiet: bool) -> None:
    """Write the image and say where: the path on stdout, the rest on stderr."""
    result.save(path)
    if not quiet:
        early = f", stopped early ({result.stopped_early})" if result.stopped_early else ""
        evaluations = sum(len(level) for level in result.history)
        print(
            f"{result.pixels.shape[1]} x {result.pixels.shape[0]} pixels, network {result.network},"
            f" {evaluations} evaluations in {result.seconds:.1f} s on {result.backend}{early}",
            file=sys.stderr,
        )
    print(path)


def _fail(error: PyNSTError) -> int:
    print(f"pynst: error: {error}", file=sys.stderr)
    return 1
