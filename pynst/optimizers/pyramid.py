"""The preconditioner of L-BFGS: it moves the large soft shapes of an image as fast as its details.

In the pixels the gradient has most of its energy in the fine detail, and the few pairs that L-BFGS
keeps learn the large shapes last. In the variables of a Gaussian pyramid, x = x_0 + sum_k U_k y_k
with U_k from the k-th level of the pyramid to the image, both are reached within few steps. To be
minimised over those variables y is the same as to be minimised over x by steps that start from
M = sum_k U_k U_k^T instead of the identity; so the kept pairs stay as small as the image.

    M = D (sum_k w_k (B^T)^k B^k) D,   k = 0 .. K

with B the binomial reduction to half the size and D a filter that damps short stripes along the
axes. M is symmetric and positive.

Differs from the paper: it minimises over the pixels, which ``variables="pixels"`` asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIRST", "LATER", "HostOps", "Pyramid", "PyramidOps", "without_stripes"]

Vector = Any
"""An image (H, W, 3) where the loss is computed."""

_REDUCTIONS = 4
_GROWTH = 1.2
"""Factor of the variables from one level of the pyramid to the next, coarser one.

Of 1, 1.2, 1.4 and 1.6, and 4 or 6 reductions, this one reaches the loss that plain pixels reach in
the fewest evaluations without being later on any of fifteen levels of five pairs of pictures.
"""

FIRST = 1.0
"""Factor of the finest variables, beside the growth, at the first level of a run."""

LATER = 3.5
"""The same factor at the later levels.

A later level starts from large shapes and colours that are settled: what it has to find is the fine
detail. With this factor the loss ends 2 % lower (five pairs of pictures, 512 pixels), and the
picture has more of the painting's fine detail, with weaker stripes. At the first level it would
make the colours paler.
"""

_SMOOTH = (0.19967, 0.17621, 0.12110, 0.06483, 0.02702, 0.00877, 0.002235)
_SHORT = (0.295, -0.2175, 0.07)
"""The filters of `HostOps.destripe`: the factor of a pixel, of its neighbours, and so on.

In the pixels the optimisation leaves stripes of two to three pixels along the axes, long in the
other direction, which the loss hardly sees. Something that is smooth along one axis (a Gaussian of
two pixels) and changes within two or three pixels along the other is kept to 0.13 (two pixels) or
0.31 (2.5); all other fine detail passes. To damp both axes' highest frequencies as such takes the
detail of brush strokes, too, and leaves the loss higher.
"""


def _weights(reductions: int, finest: float) -> list[float]:
    """w_k, up to a factor: steps that are alike in size at each level, times the growth."""
    weights = [(4.0 * _GROWTH**2) ** k for k in range(reductions + 1)]
    weights[0] *= finest
    return [weight / weights[-1] for weight in weights]


class PyramidOps(Protocol):
    """What a `Pyramid` needs where the loss is computed."""

    def empty(self, shape: tuple[int, ...]) -> Vector:
        """Memory for an image of this shape."""

    def destripe(self, x: Vector, y: Vector) -> None:
        """Set y to D x."""

    def down(self, x: Vector, y: Vector) -> None:
        """Set y to B x."""

    def up(self, dy: Vector, keep: float, x: Vector, dx: Vector) -> None:
        """Dx = keep x + B^T dy; dx may be x."""

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does `work`: the same on the same memory every time."""


