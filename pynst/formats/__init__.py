"""Readers of files of arrays, one per format; none needs its framework, none runs what it reads.

`open_container` recognises a format by the first bytes of a file, whatever its name, and lists its
arrays from their headers (`npz`, `pth`, `keras_h5`, `mat`, `safetensors`). Which of them are
VGG-19, `pynst.weights.layouts` knows.
"""

from __future__ import annotations

from typing import BinaryIO

from pynst.formats.common import Container, DamagedFile
from pynst.formats.keras_h5 import SIGNATURE, read_keras_h5
from pynst.formats.mat import is_mat, read_mat
from pynst.formats.npz import read_npz
from pynst.formats.pth import (
    LEGACY_MAGIC,
    is_pth,
    is_wheel,
    read_legacy_pth,
    read_pth,
    read_wheel,
)
from pynst.formats.safetensors import read_safetensors
from pynst.formats.zipped import Archive

__all__ = ["open_container"]


_STRANGERS = {
    b"\x93NUMPY": "a single NumPy array (.npy); pickled ones are never read",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not downloaded",
    b"\x1f\x8b": "gzip-compressed: unpack it first",
    b"\x80": "a Python pickle that is not PyTorch's, which is never read",
}


def open_container(file: BinaryIO) -> Container:
    """Recognise a file's format by its first bytes, and list its arrays from their headers."""
    head = file.read(512)
    if not head:
        raise DamagedFile("is empty")
    if head.startswith(b"PK\x03\x04"):
        archive = Archive(file)
        if is_wheel(archive):
            return read_wheel(archive)
        return read_pth(archive) if is_pth(archive) else read_npz(archive)
    if head.startswith(LEGACY_MAGIC):
        return read_legacy_pth(file)
    if head.startswith(SIGNATURE):
        return read_keras_h5(file)
    if is_mat(head):
        return read_mat(file)
    if len(head) > 9 and head[8:9] == b"{":
        return read_safetensors(file)
    raise DamagedFile(_stranger(head))


def _stranger(head: bytes) -> str:
    for start, what in _STRANGERS.items():
        if head.startswith(start):
            return f"is {what}"
    if b"<html" in head.lower() or b"<!doctype" in head.lower():
        return "is a web page, not weights: the link that it came from is dead or wants a login"
    if head[257:262] == b"ustar":
        return "is a tar archive (PyTorch before 0.1.9, or packed): not supported"
    return (
        "is in no format that PyNST reads (PyNST's own .npz, NumPy .npz, PyTorch .pth, Keras .h5,"
        " MatConvNet .mat, safetensors)"
    )
