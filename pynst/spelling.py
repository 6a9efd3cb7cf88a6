"""Names that a wrong one may have been meant for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from itertools import takewhile

__all__ = ["did_you_mean"]

_MOST = 3

_MEANT = {
    "device": "backend", "gpu": "backend", "cuda": "backend", "model": "network",
    "steps": "iterations", "epochs": "iterations",
}  # fmt: skip
"""What other programs call what has another name here."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that offers the nearest names, or nothing where none is near.

    Names that contain all words of the wrong one come first: other programs say ``size`` for
    ``image_size``, and spelling alone would make ``tile`` of it. Dashes in front do not count.

    Examples
    --------
    >>> did_you_mean("--size", ["--tile", "--image-size"])
    'did you mean --image-size?'
    """
    names = {name.lstrip("-"): name for name in known}
    word = word.lstrip("-")
    words = _words(_MEANT.get(word, word))
    found = [name for name in names if words and words <= _words(name)]
    found.sort(key=lambda name: len(_words(name)))
    if not found:
        near = difflib.get_close_matches(word, names)
        found = sorted(near, key=lambda name: -_agreeing(word, name))[:1]  # iters: iterations
    found = [names[name] for name in found[:_MOST]]
    if not found:
        return ""
    *others, last = found
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def _agreeing(a: str, b: str) -> int:
    """How many letters are the same from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.lower()))
