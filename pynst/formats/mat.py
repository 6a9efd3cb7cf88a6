"""MatConvNet's .mat: MATLAB's format of version 5 to 7, read by PyNST's own small parser.

The file is a tree of elements (type, size, data): cells and structs that hold others, text, and
arrays in MATLAB's column-major order. The parser keeps text, small arrays and arrays that can be 3
x 3 filters, and skips the rest unread (a classifier of half a gigabyte, objects, function handles,
sparse matrices). Compressed variables are unpacked piece by piece: memory follows what is kept, not
what is claimed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pynst.formats.common import (
    Container,
    DamagedFile,
    StoredArray,
    checked_size,
    read_exactly,
    show,
)

__all__ = ["is_mat", "read_mat"]

_MAX_DEPTH = 12
_MAX_ELEMENTS = 1 << 16
_MAX_KEPT = 1 << 28
_MAX_FILTER = 512 * 512 * 9 * 8
_MAX_SMALL = 1 << 21
_MAX_TEXT = 1 << 12
_MAX_UNPACKED = 1 << 30
_PIECE = 1 << 16

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _DOUBLE, _SINGLE = 1, 2, 4, 6, 7
_COMPLEX = 0x0800
# Element types; MATLAB stores whole numbers in the smallest type that holds them.
_NUMBERS = {1: "|i1", 2: "|u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}


def is_mat(head: bytes) -> bool:
    """Whether a file that begins with `head` calls itself MATLAB's."""
    return head.startswith(b"MATLAB ") and head[126:128] in (b"IM", b"MI")


def read_mat(file: BinaryIO) -> Container:
    """List the filters and biases of a MatConvNet network, as ``conv1_1.filters`` and so on."""
    file_size = file.seek(0, 2)
    file.seek(0)
    header = read_exactly(file, 128, "the header")
    if header[124:128] != b"\x00\x01IM":
        raise DamagedFile("is a MATLAB file of version 7.3 or big-endian; save it with -v7")
    variables = _Parser().variables(file, file_size)
    return Container("MATLAB .mat", _network(variables))


def _network(variables: dict[str, Any]) -> dict[str, StoredArray]:
    """Name the arrays of MatConvNet's list of layers; ``mean`` is the average image."""
    arrays: dict[str, StoredArray] = {}
    layers = variables.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        fields = _fields(layer)
        weights = fields.get("weights")
        if not isinstance(weights, list):  # before the "weights" cell there were two fields
            weights = [fields.get("filters"), fields.get("biases")]
        for kind, array in zip(("filters", "biases"), weights, strict=False):
            name = f"{fields.get('name')}.{kind}"
            if name in arrays:
                raise DamagedFile(f"suspect: the layer {show(fields.get('name'))} occurs twice")
            if isinstance(array, StoredArray):
                arrays[name] = array
    for place in (_fields(variables.get("meta")), variables):
        mean = _fields(place.get("normalization")).get("averageImage")
        if isinstance(mean, StoredArray):
            arrays.setdefault("mean", mean)
    return arrays


def _fields(value: Any) -> dict[str, Any]:
    """Fields of a struct; none of anything else."""
    return value if isinstance(value, dict) else {}


class _Plain:
    """Bytes of the file, with the position in them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.position = file.tell()

    def read(self, size: int) -> bytes:
        self.position += size
        return read_exactly(self._file, size, "an element")

    def skip(self, size: int) -> None:
        self.position = self._file.seek(self.position + size)


class _Unpacked:
    """Bytes of a compressed variable, unpacked as they are asked for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self._unpack = zlib.decompressobj()
        self._ready = memoryview(b"")
        self.position = 0

    def read(self, size: int) -> bytes:
        pieces = list(self._pieces(size))
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        for _ in self._pieces(size):
            pass

    def _pieces(self, size: int) -> Iterator[memoryview]:
        if size < 0:
            raise DamagedFile(f"damaged: an element claims to have {size} bytes")
        self.position += size
        while size:
            if not self._ready:
                self._refill()
            piece, self._ready = self._ready[:size], self._ready[size:]
            size -= len(piece)
            yield piece

    def _refill(self) -> None:
        while not self._ready:
            packed = self._unpack.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, _PIECE))
                self._left -= len(packed)
            if not packed or self._unpack.eof:
                raise DamagedFile("truncated: a compressed variable ends too early")
            self._ready = memoryview(self._unpack.decompress(packed, _PIECE))


