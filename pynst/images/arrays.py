"""Arrays of picture samples: checked on the way in, scaled to [0, 1], turned upright, quantised.

This file does without Pillow: it says what an array of samples is, not where it comes from.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError

__all__ = ["Samples", "from_array", "peak", "quantised", "to_unit", "upright"]

Samples: TypeAlias = NDArray[Any]
"""uint8 or uint16 over their whole range, or floating point in [0, 1]."""

_ROUNDING = 1e-6  # arithmetic on values in [0, 1] may leave them this far outside
_WANTED = (
    "uint8, uint16 or floating point in [0, 1] of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
)
_ROWS = 256  # rows that are converted at a time, so that no second float64 picture is needed


def from_array(array: Samples, name: str) -> tuple[Samples, Samples | None]:
    """Check an array that comes from a caller or from a float file; see `_WANTED`.

    Returns colour of shape (H, W) or (H, W, 3), and alpha of shape (H, W) or None. Both are views
    of `array`. Floats may lie outside [0, 1] by rounding; `to_unit` clips them.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        hint = "fill it, e.g. array.filled(0), or give the mask as a fourth channel, alpha"
        raise ImageError(f"{name}: must have no masked values, got a masked array; {hint}")
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    is_float = array.dtype.kind == "f"
    known = is_float or (array.dtype.kind == "u" and array.itemsize <= 2)
    if not known or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(f"{name}: must be {_WANTED}, got {array.dtype} of shape {array.shape}")
    if array.size == 0:
        raise ImageError(f"{name}: must have at least one pixel, got shape {array.shape}")
    if is_float:
        _check_range(array, name)
    if array.ndim == 3 and array.shape[2] == 4:
        return array[:, :, :3], array[:, :, 3]
    return array, None


def _check_range(array: Samples, name: str) -> None:
    """Refuse floats that are not finite, or outside [0, 1] by more than rounding."""
    low, high = float(array.min()), float(array.max())  # both are NaN if any value is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: floating-point values must be finite, got NaN or infinity")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        given = f"got {low:g} to {high:g}"
        hint = "; is it on a scale of 255?" if 2 < high <= 256 else ""
        raise ImageError(f"{name}: floating-point values must lie in [0, 1], {given}{hint}")


def peak(dtype: np.dtype[Any]) -> int:
    """Return the sample that means full brightness: the largest integer, or 1 of floats."""
    return 1 if dtype.kind == "f" else (1 << 8 * dtype.itemsize) - 1


def to_unit(samples: Samples) -> NDArray[np.float64]:
    """Scale samples to float64 in [0, 1]: a C-contiguous copy."""
    if samples.dtype.kind == "f":
        pixels = samples.astype(np.float64, order="C")
        return np.clip(pixels, 0.0, 1.0, out=pixels)
    return np.divide(samples, peak(samples.dtype), dtype=np.float64, order="C")


def quantised(samples: Samples, bits: int) -> Samples:
    """Round to uint8 (`bits` 8) or uint16 (16); integers of that depth are returned as they are."""
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    if samples.dtype == dtype:
        return samples
    result = np.empty(samples.shape, dtype)
    for row in range(0, len(samples), _ROWS):
        band = to_unit(samples[row : row + _ROWS])
        band *= peak(dtype)
        result[row : row + _ROWS] = np.rint(band, out=band)
    return result


def upright(samples: Samples, orientation: int) -> Samples:
    """Return a view in which an EXIF orientation, 1 to 8, is undone."""
    if orientation > 4:  # 5 to 8 are 1, 4, 3, 2 mirrored at the main diagonal
        samples = samples.swapaxes(0, 1)
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    rows = slice(None, None, -1 if orientation in (3, 4) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3) else 1)
    return samples[rows, columns]
