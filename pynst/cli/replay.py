"""``pynst replay``: make a picture again from what is recorded in it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import pynst
from pynst.cli.parser import Parser
from pynst.cli.saving import checked_output, save
from pynst.cli.signals import Signals
from pynst.cli.terminal import Display, cut, fail, say
from pynst.options import MASK_SETTINGS

__all__ = ["add_arguments", "run"]

_LONGEST_DIFFERENCE = 200
_PICTURE_AT_FAULT = re.compile(r"(content|style|init)\b[^:]{0,20}: ")


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    parser.usage = "pynst replay PICTURE [--content PATH] [--style PATH [PATH ...]] [options]"
    parser.description = (
        "Run again what made PICTURE, with the same pictures, settings and weights. On the same\n"
        "backend and versions the pixels are the same to the last bit. Exit code 1 if they are not."
    )
    parser.add_argument("PICTURE", help="a result of PyNST")
    parser.option("--content", metavar="PATH", help="default: the recorded path")
    parser.option("--style", metavar="PATH", nargs="+", help="default: the recorded paths")
    parser.option("--init", metavar="PATH", help="default: the recorded path")
    for setting in MASK_SETTINGS:
        several = "+" if setting.startswith("style") else None
        parser.option(
            f"--{setting.replace('_', '-')}", metavar="PATH", nargs=several,
            help="default: the recorded paths" if several else "default: the recorded path",
        )  # fmt: skip
    parser.option("-o", "--output", metavar="PATH", help="default: PICTURE with -replay")
    parser.option("--bits", type=int, choices=(8, 16), default=8, help="bits per channel")
    parser.option("--force", action="store_true", help="overwrite the default output")
    parser.option("--quiet", action="store_true", help="no progress line")


def run(given: argparse.Namespace, signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.replay import read_record, replay

    picture = Path(given.PICTURE)
    record = read_record(picture)
    path = checked_output(
        given.output,
        picture.with_name(f"{picture.stem}-replay{picture.suffix}"),
        force=given.force,
        bits=given.bits,
    )
    display = Display(given.quiet)
    masks = {name: getattr(given, name) for name in MASK_SETTINGS}
    try:
        again = replay(
            record,
            given.content,
            given.style,
            given.init,
            masks={name: mask for name, mask in masks.items() if mask is not None},
            beside=picture,
            callback=display.show,
        )
        signals.ignore()
    except pynst.Interrupted as interrupted:
        display.close()
        save(interrupted.result, path, given.quiet, bits=given.bits)
        return signals.exit_code
    except pynst.PyNSTError as error:
        display.close()
        return fail(pynst.PyNSTError(f"{error}{_which_option_helps(error)}"))
    display.close()
    _say_differences(again.differences)
    code = save(again.result, path, given.quiet, bits=given.bits)
    say("the pixels are the same to the last bit" if again.same else "the pixels differ")
    return code or (0 if again.same else 1)


def _which_option_helps(error: pynst.PyNSTError) -> str:
    """Where a picture is not to be found, or is another one: the option that names it."""
    from pynst.regions import setting_of

    fault = _PICTURE_AT_FAULT.match(str(error))
    mask = setting_of(str(error).partition(": ")[0])
    found = mask or (fault and fault[1])
    if not found or not isinstance(error, (pynst.ImageError, pynst.RecordError)):
        return ""
    return f"; name the recorded picture with --{found.replace('_', '-')}"


def _say_differences(differences: Sequence[str]) -> None:
    """Say each on a line; a record comes from anywhere, so that their length is cut."""
    for difference in differences:
        say(cut(difference, _LONGEST_DIFFERENCE))
