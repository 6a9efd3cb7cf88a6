"""Adam over the pixels, with an average over the iterates."""

from __future__ import annotations

from functools import partial

import numpy as np

from pynst.optimizers.descent import Descent, Given, Image, State, Stop, StopReason, taken

__all__ = ["MOMENTS", "adam"]

_STEP = 5 / 255
_DECAY = (0.9, 0.99)
# The gradient of a relative loss over 10^6 values is small: epsilon stays far below it.
_EPSILON = 1e-12
_AVERAGE_DECAY = 0.9

MOMENTS = ("first", "second", "average")
"""Names of the arrays of Adam's state."""


def adam(
    descent: Descent,
    x: Given[Image],
    state: Given[State] | None = None,
    *,
    bounds: bool = True,
) -> None:
    """Adam over the pixels, with clipping after each step and an average over the iterates.

    The average is smoother than any iterate; it is evaluated last, and is the result if it is the
    best.

    Parameters
    ----------
    descent, x, state
        As for `lbfgs`.
    bounds : bool
        Keep every pixel in [0, 1].

    Notes
    -----
    D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015. The average is bias
    corrected like the moments.
    """
    x, state = taken(x).copy(), taken(state)
    first, second, average = (
        state[name].copy() if state and name in state else np.zeros_like(x) for name in MOMENTS
    )
    t = int(state["t"]) if state and "t" in state else 0
    b1, b2 = _DECAY
    try:
        while descent.left > 1 or t == 0:
            moments = dict(zip(MOMENTS, (first, second, average), strict=True))
            descent.between_steps(partial(dict, x=x, t=np.array(t, np.int64), **moments))
            _, gradient = descent(x)
            t += 1
            # New arrays, not in place: an interruption anywhere must find the old ones whole.
            first = first + (1 - b1) * (gradient - first)
            second = second + (1 - b2) * (gradient**2 - second)
            step = first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + _EPSILON)
            x = x - _STEP * step
            if bounds:
                x = np.clip(x, 0, 1)
            average = average + (1 - _AVERAGE_DECAY) * (x - average)
        raise Stop(StopReason.ITERATIONS)
    except Stop:
        if t and descent.left > 0:
            descent(average / (1 - _AVERAGE_DECAY**t), last=True)
        raise
