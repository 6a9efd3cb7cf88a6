"""Arrays of picture samples: checked on the way in, scaled to [0, 1], turned upright, quantised.

No Pillow here: `images` reads and writes, this file says what an array of samples is.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError

Samples: TypeAlias = NDArray[Any]
"""uint8 or uint16 over their whole range, or floating point in [0, 1]."""

_ROUNDING = 1e-6  # how far beyond [0, 1] a float may lie: what arithmetic leaves behind
_WANTED = (
    "uint8, uint16 or floating point in [0, 1] of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
)


def from_array(array: Samples, name: str) -> tuple[Samples, Samples | None]:
    """Check an array that a caller or a float file brings; see `_WANTED`.

    Returns colour of shape (H, W) or (H, W, 3), and alpha of shape (H, W) or None. Floats are
    clipped to [0, 1]; integers may be views of `array`.
    """
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
        array = _in_range(array, name)
    if array.ndim == 3 and array.shape[2] == 4:
        return array[:, :, :3], array[:, :, 3]
    return array, None


def _in_range(array: Samples, name: str) -> Samples:
    """Clip floats to [0, 1]; more than rounding beyond it is an error."""
    low, high = float(array.min()), float(array.max())  # NaN, if there is one, comes out of both
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: floating-point values must be finite, got NaN or infinity")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        given = f"got {low:g} to {high:g}"
        hint = "; is it on a scale of 255?" if 2 < high <= 256 else ""
        raise ImageError(f"{name}: floating-point values must lie in [0, 1], {given}{hint}")
    return np.clip(array, 0.0, 1.0)


def _peak(dtype: np.dtype[Any]) -> int:
    """Return the largest value of an integer type."""
    return (1 << 8 * dtype.itemsize) - 1


def to_unit(samples: Samples) -> NDArray[np.float64]:
    """Float64 in [0, 1], C-contiguous, always a copy."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64, order="C")
    return np.divide(samples, _peak(samples.dtype), dtype=np.float64, order="C")


def quantised(samples: Samples, bits: int) -> Samples:
    """Round to uint8 (`bits` 8) or uint16 (16); integers of that depth are returned as they are."""
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    if samples.dtype == dtype:
        return samples
    result = np.empty(samples.shape, dtype)
    for row in range(
        0, len(samples), 256
    ):  # in bands: the float64 between would be the largest array
        band = to_unit(samples[row : row + 256])
        band *= _peak(dtype)
        result[row : row + 256] = np.rint(band, out=band)
    return result


def upright(samples: Samples, orientation: int) -> Samples:
    """Undo an EXIF orientation, 1 to 8; a view."""
    if orientation > 4:  # 5 to 8 are 1, 4, 3, 2 seen in the mirror of the main diagonal
        samples = samples.swapaxes(0, 1)
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    rows = slice(None, None, -1 if orientation in (3, 4) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3) else 1)
    return samples[rows, columns]
