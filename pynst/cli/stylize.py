"""``pynst CONTENT STYLE``: one picture in the style of another."""

from __future__ import annotations

import argparse
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pynst
from pynst.cli.live import LivePage
from pynst.cli.parser import COMMANDS, Parser
from pynst.cli.saving import (
    STANDARD_INPUT,
    STANDARD_OUTPUT,
    add_curves_option,
    check_curves,
    checked_output,
    save,
    standard_input,
)
from pynst.cli.signals import Signals
from pynst.cli.terminal import Display, fail, say
from pynst.errors import PyNSTError
from pynst.files import shown
from pynst.options import GROUPS, TransferOptions

__all__ = ["Report", "add_arguments", "add_setting", "run", "save_early"]

_DEFAULT_OUTPUT = "out.png"

_EPILOG = """\
Files may stand anywhere. An option of several values (X [X ...]) ends at the first word that cannot
be one of them, or at "--".

commands, each with its own --help:
{commands}

examples:
  pynst photo.jpg painting.jpg -o result.png
  pynst photo.jpg painting.jpg --image-size 1024 --quality fine --preserve-color
  pynst photo.jpg first.jpg second.jpg --style-blend 2 1 -o result.png
  pynst photo.jpg sky.jpg ground.jpg --style-masks sky-mask.png rest
  pynst photo.jpg painting.jpg --keep-mask face.png
  pynst photo.jpg painting.jpg --paper --weights vgg19.npz
  pynst photo.jpg painting.jpg --image-size 2048 --checkpoint run.npz
  pynst --resume run.npz -o result.png
"""


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    if not given.STYLE and (given.CONTENT is not None or given.resume is None):
        given.error("the following arguments are required: CONTENT, STYLE")
    content, styles = _read_standard_input(given)
    changes = _changes(given, content)
    path = _checked_output(given, changes.get("image_size", TransferOptions.image_size))
    options = None
    if given.resume is None:
        made = TransferOptions.paper if given.paper else TransferOptions
        options, changes = made(**changes), {}
    elif not styles:
        content, styles = _recorded_paths(given.resume)

    from pynst.transfer import stylize

    report = Report(given, path, options)
    settings = _save_settings(given)
    files = {"checkpoint": given.checkpoint, "resume": given.resume}
    try:
        result = stylize(content, styles, options, callback=report, **files, **changes)
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


def _checked_output(given: argparse.Namespace, side: int) -> Path:
    """Where the result goes, checked before the long work; so are the curves."""
    path = checked_output(
        given.output,
        _DEFAULT_OUTPUT,
        force=given.force,
        bits=given.bits,
        side=side,
        dpi=given.dpi,
    )
    check_curves(given.curves)
    if path == STANDARD_OUTPUT and (given.json or given.save_every):
        given.error("-o - leaves standard output to the picture: no --json, no --save-every")
    return path


def _save_settings(given: argparse.Namespace) -> dict[str, Any]:
    """How the result is saved."""
    return {
        "bits": given.bits,
        "dpi": given.dpi,
        "record": given.record,
        # A default name that another run has taken meanwhile is not overwritten.
        "overwrite": bool(given.output or given.force or given.save_every),
        "as_json": given.json,
        "curves": given.curves,
    }


def _read_standard_input(given: argparse.Namespace) -> tuple[Any, list[Any] | None]:
    """Content and styles, with the picture from standard input where one of them is ``-``."""
    words = [given.CONTENT, *given.STYLE]
    if words.count(STANDARD_INPUT) > 1:
        given.error("standard input, -, is one picture, and cannot be two")
    names = ["content", *("style" for _ in given.STYLE)]
    content, *styles = (
        standard_input(name) if word == STANDARD_INPUT else word
        for name, word in zip(names, words, strict=True)
    )
    return content, styles


def _changes(given: argparse.Namespace, content: Any) -> dict[str, Any]:
    """The settings that were given, the size of the content in place of that word."""
    names = {each.name for each in fields(TransferOptions)}
    changes = {name: value for name, value in vars(given).items() if name in names}
    if changes.get("image_size") == "content":
        from pynst.images import picture_size

        if content is None:
            given.error("--image-size content needs the argument CONTENT")
        changes["image_size"] = max(picture_size(content, "content"))
    return changes


class Report:
    """What a run calls after each evaluation: shows where it stands, and saves on the way."""

    def __init__(
        self, given: argparse.Namespace, path: Path, options: TransferOptions | None = None
    ) -> None:
        self.display = Display(given.quiet)
        self._page = LivePage(path.name, options or TransferOptions()) if given.live else None
        self._every, self._path = given.save_every, path
        self._warned = ""

    def __call__(self, progress: pynst.Progress) -> None:
        """Show, and save if it is time; that this fails is no reason to end the run."""
        self.display.show(progress)
        if self._page is not None:
            self._page.show(progress)
        if not self._every or progress.iteration % self._every:
            return
        try:
            pynst.save_image(progress.image(), self._path)
        except (PyNSTError, OSError) as error:
            if str(error) != self._warned:  # once, not every so many evaluations
                self._warned = str(error)
                self.display.close()
                say(f"warning: --save-every: {error}; the run goes on")

    def finish(self, outcome: pynst.TransferResult | BaseException) -> None:
        """Show on the page, if there is one, what the run came to."""
        if self._page is not None:
            self._page.finish(outcome)


