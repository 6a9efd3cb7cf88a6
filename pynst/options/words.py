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
    parts = value if isinstance(value, tuple | list) else (value,)
    words = [_word(part) for part in parts]
    return [] if None in words else [word for word in words if word is not None]


def _is_default(options: TransferOptions, name: str) -> bool:
    value, default = getattr(options, name), getattr(TransferOptions, name)
    return value is default or (type(value) is type(default) and bool(value == default))


def _word(part: Any) -> str | None:
    """A number, a word, a path, or a name with its weight where that is not 1; else None."""
    if isinstance(part, tuple):
        name, weight = part
        return str(name) if weight == 1 else f"{name}={weight!r}"
    if isinstance(part, os.PathLike):
        return os.fsdecode(part)
    return str(part) if isinstance(part, str | bool | int | float) else None
