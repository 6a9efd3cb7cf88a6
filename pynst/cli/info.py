"""``pynst info``: what PyNST finds on this machine."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.terminal import line
from pynst.options.environment import VARIABLES

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser."""
    width = max(map(len, VARIABLES))
    parser.description = (
        "Versions, processor, GPU and driver, cache, weights, memory, and for each backend why it\n"
        "is or is not available."
    )
    parser.epilog = "environment variables:\n" + "\n".join(
        f"  {name.ljust(width)}  {meaning}" for name, meaning in VARIABLES.items()
    )
    parser.option("--json", action="store_true", help="for programs")


def run(given: argparse.Namespace, _signals: Signals) -> int:
    """Run the command; returns the exit code."""
    from pynst.info import system_info

    found = system_info()
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            _show(name, value)
    return 0


def _show(name: str, value: Any, indent: str = "") -> None:
    """One line per value, indented below the name of what it belongs to."""
    if isinstance(value, dict):
        line(f"{name}:", indent)
        for inner, each in value.items():
            _show(inner, each, indent + "  ")
    else:
        line(f"{name}: {'not known' if value is None else value}", indent)