class _Parser:
    """One pass over one file, with what may still be spent on it."""

    def __init__(self) -> None:
        self.elements_left = _MAX_ELEMENTS
        self.bytes_left = _MAX_KEPT
        self.unpacked_left = _MAX_UNPACKED

    def variables(self, file: BinaryIO, file_size: int) -> dict[str, Any]:
        """Parse the variables; cells become lists, structs dictionaries (lists if several)."""
        found: dict[str, Any] = {}
        at = 128
        while at < file_size:
            self._spend_element()
            file.seek(at)
            kind, size = struct.unpack("<II", read_exactly(file, 8, "a variable"))
            start, at = at + 8, at + 8 + size
            if at > file_size:
                raise DamagedFile(f"truncated: a variable ends at byte {at} of {file_size}")
            stream: _Plain | _Unpacked = _Plain(file)
            end = start + size
            if kind == _COMPRESSED:
                stream = _Unpacked(file, size)
                kind, size = struct.unpack("<II", stream.read(8))
                end = 8 + size
                self.unpacked_left -= size
                if self.unpacked_left < 0:
                    raise DamagedFile("suspect: the file unpacks to more than a gigabyte")
            if kind == _MATRIX:
                name, value = self._matrix(stream, end, 0)
                if name in found:
                    raise DamagedFile(f"suspect: the variable {show(name)} occurs twice")
                found[name] = value
        return found

    def _matrix(self, stream: _Plain | _Unpacked, end: int, depth: int) -> tuple[str, Any]:
        """Name and value of the matrix that ends at `end`; None for what is not kept."""
        if depth > _MAX_DEPTH:
            raise DamagedFile("suspect: the file nests more than a network does")
        self._spend_element()
        name, value = "", None
        if stream.position < end:
            (flags,) = struct.unpack_from("<I", self._small(stream, end, 8))
            sides = np.frombuffer(self._small(stream, end, 32), "<i4")
            shape = tuple(int(side) for side in sides)
            name = self._text(stream, end)
            value = self._value(stream, end, depth, flags, shape)
        stream.skip(end - stream.position)
        return name, value

    def _spend_element(self) -> None:
        self.elements_left -= 1
        if self.elements_left < 0:
            raise DamagedFile("suspect: the file has more elements than a network needs")

    def _value(
        self,
        stream: _Plain | _Unpacked,
        end: int,
        depth: int,
        flags: int,
        shape: tuple[int, ...],
    ) -> Any:
        kind = flags & 0xFF
        count = checked_size(shape, 1, "an array")
        if kind == _CELL:
            return [self._child(stream, end, depth) for _ in range(count)]
        if kind == _STRUCT:
            return self._struct(stream, end, depth, count)
        if kind == _CHAR and count <= _MAX_TEXT:
            return self._text(stream, end)
        if kind in (_SINGLE, _DOUBLE) and not flags & _COMPLEX:
            return self._array(stream, end, shape, np.dtype("<f4" if kind == _SINGLE else "<f8"))
        return None

    def _struct(self, stream: _Plain | _Unpacked, end: int, depth: int, count: int) -> Any:
        (width,) = struct.unpack("<i", self._small(stream, end, 4))
        names = self._small(stream, end, _MAX_TEXT)
        # Without fields, nothing in the file would stand for the elements that it claims.
        if width <= 0 or not names or len(names) % width:
            raise DamagedFile("damaged: the field names of a struct have no sensible length")
        fields = [
            names[at : at + width].split(b"\0")[0].decode("latin-1")
            for at in range(0, len(names), width)
        ]
        elements = [
            {field: self._child(stream, end, depth) for field in fields} for _ in range(count)
        ]
        return elements[0] if count == 1 else elements

    def _child(self, stream: _Plain | _Unpacked, end: int, depth: int) -> Any:
        """Parse a matrix within a matrix."""
        kind, size, _ = _tag(stream, end)
        if kind != _MATRIX:
            raise DamagedFile("damaged: a cell or a struct holds something that is not a matrix")
        return self._matrix(stream, stream.position + size, depth + 1)[1]

    def _array(
        self,
        stream: _Plain | _Unpacked,
        end: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> StoredArray:
        """Parse an array; its numbers are kept if it is small or can be 3 x 3 filters."""
        kind, size, data = _tag(stream, end)
        stored = np.dtype(_NUMBERS.get(kind, "V1"))
        wanted = checked_size(shape, stored.itemsize, "an array")
        if kind not in _NUMBERS or size != wanted:
            raise DamagedFile(
                f"damaged: an array of shape {show(shape)} needs {wanted} bytes, has {size}"
            )
        limit = _MAX_FILTER if shape[:2] == (3, 3) else _MAX_SMALL
        if size > limit:
            return StoredArray(shape, np.dtype("V8"), _refuse_large)
        if data is None:
            self.bytes_left -= size
            if self.bytes_left < 0:
                raise DamagedFile("suspect: the file holds more than any VGG-19")
            data = stream.read(size)
        flat = np.frombuffer(data, stored)

        def read() -> NDArray[Any]:
            return flat.astype(dtype).reshape(shape, order="F")

        return StoredArray(shape, dtype, read)

    def _text(self, stream: _Plain | _Unpacked, end: int) -> str:
        return self._small(stream, end, 2 * _MAX_TEXT).replace(b"\0", b"").decode("latin-1")

    def _small(self, stream: _Plain | _Unpacked, end: int, limit: int) -> bytes:
        """Read an element of at most `limit` bytes, with its padding."""
        _, size, data = _tag(stream, end)
        if size > limit:
            raise DamagedFile(f"damaged: an element has {size} bytes, at most {limit} make sense")
        if data is None:
            data = stream.read(size)
            stream.skip(min(-size % 8, end - stream.position))
        return data


def _tag(stream: _Plain | _Unpacked, end: int) -> tuple[int, int, bytes | None]:
    """(type, size, data) of the next element; up to four bytes of data lie in the tag itself."""
    if end - stream.position < 8:
        raise DamagedFile("damaged: a matrix ends within an element")
    first, last = struct.unpack("<I4s", stream.read(8))
    small = first >> 16
    if small > 4:
        raise DamagedFile("damaged: a small element claims more than four bytes")
    if small:
        return first & 0xFFFF, small, last[:small]
    size = int.from_bytes(last, "little")
    if size > end - stream.position:
        raise DamagedFile("damaged: an element is larger than the matrix that it lies in")
    return first, size, None


def _refuse_large() -> NDArray[Any]:
    raise DamagedFile("an array is larger than any of VGG-19's")
