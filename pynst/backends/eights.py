"""The layout of features on a CUDA device: pixel by pixel, channels in eights.

Features are (H, W, padded C): the channels of a pixel side by side, rounded up to a multiple of
eight, with zeros beyond C. Bits are one byte per eight channels, choices two bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pynst.backends.base import Kind, Shape

__all__ = ["EIGHT", "from_device", "in_eights", "padded", "to_device"]

EIGHT = 8
_CHOICE_SHIFTS = (2 * np.arange(EIGHT)).astype(np.uint16)


def padded(channels: int) -> int:
    """Channels rounded up to eights."""
    return -(-channels // EIGHT) * EIGHT


def in_eights(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Values (..., n) as (..., padded n), with zeros beyond n."""
    result = np.zeros((*values.shape[:-1], padded(values.shape[-1])), dtype)
    result[..., : values.shape[-1]] = values
    return result


def to_device(values: NDArray[Any], kind: Kind, real: np.dtype[Any]) -> NDArray[Any]:
    """A logical array (C, H, W) as it lies on the device; features in the type `real`."""
    if kind == "image":
        return np.ascontiguousarray(values, np.float32)
    pixels = np.moveaxis(values, 0, 2)
    if kind == "features":
        return in_eights(pixels, real)
    if kind == "bits":
        return np.packbits(in_eights(pixels, np.bool_), axis=2, bitorder="little")
    lanes = in_eights(pixels, np.uint16)
    eights = lanes.reshape(*lanes.shape[:2], -1, EIGHT)
    return np.asarray((eights << _CHOICE_SHIFTS).sum(axis=3, dtype=np.uint16))


def from_device(values: NDArray[Any], kind: Kind, shape: Shape) -> NDArray[Any]:
    """A logical array (C, H, W) from what lies on the device."""
    if kind == "image":
        return values
    if kind == "bits":
        values = np.unpackbits(values, axis=2, bitorder="little").astype(np.bool_)
    elif kind == "choices":
        eights = (values[..., None] >> _CHOICE_SHIFTS & 3).astype(np.uint8)
        values = eights.reshape(*values.shape[:2], -1)
    else:
        values = values.astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(values, 2, 0)[: shape[0]])
