"""An image as the planes of numbers that a network sees, and a gradient's way back, in NumPy.

For a device whose image stays on the host. Both are products with a 3 x 3 matrix: by einsum, not by
BLAS, whose threads go on spinning for a while after each product. Part by part, so that what is in
between stays in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pynst.backends.slices import slices

__all__ = ["from_planes", "to_planes"]


def to_planes(
    image: NDArray[np.floating[Any]],
    axes: NDArray[np.float64],
    mean: NDArray[np.float64],
    dtype: DTypeLike,
) -> NDArray[np.floating[Any]]:
    """The planes of an image: ``axes @ (255 x - mean)`` for each pixel x.

    Parameters
    ----------
    image : ndarray (H, W, 3), floating
        sRGB, nominally in [0, 1].
    axes : ndarray (3, 3)
        `Network.input_axes`, (planes, colours).
    mean : ndarray (3,)
        `Network.mean`, in 0..255.
    dtype : dtype
        Type of the result; the computation itself is in float64.

    Returns
    -------
    ndarray (3, H, W)
    """
    pixels = image.reshape(-1, 3)
    planes = np.empty((3, len(pixels)), dtype)
    for span in slices(len(pixels)):
        colours = np.multiply(pixels[span].T, 255.0, order="C", dtype=np.float64)
        colours -= mean[:, np.newaxis]
        planes[:, span] = np.einsum("pc,cm->pm", axes, colours)
    return planes.reshape(3, *image.shape[:2])


def from_planes(
    gradient: NDArray[np.floating[Any]], axes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The gradient with respect to the image from that with respect to its planes.

    Parameters
    ----------
    gradient : ndarray (3, H, W), floating
        dL/d planes.
    axes : ndarray (3, 3)
        As for `to_planes`.

    Returns
    -------
    ndarray (H, W, 3), float64
        dL/dx.
    """
    planes = gradient.reshape(3, -1)
    pixels = np.empty((planes.shape[1], 3))
    scaled = 255.0 * axes
    for span in slices(len(pixels)):
        pixels[span] = np.einsum("pc,pm->cm", scaled, planes[:, span].astype(np.float64)).T
    return pixels.reshape(*gradient.shape[1:], 3)
