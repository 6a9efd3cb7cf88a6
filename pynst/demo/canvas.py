"""What both pictures of the demonstration share: coordinates, noise, sizes.

Pictures are composed in a world of ASPECT x 1 (x to the right, y down, both from the upper left
corner) and drawn on a grid of sample points fine enough that the average over a pixel is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError

__all__ = [
    "ASPECT",
    "Array",
    "Grid",
    "Noise",
    "average",
    "check_size",
    "make_grid",
    "mix",
    "smoothstep",
]

Array: TypeAlias = NDArray[Any]
"""Pictures and coordinates: float32, plenty for eight bits. Points and directions: float64."""

ASPECT = 4 / 3
"""Width of the composition in units of its height; other shapes show its middle part."""

MIN_SIZE, MAX_SIZE = 32, 4096
LONG_SIDE_SAMPLES, MOST_SAMPLES = 900, 4  # the latter per pixel and axis
"""Small pictures take several samples per pixel, so that every size shows the same detail."""


@dataclass(frozen=True)
class Grid:
    """Sample points of a picture in world coordinates.

    Attributes
    ----------
    x, y : (W,) and (H,) arrays
        World coordinates of the columns and rows of samples.
    step : float
        Distance between neighbouring samples.
    factor : int
        Samples per pixel and axis.
    """

    x: Array
    y: Array
    step: float
    factor: int


def check_size(name: str, width: object, height: object) -> None:
    """Raise `ImageError` unless both sides are integers within MIN_SIZE..MAX_SIZE."""
    for side, size in (("width", width), ("height", height)):
        if not isinstance(size, (int, np.integer)) or not MIN_SIZE <= size <= MAX_SIZE:
            raise ImageError(
                f"{name}: {side} must be an integer from {MIN_SIZE} to {MAX_SIZE}, got {size!r}"
            )


def make_grid(width: int, height: int) -> Grid:
    """Lay samples over the middle part of the world that a width x height picture shows."""
    factor = min(max(1, round(LONG_SIDE_SAMPLES / max(width, height))), MOST_SAMPLES)
    step = min(ASPECT / width, 1 / height) / factor
    columns, rows = width * factor, height * factor
    x = ASPECT / 2 + (np.arange(columns) - (columns - 1) / 2) * step
    y = 0.5 + (np.arange(rows) - (rows - 1) / 2) * step
    return Grid(x.astype(np.float32), y.astype(np.float32), step, factor)


def average(samples: Array, factor: int) -> NDArray[np.uint8]:
    """Average factor x factor samples in [0, 1] into each pixel and round to eight bits."""
    H, W = samples.shape[0] // factor, samples.shape[1] // factor
    pixels = samples.reshape(H, factor, W, factor, 3).mean(axis=(1, 3))
    return np.asarray(np.clip(pixels * 255 + 0.5, 0, 255), dtype=np.uint8)


def smoothstep(low: float | Array, high: float | Array, x: Array) -> Array:
    """Rise from 0 at `low` to 1 at `high` without corners; falls where low > high."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def mix(a: Array, b: Array, weight: Array) -> Array:
    """Blend from colour `a` (weight 0) to colour `b` (weight 1), channels last."""
    return np.asarray(a + (b - a) * weight[..., None])


class Noise:
    """Smooth random functions of the plane, the same for every size of picture.

    Parameters
    ----------
    seed : int
        Seed of the random lattice.
    """

    SIZE = 256  # period of the lattice: a power of two, so that wrapping is a bit mask

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        corner = rng.uniform(-1, 1, (self.SIZE, self.SIZE)).astype(np.float32)
        below = np.roll(corner, -1, axis=0)
        # Per cell: the value at its upper and lower left corner, and the way to the right ones.
        self.upper, self.lower = corner.ravel(), below.ravel()
        self.upper_rise = (np.roll(corner, -1, axis=1) - corner).ravel()
        self.lower_rise = (np.roll(below, -1, axis=1) - below).ravel()

    def __call__(self, x: Array, y: Array) -> Array:
        """Return noise in [-1, 1] with features of about one unit at the points (x, y)."""
        x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
        column, row = np.floor(x), np.floor(y)
        s, t = x - column, y - row
        s *= s * (3 - 2 * s)
        t *= t * (3 - 2 * t)
        mask = self.SIZE - 1
        cell = (column.astype(np.int64) & mask) + (row.astype(np.int64) & mask) * self.SIZE
        upper, lower = self.upper_rise.take(cell), self.lower_rise.take(cell)
        # In place, for most of the time of a picture is spent here.
        upper *= s
        upper += self.upper.take(cell)
        lower *= s
        lower += self.lower.take(cell)
        lower -= upper
        lower *= t
        lower += upper
        return np.asarray(lower, dtype=np.float32)

    def fractal(self, x: Array, y: Array, octaves: int, gain: float = 0.5) -> Array:
        """Sum noise of doubling frequency, each octave `gain` times as strong as the last."""
        total, weight = self(x, y), 1.0
        for octave in range(1, octaves):
            weight *= gain
            # Turned by an irrational slope, lest the lattices of the octaves line up.
            x, y = 1.6 * x + 1.2 * y + 17.3 * octave, 1.6 * y - 1.2 * x + 5.1 * octave
            total = total + np.float32(weight) * self(x, y)
        return np.asarray(total * np.float32((1 - gain) / (1 - gain**octaves)), dtype=np.float32)
