"""The command line: ``pynst CONTENT STYLE -o OUTPUT`` and its other commands.

All printing is in this package.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

from pynst.cli.terminal import Log, Signals, fail, say, silence
from pynst.errors import PyNSTError

__all__ = ["COMMANDS", "main"]

COMMANDS = ("demo", "weights", "replay", "info")
"""Each a module of this package; everything else is a picture to stylise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 done, 1 a `PyNSTError` (printed as one line), 2 wrong usage, 130 after Ctrl-C and 143
        after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words[:1] and words[0] in COMMANDS else "stylize"
    log, logger = Log(), logging.getLogger("pynst")
    logger.addHandler(log)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with Signals() as signals:
            try:
                command = importlib.import_module(f"pynst.cli.{name}")
                code = int(command.run(words, signals))
                sys.stdout.flush()  # here, where it is noticed that nobody reads any more
                return code
            except PyNSTError as error:
                return fail(error)
            except BrokenPipeError:  # whoever read our stdout has gone
                silence(sys.stdout)
                return 1
            except KeyboardInterrupt:
                say("interrupted")
                return signals.exit_code
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
