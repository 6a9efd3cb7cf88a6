"""``pynst CONTENT STYLE``: one picture in the style of another."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pynst
from pynst.cli.terminal import Display, Signals, fail, save, say
from pynst.errors import PyNSTError
from pynst.options import TransferOptions

__all__ = ["run"]

_DEFAULT_OUTPUT = "out.png"

_EPILOG = """\
other commands, each with its own --help:
  pynst demo          draw two pictures, stylise one after the other, save all three side by side
  pynst weights       list, fetch, import and verify VGG-19 weights
  pynst replay        make a picture again from what is recorded in it
  pynst info          versions, processor, GPU, cache, weights, backends

examples:
  pynst photo.jpg painting.jpg -o result.png
  pynst photo.jpg painting.jpg --image-size 1024 --quality fine --preserve-color
  pynst photo.jpg painting.jpg --paper --weights vgg19.npz
  pynst photo.jpg painting.jpg --image-size 2048 --checkpoint run.npz
  pynst --resume run.npz -o result.png
"""


def run(words: Sequence[str], signals: Signals) -> int:
    """Run the command; returns the exit code."""
    own, content, styles, changes = _arguments(words)
    path = _checked_output(own, changes)
    options = None
    if own["resume"] is None:
        made = TransferOptions.paper if own["paper"] else TransferOptions
        options, changes = made(**changes), {}
    elif not styles:
        content, styles = _recorded_paths(own["resume"])

    from pynst.transfer import stylize

    display = Display(own["quiet"])

    def report(progress: pynst.Progress) -> None:
        display.show(progress)
        if own["save_every"] and progress.iteration % own["save_every"] == 0:
            pynst.save_image(progress.image(), path)

    files = {"checkpoint": own["checkpoint"], "resume": own["resume"]}
    asked = bool(own["output"] or own["force"] or own["save_every"])
    settings = {"bits": own["bits"], "record": own["record"], "overwrite": asked}
    try:
        result = stylize(content, styles, options, callback=report, **files, **changes)
        signals.ignore()
    except (pynst.Interrupted, Exception) as error:
        display.close()
        code = _save_early(error, path, signals, own, settings)
        if not isinstance(error, (pynst.Interrupted, PyNSTError, OSError)):
            raise  # a defect: its traceback is wanted
        return code
    display.close()
    for note in () if own["quiet"] else result.notes:
        say(note)
    return save(result, path, own["quiet"], **settings)


def _arguments(words: Sequence[str]) -> tuple[dict[str, Any], str, list[str], dict[str, Any]]:
    """Options of the CLI's own, content, styles, and fields of `TransferOptions`."""
    parser = _parser()
    given = vars(parser.parse_args(words))
    own = {name: given.pop(name) for name in _OWN}
    content, styles = given.pop("CONTENT"), given.pop("STYLE")
    if not styles and (content is not None or own["resume"] is None):
        parser.error("the following arguments are required: CONTENT, STYLE")
    return own, content, styles, given


def _save_early(
    error: BaseException,
    path: Path,
    signals: Signals,
    own: dict[str, Any],
    settings: dict[str, Any],
) -> int:
    """Save what there is, and say what has happened; returns the exit code."""
    interrupted = isinstance(error, pynst.Interrupted)
    if not interrupted:
        fail(error)
    result = getattr(error, "result", None)
    if result is None:
        return 1
    if save(result, path, own["quiet"], **settings) == 0:
        say(f"{'interrupted; ' if interrupted else ''}the best image so far is saved in {path}")
    checkpoint = own["checkpoint"] or own["resume"]
    if checkpoint is not None:
        say(f"pynst --resume {checkpoint} goes on from here")
    return signals.exit_code if interrupted else 1


def _checked_output(own: dict[str, Any], given: dict[str, Any]) -> Path:
    """Check before the long work that the result can be written."""
    from pynst.images import check_output

    path = Path(own["output"] or _DEFAULT_OUTPUT)
    side = given.get("image_size", TransferOptions.image_size)
    check_output(path, bits=own["bits"], size=(side, side) if side > 0 else None)
    try:  # says more than permissions do: of a read-only disk, of quotas, to root
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise PyNSTError(f"output: cannot write {path}: {error.strerror}") from error
    if own["output"] is None and path.exists() and not own["force"]:
        raise PyNSTError(
            f"{path} exists: name another output with -o, or overwrite it with --force"
        )
    return path


def _recorded_paths(checkpoint: str) -> tuple[str, list[str]]:
    """Content and styles of an earlier run."""
    from pynst.checkpoint import read_checkpoint

    record = read_checkpoint(checkpoint).record
    for used in record.pictures:
        if used.path is None and used.name != "init":
            raise PyNSTError(
                f"the checkpoint names no file for {used.name}: give CONTENT and STYLE"
            )
    paths = {used.name: used.path or "" for used in record.pictures}
    return paths.get("content", ""), [paths[name] for name in paths if name.startswith("style")]


_OWN = (
    "output", "bits", "record", "paper", "save_every", "checkpoint", "resume", "force", "quiet",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    """Arguments of the main command: those of the CLI itself, and one per field of the options."""
    parser = argparse.ArgumentParser(
        prog="pynst",
        usage="pynst CONTENT STYLE [STYLE ...] [-o OUTPUT] [options]",
        description="Neural style transfer: render a photograph in the style of a painting.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("CONTENT", nargs="?", default=None, help="the photograph")
    add("STYLE", nargs="*", default=[], help="the painting, or several to blend")
    add("-o", "--output", metavar="PATH", default=None,
        help="result: .png, .jpg, .webp, .tif or .bmp, overwritten if it is there; default:"
        f" {_DEFAULT_OUTPUT}, which is not overwritten without --force")  # fmt: skip
    add("--bits", type=int, choices=(8, 16), default=8,
        help="bits per channel; 16 for .png and .tif")  # fmt: skip
    add("--record", action=argparse.BooleanOptionalAction, default=True,
        help="embed settings and paths in the result, for pynst replay")  # fmt: skip
    add("--paper", action="store_true", default=False,
        help="the paper's setting: formula and network, start from noise, one size")  # fmt: skip
    add("--save-every", metavar="N", type=int, default=0,
        help="also write the current image to OUTPUT every N iterations")  # fmt: skip
    add("--checkpoint", metavar="PATH", default=None,
        help="write the run to this file every minute, and when it is interrupted")  # fmt: skip
    add("--resume", metavar="PATH", default=None,
        help="go on with a run from its checkpoint, with its settings and pictures")  # fmt: skip
    add("--force", action="store_true", default=False, help=f"overwrite {_DEFAULT_OUTPUT}")
    add("--quiet", action="store_true", default=False, help="no progress line")
    add("--version", action="version", version=f"pynst {pynst.__version__}")
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
    if check.__name__ == "flag" or isinstance(option.default, bool) or option.name == "normalised":
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
