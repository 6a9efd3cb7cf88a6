"""What can be said of a picture by its pixels: fine detail, stripes along the axes, colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

__all__ = ["Stripes", "color_distance", "fine_detail", "stripes"]

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]

_WINDOW = 64  # side of the windows whose spectrum is taken, pixels
_STEP = _WINDOW // 4  # from one window to the next, pixels
_FLATTEST = 0.25  # share of the windows in which stripes are looked for
_FEWEST = 4  # windows at least
_LOWEST, _HIGHEST = 0.3, 0.5  # cycles per pixel: periods of 2 to 3.3 pixels
_ON_AXIS = 1.5 / _WINDOW  # cycles per pixel: what the window's own spectrum spreads

_DIRECTIONS = 64  # along which colours are projected
_LEVELS = 1024  # quantiles of each projection


@dataclass(frozen=True)
class Stripes:
    """Short periods in the flattest part of a picture, RMS in grey levels of 255.

    Attributes
    ----------
    axes : float
        Components along the two axes, with periods of 2 to 3.3 pixels.
    isotropic : float
        What these would be if the other directions were as strong there.
    detail : float
        All components of these periods.
    """

    axes: float
    isotropic: float
    detail: float

    @property
    def ratio(self) -> float:
        """Axes over isotropic: 1 if no direction is preferred."""
        return self.axes / max(self.isotropic, 1e-9)


def stripes(picture: Pixels, content: Pixels) -> Stripes:
    """Measure stripes along the axes, where the content has next to no detail of its own.

    Parameters
    ----------
    picture, content : ndarray (H, W, 3), uint8
        Of the same shape, both sides at least 64 pixels. The content says which quarter of the
        windows is the flattest: those with the smallest mean difference of neighbours.

    Returns
    -------
    Stripes

    Raises
    ------
    ValueError
        The shapes differ, or a side is too short.
    """
    if picture.shape != content.shape or min(picture.shape[:2]) < _WINDOW:
        raise ValueError(
            f"picture and content must have one shape of at least {_WINDOW} pixels a side, got"
            f" {picture.shape} and {content.shape}"
        )
    windows, flat = _windows(picture), _windows(content)
    roughness = [np.abs(np.diff(w, axis=0)).mean() + np.abs(np.diff(w, axis=1)).mean()
                 for w in flat]  # fmt: skip
    count = max(_FEWEST, int(len(windows) * _FLATTEST))
    chosen = np.argsort(roughness, kind="stable")[:count]
    power = np.mean([_spectrum(windows[i]) for i in chosen], axis=0)
    f = np.abs(np.fft.fftfreq(_WINDOW))
    radius = np.hypot(f[:, None], f)
    ring = (radius >= _LOWEST) & (radius < _HIGHEST)
    axes = ring & ((f[:, None] < _ON_AXIS) | (f < _ON_AXIS))
    others = power[ring & ~axes].mean() * axes.sum()
    squares = power[axes].sum(), others, power[ring].sum()
    return Stripes(*(float(np.sqrt(square)) for square in squares))


def _windows(picture: Pixels) -> list[Plane]:
    """All windows of a picture's grey levels, row by row."""
    grey = picture.astype(np.float64).mean(axis=2)
    H, W = grey.shape
    return [
        grey[i : i + _WINDOW, j : j + _WINDOW]
        for i in range(0, H - _WINDOW + 1, _STEP)
        for j in range(0, W - _WINDOW + 1, _STEP)
    ]


def _spectrum(window: Plane) -> Plane:
    """Power at each frequency, which add up to the window's mean square, by Parseval."""
    hann = np.outer(np.hanning(_WINDOW), np.hanning(_WINDOW))
    transform = np.fft.fft2((window - window.mean()) * hann)
    power: Plane = np.abs(transform) ** 2 / (hann**2).sum() / _WINDOW**2
    return power


def fine_detail(picture: Pixels) -> float:
    """RMS of pixel minus mean of its 3 x 3 neighbourhood, over all channels, in levels of 255."""
    x = picture.astype(np.float64)
    return float(np.sqrt(np.mean((x - uniform_filter(x, size=(3, 3, 1), mode="nearest")) ** 2)))


def color_distance(picture: Pixels, painting: Pixels) -> float:
    """Distance of the colours of two pictures, wherever they stand: sliced Wasserstein in CIELAB.

    Parameters
    ----------
    picture, painting : ndarray (H, W, 3), uint8, sRGB
        Of any two sizes.

    Returns
    -------
    float
        In units of CIELAB's Delta E (1976): zero for the same palette in the same proportions, d if
        all colours are shifted by d.

    Notes
    -----
    The colours are projected on 64 directions that cover the sphere evenly. In one dimension the
    Wasserstein distance is that of the sorted values. The root of the mean square over the
    directions is multiplied by the root of three, as a shift shows only a third of its square on
    average.
    """
    axes = _sphere(_DIRECTIONS)
    ours, theirs = (_quantiles(_lab(each) @ axes.T) for each in (picture, painting))
    return float(np.sqrt(3 * np.mean((ours - theirs) ** 2)))


def _lab(picture: Pixels) -> Plane:
    """The colours of a picture in CIELAB (D65), one row each."""
    from skimage.color import rgb2lab

    found: Any = rgb2lab(picture)
    return np.asarray(found, np.float64).reshape(-1, 3)


def _quantiles(values: Plane) -> Plane:
    """Equally spaced quantiles of each column."""
    return np.quantile(values, (np.arange(_LEVELS) + 0.5) / _LEVELS, axis=0)


def _sphere(count: int) -> Plane:
    """Directions on a half sphere, evenly spread along a spiral (Fibonacci lattice); unit rows."""
    z = (np.arange(count) + 0.5) / count
    turn = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    r = np.sqrt(1 - z**2)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)
