"""The pairs of L-BFGS: which are kept, their scalar products, and the direction they give.

The pairs themselves, steps s = x' - x and changes of the preconditioned gradient z = M (g' - g),
lie where the run computes (`vectors`), in float32, which halves the memory. Here are only their
products: the two-loop recursion runs on the coefficients of the kept vectors, so that one pass over
the pairs takes all products and another one puts the direction together.

It is the recursion in variables u with x = x_0 + P u and M = P P^T (`pynst.optimizers.pyramid`), in
which the gradient is P^T g. All products of vectors of u can be had in the pixels:
y_u.y_u' = y.M y', s_u.y_u = s.y, and the direction there is made of s, z and h = M g.

J. Nocedal, "Updating Quasi-Newton Matrices with Limited Storage", Mathematics of Computation 35
(1980).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs"]

Numbers = NDArray[np.float64]

_EPS = float(np.finfo(float).eps)


class Pairs:
    """Bookkeeping of the last `size` pairs, in `size + 1` rows.

    One row is spare, so that a new pair can be written before the oldest one is given up. Of
    ``2 * rows`` vectors, row i holds a step s and row ``rows + i`` its z. A new pair is written
    into the spare row and is taken up by one assignment: until then, whatever interrupts, the pairs
    that `order` names are whole.

    Attributes
    ----------
    size : int
        Largest number of pairs.
    rows : int
        ``size + 1``.
    order : tuple of int
        The rows in use, oldest pair first.
    products : ndarray (2 rows, rows), float64
        Scalar products of the vectors with the change y of the gradient of each pair. They are
        right where the vector is of the same pair or of an older one; no others are needed.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = size + 1
        self.order: tuple[int, ...] = ()
        self.products = np.zeros((2 * self.rows, self.rows))

    @property
    def spare(self) -> int:
        """The row into which the next pair is to be written."""
        order, rows = self.order, self.rows
        row = (order[-1] + 1) % rows if order else 0
        while row in order:  # only where a checkpoint names other rows than a run does
            row = (row + 1) % rows
        return row

    def clear(self) -> None:
        """Forget all pairs."""
        self.order = ()

    def kept(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """Return a function that gives what is needed to go on from here, for a checkpoint."""
        # Neither is ever changed in place, so that nothing has to be copied before it is asked for.
        products, order = self.products, self.order

        def arrays() -> dict[str, NDArray[Any]]:
            padded = [*order, *[-1] * (self.size - len(order))]
            return {"products": products, "order": np.array(padded, np.int64)}

        return arrays

    @staticmethod
    def shapes(size: int) -> dict[str, tuple[type, tuple[int, ...]]]:
        """Types and shapes of what `kept` gives; ``"order"`` is padded with -1."""
        rows = size + 1
        return {"products": (np.float64, (2 * rows, rows)), "order": (np.int64, (size,))}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `kept` gave."""
        self.products = arrays["products"].copy()
        order = dict.fromkeys(int(row) for row in arrays["order"] if 0 <= row < self.rows)
        self.order = tuple(order)[-self.size :]

    def add(self, with_y: Numbers) -> None:
        """Keep the pair in the spare row, in place of the oldest one, unless s.y is not positive.

        Parameters
        ----------
        with_y : ndarray (2 rows,)
            Products of all rows, the spare ones included, with the new y.
        """
        s = self.spare
        if with_y[s] <= _EPS * with_y[self.rows + s]:
            return
        products = self.products.copy()
        products[:, s] = with_y
        self.products = products
        self.order = (*self.order, s)[-self.size :]

    def direction(self, with_g: Numbers, g_h: float) -> tuple[Numbers, float, float]:
        """-H g, with H the approximation of the inverse Hessian; -M g without pairs.

        Parameters
        ----------
        with_g : ndarray (2 rows,)
            Products of all rows with g.
        g_h : float
            g.h

        Returns
        -------
        c, c_h : ndarray (2 rows,), float
            The direction is sum_i c_i v_i + c_h h.
        slope : float
            Its product with g.
        """
        c = np.zeros(2 * self.rows)
        if not self.order:
            return c, -1.0, -g_h
        s = np.array(self.order)
        z = s + self.rows
        s_y, z_y = self.products[s][:, s], np.triu(self.products[z][:, s])
        z_y += np.triu(z_y, 1).T
        curvature = s_y.diagonal()
        gamma = curvature[-1] / z_y[-1, -1]
        # alpha of the first loop, newest pair first; then alpha - beta of the second one.
        alpha, rest = np.zeros(len(s)), np.zeros(len(s))
        for i in reversed(range(len(s))):
            alpha[i] = (with_g[s[i]] - s_y[i, i + 1 :] @ alpha[i + 1 :]) / curvature[i]
        with_r = gamma * (with_g[z] - z_y @ alpha)
        for i in range(len(s)):
            rest[i] = alpha[i] - (with_r[i] + s_y[:i, i] @ rest[:i]) / curvature[i]
        c[s], c[z] = -rest, gamma * alpha
        return c, -gamma, float(c @ with_g) - gamma * g_h
