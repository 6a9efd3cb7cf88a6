"""The memory of L-BFGS: the last steps and changes of the gradient, and the direction they give.

The pairs are kept in float32, which halves the memory, and multiplied and summed in float64. The
two-loop recursion runs on coefficients of the kept vectors: all scalar products are taken in one
pass over the memory, and the direction is put together in another.

J. Nocedal, "Updating Quasi-Newton Matrices with Limited Storage", Mathematics of Computation 35
(1980).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Memory"]

_BLOCK = 8192  # values of each vector at a time: 21 of them fit into the second-level cache

Vector = NDArray[np.float64]


class Memory:
    """The last `size` pairs s = x' - x, y = g' - g of vectors of n values.

    Attributes
    ----------
    size : int
        Largest number of pairs.
    vectors : ndarray (2 size, n), float32
        Row i holds a step s, row ``size + i`` its y.
    order : list of int
        The rows in use, oldest pair first.
    products : ndarray (2 size, 2 size), float64
        Scalar products of the rows.
    """

    def __init__(self, size: int, n: int) -> None:
        self.size = size
        self.vectors = np.zeros((2 * size, n), np.float32)
        self.order: list[int] = []
        self.products = np.zeros((2 * size, 2 * size))

    def clear(self) -> None:
        """Forget all pairs."""
        self.order.clear()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The memory as arrays, for a checkpoint; they change with the next `add`."""
        return {
            "vectors": self.vectors,
            "products": self.products,
            "order": np.array(self.order + [-1] * (self.size - len(self.order)), np.int64),
        }

    @staticmethod
    def shapes(size: int, n: int) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Types and shapes of `arrays`; ``"order"`` is padded with -1."""
        return {
            "vectors": (np.float32, (2 * size, n)),
            "products": (np.float64, (2 * size, 2 * size)),
            "order": (np.int64, (size,)),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over the memory that `arrays` gave."""
        self.vectors[:] = arrays["vectors"]
        self.products[:] = arrays["products"]
        self.order = [int(row) for row in arrays["order"] if 0 <= row < self.size]

    def add(self, s: Vector, y: Vector) -> None:
        """Keep a pair in place of the oldest one, unless its curvature s.y is not positive."""
        if np.einsum("n,n->", s, y) <= np.finfo(float).eps * np.einsum("n,n->", y, y):
            return
        row = len(self.order) if len(self.order) < self.size else self.order.pop(0)
        rows = [row, self.size + row]
        self.vectors[rows] = s, y
        products = self._times(self.vectors[rows])
        self.products[rows], self.products[:, rows] = products.T, products
        self.order.append(row)

    def direction(self, g: Vector) -> Vector:
        """-H g, with H the approximation of the inverse Hessian; -g without pairs."""
        if not self.order:
            return -g
        size, P = self.size, self.products
        with_g = self._times(g[None])[:, 0]
        # q = c_g g + sum_i c_i v_i over the kept vectors v; only the coefficients change below
        c, c_g = np.zeros(2 * size), 1.0
        alpha = {}
        for i in reversed(self.order):
            rho = 1 / P[i, size + i]
            alpha[i] = rho * (c @ P[i] + c_g * with_g[i])
            c[size + i] -= alpha[i]
        newest = self.order[-1]
        gamma = P[newest, size + newest] / P[size + newest, size + newest]
        c, c_g = gamma * c, gamma * c_g
        for i in self.order:
            rho = 1 / P[i, size + i]
            c[i] += alpha[i] - rho * (c @ P[size + i] + c_g * with_g[size + i])
        return self._combine(-c, -c_g, g)

    def _times(self, others: NDArray[np.floating[Any]]) -> Vector:
        """Scalar products of the rows with other vectors (k, n), in float64; (2 size, k).

        By einsum in blocks, not by BLAS, whose sums depend on the number of its threads.
        """
        products = np.zeros((len(self.vectors), len(others)))
        for start in range(0, self.vectors.shape[1], _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = self.vectors[:, part].astype(np.float64)
            products += np.einsum("in,kn->ik", rows, others[:, part].astype(np.float64))
        return products

    def _combine(self, c: Vector, c_g: float, g: Vector) -> Vector:
        """sum_i c_i v_i + c_g g."""
        out = c_g * g
        for start in range(0, len(g), _BLOCK):
            part = slice(start, start + _BLOCK)
            out[part] += np.einsum("i,in->n", c, self.vectors[:, part])
        return out
