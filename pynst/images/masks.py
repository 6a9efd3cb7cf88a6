"""Masks: pictures that say where. They are read, resized, carried down to layers, and feathered.

A mask is an array (H, W) of shares in [0, 1]; 1, white, is inside. Every resizing here is linear
and never leaves the range of its values, so that masks that add up to one at each pixel still do so
at every size and at every layer.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.images import pillow
from pynst.images.bands import size_to_long_side
from pynst.images.files import binary_input, is_readable
from pynst.images.pictures import ImageLike, Picture, read_picture

__all__ = [
    "Mask",
    "carried_down",
    "check_aspect",
    "feathered",
    "flat_colours",
    "read_mask",
    "resize_mask",
]

Mask = NDArray[np.float64]

_NEAR = 8  # levels of 255 by which lossy compression moves a flat colour
_MOST_COLOURS = 16
_LEAST_SHARE = 1e-3  # of the pixels that a colour of a map has, where the map has many colours
_LEAST_FLAT = 0.9  # share of a map's pixels that have one of its flat colours
_FEATHER = 0.004  # standard deviation of the soft edge, as a share of the long side


def read_mask(source: ImageLike, name: str, *, long_side: int | None = None) -> Picture:
    """Read a mask.

    Parameters
    ----------
    source : as for `pynst.load_image`
        Also an array of truth values. Where the picture has transparency, its alpha is the mask;
        elsewhere its brightness is, the mean of the coded R, G and B.
    name : str
        What the mask is, e.g. ``"mask of style 1"``: error messages begin with it.
    long_side : int, optional
        As for `read_picture`.

    Returns
    -------
    Picture
        Its ``pixels`` are the mask, (H, W), in [0, 1]; its ``alpha`` is None.

    Raises
    ------
    ImageError
        The mask cannot be read, or is black everywhere.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.bool_:
        source = source.astype(np.float64)
    picture = read_picture(source, name, long_side=long_side)
    notes = [note for note in picture.notes if note != "alpha composited over white"]
    if picture.alpha is not None:
        mask = picture.alpha
        notes.append("its alpha is the mask")
    else:
        mask = picture.pixels.mean(axis=2)
        if _is_jpeg(source, name):
            mask = _without_ringing(mask, notes)
    if not mask.any():
        raise ImageError(f"{name}: is black everywhere, so that there is no pixel inside")
    return Picture(mask, None, tuple(notes), picture.source, picture.size)


def _is_jpeg(source: Any, name: str) -> bool:
    """Whether the picture was compressed with loss, which moves black and white a little."""
    if isinstance(source, str | os.PathLike) or is_readable(source):
        with binary_input(source, name) as file:
            file.seek(0)
            return file.read(3) == b"\xff\xd8\xff"
    return pillow.is_image(source) and source.format == "JPEG"


def _without_ringing(mask: Mask, notes: list[str]) -> Mask:
    """Take what is nearly black or white for it; adds to `notes` of how many pixels."""
    snapped = np.where(mask <= _NEAR / 255, 0.0, np.where(mask >= 1 - _NEAR / 255, 1.0, mask))
    count = int(np.count_nonzero(snapped != mask))
    if count:
        notes.append(f"JPEG: {count} pixels within {_NEAR} levels of black or white taken for it")
    return snapped


def check_aspect(mask: Picture, name: str, size: tuple[int, int], of: str) -> None:
    """Refuse a mask whose aspect is not that of its picture, within one pixel.

    Parameters
    ----------
    mask, name
        The mask, and what it is called.
    size : tuple of int
        Height and width of what it belongs to.
    of : str
        What that is, e.g. ``"content"``.

    Raises
    ------
    ImageError
        Names both sizes.
    """
    h, w = mask.size
    wanted = size_to_long_side(*size, max(h, w))
    if abs(wanted[0] - h) > 1 or abs(wanted[1] - w) > 1:
        raise ImageError(
            f"{name}: has {w} x {h} pixels, another aspect than the {of} of {size[1]} x {size[0]}"
        )


def resize_mask(mask: Mask, H: int, W: int) -> Mask:
    """Resize by a linear filter, widened to the scale when shrinking.

    Unlike a bicubic one it does not overshoot: what is 0 or 1 around a pixel stays exactly so.
    """
    if mask.shape == (H, W):
        return mask
    return np.clip(pillow.resize_plane(mask, H, W, linear=True).astype(np.float64), 0.0, 1.0)


