"""Optimisers: from an objective and a start image to the best image found.

Each takes a `Run`, the objective with its bookkeeping, and a start x; it evaluates until the run's
budget, time or patience is over, which the run tells by raising `Stop`. The best iterate is kept by
the run, so no way of ending loses it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pynst.errors import DivergedError
from pynst.objective import LossTerms

__all__ = ["OPTIMIZERS", "Evaluate", "Run", "Stop", "adam", "lbfgs"]

Image = NDArray[np.float64]

_PATIENCE = 10  # evaluations over which `tolerance` compares
_MEMORY = (
    10  # pairs that L-BFGS keeps; the peers' 100 cost more memory than the network and win nothing
)
_FIRST_STEP = 2.0  # grey levels RMS: SciPy's first trial step has length one in its variables
_ADAM_STEP = 5 / 255
_ADAM_DECAY = (0.9, 0.99)
_ADAM_EPSILON = (
    1e-12  # the gradient of a relative loss over 10^6 values is small: stay far below it
)
_AVERAGE_DECAY = 0.9


class Stop(Exception):
    """Raised by a `Run` when it is over; the argument says why."""


class Evaluate(Protocol):
    """What a run needs of an objective; `pynst.Objective` has it."""

    terms: LossTerms | None

    def __call__(self, x: Image) -> tuple[float, Image]:
        """Evaluate: value, and gradient of the shape of x."""


class Run:
    """An objective with its bookkeeping: counts, keeps the best iterate, and ends in time.

    Parameters
    ----------
    objective : callable
        x (H, W, 3) to (value, gradient of the same shape).
    budget : int
        Evaluations.
    deadline : float
        End, in `time.monotonic` seconds.
    tolerance : float
        Stop when the last 10 evaluations lowered the best value by less than this share of it; 0
        never.
    on_evaluation : callable, optional
        Called with the run after each evaluation; may raise `Stop`.

    Attributes
    ----------
    best : ndarray (H, W, 3) or None
        The iterate of the lowest value.
    best_value : float
    history : list of LossTerms
        One entry per evaluation.
    restarts : int
        How often the line search failed and L-BFGS began afresh.
    """

    def __init__(
        self,
        objective: Evaluate,
        budget: int,
        *,
        deadline: float = math.inf,
        tolerance: float = 0.0,
        on_evaluation: Callable[[Run], None] | None = None,
    ) -> None:
        self._objective = objective
        self._deadline = deadline
        self._tolerance = tolerance
        self._on_evaluation = on_evaluation
        self._best_values: list[float] = []
        self.budget = budget
        self.best: Image | None = None
        self.best_value = math.inf
        self.history: list[LossTerms] = []
        self.restarts = 0

    @property
    def left(self) -> int:
        """Evaluations that the budget still allows."""
        return self.budget - len(self.history)

    def __call__(self, x: Image, *, last: bool = False) -> tuple[float, Image]:
        """Evaluate at x, or raise `Stop` if the run is over and this is not its last word."""
        if not last:
            self._check()
        value, gradient = self._objective(x)
        terms = self._objective.terms
        assert terms is not None
        self.history.append(terms)
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            raise DivergedError(
                f"the loss or its gradient is not finite at evaluation {len(self.history)}:"
                f" content {terms.content:g}, style {terms.style:g}, tv {terms.tv:g}"
            )
        if value < self.best_value:
            self.best_value, self.best = value, x.copy()
        self._best_values.append(self.best_value)
        if self._on_evaluation is not None:
            self._on_evaluation(self)
        return value, gradient

    def _check(self) -> None:
        if self.left <= 0:
            raise Stop("iterations")
        if self.history and time.monotonic() >= self._deadline:
            raise Stop("minutes")
        if self._tolerance and len(self._best_values) > _PATIENCE:
            before, now = self._best_values[-1 - _PATIENCE], self._best_values[-1]
            if before - now < self._tolerance * abs(before):
                raise Stop("tolerance")


def lbfgs(run: Run, x: Image, *, bounds: bool = False) -> None:
    """L-BFGS over the pixels, driven by SciPy's L-BFGS-B.

    SciPy sees the value divided by its start, and variables in which its first trial step, of
    length one, moves the pixels by two grey levels RMS. Its own stop rules are off: a run ends by
    the run's rules alone. Where the line search fails, the memory is dropped and the search goes on
    from the best image; when it fails twice at the same image, that image is a minimum to rounding.

    Parameters
    ----------
    run : Run
    x : ndarray (H, W, 3)
        Start image, sRGB in [0, 1].
    bounds : bool
        Keep every pixel in [0, 1] during the search, instead of clipping the result.
    """
    from scipy.optimize import fmin_l_bfgs_b

    unit = _FIRST_STEP * math.sqrt(x.size) / 255  # of x per unit of y
    scale = 1.0

    def evaluate(y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal scale
        value, gradient = run(unit * y.reshape(x.shape))
        if len(run.history) == 1:
            scale = 1 / value if value > 0 else 1.0
        return value * scale, gradient.ravel() * (unit * scale)

    limits: Any = [(0.0, 1 / unit)] * x.size if bounds else None
    failed_at = math.inf
    while True:
        outcome = fmin_l_bfgs_b(
            evaluate,
            x.ravel() / unit,
            m=_MEMORY,
            factr=0,
            pgtol=0,
            bounds=limits,
            maxfun=10**9,
            maxiter=10**9,
        )
        if run.best_value >= failed_at or not np.any(outcome[2]["grad"]):
            raise Stop("converged")
        failed_at = run.best_value
        run.restarts += 1
        assert run.best is not None
        x = run.best


def adam(run: Run, x: Image, *, bounds: bool = True) -> None:
    """Adam over the pixels, with clipping after each step and an average over the iterates.

    The average is smoother than any iterate; it is evaluated last, and is the result if it is the
    best.

    Parameters
    ----------
    run, x, bounds
        As for `lbfgs`.

    Notes
    -----
    D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015. The average is bias
    corrected like the moments.
    """
    x = x.copy()
    first, second, average = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    b1, b2 = _ADAM_DECAY
    t = 0
    try:
        while run.left > 1 or t == 0:
            _, gradient = run(x)
            t += 1
            first += (1 - b1) * (gradient - first)
            second += (1 - b2) * (gradient**2 - second)
            step = first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + _ADAM_EPSILON)
            x -= _ADAM_STEP * step
            if bounds:
                np.clip(x, 0, 1, out=x)
            average += (1 - _AVERAGE_DECAY) * (x - average)
        raise Stop("iterations")
    except Stop:
        if t and run.left > 0:
            run(average / (1 - _AVERAGE_DECAY**t), last=True)
        raise


OPTIMIZERS: dict[str, Callable[..., None]] = {"lbfgs": lbfgs, "scipy": lbfgs, "adam": adam}
