"""From stored samples to the pixels that the network sees, a band of rows at a time.

A decoded picture takes up to 8 bytes per pixel, its float64 pixels 24. Everything between the two
(alpha, colour management, reduction) is done on bands of some megabytes, so that reading a picture
never takes much more than these two, and little more than the first if the picture is reduced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.images.arrays import Samples, peak, to_unit, upright
from pynst.images.pillow import resize_plane

__all__ = ["Stored", "assembled", "reading_size", "size_to_long_side"]

Plane: TypeAlias = NDArray[np.float64]

_BAND = 1 << 20  # samples of a band; as float64 they take 8 MB
_MARGIN = 2  # reach of the bicubic kernel, in pixels of the result
_LARGE = 16_000_000  # pixels; a picture of no more is never reduced
_SPARE = 3  # a reduced picture has three times the long side that is needed


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A decoded picture whose rows are converted to samples on demand.

    Attributes
    ----------
    size : tuple of int
        Height and width of the whole picture, before `orientation` is undone.
    rows : callable
        ``rows(first, last)`` gives the colour (rows, W) or (rows, W, 3) and the alpha (rows, W),
        or None, of the decoded rows from `first` to before `last`.
    orientation : int
        EXIF orientation, 1 to 8.
    fraction : int
        1, or 2, 4, ... for a picture that is decoded at a half, a quarter, ... of `size`, rounded
        up: the picture then covers its last row and column only in part.
    first_sample : float
        Where the middle of the first decoded sample lies in each direction, in pixels of the whole
        picture: 0.5 for the middle of the first of those, `fraction` / 2 for that of a square.
    """

    size: tuple[int, int]
    rows: Callable[[int, int], tuple[Samples, Samples | None]]
    orientation: int = 1
    fraction: int = 1
    first_sample: float = 0.5


def size_to_long_side(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Size of the same aspect whose longer side is `long_side`.

    Parameters
    ----------
    height, width, long_side : int
        Pixels, at least 1.

    Returns
    -------
    tuple of int
        Height and width, rounded half up, at least 1.
    """
    longest = max(height, width)
    h, w = ((2 * side * long_side + longest) // (2 * longest) for side in (height, width))
    return max(1, h), max(1, w)


def reading_size(height: int, width: int, long_side: int | None) -> tuple[int, int]:
    """Size at which a picture is read if no more than `long_side` pixels a side are needed.

    That is its own size, unless it is large and at least six times larger than needed. Then it is
    three times the needed size exactly: resizing it to `long_side` so gives the same size as
    resizing the full picture. It also gives nearly the same pixels: on photographs and paintings
    they differ by up to 0.3 levels of 255 on average, and by up to 2 at the most; where a JPEG 2000
    picture is halved by its decoder, by up to 1 on average and 12 at the most.
    """
    longest = max(height, width)
    if long_side is None or height * width <= _LARGE or longest < 2 * _SPARE * long_side:
        return height, width
    h, w = size_to_long_side(height, width, long_side)
    return min(height, _SPARE * h), min(width, _SPARE * w)


def assembled(stored: Stored, size: tuple[int, int]) -> tuple[Samples, Plane | None]:
    """Composite over white, resize to `size` if that is not the stored one, and turn upright.

    `size` counts height and width as stored. Returns float64 pixels (H, W, 3) in [0, 1], and the
    alpha (H, W) if anything is transparent. The pixels of a large picture that is neither reduced
    nor transparent stay the uint8 or uint16 samples that they were, in an eighth or a quarter of
    the memory.
    """
    turned = size if stored.orientation <= 4 else size[::-1]
    as_stored = {6: 8, 8: 6}.get(stored.orientation, stored.orientation)  # the inverse rotation
    reduced = size != stored.size
    dtype = _dtype_to_keep(stored) if not reduced and size[0] * size[1] > _LARGE else None
    pixels, alpha = np.empty((*turned, 3), dtype or np.float64), None
    stored_pixels = stored.size[0] * stored.size[1] // stored.fraction**2
    step = max(4, _BAND * size[0] // (3 * stored_pixels + 1))
    for row in range(0, size[0], step):
        end = min(size[0], row + step)
        if dtype is not None:
            colour, opacity = stored.rows(row, end)
        else:
            colour, opacity = (
                _reduced(stored, row, end, size) if reduced else _band(stored, row, end)
            )
        upright(pixels, as_stored)[row:end] = colour if colour.ndim == 3 else colour[:, :, None]
        if opacity is not None and (alpha is not None or opacity.min() < 1.0):
            alpha = np.ones(turned) if alpha is None else alpha
            upright(alpha, as_stored)[row:end] = opacity
    return pixels, alpha


def _dtype_to_keep(stored: Stored) -> np.dtype[Any] | None:
    """The type of whole-number samples without an alpha; None of any other."""
    colour, alpha = stored.rows(0, 1)
    return colour.dtype if alpha is None and colour.dtype.kind == "u" else None


def _band(stored: Stored, first: int, last: int) -> tuple[Plane, Plane | None]:
    """Float pixels (rows, W) or (rows, W, 3), composited over white, and the alpha."""
    colour, alpha = stored.rows(first, last)
    return (to_unit(colour), None) if alpha is None else _composited(colour, alpha)


def _composited(colour: Samples, alpha: Samples) -> tuple[Plane, Plane]:
    """Float pixels (rows, W) or (rows, W, 3) over white, and the alpha."""
    pixels, opacity = to_unit(colour), to_unit(alpha)
    weight = opacity if pixels.ndim == 2 else opacity[:, :, None]
    pixels *= weight
    pixels += 1.0 - weight
    return pixels, opacity


def _reduced(
    stored: Stored, row: int, end: int, size: tuple[int, int]
) -> tuple[Plane, Plane | None]:
    """Rows from `row` to before `end` of the picture resized to `size`, and of its alpha.

    The bands are those of the whole picture resized at once, as each is given the stored rows that
    the kernel reaches beyond its own.
    """
    covered, right = stored.size[0] / stored.fraction, stored.size[1] / stored.fraction
    edge = 0.5 - stored.first_sample / stored.fraction  # left and upper edge, in decoded samples
    scale = covered / size[0]
    first = max(0, floor(edge + (row - _MARGIN) * scale) - 1)
    last = min(ceil(covered), ceil(edge + (end + _MARGIN) * scale) + 1)
    upper, lower = row * scale - first, min(end * scale, covered) - first
    box = (edge, edge + upper, edge + right, edge + lower)

    def resized(samples: Samples) -> Plane:
        planes = samples.reshape(*samples.shape[:2], -1)
        if edge > 0:  # the right and the lower edge lie beyond the last samples
            planes = np.pad(planes, ((0, 1), (0, 1), (0, 0)), mode="edge")
        result = np.empty((end - row, size[1], planes.shape[2]))
        for c in range(planes.shape[2]):
            result[:, :, c] = resize_plane(planes[:, :, c], end - row, size[1], box)
        result /= peak(samples.dtype)
        np.clip(result, 0.0, 1.0, out=result)
        return result.reshape(*result.shape[:2], *samples.shape[2:])

    colour, alpha = stored.rows(first, last)
    if alpha is None:
        return resized(colour), None
    pixels, opacity = _composited(colour, alpha)
    return resized(pixels), resized(opacity)
