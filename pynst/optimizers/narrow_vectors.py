"""The vectors of L-BFGS for images so large that memory is short: float32, and no spare copies.

They are `pynst.optimizers.vectors.HostVectors` in half the memory. Everything is computed slice by
slice in float64, so that no array of the image's size exists besides those that have to stay: the
image, its gradient, the direction, and what the next evaluation gives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynst.backends.slices import slices
from pynst.optimizers.descent import Descent, Image
from pynst.optimizers.vectors import PULL, Point, Vector

__all__ = ["NarrowVectors"]

Numbers = NDArray[np.float64]


class NarrowVectors:
    """`pynst.optimizers.vectors.Vectors` as NumPy arrays of float32.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    rows : int
        Rows of the pairs.
    """

    def __init__(self, shape: tuple[int, ...], rows: int) -> None:
        self._shape = shape
        self._rows = rows
        self.pairs = np.zeros((2 * rows, int(np.prod(shape))), np.float32)

    def upload(self, image: Image) -> Vector:
        """A vector from an image (H, W, 3)."""
        return np.asarray(image, np.float32)

    def download(self, vector: Vector) -> Image:
        """An image (H, W, 3) from a vector."""
        image: Image = vector
        return image

    def upload_pairs(self, pairs: NDArray[np.float32]) -> None:
        """Overwrite the kept vectors."""
        self.pairs[:] = pairs

    def download_pairs(self) -> NDArray[np.float32]:
        """The kept vectors."""
        return self.pairs

    def start(self, descent: Descent, x: Vector) -> Point:
        """Evaluate at the first point, which lies in [0, 1]."""
        value, gradient = descent(x)
        g = np.asarray(gradient, np.float32)
        nothing = np.zeros(len(self.pairs))
        g_g = sum(float(np.einsum("n,n->", *2 * [_wide(g, span)])) for span in slices(g.size))
        return Point(x, g, value, g_g, 0.0, nothing, nothing, nothing)

    def combine(self, c: Numbers, c_g: float, g: Vector) -> Vector:
        """sum_i c_i v_i + c_g g."""
        d = np.empty(self._shape, np.float32)
        flat, used = d.reshape(-1), np.flatnonzero(c)
        for span in slices(flat.size):
            part = c_g * _wide(g, span)
            if used.size:
                part += np.einsum("i,in->n", c[used], self.pairs[used, span])
            flat[span] = part
        return d

    def evaluate(self, descent: Descent, origin: Point, d: Vector, t: float, spare: int) -> Point:
        """Evaluate at x + t d; the pair of this step is written into the row `spare`.

        What is minimised is that of `pynst.optimizers.vectors.Vectors.evaluate`.
        """
        x: Vector = np.empty(self._shape, np.float32)
        flat = x.reshape(-1)
        for span in slices(flat.size):
            flat[span] = np.clip(self._ahead(origin, d, t, span), 0, 1)
        value, gradient = descent(x)
        g = np.asarray(gradient, np.float32)
        k = PULL * descent.history[0].total / x.size
        sums = np.zeros((3, len(self.pairs)))
        g_g = slope = beyond_beyond = 0.0
        for span in slices(flat.size):
            # The image was evaluated as it is seen, clipped; now its place takes the point itself.
            flat[span] = self._ahead(origin, d, t, span)
            point = _wide(x, span)
            beyond = point - np.clip(point, 0, 1)
            ahead = np.where(beyond, 0.0, _wide(g, span)) + 2 * k * beyond
            g.reshape(-1)[span] = ahead
            ahead = _wide(g, span)
            self.pairs[spare, span] = point - _wide(origin.x, span)
            self.pairs[self._rows + spare, span] = ahead - _wide(origin.g, span)
            sums += self._products(ahead, span, spare)
            beyond_beyond += float(np.einsum("n,n->", beyond, beyond))
            g_g += float(np.einsum("n,n->", ahead, ahead))
            slope += float(np.einsum("n,n->", ahead, _wide(d, span)))
        return Point(x, g, value + k * beyond_beyond, g_g, slope, *sums)

    def _ahead(self, origin: Point, d: Vector, t: float, span: slice) -> Numbers:
        """A slice of x + t d."""
        return _wide(origin.x, span) + t * _wide(d, span)

    def _products(self, g: Numbers, span: slice, spare: int) -> Numbers:
        """Products of a slice of the pairs with g, and with the spare pair; (3, 2 rows)."""
        rows = self.pairs[:, span].astype(np.float64)
        others = np.stack([g, rows[spare], rows[self._rows + spare]])
        products: Numbers = np.einsum("in,kn->ki", rows, others)
        return products


def _wide(vector: Vector, span: slice) -> Numbers:
    """A slice of a vector in float64."""
    part: Numbers = vector.reshape(-1)[span].astype(np.float64)
    return part
