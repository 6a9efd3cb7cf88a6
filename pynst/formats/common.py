"""What all readers of arrays share: their error, an array that is read when asked for, and limits.

Weights and checkpoints are read by these readers. A reader looks at headers alone and says which
arrays a file holds, with their shapes. Nothing is allocated for an array before the caller has
compared its shape with the one that it needs, so that a header that lies about sizes costs a
sentence, not the machine's memory. Work is bounded as well: a reader passes over each byte of a
file a small number of times at most, and refuses what no writer of the format ever writes.
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

__all__ = [
    "DAMAGE",
    "MAX_ARRAYS",
    "Container",
    "DamagedFile",
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
    NotImplementedError,
    RecursionError,
    RuntimeError,
    StructError,
    TypeError,
    ValueError,
    zlib.error,
)
"""What the standard library and NumPy raise on damaged bytes. A MemoryError is not among them: it
says nothing about the file."""


class DamagedFile(Exception):
    """A file is damaged, hostile or in no known format; the caller says which file it was.

    Whoever reads weights or checkpoints turns it into an error of its own kind.
    """


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
        raise DamagedFile(f"damaged: {what} has the shape {show(shape)}")
    size = math.prod(shape) * itemsize
    if size > _MAX_BYTES:
        raise DamagedFile(f"damaged: {what} claims to have {show(size)} bytes")
    return size


def read_exactly(file: BinaryIO, size: int, what: str) -> bytes:
    """Read `size` bytes or say that the file ends too early.

    The caller has bounded `size`, by the file's length or by the shape that is needed. A size
    below zero comes from a damaged header; ``file.read`` would take it as "all there is".
    """
    if size < 0:
        raise DamagedFile(f"damaged: {what} claims to have {size} bytes")
    data = file.read(size)
    if len(data) != size:
        raise DamagedFile(f"truncated: {what} needs {size} bytes, {len(data)} are left")
    return data


def show(value: object) -> str:
    """`value` for a message: one line of printable ASCII, not too long, whatever the file says."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
