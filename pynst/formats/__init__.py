"""Readers of weights files, one per format; none needs its framework, none runs what a file holds.

`convert_file` recognises a format by the first bytes of a file, whatever its name, lists its arrays
from their headers (`npz`, `pth`, `keras_h5`, `mat`, `safetensors`) and brings those of VGG-19 to
PyNST's convention (`layouts`). Only `WeightsError` leaves it, however damaged or hostile the file
is.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

import numpy as np

from pynst.errors import WeightsError
from pynst.formats.common import DAMAGE, Container, show
from pynst.formats.keras_h5 import SIGNATURE, read_keras_h5
from pynst.formats.layouts import Converted, convert
from pynst.formats.mat import is_mat, read_mat
from pynst.formats.npz import read_npz
from pynst.formats.pth import LEGACY_MAGIC, is_pth, read_legacy_pth, read_pth
from pynst.formats.safetensors import read_safetensors
from pynst.formats.zipped import Archive

__all__ = ["convert_file"]

_KNOWN_FILES = {
    "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44": "torchvision",
    "d01eb7cb": "oxford",
}
"""SHA-256, or its published beginning, of files with torchvision's layer names -> training."""

_LARGEST_KNOWN = 1 << 30

_STRANGERS = {
    b"\x93NUMPY": "a single NumPy array (.npy); pickled ones are never read",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not downloaded",
    b"\x1f\x8b": "gzip-compressed: unpack it first",
    b"\x80": "a Python pickle that is not PyTorch's, which is never read",
}


def convert_file(file: BinaryIO, training: str | None) -> Converted:
    """Read VGG-19 from an open file of any known format and layout."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by VGG19Weights
            return convert(_container(file), training, lambda: _known(file))
    except DAMAGE as error:
        kind = type(error).__name__
        raise WeightsError(f"damaged or truncated ({kind}: {show(str(error))})") from error


def _container(file: BinaryIO) -> Container:
    head = file.read(512)
    if not head:
        raise WeightsError("is empty")
    if head.startswith(b"PK\x03\x04"):
        archive = Archive(file)
        return read_pth(archive) if is_pth(archive) else read_npz(archive)
    if head.startswith(LEGACY_MAGIC):
        return read_legacy_pth(file)
    if head.startswith(SIGNATURE):
        return read_keras_h5(file)
    if is_mat(head):
        return read_mat(file)
    if len(head) > 9 and head[8:9] == b"{":
        return read_safetensors(file)
    raise WeightsError(_stranger(head))


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


def _known(file: BinaryIO) -> str | None:
    """Training of a published file, by its checksum."""
    if file.seek(0, 2) > _LARGEST_KNOWN:
        return None
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    for known, training in _KNOWN_FILES.items():
        if digest.hexdigest().startswith(known):
            return training
    return None
