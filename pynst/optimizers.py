"""Optimisers: from an objective and a start image to the best image found.

Each takes a `Run`, the objective with its bookkeeping, and a start x; it evaluates until the run's
budget, time or patience is over, which the run tells by raising `Stop`. The best iterate is kept by
the run, so no way of ending loses it. Between two steps each tells the run where it stands
(`Run.rest`); given that back as `state`, it goes on as if it had never ended, to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pynst.errors import DivergedError
from pynst.lbfgs import Memory
from pynst.linesearch import search
from pynst.objective import LossTerms

__all__ = [
    "OPTIMIZERS",
    "Evaluate",
    "Rest",
    "Run",
    "State",
    "Stop",
    "adam",
    "lbfgs",
    "lbfgs_scipy",
    "state_shapes",
]

Image = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]
"""Arrays by name: ``"x"`` (H, W, 3) and the optimiser's own."""

_PATIENCE = 10  # evaluations over which `tolerance` compares
# Pairs that L-BFGS keeps; the peers' 100 cost more memory than the network and win nothing.
_MEMORY = 10
_FIRST_STEP = 2.0  # grey levels RMS: SciPy's first trial step has length one in its variables
# Penalty of a pixel beyond [0, 1]: a tenth beyond costs ten times its share of the first loss.
_PULL = 1000.0
_ADAM_STEP = 5 / 255
_ADAM_DECAY = (0.9, 0.99)
_ADAM_EPSILON = (
    1e-12  # the gradient of a relative loss over 10^6 values is small: stay far below it
)
_AVERAGE_DECAY = 0.9
_MOMENTS = ("first", "second", "average")


class Stop(Exception):
    """Raised by a `Run` when it is over; the argument says why."""


@dataclass(frozen=True)
class Rest:
    """Where a run stands between two steps; nothing in it changes until the next `Run.move`.

    Attributes
    ----------
    state : mapping of str to ndarray
        What the optimiser needs to go on: ``"x"`` and its own arrays.
    history : tuple of LossTerms
    best : ndarray (H, W, 3) or None
    best_value : float
    restarts : int
    """

    state: State
    history: tuple[LossTerms, ...] = ()
    best: Image | None = None
    best_value: float = math.inf
    restarts: int = 0


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
    on_rest : callable, optional
        Called with the run whenever its optimiser stands between two steps.
    resume : Rest, optional
        Where an earlier run of the same objective stood.

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
        on_rest: Callable[[Run], None] | None = None,
        resume: Rest | None = None,
    ) -> None:
        self._objective = objective
        self._deadline = deadline
        self._tolerance = tolerance
        self._on_evaluation = on_evaluation
        self._on_rest = on_rest
        self._resting: tuple[Rest, int] | None = None
        resume = resume or Rest({})
        self.budget = budget
        self.best, self.best_value = resume.best, resume.best_value
        self.history = list(resume.history)
        self.restarts = resume.restarts
        totals = [terms.total for terms in self.history]
        self._best_values = [float(value) for value in np.minimum.accumulate(totals)]

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

    def rest(self, state: State) -> None:
        """Say where the optimiser stands; it changes nothing in the arrays before `move`."""
        self._resting = (
            Rest(state, (), self.best, self.best_value, self.restarts),
            len(self.history),
        )
        if self._on_rest is not None:
            self._on_rest(self)

    def move(self) -> None:
        """Say that the arrays of the last `rest` are about to change."""
        self._resting = None

    @property
    def resting(self) -> Rest | None:
        """Where the run stood last; None while that is being changed."""
        if self._resting is None:
            return None
        rest, evaluations = self._resting
        return replace(rest, history=tuple(self.history[:evaluations]))

    def _check(self) -> None:
        if self.left <= 0:
            raise Stop("iterations")
        if self.history and time.monotonic() >= self._deadline:
            raise Stop("minutes")
        if self._tolerance and len(self._best_values) > _PATIENCE:
            before, now = self._best_values[-1 - _PATIENCE], self._best_values[-1]
            if before - now < self._tolerance * abs(before):
                raise Stop("tolerance")


def lbfgs(run: Run, x: Image, state: State | None = None) -> None:
    """L-BFGS over the pixels: the algorithm of SciPy's L-BFGS-B where there are no bounds.

    The first trial step moves the pixels by two grey levels RMS. There are no stop rules but the
    run's. Where the line search finds nothing lower, the memory is dropped and the search goes on
    downhill; where there is nothing to drop, the image is a minimum to rounding.

    Parameters
    ----------
    run : Run
    x : ndarray (H, W, 3)
        Start image, sRGB in [0, 1].
    state : mapping of str to ndarray, optional
        Of an earlier run's `rest`.

    Notes
    -----
    SciPy's own is `lbfgs_scipy`. Against it, this one keeps its pairs in half the memory, and its
    state can be saved. The iterates agree until rounding has grown.
    """
    unit = _FIRST_STEP * math.sqrt(x.size) / 255
    memory = Memory(_MEMORY, x.size)
    x = x.copy()
    if state is None:
        run.rest({"x": x})
        value, g = _clipped(run, x)
    elif "g" in state:
        x, value, g = state["x"].copy(), float(state["value"]), state["g"].copy()
        memory.restore(state)
    else:
        value, g = _clipped(run, x)
    while np.any(g):
        run.rest({"x": x, "value": np.array(value), "g": g, **memory.arrays()})
        d = memory.direction(g.ravel()).reshape(x.shape)
        ahead = _Ahead(run, x, d)
        slope = _dot(g, d)
        step = 1.0 if memory.order else unit / math.sqrt(_dot(d, d))
        found = slope < 0 and search(ahead, value, slope, step)
        run.move()
        if found and ahead.value < value:
            memory.add((ahead.x - x).ravel(), (ahead.g - g).ravel())
            x, value, g = ahead.x, ahead.value, ahead.g
        elif memory.order:
            memory.clear()
            run.restarts += 1
        else:
            break
    raise Stop("converged")