def save_early(
    error: BaseException,
    path: Path,
    signals: Signals,
    given: argparse.Namespace,
    settings: dict[str, Any],
) -> int:
    """Save what there is, and say what has happened; returns the exit code."""
    interrupted = isinstance(error, pynst.Interrupted)
    if not interrupted:
        fail(error)
    result = getattr(error, "result", None)
    if result is None:
        return 1
    if save(result, path, given.quiet, **settings) == 0:
        place = "standard output" if path == STANDARD_OUTPUT else path
        say(f"{'interrupted; ' if interrupted else ''}the best image so far is saved in {place}")
    checkpoint = given.checkpoint or given.resume
    if checkpoint is not None:
        say(f"pynst --resume {checkpoint} goes on from here")
    return signals.exit_code if interrupted else 1


def _recorded_paths(checkpoint: str) -> tuple[str | None, list[str] | None]:
    """Content and styles of an earlier run, each None where that had none."""
    from pynst.checkpoint import read_checkpoint

    record = read_checkpoint(checkpoint).record
    content, styles = None, []
    for used in record.pictures:
        # A run that goes on has its start behind it; its settings name the masks.
        if used.name != "content" and not used.name.startswith("style"):
            continue
        if used.path is None:
            raise PyNSTError(
                f"the checkpoint {shown(checkpoint)} names no file for {used.name}: give CONTENT"
                " and STYLE"
            )
        if used.name == "content":
            content = used.path
        elif used.name.startswith("style"):
            styles.append(used.path)
    return content, styles or None


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser: its own options, and one per field of the settings."""
    width = max(map(len, COMMANDS))
    parser.usage = "pynst CONTENT STYLE [STYLE ...] [-o OUTPUT] [options]"
    parser.description = "Render a photograph in the style of a painting: neural style transfer."
    parser.epilog = _EPILOG.format(
        commands="\n".join(f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items())
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    parser.general = parser.add_argument_group("general")
    pictures = groups["pictures"]
    pictures.add_argument(
        "CONTENT", nargs="?", default=None, help="the photograph; - is standard input"
    )
    pictures.add_argument(
        "STYLE",
        nargs="*",
        default=[],
        help="the painting, or several to blend; - is standard input",
    )
    _add_own_options(parser, groups)
    for each in fields(TransferOptions):
        add_setting(parser, groups[each.metadata["group"]], each)


def _add_own_options(parser: Parser, groups: dict[str, Any]) -> None:
    """Options that are no settings of a transfer: where to write, how to go on."""
    files = groups["files"]
    parser.option(
        "-o", "--output", group=files, metavar="PATH",
        help="result: .png, .jpg, .webp, .tif or .bmp, overwritten if it is there; - is a PNG on"
        f" standard output; default: {_DEFAULT_OUTPUT}, which is not overwritten without --force",
    )  # fmt: skip
    parser.option("--force", group=files, action="store_true", help=f"overwrite {_DEFAULT_OUTPUT}")
    parser.option(
        "--checkpoint", group=files, metavar="PATH",
        help="write the run to this file every minute, and when it is interrupted",
    )  # fmt: skip
    parser.option(
        "--resume", group=files, metavar="PATH",
        help="go on with a run from its checkpoint, with its settings and pictures",
    )  # fmt: skip
    parser.option(
        "--save-every", group=files, metavar="N", type=int, default=0,
        help="also write the current image to OUTPUT every N iterations",
    )  # fmt: skip
    parser.option(
        "--bits", group=files, type=int, choices=(8, 16), default=8,
        help="bits per channel; 16 for .png and .tif",
    )  # fmt: skip
    parser.option(
        "--dpi", group=files, type=float, metavar="X",
        help="pixels per inch when printed, 1 to 10000; not for .webp",
    )  # fmt: skip
    parser.option(
        "--record", group=files, action=argparse.BooleanOptionalAction, default=True,
        help="embed settings and paths in the result, for pynst replay",
    )  # fmt: skip
    add_curves_option(parser, files)
    parser.option("--live", action="store_true", help="show the run on a page in the browser")
    parser.option("--quiet", action="store_true", help="no progress line")
    parser.option(
        "--json", action="store_true",
        help="describe the result in one line of JSON on standard output, instead of its path",
    )  # fmt: skip
    parser.option("--version", action="version", version=f"pynst {pynst.__version__}")
    parser.option(
        "--paper", group=groups["loss"], action="store_true",
        help="the paper's setting: formula and network, start from noise, one size",
    )  # fmt: skip


def add_setting(parser: Parser, group: Any, field: Field[Any]) -> None:
    """Make one command-line option of one field of the settings; it is absent unless given."""
    check, name = field.metadata["check"], "--" + field.name.replace("_", "-")
    text = field.metadata["help"].replace("%", "%%")
    if field.default not in (None, False) and "default" not in text:
        text += f"; default: {field.default}"
    common = {"group": group, "help": text, "default": argparse.SUPPRESS}
    if check.boolean:
        parser.option(name, action=argparse.BooleanOptionalAction, **common)
        return
    parser.option(
        name,
        type=check.parse,
        choices=check.choices or None,
        metavar=field.metadata["metavar"] or None,
        nargs="+" if check.many else None,
        continues=check.continues if check.many else None,
        **common,
    )
