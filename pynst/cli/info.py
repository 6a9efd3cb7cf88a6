"""``pynst info``: what PyNST finds on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from pynst.cli.terminal import Signals

__all__ = ["run"]


def run(words: Sequence[str], _signals: Signals) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pynst info",
        description="Versions, processor, GPU and driver, cache, weights, memory, and for each"
        " backend why it is or is not available.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(words)

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
        print(f"{indent}{name}:")
        for inner, each in value.items():
            _show(inner, each, indent + "  ")
    else:
        print(f"{indent}{name}: {'not known' if value is None else value}")
