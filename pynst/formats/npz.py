"""NumPy's .npz: a zip archive of .npy arrays. Pickled object arrays are never read."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pynst.formats.common import Container, DamagedFile, StoredArray, checked_size, show
from pynst.formats.zipped import Archive

__all__ = ["read_npz", "write_npz"]

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1024
_ZIP64 = (1 << 31) - 1024  # larger entries need the newer form of the directory
# NumPy writes the header of an .npy file in exactly this form; nothing else needs to be understood,
# so the header is matched instead of being evaluated.
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<>|=][biufcOSUV][0-9]{0,4})',"
    rb" 'fortran_order': (?P<fortran>True|False),"
    rb" 'shape': \((?P<shape>(?:[0-9]{1,15}(?:, |,|(?=\))))*)\), \} *\n?"
)


def read_npz(archive: Archive) -> Container:
    """List the arrays of an .npz archive."""
    arrays = {}
    for entry in archive.sizes:
        if entry.endswith(".npy"):
            arrays[entry[: -len(".npy")]] = _stored(archive, entry)
    return Container("NumPy .npz", arrays)


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an uncompressed .npz that `numpy.load` reads; equal arrays give equal bytes.

    The arrays are written one after the other, so that no second copy of them is in memory.
    `numpy.savez` would put in the date and the platform.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=array.nbytes >= _ZIP64) as stream:
                np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)


def _stored(archive: Archive, entry: str) -> StoredArray:
    shape, dtype, fortran, start = _header(archive, entry)
    size = checked_size(shape, dtype.itemsize, show(entry))
    if dtype.hasobject:
        return StoredArray(shape, dtype, _refuse_objects)
    if start + size != archive.sizes[entry]:
        raise DamagedFile(
            f"damaged: {show(entry)} of shape {show(shape)} needs {size} bytes of data,"
            f" has {archive.sizes[entry] - start}"
        )

    def read() -> NDArray[np.generic]:
        # Read from the first byte on, so that the archive's checksum is compared.
        data = archive.read(entry, start + size)
        flat = np.frombuffer(data, dtype, offset=start)
        return flat.reshape(shape, order="F" if fortran else "C")

    return StoredArray(shape, dtype, read)


def _header(
    archive: Archive, entry: str
) -> tuple[tuple[int, ...], np.dtype[np.generic], bool, int]:
    """(shape, dtype, Fortran order, offset of the data) of an .npy entry."""
    head = archive.read(entry, min(_MAX_HEADER, archive.sizes[entry]))
    if head[:6] != _MAGIC or len(head) < 12 or head[6] not in (1, 2, 3):
        raise DamagedFile(f"damaged: {show(entry)} is not a NumPy array")
    begin = 10 if head[6] == 1 else 12
    start = begin + int.from_bytes(head[8:begin], "little")
    match = _HEADER.fullmatch(head, begin, start) if start <= len(head) else None
    if match is None:
        raise DamagedFile(f"{show(entry)} is not a plain array of numbers")
    shape = tuple(int(side) for side in match["shape"].replace(b",", b" ").split())
    return shape, np.dtype(match["dtype"].decode()), match["fortran"] == b"True", start


def _refuse_objects() -> NDArray[np.generic]:
    raise DamagedFile("holds pickled Python objects, which are never read")
