"""The pairs of L-BFGS: which are kept, their scalar products, and the direction they give.

The pairs themselves, steps s = x' - x and changes of the gradient y = g' - g, lie where the run
computes (`vectors`), in float32, which halves the memory. Here are only their products: the
two-loop recursion runs on the coefficients of the kept vectors, so that one pass over the pairs
takes all products and another one puts the direction together.

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
    ``2 * rows`` vectors, row i holds a step s and row ``rows + i`` its y. A new pair is written
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
    products : ndarray (2 rows, 2 rows), float64
        Scalar products of the vectors in use with each other.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = size + 1
        self.order: tuple[int, ...] = ()
        self.products = np.zeros((2 * self.rows, 2 * self.rows))

    @property
    def spare(self) -> int:
        """The row into which the next pair is to be written."""
        return next(row for row in range(self.rows) if row not in self.order)

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
        rows = 2 * (size + 1)
        return {"products": (np.float64, (rows, rows)), "order": (np.int64, (size,))}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `kept` gave."""
        self.products = arrays["products"].copy()
        order = dict.fromkeys(int(row) for row in arrays["order"] if 0 <= row < self.rows)
        self.order = tuple(order)[-self.size :]

    def add(self, with_s: Numbers, with_y: Numbers) -> None:
        """Keep the pair in the spare row, in place of the oldest one, unless s.y is not positive.

        Parameters
        ----------
        with_s, with_y : ndarray (2 rows,)
            Products of all rows, the spare ones included, with the new s and y.
        """
        s, y = self.spare, self.rows + self.spare
        if with_s[y] <= _EPS * with_y[y]:
            return
        products = self.products.copy()
        for row, values in ((s, with_s), (y, with_y)):
            products[row] = products[:, row] = values
        self.products = products
        self.order = (*self.order, s)[-self.size :]

    def direction(self, with_g: Numbers, g_g: float) -> tuple[Numbers, float, float]:
        """-H g, with H the approximation of the inverse Hessian; -g without pairs.

        Parameters
        ----------
        with_g : ndarray (2 rows,)
            Products of all rows with g.
        g_g : float
            g.g

        Returns
        -------
        c, c_g : ndarray (2 rows,), float
            The direction is sum_i c_i v_i + c_g g.
        slope : float
            Its product with g.
        """
        c = np.zeros(2 * self.rows)
        if not self.order:
            return c, -1.0, -g_g
        s = np.array(self.order)
        y = s + self.rows
        s_y, y_y = self.products[s][:, y], self.products[y][:, y]
        curvature = s_y.diagonal()
        gamma = curvature[-1] / y_y[-1, -1]
        # alpha of the first loop, newest pair first; then alpha - beta of the second one.
        alpha, rest = np.zeros(len(s)), np.zeros(len(s))
        for i in reversed(range(len(s))):
            alpha[i] = (with_g[s[i]] - s_y[i, i + 1 :] @ alpha[i + 1 :]) / curvature[i]
        with_r = gamma * (with_g[y] - y_y @ alpha)
        for i in range(len(s)):
            rest[i] = alpha[i] - (with_r[i] + s_y[:i, i] @ rest[:i]) / curvature[i]
        c[s], c[y] = -rest, gamma * alpha
        return c, -gamma, float(c @ with_g) - gamma * g_g
