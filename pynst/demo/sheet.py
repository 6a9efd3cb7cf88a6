"""Several pictures in one: content, style and results, side by side and in rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError

__all__ = ["compose_sheet", "compose_triptych"]

Image = NDArray[np.uint8]


def compose_triptych(content: Image, style: Image, result: Image) -> Image:
    """Put content, style and result side by side, each as large as the result.

    Parameters
    ----------
    content, style, result : (H, W, 3) uint8 arrays
        sRGB; the sizes may differ.

    Returns
    -------
    (H, 3 W + 2 line, 3) uint8 array
        H and W are those of the result; see `compose_sheet`.

    Raises
    ------
    ImageError
        A picture is not a uint8 array of shape (H, W, 3).
    """
    for name, image in (("content", content), ("style", style), ("result", result)):
        _check("compose_triptych", name, image)
    return compose_sheet([[content, style, result]])


def compose_sheet(rows: Sequence[Sequence[Image]]) -> Image:
    """Put pictures into rows, each as large as the last one, the most important.

    The others are scaled until they cover that size; what juts out is cut off evenly at both sides.
    A thin white line separates the pictures.

    Parameters
    ----------
    rows : sequence of sequences of (H, W, 3) uint8 arrays
        sRGB; the sizes may differ. All rows have the same number of pictures.

    Returns
    -------
    (n H + (n - 1) line, m W + (m - 1) line, 3) uint8 array
        For n rows of m pictures. H and W are those of the last one, and line is H / 100, at least
        2 pixels.

    Raises
    ------
    ImageError
        A picture is not a uint8 array of shape (H, W, 3), or the rows differ in length.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or 0 in lengths:
        raise ImageError(
            "compose_sheet: rows must be equally many pictures each, got"
            f" {', '.join(str(len(row)) for row in rows) or 'none'}"
        )
    for number, image in enumerate((image for row in rows for image in row), 1):
        _check("compose_sheet", f"picture {number}", image)
    H, W = rows[-1][-1].shape[:2]
    width = max(2, round(H / 100))
    strips = [_joined([_cover(image, H, W) for image in row], width, axis=1) for row in rows]
    return _joined(strips, width, axis=0)


def _check(function: str, name: str, image: Image) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"{function}: {name} must be uint8 of shape (H, W, 3), "
            f"got {image.dtype} of shape {image.shape}"
        )


def _joined(images: list[Image], width: int, axis: int) -> Image:
    """Images one after the other along an axis, with white lines of a width between them."""
    shape = list(images[0].shape)
    shape[axis] = width
    line = np.full(shape, 255, np.uint8)
    parts = [part for image in images for part in (line, image)]
    return np.concatenate(parts[1:], axis=axis)


def _cover(image: Image, H: int, W: int) -> Image:
    """Scale the middle part of an image that has the shape H : W to that size."""
    h, w = image.shape[:2]
    if (h, w) == (H, W):
        return image
    scale = min(h / H, w / W)
    down = _resampler(h, H, scale)
    right = _resampler(w, W, scale)
    scaled = np.einsum("ij,jlc,kl->ikc", down, image.astype(np.float32), right, optimize=True)
    return np.asarray(np.clip(scaled + 0.5, 0, 255), dtype=np.uint8)


def _resampler(source: int, target: int, scale: float) -> NDArray[np.float32]:
    """Return the (target, source) weights of a triangle filter as wide as a target pixel."""
    center = (source - 1) / 2 + (np.arange(target) - (target - 1) / 2) * scale
    distance = np.abs(np.arange(source)[None, :] - center[:, None]) / max(scale, 1.0)
    weights = np.maximum(1 - distance, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
