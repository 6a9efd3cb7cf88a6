"""A run: an objective with its bookkeeping, which an optimiser drives and a checkpoint keeps.

A run counts evaluations, keeps the best iterate, and ends in time by raising `Stop`. Between two
steps its optimiser tells it where it stands (`Run.rest`). What it tells is a function, called only
when somebody asks: vectors that live on a GPU stay there until a checkpoint is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pynst.errors import DivergedError
from pynst.objective import LossTerms

__all__ = ["Evaluate", "Image", "Rest", "Run", "State", "Stop"]

Image = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]
"""Arrays by name: ``"x"`` (H, W, 3) and the optimiser's own."""

_PATIENCE = 10  # evaluations over which `tolerance` compares


class Stop(Exception):
    """Raised by a `Run` when it is over; the argument says why."""


@dataclass(frozen=True)
class Rest:
    """Where a run stands between two steps.

    Attributes
    ----------
    state : mapping of str to ndarray
        What the optimiser needs to go on: ``"x"`` and its own arrays.
    history : tuple of LossTerms
    best : ndarray (H, W, 3) or None
    best_value : float
    restarts : int
    gradient_scale : float
        Of the objective, as `pynst.Objective.gradient_scale`: the next evaluation depends on it.
    """

    state: State
    history: tuple[LossTerms, ...] = ()
    best: Image | None = None
    best_value: float = math.inf
    restarts: int = 0
    gradient_scale: float = 1.0


class Evaluate(Protocol):
    """What a run needs of an objective; `pynst.Objective` has it."""

    terms: LossTerms | None

    def __call__(self, x: Image) -> tuple[float, Image]:
        """Evaluate: value, and gradient of the shape of x."""


@dataclass(frozen=True)
class _Best:
    """The iterate of the lowest value; the image is fetched when it is asked for."""

    value: float = math.inf
    image: Callable[[], Image] | None = None


@dataclass(frozen=True)
class _Resting:
    """A `Rest` that has not been fetched yet. Nothing that it refers to may change any more."""

    state: Callable[[], State]
    evaluations: int
    best: _Best
    restarts: int
    gradient_scale: float


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
    objective : callable
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
        self.objective = objective
        self._deadline = deadline
        self._tolerance = tolerance
        self._on_evaluation = on_evaluation
        self._on_rest = on_rest
        self._resting: _Resting | None = None
        self.budget = budget
        if resume is not None and hasattr(objective, "gradient_scale"):
            objective.gradient_scale = resume.gradient_scale
        resume = resume or Rest({})
        best = resume.best
        self._best = _Best(resume.best_value, None if best is None else lambda: best)
        self.history = list(resume.history)
        self.restarts = resume.restarts
        totals = [terms.total for terms in self.history]
        self._best_values = [float(value) for value in np.minimum.accumulate(totals)]

    @property
    def left(self) -> int:
        """Evaluations that the budget still allows."""
        return self.budget - len(self.history)

    @property
    def best_value(self) -> float:
        """The lowest value so far."""
        return self._best.value

    @property
    def best_image(self) -> Callable[[], Image] | None:
        """Fetches the iterate of the lowest value: now or later, it will be the same one."""
        return self._best.image

    @property
    def best(self) -> Image | None:
        """The iterate of the lowest value (H, W, 3)."""
        return None if self._best.image is None else self._best.image()

    def __call__(self, x: Image, *, last: bool = False) -> tuple[float, Image]:
        """Evaluate at x, or raise `Stop` if the run is over and this is not its last word."""
        if not last:
            self.check()
        value, gradient = self.objective(x)
        terms = self.objective.terms
        assert terms is not None
        kept = x.copy() if value < self.best_value else x
        finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
        self.note(terms, finite, lambda: kept)
        return value, gradient

    def check(self) -> None:
        """Raise `Stop` if the run is over."""
        if self.left <= 0:
            raise Stop("iterations")
        if self.history and time.monotonic() >= self._deadline:
            raise Stop("minutes")
        if self._tolerance and len(self._best_values) > _PATIENCE:
            before, now = self._best_values[-1 - _PATIENCE], self._best_values[-1]
            if before - now < self._tolerance * abs(before):
                raise Stop("tolerance")

    def note(self, terms: LossTerms, finite: bool, image: Callable[[], Image]) -> None:
        """Take note of an evaluation.

        Parameters
        ----------
        terms : LossTerms
        finite : bool
            Whether value and gradient are.
        image : callable
            Fetches the image that was evaluated; whenever it is called, the same one.
        """
        self.history.append(terms)
        if not finite:
            raise DivergedError(
                f"the loss or its gradient is not finite at evaluation {len(self.history)}:"
                f" content {terms.content:g}, style {terms.style:g}, tv {terms.tv:g}"
            )
        if terms.total < self.best_value:
            self._best = _Best(terms.total, image)
        self._best_values.append(self.best_value)
        if self._on_evaluation is not None:
            self._on_evaluation(self)

    def rest(self, state: Callable[[], State]) -> None:
        """Say where the optimiser stands, by a function that gives the same whenever it is called.

        Where the run stood before counts until this returns, so an interruption finds one of the
        two whole.
        """
        scale = getattr(self.objective, "gradient_scale", 1.0)
        self._resting = _Resting(state, len(self.history), self._best, self.restarts, scale)
        if self._on_rest is not None:
            self._on_rest(self)

    @property
    def resting(self) -> Rest | None:
        """Where the run stood last; None before its start."""
        resting = self._resting
        if resting is None:
            return None
        return Rest(
            resting.state(),
            tuple(self.history[: resting.evaluations]),
            None if resting.best.image is None else resting.best.image(),
            resting.best.value,
            resting.restarts,
            resting.gradient_scale,
        )
