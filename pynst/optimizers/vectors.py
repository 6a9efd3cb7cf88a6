"""The vectors of L-BFGS, and what is computed with them, on the host.

Image x, gradient g, direction d and the kept pairs have one number for each value of the image:
many millions. L-BFGS itself (`pynst.optimizers.lbfgs`) sees only scalar products of them, so that
the same function drives a descent on a GPU, where the vectors never leave the device
(`pynst.optimizers.device_vectors`).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.backends.slices import slices
from pynst.optimizers.descent import Descent, Image, State
from pynst.optimizers.kept_vectors import HalfVectors
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.pyramid import HostOps, Pyramid

__all__ = [
    "PULL",
    "HostVectors",
    "Point",
    "Vector",
    "Vectors",
    "overwrite_pairs",
    "state_of_pairs",
]

Vector: TypeAlias = Any
"""A vector where the loss is computed; one that was handed out is never written to again."""

PULL = 1000.0
"""Penalty of a pixel beyond [0, 1]: a tenth beyond costs ten times its share of the first loss."""


class Point(NamedTuple):
    """A point of the descent, reached from another one by a step t along a direction d.

    Attributes
    ----------
    x, g, h : Vector
        The image, the gradient of what is minimised, and M g.
    value : float
        What is minimised: the loss of the clipped image, and a pull back.
    slope, g_h, h_h : float
        Products g.d, g.h and h.h.
    with_g, with_y : ndarray (rows of the pairs,), float64
        Products of the kept vectors with g, and with the change y of the gradient in this step.
    """

    x: Vector
    g: Vector
    h: Vector
    value: float
    slope: float
    g_h: float
    h_h: float
    with_g: NDArray[np.float64]
    with_y: NDArray[np.float64]


class Vectors(Protocol):
    """Vectors where the loss is computed, and pairs: s in row i, z in row ``rows + i``.

    Equal calls give equal bits, for any number of threads.
    """

    pairs: Any
    """The kept vectors (2 rows, n), float32 or `HalfVectors`."""

    def upload(self, image: Image) -> Vector:
        """A vector from an image (H, W, 3)."""

    def download(self, vector: Vector) -> Image:
        """An image (H, W, 3) from a vector."""

    def upload_pairs(self, state: State) -> None:
        """Overwrite the kept vectors by what `download_pairs` gave."""

    def download_pairs(self) -> State:
        """The kept vectors, for a checkpoint; they may change with the next `evaluate`."""

    def precondition(self, g: Vector) -> Vector:
        """M g."""

    def start(self, descent: Descent, x: Vector) -> Point:
        """Evaluate at the first point."""

    def direction(self, pairs: Pairs, here: Point) -> tuple[Vector, float]:
        """-H g at a point, by `Pairs.direction`, and its product with g."""

    def evaluate(self, descent: Descent, origin: Point, d: Vector, t: float, spare: int) -> Point:
        """Evaluate at x + t d; the pair of this step is written into the row `spare`.

        A pixel beyond [0, 1] is seen, and will be saved, as its bound; so the loss is that of the
        clipped image, whose slope along such a pixel is zero, and a quadratic penalty leads the
        pixel back. The picture comes out as good as with L-BFGS-B's bounds, without their cost;
        clipped only at the end, its loss is 2 to 5 % higher (measured on two pictures at 256 and
        384 pixels).
        """


class HostVectors:
    """`Vectors` as NumPy arrays: pairs in float32 or half precision, everything else in float64."""

    def __init__(
        self, shape: tuple[int, ...], rows: int, *, pyramid: float | None = None, half: bool = False
    ) -> None:
        self._rows = rows
        self._pyramid = None if pyramid is None else Pyramid(HostOps(), shape, pyramid)
        n = int(np.prod(shape))
        self.pairs: Any = HalfVectors(2 * rows, n) if half else np.zeros((2 * rows, n), np.float32)

    def upload(self, image: Image) -> Vector:
        """A vector from an image (H, W, 3)."""
        return np.array(image, np.float64)

    def download(self, vector: Vector) -> Image:
        """An image (H, W, 3) from a vector."""
        image: Image = vector
        return image

    def upload_pairs(self, state: State) -> None:
        """Overwrite the kept vectors."""
        overwrite_pairs(self.pairs, state)

    def download_pairs(self) -> State:
        """The kept vectors."""
        return state_of_pairs(self.pairs)

    def precondition(self, g: Vector) -> Vector:
        """M g."""
        if self._pyramid is None:
            return g
        h = np.empty_like(g)
        self._pyramid(g, h)
        return h

    def start(self, descent: Descent, x: Vector) -> Point:
        """Evaluate at the first point."""
        value, g = clipped(descent, x)
        h, nothing = self.precondition(g), np.zeros(len(self.pairs))
        return Point(x, g, h, value, 0.0, _dot(g, h), _dot(h, h), nothing, nothing)

    def direction(self, pairs: Pairs, here: Point) -> tuple[Vector, float]:
        """-H g at a point, by `Pairs.direction`, and its product with g."""
        c, c_h, slope = pairs.direction(here.with_g, here.g_h)
        d = c_h * here.h
        flat, used = d.reshape(-1), np.flatnonzero(c)
        for span in slices(flat.size) if used.size else ():
            flat[span] += np.einsum("i,in->n", c[used], self.pairs[used, span])
        return d, slope

    def evaluate(self, descent: Descent, origin: Point, d: Vector, t: float, spare: int) -> Point:
        """Evaluate at x + t d; the pair of this step is written into the row `spare`."""
        x = origin.x + t * d
        value, g = clipped(descent, x)
        h = self.precondition(g)
        self.pairs[spare] = (x - origin.x).reshape(-1)
        self.pairs[self._rows + spare] = (h - origin.h).reshape(-1)
        with_g, with_y = self._products(g.reshape(-1), origin.g.reshape(-1))
        return Point(x, g, h, value, _dot(g, d), _dot(g, h), _dot(h, h), with_g, with_y)

    def _products(self, g: Vector, before: Vector) -> NDArray[np.float64]:
        """Products of the pairs with g, and with its change; (2, 2 rows).

        By einsum in blocks, not by BLAS, whose sums depend on the number of its threads.
        """
        products = np.zeros((2, len(self.pairs)))
        for span in slices(g.size):
            rows = self.pairs[:, span].astype(np.float64)
            products += np.einsum("in,kn->ki", rows, np.stack([g[span], g[span] - before[span]]))
        return products


def state_of_pairs(pairs: Any) -> State:
    """The kept vectors of the host as arrays of a checkpoint; they are not copied."""
    if isinstance(pairs, HalfVectors):
        return {"pairs": pairs.numbers, "factors": pairs.factors}
    return {"pairs": pairs}


def overwrite_pairs(pairs: Any, state: State) -> None:
    """Set the kept vectors of the host to what `state_of_pairs` gave."""
    for name, array in state_of_pairs(pairs).items():
        array[...] = state[name]


def clipped(descent: Descent, x: Image) -> tuple[float, Image]:
    """Value and gradient of what L-BFGS minimises; see `Vectors.evaluate`."""
    seen = np.clip(x, 0, 1)
    beyond = x - seen
    value, gradient = descent(seen)
    k = PULL * descent.history[0].total / x.size
    return value + k * _dot(beyond, beyond), np.where(beyond, 0.0, gradient) + 2 * k * beyond


def _dot(a: Image, b: Image) -> float:
    """Scalar product, whose bits depend on no number of threads."""
    return float(np.einsum("n,n->", a.reshape(-1), b.reshape(-1)))
