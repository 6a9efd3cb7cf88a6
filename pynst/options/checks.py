"""Checks of settings: each cleans a value, or refuses it in one sentence that names the setting."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pynst.errors import OptionError

__all__ = [
    "Check",
    "choice",
    "flag",
    "layers",
    "memory",
    "number",
    "optional",
    "path",
    "several",
    "shares",
    "size",
    "start",
    "tile",
]

# A word of the command line that can only mean a layer: conv4_2, relu4_2=0.5, level3.
_LAYER = re.compile(r"(?:conv|relu|pool|level)\d+(?:_\d+)?(?:=.*)?")
_MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(?:i?b)?")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Check:
    """What one setting takes: from Python, from the command line, and in words.

    Attributes
    ----------
    clean : callable
        Takes (name of the setting, value) and returns the cleaned value; raises `OptionError`.
    kind : str
        The type and range as the documentation states them: ``"int, 16 to 32768"``.
    parse : callable
        Turns one word of the command line into a value; raises ValueError.
    choices : tuple of str
        The allowed words, where there is a fixed list of them.
    many : bool
        Whether the setting takes several values.
    boolean : bool
        Whether the setting is a switch: ``--name`` and ``--no-name``.
    continues : callable
        For a setting of several values: whether a word of the command line can be one more value.
        Words that cannot, such as file names, end the list.
    """

    clean: Callable[[str, Any], Any]
    kind: str
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    many: bool = False
    boolean: bool = False
    continues: Callable[[str], bool] = lambda word: False  # noqa: ARG005


def choice(*allowed: str) -> Check:
    """One of the allowed words."""

    def clean(name: str, value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {_given(value)}")
        return value

    return Check(clean, f"{{{', '.join(map(repr, allowed))}}}", choices=allowed)


def number(low: float, high: float = math.inf, *, whole: bool = False) -> Check:
    """A finite number in [low, high]."""
    wanted = "a whole number" if whole else "a number"
    most = f"{high}" if whole else f"{high:g}"
    span = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {most}"

    def clean(name: str, value: Any) -> Any:
        found = _finite(value, whole=whole)
        if found is None or not low <= found <= high:
            raise OptionError(f"{name} must be {wanted} {span}, got {_given(value)}")
        return found

    limits = f"at least {low:g}" if high == math.inf else f"{low:g} to {most}"
    return Check(
        clean,
        f"{'int' if whole else 'float'}, {limits}",
        parse=int if whole else float,
        continues=_is_number,
    )


def size(low: int, high: int) -> Check:
    """A whole number of pixels; in a text also the word ``content``.

    The word is for those who read texts, the command line and tables of jobs: they replace it by
    the size of the content picture. As a setting it is refused.
    """

    def size(word: str) -> Any:
        return word if word == "content" else int(word)

    return replace(number(low, high, whole=True), parse=size)


def optional(inner: Check) -> Check:
    """``None``, or what `inner` takes."""

    def clean(name: str, value: Any) -> Any:
        return None if value is None else inner.clean(name, value)

    return replace(inner, clean=clean)


def several(inner: Check) -> Check:
    """One value or a sequence of them, as a tuple."""

    def clean(name: str, value: Any) -> Any:
        is_list = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
        values = tuple(inner.clean(name, item) for item in _items(name, value, is_list))
        if not values:
            raise OptionError(f"{name} must not be empty")
        return values

    type_name, _, limits = inner.kind.partition(", ")
    return replace(
        inner, clean=clean, kind=f"{type_name} or sequence of {type_name}, {limits}", many=True
    )


def _items(name: str, value: Any, is_list: bool) -> Any:
    """The values of a list, or the one value that was given instead of a list."""
    if not is_list:
        if value is None or not hasattr(value, "__float__"):
            raise OptionError(f"{name} must be one value or a list of them, got {_given(value)}")
        return (value,)
    try:
        return tuple(value)
    except TypeError:  # an array without dimensions is called iterable and is not
        return (value,)


def _clean_flag(name: str, value: Any) -> bool:
    # NumPy's truth values are no int; their type is called bool, or bool_ before NumPy 2.
    is_truth = isinstance(value, int) or type(value).__name__ in ("bool", "bool_")
    if not is_truth or value not in (0, 1):
        raise OptionError(f"{name} must be True or False, got {_given(value)}")
    return bool(value)


def _weighted(name: str, value: Any, noun: str) -> dict[str, float]:
    """Words with relative weights, of which at least one is positive, by word."""
    words = [value] if isinstance(value, str) else value
    pairs: list[tuple[str, Any]] = []
    try:
        items = list(words.items()) if isinstance(words, Mapping) else list(words)
    except TypeError:
        raise OptionError(f"{name} must be {noun} names, got {_given(value)}") from None
    for item in items:
        if isinstance(item, str):
            word, _, weight = item.partition("=")
            pairs.append((word, _as_number(weight) if weight else 1.0))
        elif isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str):
            pairs.append((item[0], item[1]))
        else:
            raise OptionError(f"{name} must be {noun} names, got {_given(item)}")
    weight_check = number(0)
    cleaned = {
        # The paper calls the rectified response of a convolution conv4_2; here it is relu4_2.
        word.replace("conv", "relu"): weight_check.clean(f"{name}: weight of {word}", weight)
        for word, weight in pairs
    }
    if len(cleaned) != len(pairs):
        raise OptionError(f"{name} names a {noun} twice: {_given(value)}")
    if not any(cleaned.values()):
        raise OptionError(
            f"{name} must name at least one {noun} with a positive weight, got {_given(value)}"
        )
    return cleaned


def _clean_layers(name: str, value: Any) -> Any:
    """Layer names with relative weights, as a tuple of (layer, weight)."""
    return tuple(_weighted(name, value, "layer").items())


def shares(*allowed: str) -> Check:
    """One or several of the allowed words with relative weights, as a tuple of (word, share)."""

    def clean(name: str, value: Any) -> Any:
        weights = _weighted(name, value, "loss")
        for word in weights:
            if word not in allowed:
                raise OptionError(f"{name} must be of {', '.join(allowed)}, got {_given(word)}")
        total = sum(weights.values())
        return tuple((word, weight / total) for word, weight in weights.items() if weight > 0)

    words = ", ".join(map(repr, allowed))
    return Check(
        clean,
        f"{{{words}}} or several of them, with weights",
        many=True,
        continues=lambda word: word.partition("=")[0] in allowed,
    )


def _clean_path(name: str, value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"{name} must be a path, got {_given(value)}")
    return os.fspath(value)


def _clean_start(name: str, value: Any) -> Any:
    """Refuse what is certainly no start; whether a picture is sound, `pynst.images` decides."""
    is_empty = isinstance(value, str) and not value
    if value is None or isinstance(value, (bool, int, float)) or is_empty:
        raise OptionError(f"{name} must be content, style, noise or an image, got {_given(value)}")
    return value


def _clean_memory(name: str, value: Any) -> int:
    """A number of bytes, or a text such as "6 GB"."""
    match = _MEMORY.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    nbytes = int(float(match[1]) * _UNITS[match[2]]) if match else _finite(value, whole=True)
    if nbytes is None or not 1 <= nbytes <= 10**15:
        raise OptionError(f"{name} must be like 4G or 500M, got {_given(value)}")
    return int(nbytes)


def _clean_tile(name: str, value: Any) -> Any:
    """``"auto"``, a number of pixels, or None, which the command line spells "none"."""
    if value is None or (isinstance(value, str) and value in ("auto", "none")):
        return None if value == "none" else value
    found = _finite(value, whole=True)
    if found is None or not 64 <= found <= 32768:
        raise OptionError(
            f"{name} must be 'auto', None or a whole number from 64 to 32768, got {_given(value)}"
        )
    return found


flag = Check(_clean_flag, "bool", boolean=True)
"""True or false."""

path = Check(_clean_path, "str or path")
"""A path."""

start = Check(_clean_start, "{'content', 'style', 'noise'}, path, PIL image or array (H, W, 3)")
"""A word, a path or a picture."""

memory = Check(_clean_memory, "int or str, bytes")
"""A number of bytes: ``6_000_000_000``, ``"6 GB"``, ``"500M"``."""

tile = Check(
    _clean_tile,
    "{'auto', None} or int, 64 to 32768",
    parse=lambda word: int(word) if word.isdecimal() else word,
)
"""How large an image is walked in tiles."""

layers = Check(
    _clean_layers,
    "str, sequence of str, or mapping of str to float",
    many=True,
    continues=lambda word: _LAYER.fullmatch(word) is not None,
)
"""Layer names with relative weights: names, ``"name=weight"`` words, pairs or a mapping."""


def _finite(value: Any, *, whole: bool) -> float | None:
    """The value as a finite number, or None where it is none."""
    if isinstance(value, (bool, str, bytes)) or getattr(value, "ndim", None):
        return None  # an array of one number is a list, not a number
    try:
        found = float(value)
        if not math.isfinite(found):
            return None
        if whole:
            # A float does not hold all digits of a large whole number, so that `value` is read.
            return int(value) if found == math.floor(found) else None
    except (TypeError, ValueError, OverflowError):
        return None
    return found


def _is_number(word: str) -> bool:
    """Whether a word of the command line is a number, NaN and infinity included."""
    return isinstance(_as_number(word), float)


def _as_number(word: str) -> Any:
    """Turn a word of the command line into a number, or leave it for the check to refuse."""
    try:
        return float(word)
    except ValueError:
        return word


def _given(value: Any) -> str:
    """A value in the words of an error: on one line, and not longer than a line."""
    try:
        text = " ".join(repr(value).split("\n"))
    except ValueError:  # Python prints no whole number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."
