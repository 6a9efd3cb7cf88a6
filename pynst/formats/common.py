"""What all readers of weights files share: an array that is read only when asked for, and limits.

A reader looks at headers alone and says which arrays a file holds, with their shapes. Nothing is
allocated for an array before its shape has been compared with the one that VGG-19 needs, so that a
header that lies about sizes costs a sentence, not the machine's memory.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from struct import error as StructError
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pynst.errors import WeightsError

__all__ = [
    "DAMAGE",
    "MAX_ARRAYS",
    "Container",
    "StoredArray",
    "checked_size",
    "read_exactly",
    "show",
]

MAX_ARRAYS = 4096
"""More arrays than this in one file are refused; VGG-19 with its classifier has 38."""

_MAX_DIMENSIONS = 8
_MAX_BYTES = 1 << 40

DAMAGE = (
    ArithmeticError,
    BadZipFile,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    StructError,
    TypeError,
    ValueError,
    zlib.error,
)
"""What the standard library and NumPy raise on damaged bytes; one place makes it `WeightsError`."""


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, known by its header.

    Attributes
    ----------
    shape : tuple of int
        As stored.
    dtype : numpy.dtype
        What `read` returns; only floats are of use, others are listed to be named in messages.
    read : callable
        Reads and returns the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Container:
    """The arrays of one file.

    Attributes
    ----------
    format : str
        For people, e.g. ``"PyTorch .pth"``.
    arrays : dict of str to StoredArray
        By the names that the file gives them.
    """

    format: str
    arrays: dict[str, StoredArray]


def checked_size(shape: tuple[int, ...], itemsize: int, what: str) -> int:
    """Bytes of an array of `shape`; refuses negative, too many and absurdly large dimensions."""
    if len(shape) > _MAX_DIMENSIONS or any(side < 0 for side in shape):
        raise WeightsError(f"damaged: {what} has the shape {show(shape)}")
    size = math.prod(shape) * itemsize
    if size > _MAX_BYTES:
        raise WeightsError(f"damaged: {what} claims to have {show(size)} bytes")
    return size


def read_exactly(file: BinaryIO, size: int, what: str) -> bytes:
    """Read `size` bytes or say that the file ends too early.

    The caller has bounded `size`, by the file's length or by the shape that is needed.
    """
    data = file.read(size)
    if len(data) != size:
        raise WeightsError(f"truncated: {what} needs {size} bytes, {len(data)} are left")
    return data


def show(value: object) -> str:
    """`value` for a message: one line of printable ASCII, not too long, whatever the file says."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
