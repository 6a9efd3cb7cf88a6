"""L-BFGS over the pixels, driven by SciPy's own L-BFGS-B."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.optimizers.descent import Descent, Given, Image, State, Stop, StopReason, taken
from pynst.optimizers.lbfgs import FIRST_STEP, PAIRS
from pynst.optimizers.pyramid import HostOps, Pyramid
from pynst.optimizers.vectors import clipped

__all__ = ["lbfgs_scipy"]


def lbfgs_scipy(
    descent: Descent,
    x: Given[Image],
    state: Given[State] | None = None,
    *,
    pyramid: float | None = None,
    bounds: bool = False,
) -> None:
    """L-BFGS over the pixels, driven by SciPy's L-BFGS-B.

    SciPy sees the value divided by its start, and variables in which its first trial step, of
    length one, moves the pixels by two grey levels RMS. Its own stop rules are off. Where the line
    search fails, the search begins afresh from the best image; when it fails twice at the same
    image, that image is a minimum to rounding.

    Parameters
    ----------
    descent, x
        As for `lbfgs`.
    state : mapping of str to ndarray, optional
        SciPy does not give its own away: with this, a level is begun again from its start.
    pyramid : float, optional
        As for `lbfgs`: SciPy sees a third more variables than the image has pixels.
    bounds : bool
        Without a pyramid: let L-BFGS-B keep every pixel in [0, 1]; this takes half as long again
        and gains nothing.
    """
    from scipy.optimize import fmin_l_bfgs_b

    x, state = taken(x).astype(np.float64, copy=False), taken(state)  # in which SciPy computes
    if state is None:
        start = x.copy()
        descent.between_steps(lambda: {"x": start})
    shape = x.shape
    unit = FIRST_STEP * math.sqrt(x.size) / 255  # of x per unit of y
    scale = 1.0
    levels = None if pyramid is None else Pyramid(HostOps(), x.shape, pyramid)
    origin = np.zeros_like(x) if levels is None else x

    def evaluate(y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal scale, unit
        moved = y.reshape(shape) if levels is None else levels.image(y)
        value, gradient = clipped(descent, origin + unit * moved)
        slope = gradient.ravel() if levels is None else levels.of_variables(gradient)
        if len(descent.history) == 1:
            scale = 1 / value if value > 0 else 1.0
            if levels is not None and slope.any():  # y is zero here: the image stays the same
                unit *= float(np.linalg.norm(slope) / np.linalg.norm(levels.image(slope)))
        return value * scale, slope * (unit * scale)

    limits: Any = [(0.0, 1 / unit)] * x.size if bounds and levels is None else None
    failed_at = math.inf
    while True:
        outcome = fmin_l_bfgs_b(
            evaluate,
            np.zeros(levels.count) if levels else x.ravel() / unit,
            m=PAIRS if descent.pairs is None else descent.pairs,
            factr=0,
            pgtol=0,
            bounds=limits,
            maxfun=10**9,
            maxiter=10**9,
        )
        if descent.best_value >= failed_at or not np.any(outcome[2]["grad"]):
            raise Stop(StopReason.CONVERGED)
        failed_at = descent.best_value
        descent.restarts += 1
        assert descent.best is not None
        x = descent.best
        origin = origin if levels is None else x
