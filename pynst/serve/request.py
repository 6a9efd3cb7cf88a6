"""What a page asks for: settings out of JSON, checked; and the command line that says the same.

A page may set what is a number, a word of a list, a switch or layers. Paths are not among them:
nothing that comes from a page names a file of this machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

from pynst.errors import OptionError
from pynst.options import TransferOptions, with_changes
from pynst.options.formulas import FORMULAS
from pynst.options.words import command_words, value_words

__all__ = ["MASKS", "command_line", "describe_form", "masks_for", "options_asked", "takes_masks"]

MASKS = "style_masks"
"""The setting that holds one mask for each painting, where this version has it."""

_WITHOUT_CONTENT = ("aspect",)  # settings of a run without a photograph, which no page asks for
_LAYERS = ("content_layers", "style_layers")
_LONGEST_LIST = 64


def options_asked(base: TransferOptions, settings: Any) -> TransferOptions:
    """The settings of a run, as the page asks for them.

    Parameters
    ----------
    base : TransferOptions
        What holds where the page asks for nothing.
    settings : Any
        What came as JSON: by name a number, text, true, false, a list of them, or null.

    Raises
    ------
    OptionError
        It is no mapping, or a setting is unknown, not for a page, or out of range.
    """
    if not isinstance(settings, Mapping):
        raise OptionError(f"settings must be an object, got {type(settings).__name__}")
    allowed = {each.name: each for each in _for_pages()}
    for name, value in settings.items():
        if name not in allowed:
            raise OptionError(f"{str(name)[:60]!r} cannot be set from the page")
        words = _words(allowed[name])
        if words and value is not None and value not in words:
            raise OptionError(f"{name} must be one of {', '.join(words)}, got {str(value)[:60]!r}")
        if isinstance(value, list) and len(value) > _LONGEST_LIST:
            raise OptionError(f"{name} must have at most {_LONGEST_LIST} values, got {len(value)}")
    return with_changes(base, settings)


def masks_for(styles: Sequence[Any], mask: Any) -> list[Any]:
    """One mask for each painting: the first goes where the mask is white, others to the rest."""
    return [mask, *["rest"] * (len(styles) - 1)]


def takes_masks() -> bool:
    """Whether a painting can be kept to a part of the image."""
    return any(each.name == MASKS for each in fields(TransferOptions))


def describe_form(base: TransferOptions) -> dict[str, Any]:
    """What a page needs to make its form: each setting with its values, and the formulas."""
    return {
        "settings": [_describe(each, base) for each in _for_pages()],
        "content_weights": {name: formula.content_weight for name, formula in FORMULAS.items()},
        "masks": takes_masks(),
    }


def _for_pages() -> list[Field[Any]]:
    """The settings that a page may have; those that are paths or pictures it may not."""
    return [
        each
        for each in fields(TransferOptions)
        if _kind(each) is not None and each.name not in _WITHOUT_CONTENT
    ]


def _kind(setting: Field[Any]) -> str | None:
    """How a page asks for a setting; None where it must not."""
    check = setting.metadata["check"]
    if _words(setting):
        return "choice"
    if check.boolean:
        return "switch"
    if setting.name in _LAYERS:
        return "words"
    if check.kind.startswith(("int", "float")):
        return "numbers" if check.many else "number"
    return None


def _words(setting: Field[Any]) -> list[str]:
    """The words that a setting takes, which its kind has in braces; a path beside them is none."""
    kind = setting.metadata["check"].kind
    return re.findall(r"'([^']+)'", kind.partition("}")[0]) if kind.startswith("{") else []


def _describe(setting: Field[Any], base: TransferOptions) -> dict[str, Any]:
    """One setting: its name, kind, values, and what holds where nothing is asked for."""
    check, value = setting.metadata["check"], getattr(base, setting.name)
    described = {
        "name": setting.name,
        "group": setting.metadata["group"],
        "help": setting.metadata["help"],
        "kind": _kind(setting),
        "default": value if isinstance(value, bool) else " ".join(value_words(value)),
    }
    if described["kind"] == "choice":
        described["choices"] = _words(setting)
    if described["kind"] == "number":
        described["whole"] = check.parse is int
        limits = re.findall(r"\d[\d.]*(?:e[+-]?\d+)?", check.kind.partition(", ")[2])
        described |= zip(("min", "max"), map(float, limits), strict=False)
    return described


def command_line(
    content: str, styles: Sequence[str], options: TransferOptions, masks: Sequence[str] = ()
) -> str:
    """What the page does, as a line for a shell; the names are those of the uploaded files."""
    words = ["pynst", *map(_as_file, (content, *styles)), "-o", "result.png"]
    words += [f"--{MASKS.replace('_', '-')}", *masks] if masks else []
    return shlex.join([*words, *command_words(options)])


def _as_file(name: str) -> str:
    """A name that the command line takes for a file, not for an option."""
    return f"./{name}" if name.startswith("-") else name
