"""Zip archives from strangers: few entries, plain names, no surprises.

Nothing is ever extracted to disk, and an entry is read only up to the size that its reader has
asked for, so neither a zip bomb nor a path such as ``../x`` can do harm; the checks below refuse
such archives all the same, since no program writes weights that way.
"""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO

from pynst.errors import WeightsError
from pynst.formats.common import MAX_ARRAYS, show

__all__ = ["Archive"]

_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCATOR_SIZE = 20
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
        self._zip = zipfile.ZipFile(file)
        self.sizes: dict[str, int] = {}
        for entry in self._zip.infolist():
            name = entry.filename
            if name in self.sizes:
                raise WeightsError(f"suspect: the archive holds {show(name)} twice")
            if name.startswith("/") or "\\" in name or ".." in name.split("/"):
                raise WeightsError(f"suspect: the archive holds an entry named {show(name)}")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise WeightsError(f"the entry {show(name)} is compressed in an unusual way")
            self.sizes[name] = entry.file_size

    def read(self, name: str, start: int, size: int) -> bytes:
        """`size` bytes of an entry from `start` on; a truncated or lying entry is an error."""
        with self._zip.open(name) as entry:
            if start:
                entry.seek(start)
            data = entry.read(size)
            # Reaching the end makes zipfile compare the checksum.
            if len(data) != size or (start + size == self.sizes[name] and entry.read(1)):
                raise WeightsError(f"damaged: the entry {show(name)} has not the size it claims")
        return data


def _check_directory(file: BinaryIO) -> None:
    """Refuse a huge directory before `zipfile` turns each of its entries into an object."""
    file_size = file.seek(0, 2)
    tail_start = max(0, file_size - 0xFFFF - _END_SIZE - _LOCATOR_SIZE)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise WeightsError("truncated: the zip archive has no directory at its end")
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
        raise WeightsError(
            f"suspect: the archive claims {entries} entries in {size} bytes of directory"
        )
