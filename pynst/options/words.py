"""Settings in words: those that differ from the defaults, for people and the command line."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

from pynst.options.settings import TransferOptions

__all__ = ["changed", "command_words", "value_words"]


def changed(options: TransferOptions) -> dict[str, str]:
    """Each setting that is not at its default, with its value as text."""
    return {
        each.name: " ".join(value_words(getattr(options, each.name)))
        for each in fields(TransferOptions)
        if not _is_default(options, each.name)
    }


def command_words(options: TransferOptions) -> list[str]:
    """The words of the command line that give these settings: ``["--image-size", "768"]``.

    A start that is a picture without a path cannot be said there, and is left out.
    """
    words: list[str] = []
    for each in fields(TransferOptions):
        value, name = getattr(options, each.name), each.name.replace("_", "-")
        if _is_default(options, each.name) or not value_words(value):
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif len(values := value_words(value)) == 1 and values[0].startswith("-"):
            words.append(f"--{name}={values[0]}")  # a path that looks like an option
        else:
            words += [f"--{name}", *values]
    return words


def value_words(value: Any) -> list[str]:
    """One value of a setting in words; none for a picture that has no path."""
    if isinstance(value, str | bool | int | float):
        return [str(value)]
    if isinstance(value, os.PathLike):
        return [os.fsdecode(value)]
    if isinstance(value, tuple | list):
        return [_part(part) for part in value]
    return []


def _is_default(options: TransferOptions, name: str) -> bool:
    value, default = getattr(options, name), getattr(TransferOptions, name)
    return value is default or (type(value) is type(default) and bool(value == default))


def _part(part: Any) -> str:
    """One of several values: a number, or a layer with its weight where that is not 1."""
    if isinstance(part, tuple):
        layer, weight = part
        return str(layer) if weight == 1 else f"{layer}={weight!r}"
    return str(part)
