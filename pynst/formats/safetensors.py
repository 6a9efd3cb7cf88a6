"""safetensors: eight bytes of header length, a JSON header, then the arrays' bytes."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pynst.formats.common import (
    MAX_ARRAYS,
    Container,
    DamagedFile,
    StoredArray,
    checked_size,
    read_exactly,
    show,
)

__all__ = ["read_safetensors"]

_MAX_HEADER = 1 << 20
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


def read_safetensors(file: BinaryIO) -> Container:
    """List the arrays of a safetensors file; offsets must neither overlap nor leave the file."""
    file_size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(read_exactly(file, 8, "the header's length"), "little")
    if length > min(_MAX_HEADER, file_size - 8):
        raise DamagedFile(f"damaged: the safetensors header claims {length} bytes")
    header = json.loads(
        read_exactly(file, length, "the header").decode(), object_pairs_hook=_without_duplicates
    )
    if not isinstance(header, dict) or len(header) > MAX_ARRAYS:
        raise DamagedFile("damaged: the safetensors header is not a list of arrays")
    header.pop("__metadata__", None)
    spans = sorted((*_span(name, entry), name) for name, entry in header.items())
    previous = 0
    for begin, end, name in spans:
        if begin < previous or end > file_size - 8 - length:
            raise DamagedFile(f"damaged: {show(name)} overlaps another array or leaves the file")
        previous = end
    arrays = {name: _stored(file, name, entry, 8 + length) for name, entry in header.items()}
    return Container("safetensors", {name: array for name, array in arrays.items() if array})


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise DamagedFile("suspect: a name occurs twice in the safetensors header")
    return entries


def _span(name: str, entry: Any) -> tuple[int, int]:
    begin, end = entry["data_offsets"]
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise DamagedFile(f"damaged: {show(name)} has the offsets {show(entry['data_offsets'])}")
    return begin, end


def _stored(file: BinaryIO, name: str, entry: Any, data_start: int) -> StoredArray | None:
    """One array, or None for a number type that no weights have."""
    kind, shape = entry["dtype"], entry["shape"]
    if not isinstance(shape, list) or any(type(side) is not int for side in shape):
        raise DamagedFile(f"damaged: {show(name)} has the shape {show(shape)}")
    half_float = kind == "BF16"
    if not half_float and kind not in _DTYPES:
        return None
    dtype = np.dtype("<u2" if half_float else _DTYPES[kind])
    begin, end = entry["data_offsets"]
    size = checked_size(tuple(shape), dtype.itemsize, show(name))
    if size != end - begin:
        raise DamagedFile(
            f"damaged: {show(name)} of shape {show(shape)} needs {size} bytes,"
            f" its offsets span {end - begin}"
        )

    def read() -> NDArray[np.generic]:
        file.seek(data_start + begin)
        flat = np.frombuffer(read_exactly(file, size, show(name)), dtype)
        if half_float:  # bfloat16 is the upper half of a float32
            flat = (flat.astype("<u4") << 16).view("<f4")
        return flat.reshape(shape)

    return StoredArray(tuple(shape), np.dtype("<f4") if half_float else dtype, read)
