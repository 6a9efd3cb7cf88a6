"""The files that the settings of a job name: its start, its masks, its weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from pynst.inputs import is_start
from pynst.options import PICTURE_SETTINGS, TransferOptions
from pynst.regions import is_word

__all__ = ["paths_of", "with_paths"]

_SETTINGS = (*PICTURE_SETTINGS, "weights", "calibration")


def with_paths(settings: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Change every path among the values of settings.

    Parameters
    ----------
    settings : mapping of str to object
        Values by the names of settings.
    change : callable
        Takes a path and returns another one.

    Returns
    -------
    dict
        Those of `settings` that may name files. Words such as ``"noise"`` and ``"rest"``, and
        pictures that are no files, are as they were.
    """

    def changed(name: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [changed(name, each) for each in value]
        is_path = isinstance(value, str | os.PathLike)
        if not is_path or is_word(name, value) or (name == "init" and is_start(value)):
            return value
        return change(os.fspath(value))

    return {
        name: changed(name, settings[name]) for name in _SETTINGS if settings.get(name) is not None
    }


def paths_of(options: TransferOptions) -> list[str]:
    """The paths that settings name."""
    found: list[str] = []

    def keep(path: str) -> str:
        found.append(path)
        return path

    with_paths(vars(options), keep)
    return found
