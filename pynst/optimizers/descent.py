"""A descent: the loss at one level with its bookkeeping, which an optimiser drives.

A `Descent` counts evaluations, keeps the best image, and ends in time by raising `Stop`. Between
two steps its optimiser says how its state can be fetched (`Descent.between_steps`). The state is
fetched only when somebody asks for a `Snapshot`: vectors that live on a GPU stay there until a
checkpoint is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pynst.errors import DivergedError
from pynst.losses.terms import InPlace, LossTerms

__all__ = [
    "Closure",
    "Descent",
    "Given",
    "Image",
    "Snapshot",
    "State",
    "Stop",
    "StopReason",
    "handed_over",
    "taken",
]

_Given = TypeVar("_Given")

Image = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]
"""Arrays by name: ``"x"`` (H, W, 3) and the optimiser's own."""

Given: TypeAlias = "_Given | Callable[[], _Given]"
"""Something, or a function that gives it away: see `handed_over`."""

_PATIENCE = 10  # evaluations over which `tolerance` compares


def handed_over(value: _Given) -> Callable[[], _Given]:
    """Make a function that gives something away once, so that its caller does not hold it as well.

    At print sizes a start, and all the more a state, is as large as all of a small run.
    """
    return [value].pop


def taken(given: Given[_Given]) -> _Given:
    """What has been given, or handed over."""
    return given() if callable(given) else given


class StopReason(str, Enum):
    """Why a descent, or a whole run, ended."""

    ITERATIONS = "iterations"
    """All evaluations that were allowed have been made."""
    MINUTES = "minutes"
    """The time was over."""
    TOLERANCE = "tolerance"
    """The loss no longer fell by the share that was asked for."""
    CONVERGED = "converged"
    """The image is a minimum, as far as rounding lets it be known."""
    CALLBACK = "callback"
    """The callback raised StopIteration."""
    INTERRUPTED = "interrupted"
    """Ctrl-C, or a signal to end."""
    DIVERGED = "diverged"
    """The loss or its gradient became NaN or infinite."""
    ERROR = "error"
    """Something else was raised."""

    def __str__(self) -> str:
        return self.value


