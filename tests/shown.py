"""The commands and the Python that pages show, and what makes a matter of a second of each.

A command runs word by word as it is shown, with its pictures replaced by small ones of the same
names and, at its end, with `QUICK`: an option that is given twice takes the last value.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pynst

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "weights" / "README.md", *sorted(DOCS.glob("*.md"))]

_SIZE = ("--image-size", "48")
_SHORT = ("--levels", "1", "--iterations", "1")
QUICK = {
    "stylize": (*_SIZE, *_SHORT, "--force"),
    "reconstruct": (*_SIZE, *_SHORT, "--force"),
    "texture": (*_SHORT, "--force"),
    "sweep": (*_SIZE, *_SHORT),
    "figure": (*_SIZE, *_SHORT, "--seeds", "1"),
    "batch": (*_SIZE, *_SHORT),
    "demo": _SIZE,
    "serve": (),
    "replay": ("--force",),
    "weights": (),
    "info": (),
}
"""What is added to each command."""

SETTINGS = {"image_size": 48, "levels": 1, "iterations": 1}
"""What is added to each call in Python."""

_WORDS = {
    "pynst/data": os.fspath(Path(pynst.__file__).parent / "data"),
    "docs/gallery": os.fspath(DOCS / "gallery"),
    "FILE": "caffe.npz",
    "/shared": "shared",
}


def commands(text: str) -> list[str]:
    """Each command of a page in its order: in a block of a console, or as code in a sentence.

    A command's bare name in a sentence, such as `pynst sweep`, is a mention and not a command.
    """
    found = re.findall(
        r"^(?:    )?(?:\$ )?(pynst .*)$|(?<!`)`(pynst\s[^`\n]*\n?[^`\n]*)`(?!`)", text, re.M
    )
    shown = [" ".join("".join(each).split()) for each in found]
    return [each for each in shown if each.split()[2:] or each.split()[1] in ("demo", "info")]


def options(text: str) -> list[str]:
    """Each option with its values that a page shows outside of a command."""
    found = re.findall(r"(?<!`)`(--[a-z-]+ [^`\n]+)`(?!`)", text)
    return list(dict.fromkeys(found))


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code of a page in one language, or "" for those that name none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [block for name, block in found if name == language]


def words_of(command: str) -> list[str]:
    """The words behind ``pynst`` as a shell gives them, with what stands for something replaced."""
    found: list[str] = []
    for word in shlex.split(command, comments=True)[1:]:
        for shown, meant in _WORDS.items():
            word = re.sub(rf"^{shown}\b", meant, word)
        found += map(os.fspath, sorted(Path().glob(word))) if "*" in word else [word]
    return found
