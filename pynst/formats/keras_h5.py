"""Keras' .h5: the part of HDF5 that Keras' weights files use, read by PyNST's own small parser.

An HDF5 file is a graph of objects, each a list of messages. Groups name other objects, through a
B-tree or through link messages; a data set says its shape, its number type and where its numbers
lie. Covered are groups of both kinds with hard links, and contiguous little-endian floats: what
h5py writes by default. Chunks, filters, external files and soft links are refused or passed by, so
nothing leaves the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

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

__all__ = ["SIGNATURE", "read_keras_h5"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_NOWHERE = (1 << 64) - 1
_MAX_DEPTH = 8
_MAX_MESSAGES = 4096
_MAX_BYTES = 1 << 22  # of structure, without the numbers; Keras' own file has 0.1 MB

# Message types.
_SPACE, _LINK_INFO, _TYPE, _LINK = 0x01, 0x02, 0x03, 0x06
_EXTERNAL, _LAYOUT, _FILTERS, _CONTINUES, _SYMBOLS = 0x07, 0x08, 0x0B, 0x10, 0x11
_SHARED = 0x02

# IEEE 754, little-endian: size, sign bit, offset, precision, place and bits of the exponent, place
# and bits of the mantissa, bias.
_FLOATS = {
    (2, 15, 0, 16, 10, 5, 0, 10, 15): "<f2",
    (4, 31, 0, 32, 23, 8, 0, 23, 127): "<f4",
    (8, 63, 0, 64, 52, 11, 0, 52, 1023): "<f8",
}


class _Message(NamedTuple):
    kind: int
    flags: int
    data: bytes


def read_keras_h5(file: BinaryIO) -> Container:
    """List the data sets of an HDF5 file by path, e.g. ``block1_conv1/block1_conv1_W_1:0``."""
    parser = _Parser(file)
    return Container("Keras .h5", dict(parser.datasets(parser.root(), "", 0)))


class _Parser:
    """One walk over one file; addresses are relative to its first byte."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.bytes_left = _MAX_BYTES
        self.seen: set[int] = set()

    def take(self, address: int, size: int) -> bytes:
        """Bytes of structure at an address."""
        if size < 0:
            raise DamagedFile(f"damaged: an HDF5 block claims to have {size} bytes")
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise DamagedFile("suspect: the HDF5 file has more structure than a network needs")
        if not 0 <= address <= self.size - size:
            raise DamagedFile(
                f"damaged or truncated: an HDF5 address lies outside {self.size} bytes"
            )
        self.file.seek(address)
        return read_exactly(self.file, size, "an HDF5 block")

    def root(self) -> int:
        """Address of the root group's header."""
        head = self.take(0, min(96, self.size))
        version = head[8]
        sizes = head[13:15] if version < 2 else head[9:11]
        if version > 3 or sizes != b"\x08\x08":
            raise DamagedFile("is an HDF5 file of a version that PyNST does not read")
        if version >= 2:
            base, _, _, root = struct.unpack_from("<4Q", head, 12)
        else:
            at = 24 if version == 0 else 28
            base, root = struct.unpack_from("<Q32xQ", head, at)
        if base:
            raise DamagedFile("is an HDF5 file within another file, which PyNST does not read")
        return int(root)

    def datasets(self, address: int, path: str, depth: int) -> Iterator[tuple[str, StoredArray]]:
        """List the data sets at and below an object; one that has been visited is passed by."""
        if address in self.seen:
            return
        self.seen.add(address)
        if depth > _MAX_DEPTH or len(self.seen) > MAX_ARRAYS:
            raise DamagedFile("suspect: the HDF5 file nests more than a network does")
        messages = list(self.messages(address))
        if any(message.kind == _LAYOUT for message in messages):
            array = self.dataset(messages, path)
            if array is not None:
                yield path, array
            return
        names: set[str] = set()
        for name, child in self.children(messages):
            if name in names or "/" in name:
                raise DamagedFile(f"suspect: a group of the HDF5 file names {show(name)}, or twice")
            names.add(name)
            yield from self.datasets(child, f"{path}/{name}" if path else name, depth + 1)

    # ---- object headers ---------------------------------------------------------------------

    def messages(self, address: int) -> Iterator[_Message]:
        """Messages of an object, over all blocks of its header."""
        head = self.take(address, 16)
        if head[:4] == b"OHDR":
            yield from self._messages_v2(address, head[5])
            return
        version, _, count, _, size = struct.unpack("<BBHII4x", head)
        if version != 1 or count > _MAX_MESSAGES:
            raise DamagedFile("damaged: an HDF5 object has no header")
        blocks = [(address + 16, size)]
        for at, length in blocks:  # continuations are appended while we walk
            block = self.take(at, length)
            position = 0
            while position + 8 <= length and count > 0:
                kind, size, flags = struct.unpack_from("<HHB", block, position)
                data = block[position + 8 : position + 8 + size]
                position += 8 + size
                count -= 1
                if kind == _CONTINUES:
                    blocks.append(struct.unpack("<QQ", data))
                yield _Message(kind, flags, data)

    def _messages_v2(self, address: int, flags: int) -> Iterator[_Message]:
        at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(self.take(at, width), "little")
        extra = 2 if flags & 0x04 else 0  # creation order of each message
        blocks = [(at + width, size)]
        left = _MAX_MESSAGES
        for start, length in blocks:
            block = self.take(start, length)
            position = 0
            while position + 4 + extra <= length:
                kind, size, message_flags = struct.unpack_from("<BHB", block, position)
                position += 4 + extra
                data = block[position : position + size]
                position += size
                left -= 1
                if left < 0:
                    raise DamagedFile("suspect: an HDF5 object has thousands of messages")
                if kind == _CONTINUES:
                    where, extent = struct.unpack("<QQ", data)
                    blocks.append((where + 4, extent - 8))  # without signature and checksum
                yield _Message(kind, message_flags, data)

    # ---- groups -----------------------------------------------------------------------------

    def children(self, messages: list[_Message]) -> Iterator[tuple[str, int]]:
        """(name, address) of the members of a group."""
        for message in messages:
            if message.kind == _SYMBOLS:
                tree, heap = struct.unpack("<QQ", message.data[:16])
                signature, names = struct.unpack("<4s20xQ", self.take(heap, 32))
                if signature != b"HEAP":
                    raise DamagedFile("damaged: a group of the HDF5 file has no names")
                yield from self._tree(tree, names, 0)
            elif message.kind == _LINK:
                link = _hard_link(message.data)
                if link is not None:
                    yield link
            elif message.kind == _LINK_INFO:
                at = 10 if message.data[1] & 1 else 2
                (heap,) = struct.unpack_from("<Q", message.data, at)
                if heap != _NOWHERE:
                    raise DamagedFile(
                        "is an HDF5 file with large groups of the newer kind, which PyNST does not"
                        " read; write it with h5py's default libver"
                    )

    def _tree(self, address: int, names: int, depth: int) -> Iterator[tuple[str, int]]:
        """Entries of the symbol tables below a B-tree node."""
        signature, kind, level, used = struct.unpack("<4sBBH16x", self.take(address, 24))
        if signature != b"TREE" or kind or depth > _MAX_DEPTH:
            raise DamagedFile("damaged: a group of the HDF5 file has no list of members")
        keys_and_children = self.take(address + 24, 16 * used)
        for (child,) in struct.iter_unpack("<8xQ", keys_and_children):
            if level:
                yield from self._tree(child, names, depth + 1)
            else:
                yield from self._symbols(child, names)

    def _symbols(self, address: int, names: int) -> Iterator[tuple[str, int]]:
        signature, count = struct.unpack("<4s2xH", self.take(address, 8))
        if signature != b"SNOD":
            raise DamagedFile("damaged: a group of the HDF5 file has no list of members")
        table = self.take(address + 8, 40 * count)
        for name, header, cached in struct.iter_unpack("<QQI20x", table):
            if cached != 2:  # 2: a soft link
                start = names + name
                text = self.take(start, max(0, min(256, self.size - start)))
                yield text.split(b"\0")[0].decode(), header

    # ---- data sets --------------------------------------------------------------------------

    def dataset(self, messages: list[_Message], path: str) -> StoredArray | None:
        """Describe a data set of floats; None if it holds something else (text, whole numbers)."""
        found = {message.kind: message for message in messages}
        if _SPACE not in found or _TYPE not in found:
            raise DamagedFile(f"damaged: {show(path)} has no shape or no number type")
        dtype = _float_type(found[_TYPE])
        if dtype is None:
            return None
        if _EXTERNAL in found or _FILTERS in found:
            raise DamagedFile(f"{show(path)} is compressed or lies in another file: not supported")
        shape = _shape(found[_SPACE].data)
        size = checked_size(shape, dtype.itemsize, show(path))
        layout = found[_LAYOUT].data
        if layout[0] not in (3, 4) or layout[1] != 1:
            raise DamagedFile(
                f"{show(path)} is stored in chunks or otherwise unusually: not supported"
            )
        address, stored = struct.unpack_from("<QQ", layout, 2)
        if stored != size or address > self.size - size:
            raise DamagedFile(
                f"damaged or truncated: {show(path)} needs {size} bytes, which are not there"
            )

        def read() -> NDArray[Any]:
            self.file.seek(address)
            return np.frombuffer(read_exactly(self.file, size, show(path)), dtype).reshape(shape)

        return StoredArray(shape, dtype, read)


def _hard_link(data: bytes) -> tuple[str, int] | None:
    """(name, address) of a link message; None for soft and external links."""
    flags = data[1]
    at = 2
    kind = 0
    if flags & 0x08:
        kind, at = data[at], at + 1
    at += 8 if flags & 0x04 else 0  # creation order
    at += 1 if flags & 0x10 else 0  # character set
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    name = data[at + width : at + width + length].decode()
    if kind:
        return None
    (address,) = struct.unpack_from("<Q", data, at + width + length)
    return name, address


def _float_type(message: _Message) -> np.dtype[Any] | None:
    data = message.data
    if message.flags & _SHARED or data[0] & 0x0F != 1:  # class 1: floating point
        return None
    byte_order, sign = data[1] & 0x41, data[2]
    fields = struct.unpack_from("<IHHBBBBI", data, 4)
    name = _FLOATS.get((fields[0], sign, *fields[1:]))
    return np.dtype(name) if name and not byte_order else None


def _shape(data: bytes) -> tuple[int, ...]:
    version, rank = data[0], data[1]
    if version not in (1, 2):
        raise DamagedFile("damaged: a data set has no shape")
    return struct.unpack_from(f"<{rank}Q", data, 8 if version == 1 else 4)
