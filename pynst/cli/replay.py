"""``pynst replay``: make a picture again from what is recorded in it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pynst
from pynst.cli.terminal import Display, Signals, fail, save, say

__all__ = ["run"]


def run(words: Sequence[str], signals: Signals) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pynst replay",
        description="Run again what made PICTURE, with the same pictures, settings and weights. On"
        " the same backend and versions the pixels are the same to the last bit. Exit code 1 if"
        " they are not.",
    )
    parser.add_argument("PICTURE", help="a result of PyNST")
    parser.add_argument("--content", metavar="PATH", help="default: the recorded path")
    parser.add_argument("--style", metavar="PATH", nargs="+", help="default: the recorded paths")
    parser.add_argument("--init", metavar="PATH", help="default: the recorded path")
    parser.add_argument("-o", "--output", metavar="PATH", help="default: PICTURE with -replay")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8, help="bits per channel")
    parser.add_argument("--force", action="store_true", help="overwrite the default output")
    parser.add_argument("--quiet", action="store_true", help="no progress line")
    given = parser.parse_args(words)

    from pynst.images import check_output
    from pynst.replay import read_record, replay

    picture = Path(given.PICTURE)
    record = read_record(picture)
    default = picture.with_name(f"{picture.stem}-replay{picture.suffix}")
    path = Path(given.output) if given.output else default
    check_output(path, bits=given.bits)
    if given.output is None and path.exists() and not given.force:
        raise pynst.PyNSTError(f"{path} exists: name another output with -o, or use --force")
    display = Display(given.quiet)
    try:
        again = replay(record, given.content, given.style, given.init, callback=display.show)
        signals.ignore()
    except pynst.Interrupted as interrupted:
        display.close()
        save(interrupted.result, path, given.quiet, bits=given.bits)
        return signals.exit_code
    except pynst.PyNSTError as error:
        display.close()
        return fail(error)
    display.close()
    for difference in again.differences:
        say(difference)
    code = save(again.result, path, given.quiet, bits=given.bits)
    say("the pixels are the same to the last bit" if again.same else "the pixels differ")
    return code or (0 if again.same else 1)
