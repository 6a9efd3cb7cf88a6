"""The command line: ``pynst CONTENT STYLE -o OUTPUT`` and its other commands.

All printing is in this package.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pynst.cli.parser import USAGE, parse
from pynst.cli.signals import Signals
from pynst.cli.terminal import Log, Streams, fail, say
from pynst.errors import PyNSTError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 done, 1 a `PyNSTError` (printed as one line) or standard output that takes nothing, 130
        after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.

    Raises
    ------
    SystemExit
        Wrong usage (code 2), or help was asked for (code 0).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with Streams() as streams, _logged():
        if not words:
            # Wrong usage, not success: a script whose file names are empty has to notice.
            print(USAGE, end="", file=sys.stderr)
            return 2
        try:
            return streams.exit_code(_run(words))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
            raise SystemExit(streams.exit_code(code)) from None


def _run(words: Sequence[str]) -> int:
    """Parse the words and run the command."""
    with Signals() as signals:
        try:
            given = parse(words)
            command = importlib.import_module(f"pynst.cli.{given.command[0]}")
            return int(command.run(given, signals))
        except PyNSTError as error:
            return fail(error)
        except KeyboardInterrupt:
            say("interrupted")
            return signals.exit_code


@contextmanager
def _logged() -> Iterator[None]:
    """Show what the package logs."""
    log, logger = Log(), logging.getLogger("pynst")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