def _clipped(run: Run, x: Image) -> tuple[float, Image]:
    """Value and gradient of what L-BFGS minimises: the loss of the clipped image, and a pull back.

    A pixel beyond [0, 1] is seen, and will be saved, as its bound; so the loss is that of the
    clipped image, whose slope along such a pixel is zero, and a quadratic penalty leads the pixel
    back. The picture comes out as good as with L-BFGS-B's bounds, without their cost; clipped only
    at the end, its loss is 2 to 5 % higher (measured on two pictures at 256 and 384 pixels).
    """
    seen = np.clip(x, 0, 1)
    beyond = x - seen
    value, gradient = run(seen)
    k = _PULL * run.history[0].total / x.size
    return value + k * _dot(beyond, beyond), np.where(beyond, 0.0, gradient) + 2 * k * beyond


class _Ahead:
    """The objective along a line x + t d; keeps what it last met."""

    def __init__(self, run: Run, x: Image, d: Image) -> None:
        self._run, self._x, self._d = run, x, d
        self.x, self.value, self.g = x, math.inf, d

    def __call__(self, t: float) -> tuple[float, float]:
        """Value and slope at a step t."""
        self.x = self._x + t * self._d
        self.value, self.g = _clipped(self._run, self.x)
        return self.value, _dot(self.g, self._d)


def _dot(a: Image, b: Image) -> float:
    """Scalar product, whose bits depend on no number of threads."""
    return float(np.einsum("n,n->", a.ravel(), b.ravel()))


def lbfgs_scipy(run: Run, x: Image, state: State | None = None, *, bounds: bool = False) -> None:
    """L-BFGS over the pixels, driven by SciPy's L-BFGS-B.

    SciPy sees the value divided by its start, and variables in which its first trial step, of
    length one, moves the pixels by two grey levels RMS. Its own stop rules are off. Where the line
    search fails, the search begins afresh from the best image; when it fails twice at the same
    image, that image is a minimum to rounding.

    Parameters
    ----------
    run, x
        As for `lbfgs`.
    state : mapping of str to ndarray, optional
        SciPy does not give its own away: with this, a level is begun again from its start.
    bounds : bool
        Let L-BFGS-B keep every pixel in [0, 1]; it takes half as long again, and wins nothing.
    """
    from scipy.optimize import fmin_l_bfgs_b

    if state is None:
        run.rest({"x": x})
    unit = _FIRST_STEP * math.sqrt(x.size) / 255  # of x per unit of y
    scale = 1.0

    def evaluate(y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal scale
        value, gradient = _clipped(run, unit * y.reshape(x.shape))
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


def adam(run: Run, x: Image, state: State | None = None, *, bounds: bool = True) -> None:
    """Adam over the pixels, with clipping after each step and an average over the iterates.

    The average is smoother than any iterate; it is evaluated last, and is the result if it is the
    best.

    Parameters
    ----------
    run, x, state
        As for `lbfgs`.
    bounds : bool
        Keep every pixel in [0, 1].

    Notes
    -----
    D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015. The average is bias
    corrected like the moments.
    """
    x = x.copy()
    first, second, average = (
        state[name].copy() if state and name in state else np.zeros_like(x) for name in _MOMENTS
    )
    t = int(state["t"]) if state and "t" in state else 0
    b1, b2 = _ADAM_DECAY
    try:
        while run.left > 1 or t == 0:
            moments = dict(zip(_MOMENTS, (first, second, average), strict=True))
            run.rest({"x": x, "t": np.array(t, np.int64), **moments})
            _, gradient = run(x)
            run.move()
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


OPTIMIZERS: dict[str, Callable[..., None]] = {"lbfgs": lbfgs, "scipy": lbfgs_scipy, "adam": adam}


def state_shapes(optimizer: str, shape: tuple[int, ...]) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Types and shapes of the arrays of an optimiser's state, for x of a shape.

    At the start of a level there is ``"x"`` alone.
    """
    image, number = (np.float64, shape), (np.float64, ())
    if optimizer == "adam":
        return {"x": image, "t": (np.int64, ()), **dict.fromkeys(_MOMENTS, image)}
    if optimizer == "scipy":
        return {"x": image}
    return {"x": image, "value": number, "g": image, **Memory.shapes(_MEMORY, math.prod(shape))}