class Pyramid:
    """M, for images of one shape.

    Parameters
    ----------
    ops : PyramidOps
    shape : tuple of int
        (H, W, 3)
    finest : float
        Factor of the finest variables, beside the growth.
    scratch : Vector, optional
        An image of that shape that may be overwritten whenever M is applied.
    """

    def __init__(
        self,
        ops: PyramidOps,
        shape: tuple[int, ...],
        finest: float = FIRST,
        scratch: Vector | None = None,
    ) -> None:
        self._ops = ops
        self._shapes = [shape]
        while len(self._shapes) <= _REDUCTIONS and min(self._shapes[-1][:2]) > 1:
            H, W, C = self._shapes[-1]
            self._shapes.append((-(-H // 2), -(-W // 2), C))
        self._levels = [ops.empty(each) for each in self._shapes[1:]]
        self._finest = ops.empty(shape) if scratch is None else scratch
        self._weights = _weights(len(self._levels), finest)
        levels = [self._finest, *self._levels]
        self._down_and_up = ops.repeated(partial(_down_and_up, ops, levels, self._weights))

    def __call__(self, g: Vector, h: Vector) -> None:
        """Set h to M g."""
        self._ops.destripe(g, self._finest)
        if self._levels:
            self._down_and_up()
        self._ops.destripe(self._finest, h)

    # ---- the variables themselves, for a driver that has to see them -------------------------

    @property
    def count(self) -> int:
        """How many variables there are: about 4/3 of the values of the image."""
        return sum(math.prod(shape) for shape in self._shapes)

    def image(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """P y, with P P^T = M; (H, W, 3)."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        parts = [
            math.sqrt(weight) * part.reshape(shape)
            for weight, part, shape in zip(
                self._weights, np.split(y, ends), self._shapes, strict=True
            )
        ]
        image: NDArray[np.float64] = parts.pop()
        while parts:
            self._ops.up(image, 1.0, parts[-1], parts[-1])
            image = parts.pop()
        self._ops.destripe(image, self._finest)
        return np.array(self._finest)

    def of_variables(self, g: NDArray[np.float64]) -> NDArray[np.float64]:
        """P^T g, from the gradient with respect to the image."""
        parts = [self._finest, *self._levels]
        self._ops.destripe(g, self._finest)
        for finer, coarser in pairwise(parts):
            self._ops.down(finer, coarser)
        return np.concatenate(
            [
                math.sqrt(weight) * part.reshape(-1)
                for weight, part in zip(self._weights, parts, strict=True)
            ]
        )


def _down_and_up(ops: PyramidOps, levels: Sequence[Vector], weights: Sequence[float]) -> None:
    """Set the first level to sum_k w_k (B^T)^k B^k of it; the others are overwritten.

    It is no method, since a pyramid that refers to itself would stay until Python's cycle collector
    runs.
    """
    for finer, coarser in pairwise(levels):
        ops.down(finer, coarser)
    for k in reversed(range(len(levels) - 1)):
        ops.up(levels[k + 1], weights[k], levels[k], levels[k])


class HostOps:
    """`PyramidOps` in NumPy."""

    def empty(self, shape: tuple[int, ...]) -> Vector:
        """Memory for float64 numbers."""
        return np.empty(shape)

    def destripe(self, x: Vector, y: Vector) -> None:
        """Set y to D x."""
        y[...] = x - sum(
            _filtered(_filtered(x, axis, _SMOOTH), 1 - axis, _SHORT) for axis in (0, 1)
        )

    def down(self, x: Vector, y: Vector) -> None:
        """Set y to B x."""
        y[...] = _halved(_halved(x, 0), 1)

    def up(self, dy: Vector, keep: float, x: Vector, dx: Vector) -> None:
        """Dx = keep x + B^T dy; dx may be x."""
        H, W = x.shape[:2]
        dx[...] = keep * x + _halved_transposed(_halved_transposed(dy, 1, W), 0, H)

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the work itself."""
        return work


def without_stripes(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image (H, W, 3) from which D has taken the stripes along the axes, to 3 % or less.

    What D damps, a descent over the pyramid can hardly change: the stripes of a start from noise
    would stay until the end.
    """
    ops = HostOps()
    for _ in range(3):
        damped = ops.empty(image.shape)
        ops.destripe(image, damped)
        image = damped
    return image


def _filtered(x: NDArray[np.float64], axis: int, taps: tuple[float, ...]) -> NDArray[np.float64]:
    """Filter along an axis; the border is mirrored with its edge, so it is its own transpose."""
    reach, n = len(taps) - 1, x.shape[axis]
    padded = np.pad(np.moveaxis(x, axis, 0), [(reach, reach), (0, 0), (0, 0)], "symmetric")
    total = taps[0] * padded[reach : reach + n]
    for r, weight in enumerate(taps[1:], 1):
        total += weight * (padded[reach - r : reach - r + n] + padded[reach + r : reach + r + n])
    return np.moveaxis(total, 0, axis)


def _halved(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Half the length along an axis, rounded up: by [1 3 3 1] / 8, the ends repeated."""
    x = np.moveaxis(x, axis, 0)
    n, half = len(x), -(-len(x) // 2)
    padded = np.concatenate([x[:1], x, *[x[-1:]] * (2 * half + 1 - n)])
    a, b, c, d = (padded[tap : tap + 2 * half : 2] for tap in range(4))
    return np.moveaxis((a + 3 * (b + c) + d) / 8, 0, axis)


def _halved_transposed(y: NDArray[np.float64], axis: int, n: int) -> NDArray[np.float64]:
    """The transpose of `_halved`, to n values along an axis."""
    y = np.moveaxis(y, axis, 0)
    half = len(y)
    padded = np.zeros((2 * half + 2, *y.shape[1:]))
    for tap, weight in enumerate((1, 3, 3, 1)):
        padded[tap : tap + 2 * half : 2] += weight * y / 8
    padded[1] += padded[0]
    padded[n] += padded[n + 1 :].sum(axis=0)
    return np.moveaxis(padded[1 : n + 1], 0, axis)
