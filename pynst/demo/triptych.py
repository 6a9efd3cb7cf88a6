"""Content, style and result side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError

__all__ = ["compose_triptych"]

Image = NDArray[np.uint8]


def compose_triptych(content: Image, style: Image, result: Image) -> Image:
    """Put content, style and result side by side, each as large as the result.

    Content and style are scaled until they cover the size of the result; what juts out is cut off
    evenly at both sides. A thin white line separates the pictures.

    Parameters
    ----------
    content, style, result : (H, W, 3) uint8 arrays
        sRGB; the sizes may differ.

    Returns
    -------
    (H, 3 W + 2 line, 3) uint8 array
        H and W are those of the result.

    Raises
    ------
    ImageError
        A picture is not a uint8 array of shape (H, W, 3).
    """
    for name, image in (("content", content), ("style", style), ("result", result)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ImageError(
                f"compose_triptych: {name} must be uint8 of shape (H, W, 3), "
                f"got {image.dtype} of shape {image.shape}"
            )
    H, W = result.shape[:2]
    line = np.full((H, max(2, round(H / 100)), 3), 255, np.uint8)
    return np.concatenate([_cover(content, H, W), line, _cover(style, H, W), line, result], axis=1)


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