def carried_down(mask: Mask, h: int, w: int) -> Mask:
    """Carry a mask of an image down to a layer of h x w pixels, by means over 2 x 2.

    These are the steps of average pooling; they are taken where the network pools by maxima, too,
    since the share of a region in a pixel is a mean whatever the features are. VGG-19 drops an odd
    last row or column; the built-in network, whose sizes are rounded up, repeats it.
    """
    H, W = mask.shape
    for steps in itertools.count():
        if (H >> steps, W >> steps) == (h, w) or (-(-H >> steps), -(-W >> steps)) == (h, w):
            break
        if steps > 32:
            raise ValueError(f"a mask of {H} x {W} has no layer of {h} x {w}")
    for left in range(steps, 0, -1):
        rows, columns = mask.shape
        repeated = [(0, int(h << left > rows)), (0, int(w << left > columns))]
        mask = np.pad(mask, repeated, "edge")
        rows, columns = mask.shape[0] // 2 * 2, mask.shape[1] // 2 * 2
        corners = [mask[i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]
        mask = (corners[0] + corners[1] + corners[2] + corners[3]) / 4
    return mask


def feathered(mask: Mask) -> Mask:
    """Soften the edges of a mask, nearly by a Gaussian of 0.4 % of the long side: 2 pixels of 512.

    Three means over a window, along each axis; the border is repeated.
    """
    half = max(1, round(_FEATHER * max(mask.shape)))  # the variance of a window is n (n + 1) / 3
    for _ in range(3):
        for axis in (0, 1):
            mask = _window_means(mask, half, axis)
    return np.clip(mask, 0.0, 1.0)


def _window_means(mask: Mask, half: int, axis: int) -> Mask:
    """Means over windows of 2 `half` + 1 pixels along an axis."""
    rows = np.moveaxis(mask, axis, 0)
    padded = np.pad(rows, [(half + 1, half), (0, 0)], "edge")
    sums = np.cumsum(padded, axis=0)
    means = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    return np.moveaxis(means, 0, axis)


def flat_colours(
    pixels: NDArray[np.float64], name: str
) -> tuple[NDArray[np.uint8], NDArray[np.intp], int]:
    """Find the flat colours of a map, and which of them each pixel has.

    Colours within 8 levels of a more frequent one are that colour, as lossy compression leaves
    them. A colour that nowhere fills 3 x 3 pixels is a shade at the border of others; so is one of
    less than a thousandth of the pixels where there are more than 16.

    Parameters
    ----------
    pixels : ndarray (H, W, 3)
        sRGB in [0, 1].
    name : str
        What the map is; error messages begin with it.

    Returns
    -------
    colours : ndarray (K, 3), uint8
        Most frequent first.
    labels : ndarray (H, W) of int
        Index of the colour of each pixel; of other pixels, of the nearest one.
    others : int
        How many pixels had another colour.

    Raises
    ------
    ImageError
        The picture has more than 16 flat colours, or is no map: most of its pixels have shades.
    """
    levels = np.rint(pixels * 255).astype(np.int32)
    codes = levels[:, :, 0] << 16 | levels[:, :, 1] << 8 | levels[:, :, 2]
    found, inverse = np.unique(codes, return_inverse=True)
    inverse = inverse.reshape(codes.shape)
    filled = _is_filled(levels)
    counts = np.bincount(inverse[filled if filled.any() else ...].reshape(-1), minlength=len(found))
    shades = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    least = 1.0 if np.count_nonzero(counts) <= _MOST_COLOURS else _LEAST_SHARE * codes.size
    chosen: list[int] = []
    for i in np.argsort(-counts, kind="stable"):
        if counts[i] < least or len(chosen) > _MOST_COLOURS:
            break
        if all(np.abs(shades[i] - shades[j]).max() > _NEAR for j in chosen):
            chosen.append(int(i))
    if len(chosen) > _MOST_COLOURS:
        raise ImageError(f"{name}: has more than {_MOST_COLOURS} flat colours")
    distances = np.array([np.abs(shades - shades[i]).max(axis=1) for i in chosen]).reshape(
        len(chosen), len(found)
    )
    flat = (distances.min(axis=0, initial=256) <= _NEAR)[inverse]
    share = flat.mean()
    if share < _LEAST_FLAT:
        shades_share = f"{100 * (1 - share):.0f} % of its pixels have shades"
        raise ImageError(f"{name}: is no map in flat colours: {shades_share}")
    labels = distances.argmin(axis=0)[inverse]
    others = int(np.count_nonzero(codes != found[chosen][labels]))
    return shades[chosen].astype(np.uint8), labels, others


def _is_filled(levels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether the 3 x 3 pixels around each are of its colour, within 8 levels."""
    H, W = levels.shape[:2]
    padded = np.pad(levels, [(1, 1), (1, 1), (0, 0)], "edge")
    filled = np.ones((H, W), bool)
    for i, j in itertools.product(range(3), repeat=2):
        filled &= (np.abs(padded[i : i + H, j : j + W] - levels) <= _NEAR).all(axis=2)
    return filled
