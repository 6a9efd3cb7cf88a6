"""Zip archives from outside: few entries, plain names, no surprises.

Nothing is ever extracted to disk, and an entry is read only up to the size that its reader has
asked for, so neither a zip bomb nor a path such as ``../x`` can do harm; the checks below refuse
such archives all the same, since no program writes weights that way.
"""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO

from pynst.formats.common import MAX_ARRAYS, DamagedFile, read_exactly, show

__all__ = ["Archive"]

_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCATOR_SIZE = 20
_HEADER_SIZE = 30
_MAX_DIRECTORY = 1 << 20


class Archive:
    """A zip archive whose directory has been checked.

    Parameters
    ----------
    file : binary file
        Open for reading; stays open as long as the archive is used.

    Attributes
    ----------
    sizes : dict of str to int
        Uncompressed size of each entry, as its directory claims.
    """

    def __init__(self, file: BinaryIO) -> None:
        _check_directory(file)
        self._file = file
        self._zip = zipfile.ZipFile(file)
        self.sizes: dict[str, int] = {}
        for entry in self._zip.infolist():
            name = entry.filename
            if name in self.sizes:
                raise DamagedFile(f"suspect: the archive holds {show(name)} twice")
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise DamagedFile(f"suspect: the archive holds an entry named {show(name)}")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DamagedFile(f"the entry {show(name)} is compressed in an unusual way")
            self.sizes[name] = entry.file_size

    def is_compressed(self, name: str) -> bool:
        """Whether an entry has to be unpacked to be read."""
        return self._zip.getinfo(name).compress_type != zipfile.ZIP_STORED

    def read(self, name: str, size: int) -> bytes:
        """Read the first `size` bytes of an entry; a truncated or lying entry is an error."""
        if size < 0:
            raise DamagedFile(f"damaged: {size} bytes of the entry {show(name)} are asked for")
        with self._zip.open(name) as entry:
            data = entry.read(size)
            # Reaching the end makes zipfile compare the checksum.
            if len(data) != size or (size == self.sizes[name] and entry.read(1)):
                raise DamagedFile(f"damaged: the entry {show(name)} is not of the size it claims")
        return data

    def read_within(self, name: str, start: int, size: int) -> bytes:
        """Read `size` bytes from `start` on of an entry that is not compressed.

        The bytes before `start` are not read, so that a thousand pieces of one entry cost no more
        than the entry itself. A piece that is the whole entry has its checksum compared.
        """
        if start == 0 and size == self.sizes[name]:
            return self.read(name, size)
        if self.is_compressed(name) or not 0 <= start <= self.sizes[name] - size:
            raise DamagedFile(f"damaged: a piece of the entry {show(name)} lies outside of it")
        self._file.seek(self._zip.getinfo(name).header_offset)
        header = read_exactly(self._file, _HEADER_SIZE, "the header of an entry")
        if header[:4] != b"PK\x03\x04":
            raise DamagedFile(f"damaged: the entry {show(name)} has no header")
        name_size, extra_size = struct.unpack_from("<HH", header, 26)
        self._file.seek(name_size + extra_size + start, 1)
        return read_exactly(self._file, size, f"the entry {show(name)}")


def _check_directory(file: BinaryIO) -> None:
    """Refuse a huge directory before `zipfile` turns each of its entries into an object."""
    file_size = file.seek(0, 2)
    tail_start = max(0, file_size - 0xFFFF - _END_SIZE - _LOCATOR_SIZE)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise DamagedFile("truncated: the zip archive has no directory at its end")
    entries, size = struct.unpack_from("<HI", tail, at + 10)
    locator = at - _LOCATOR_SIZE
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        (where,) = struct.unpack_from("<Q", tail, locator + 8)
        # The record is found either where the locator says or, after a prepended blob, before it.
        for start in (where, tail_start + locator - 56):
            if not 0 <= start <= file_size - 56:
                continue
            file.seek(start)
            record = file.read(56)
            if record[:4] == b"PK\x06\x06":
                # All bits set in the old record mean "see the new one"; else believe the larger.
                more_entries, more_size = struct.unpack_from("<QQ", record, 32)
                entries, size = (
                    max(entries % 0xFFFF, more_entries),
                    max(size % 0xFFFFFFFF, more_size),
                )
    if entries > MAX_ARRAYS or size > _MAX_DIRECTORY:
        raise DamagedFile(
            f"suspect: the archive claims {entries} entries in {size} bytes of directory"
        )