class Stop(Exception):
    """Raised by a `Descent` when it is over.

    Attributes
    ----------
    reason : StopReason
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Snapshot:
    """Where a descent stands between two steps: all that is needed to go on with the same bits.

    Attributes
    ----------
    state : mapping of str to ndarray
        What the optimiser needs: ``"x"`` and its own arrays.
    history : tuple of LossTerms
    best : ndarray (H, W, 3) or None
    best_value : float
    restarts : int
    gradient_scale : float
        That of the closure, see `Closure`: the next evaluation depends on it.
    """

    state: State
    history: tuple[LossTerms, ...] = ()
    best: Image | None = None
    best_value: float = math.inf
    restarts: int = 0
    gradient_scale: float = 1.0


class Closure(Protocol):
    """What an optimiser needs of a loss; `pynst.Objective` has it.

    Attributes
    ----------
    terms : LossTerms or None
        The terms of the last evaluation.
    gradient_scale : float
        The power of two by which a backend with 16-bit numbers multiplies the gradients of the
        next evaluation; 1 where it has none.
    """

    terms: LossTerms | None
    gradient_scale: float

    def __call__(self, x: Image) -> tuple[float, Image]:
        """Evaluate: the value, and the gradient, of the shape of x."""

    def in_place(self, sums: int) -> InPlace | None:
        """The same loss with image and gradient on a device; None where there is no device.

        `sums` is how many numbers the optimiser wants to be told together with the losses.
        """


class _Best(NamedTuple):
    """The image of the lowest value; it is fetched when it is asked for."""

    value: float = math.inf
    image: Callable[[], Image] | None = None


class _Unfetched(NamedTuple):
    """A `Snapshot` that has not been fetched yet. Nothing that it refers to may change any more."""

    state: Callable[[], State]
    evaluations: int
    best: _Best
    restarts: int
    gradient_scale: float


class Descent:
    """A closure with its bookkeeping: counts, keeps the best image, and ends in time.

    Parameters
    ----------
    closure : Closure
        x (H, W, 3) to (value, gradient of the same shape).
    budget : int
        Evaluations.
    deadline : float
        End, in `time.monotonic` seconds.
    tolerance : float
        Stop when the last 10 evaluations lowered the best value by less than this share of it; 0
        never.
    on_evaluation : callable, optional
        Called with the descent after each evaluation; may raise `Stop`.
    on_step : callable, optional
        Called with the descent whenever its optimiser stands between two steps.
    resume : Snapshot, optional
        Where an earlier descent over the same loss stood.
    pairs : int, optional
        Pairs that L-BFGS keeps, where it is not to keep as many as it would.

    Attributes
    ----------
    closure : Closure
    budget : int
    pairs : int or None
    history : list of LossTerms
        One entry per evaluation.
    restarts : int
        How often the line search failed and L-BFGS began afresh.

    Notes
    -----
    An optimiser's vectors must not refer to the descent: a descent refers to the optimiser's state,
    and in a circle the memory of a level would stay until Python's cycle collector runs.
    """

    def __init__(
        self,
        closure: Closure,
        budget: int,
        *,
        deadline: float = math.inf,
        tolerance: float = 0.0,
        on_evaluation: Callable[[Descent], None] | None = None,
        on_step: Callable[[Descent], None] | None = None,
        resume: Snapshot | None = None,
        pairs: int | None = None,
    ) -> None:
        self.closure = closure
        self.budget = budget
        self.pairs = pairs
        self._deadline = deadline
        self._tolerance = tolerance
        self._on_evaluation = on_evaluation
        self._on_step = on_step
        self._unfetched: _Unfetched | None = None
        if resume is not None:
            closure.gradient_scale = resume.gradient_scale
        resume = resume or Snapshot({})
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
        """Fetches the image of the lowest value: now or later, it will be the same one."""
        return self._best.image

    @property
    def best(self) -> Image | None:
        """The image of the lowest value (H, W, 3)."""
        return None if self._best.image is None else self._best.image()

    def __call__(self, x: Image, *, last: bool = False) -> tuple[float, Image]:
        """Evaluate at x; raise `Stop` instead when the descent is over, unless `last` is set."""
        if not last:
            self.check()
        value, gradient = self.closure(x)
        terms = self.closure.terms
        assert terms is not None
        kept = x.copy() if value < self.best_value else x
        finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
        self.note(terms, finite, lambda: kept)
        return value, gradient

    def check(self) -> None:
        """Raise `Stop` if the descent is over."""
        if self.left <= 0:
            raise Stop(StopReason.ITERATIONS)
        if self.history and time.monotonic() >= self._deadline:
            raise Stop(StopReason.MINUTES)
        if self._tolerance and len(self._best_values) > _PATIENCE:
            before, now = self._best_values[-1 - _PATIENCE], self._best_values[-1]
            if before - now < self._tolerance * abs(before):
                raise Stop(StopReason.TOLERANCE)

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

    def between_steps(self, state: Callable[[], State]) -> None:
        """Say that the optimiser stands between two steps, and how its state can be fetched.

        `state` gives the same arrays whenever it is called. The snapshot before this one counts
        until the new one is complete, so that an interruption finds one of the two whole.
        """
        self._unfetched = _Unfetched(
            state, len(self.history), self._best, self.restarts, self.closure.gradient_scale
        )
        if self._on_step is not None:
            self._on_step(self)

    def finish(self) -> None:
        """Let go of what a snapshot would need; there will be none any more."""
        self._unfetched = None

    @property
    def snapshot(self) -> Snapshot | None:
        """Where the descent stood last between two steps; None before its start."""
        unfetched = self._unfetched
        if unfetched is None:
            return None
        best, state = unfetched.best, unfetched.state()
        return Snapshot(
            state,
            tuple(self.history[: unfetched.evaluations]),
            # as narrow as the image itself, which loses nothing
            None if best.image is None else best.image().astype(state["x"].dtype, copy=False),
            best.value,
            unfetched.restarts,
            unfetched.gradient_scale,
        )
