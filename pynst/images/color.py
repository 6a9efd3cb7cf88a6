"""Colour: keep the colours of the content, before the transfer or after it.

Gatys et al. [1]_ describe both ways. After: `luminance_of_result` takes only light and dark from
the result. Before: `match_color` gives the style picture the content's palette, so that the
transfer has no foreign colours to bring.

References
----------
.. [1] L. Gatys, M. Bethge, A. Hertzmann, E. Shechtman, "Preserving Color in Neural Artistic Style
   Transfer", arXiv:1606.05897, 2016.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError, OptionError

__all__ = ["luminance_of_result", "match_color", "mixed_in_linear_light"]

Pixels: TypeAlias = NDArray[np.floating[Any]]

_LUMA = np.array([0.2126, 0.7152, 0.0722])  # weights of R, G and B in luma, ITU-R BT.709
_FLOOR = 1e-4  # variance of 2.5 levels of 255: what varies less is taken for noise, not colour


def luminance_of_result(result: Pixels, content: Pixels) -> NDArray[np.float64]:
    """Luma of the result with the chroma of the content: the option `preserve_color`.

    A colour is split into luma and chroma as in YIQ, x = Y (1, 1, 1) + chroma, where Y is a
    weighted sum of R, G and B. As the split is linear and greys have no chroma, no axes have to be
    chosen for the chroma: out = Y(result) (1, 1, 1) + content - Y(content) (1, 1, 1).

    Parameters
    ----------
    result, content : ndarray of shape (H, W, 3)
        sRGB in [0, 1], of the same shape.

    Returns
    -------
    ndarray of shape (H, W, 3)
        float64, sRGB in [0, 1]. Where a colour would leave that range, its chroma is scaled down as
        far as needed. This keeps luma and hue; clipping each channel would change both.

    Raises
    ------
    ImageError
        The shapes differ.

    Notes
    -----
    Y is computed from the coded values, not from linear light: equal differences of coded values
    look about equal, and the network sees coded values too. The weights are those for the primaries
    of sRGB; the YIQ of the paper has those for the primaries of NTSC.
    """
    if result.shape != content.shape or result.ndim != 3 or result.shape[2] != 3:
        given = f"{result.shape} and {content.shape}"
        raise ImageError(
            f"luminance_of_result: both images must have one shape (H, W, 3), got {given}"
        )
    Y = (result @ _LUMA)[:, :, None]
    chroma = content - (content @ _LUMA)[:, :, None]
    room = np.where(chroma > 0, 1 - Y, Y)  # from Y to the end of [0, 1] towards the colour
    reach = np.abs(chroma)
    scale = np.divide(room, reach, out=np.ones_like(reach), where=reach > room)
    scale = scale.min(axis=2, keepdims=True)
    pixels: NDArray[np.float64] = np.clip(Y + scale * chroma, 0.0, 1.0)  # against rounding
    return pixels


def mixed_in_linear_light(here: Pixels, there: Pixels, share: Pixels) -> NDArray[np.float64]:
    """Mix two images as two lights mix: the coded values are decoded by the curve of sRGB first.

    A soft edge between dark and bright is then as wide on both sides; mixed as coded, it would
    look eaten by the dark side.

    Parameters
    ----------
    here, there : ndarray of shape (H, W, 3)
        sRGB in [0, 1].
    share : ndarray of shape (H, W)
        Share of `there`, in [0, 1].

    Returns
    -------
    ndarray of shape (H, W, 3)
        float64, sRGB in [0, 1]. Where a share is 0 or 1 the pixels are exactly those of one image.
    """
    s = share[:, :, None]
    light = (1 - s) * _decoded(here) + s * _decoded(there)
    return np.where(s == 0, here, np.where(s == 1, there, np.clip(_coded(light), 0.0, 1.0)))


def _decoded(pixels: Pixels) -> NDArray[np.float64]:
    """Linear light of values coded as sRGB, IEC 61966-2-1."""
    return np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)


def _coded(light: Pixels) -> NDArray[np.float64]:
    """The inverse of `_decoded`."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def match_color(
    style: Pixels,
    content: Pixels,
    method: Literal["cholesky", "symmetric"] = "symmetric",
    *,
    style_mask: Pixels | None = None,
    content_mask: Pixels | None = None,
) -> NDArray[np.float64]:
    """Give the style picture the mean colour and the covariance of the colours of the content.

    x -> A (x - mean_style) + mean_content, where A S A^T = C and S and C are the covariances of the
    style's and the content's colours. Several matrices A do this; they differ by a rotation:

    - ``"cholesky"``: A = L_C L_S^-1 of the triangular factors, as in the paper; depends on the
      order of the channels.
    - ``"symmetric"``: the one symmetric positive A = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2, which is
      the optimal transport between two normal distributions: it moves the colours least.

    Parameters
    ----------
    style : ndarray of shape (H, W, 3)
        sRGB in [0, 1].
    content : ndarray of shape (H', W', 3)
        sRGB in [0, 1]; its size may differ from that of `style`.
    method : {"symmetric", "cholesky"}
        Which matrix A to use.
    style_mask, content_mask : ndarray of shape (H, W) and (H', W'), optional
        Shares with which pixels count for mean and covariance, not 0 everywhere. The whole of
        `style` is transformed all the same.

    Returns
    -------
    ndarray of shape (H, W, 3)
        float64, clipped to [0, 1].

    Raises
    ------
    ImageError
        A shape is not (H, W, 3).
    OptionError
        `method` is unknown.

    Notes
    -----
    Along directions in which the style's variance is below 1e-4, S is taken to have that variance:
    the noise of a grey or flat style is not stretched to the range of the content. Without such
    directions, and where nothing is clipped, mean and covariance are met exactly.
    """
    for name, pixels in (("style", style), ("content", content)):
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ImageError(f"match_color: {name} must have shape (H, W, 3), got {pixels.shape}")
    style_mean, S = _statistics(style, style_mask)
    content_mean, C = _statistics(content, content_mask)
    S = _power(S, 1.0, _FLOOR)
    if method == "cholesky":
        C = _power(C, 1.0, 1e-12)  # positive definite, whatever the content
        A = np.linalg.cholesky(C) @ np.linalg.inv(np.linalg.cholesky(S))
    elif method == "symmetric":
        root, inverse_root = _power(S, 0.5), _power(S, -0.5)
        A = inverse_root @ _power(root @ C @ root, 0.5) @ inverse_root
    else:
        raise OptionError(f"match_color: method must be cholesky or symmetric, got {method!r}")
    return np.clip((style - style_mean) @ A.T + content_mean, 0.0, 1.0)


def _statistics(
    pixels: Pixels, mask: Pixels | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the mean (3,) and the covariance (3, 3) of the colours, inside a mask if any."""
    colours = pixels.reshape(-1, 3).astype(np.float64)
    if mask is None:
        mean = colours.mean(axis=0)
        colours -= mean
        return mean, colours.T @ colours / len(colours)
    shares = mask.reshape(-1) / mask.sum()
    mean = shares @ colours
    colours -= mean
    return mean, (shares * colours.T) @ colours


def _power(matrix: NDArray[np.float64], exponent: float, floor: float = 0.0) -> NDArray[np.float64]:
    """Raise a symmetric matrix to a power, with eigenvalues below `floor` set to `floor` first."""
    values, vectors = np.linalg.eigh(matrix)
    result: NDArray[np.float64] = (vectors * np.maximum(values, floor) ** exponent) @ vectors.T
    return result
