"""The line search of Moré and Thuente, which L-BFGS-B uses too, with its constants.

It looks for a step t at which phi(t) = f(x + t d) satisfies the strong Wolfe conditions: it lies
below the line phi(0) + 1e-3 phi'(0) t, and abs(phi'(t)) is at most 0.9 abs(phi'(0)).

J. Moré, D. Thuente, "Line Search Algorithms with Guaranteed Sufficient Decrease", ACM Transactions
on Mathematical Software 20 (1994).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["search"]

_DECREASE = 1e-3
_CURVATURE = 0.9
_NARROW = 0.1  # relative width at which the interval holds no better step
_MOST_TRIALS = 20
_LONGEST = 1e10


class _Point(NamedTuple):
    """A step with the value and the slope of phi there."""

    t: float
    f: float
    df: float


def search(
    phi: Callable[[float], tuple[float, float]], value: float, slope: float, step: float
) -> bool:
    """Search along a line, from a first trial step.

    Parameters
    ----------
    phi : callable
        Step to (value, slope). The step that is found is the last one it was called with.
    value, slope : float
        phi(0) and phi'(0), which is negative.
    step : float
        The first trial.

    Returns
    -------
    bool
        Whether a step was found: False after 20 trials.
    """
    best = other = _Point(0.0, value, slope)  # of the interval: its better end, and its other one
    bracketed, steep = False, True  # steep: no step yet lay below the line and went up again
    low, high = 0.0, 5 * step
    width, width_before = _LONGEST, 2 * _LONGEST
    tilt = _DECREASE * slope
    for _ in range(_MOST_TRIALS):
        trial = _Point(step, *phi(step))
        below = trial.f <= value + tilt * step
        flat = abs(trial.df) <= -_CURVATURE * slope or (step == _LONGEST and trial.df <= tilt)
        if (below and flat) or (bracketed and _exhausted(step, low, high)):
            return True
        steep = steep and not (below and trial.df >= 0)
        # phi minus the line has a minimum in the interval, phi itself may have none yet.
        lean = tilt if steep and trial.f <= best.f and not below else 0.0
        best, other, trial = (
            _Point(p.t, p.f - lean * p.t, p.df - lean) for p in (best, other, trial)
        )
        best, other, step, bracketed = _next(best, other, trial, bracketed, low, high)
        best, other = (_Point(p.t, p.f + lean * p.t, p.df + lean) for p in (best, other))
        if bracketed:
            if abs(other.t - best.t) >= 0.66 * width_before:
                step = best.t + 0.5 * (other.t - best.t)
            width_before, width = width, abs(other.t - best.t)
            low, high = min(best.t, other.t), max(best.t, other.t)
            if _exhausted(step, low, high):
                step = best.t
        else:
            low, high = step + 1.1 * (step - best.t), step + 4 * (step - best.t)
            step = min(step, _LONGEST)
    return False


def _exhausted(step: float, low: float, high: float) -> bool:
    """Whether the interval is too narrow to hold a better step than its ends."""
    return not low < step < high or high - low <= _NARROW * high


def _next(
    best: _Point, other: _Point, trial: _Point, bracketed: bool, low: float, high: float
) -> tuple[_Point, _Point, float, bool]:
    """Shrink the interval by the trial, and choose the next one by interpolation."""
    turned = trial.df * math.copysign(1.0, best.df) < 0
    turn = trial.df - best.df
    secant = trial.t + trial.df / turn * (best.t - trial.t) if turn else high
    if trial.f > best.f:  # higher: the minimum lies between
        cubic = _cubic(best, trial)
        mean_slope = (best.f - trial.f) / (trial.t - best.t)
        quadratic = best.t + best.df / (mean_slope + best.df) / 2 * (trial.t - best.t)
        near = abs(cubic - best.t) < abs(quadratic - best.t)
        step = cubic if near else cubic + (quadratic - cubic) / 2
        return best, trial, step, True
    if turned:  # lower, and the slope has changed its sign: between, too
        cubic = _cubic(best, trial)
        far = abs(cubic - trial.t) > abs(secant - trial.t)
        return trial, best, cubic if far else secant, True
    if abs(trial.df) < abs(best.df):  # lower and flatter: on, with care
        step = _onward(best, other, trial, secant, bracketed, low, high)
    elif bracketed:
        step = _cubic(other, trial)
    else:
        step = high if trial.t > best.t else low
    return trial, other, step, bracketed


def _onward(
    best: _Point,
    other: _Point,
    trial: _Point,
    secant: float,
    bracketed: bool,
    low: float,
    high: float,
) -> float:
    """Step beyond a trial that is lower and flatter than the best one."""
    end = high if trial.t > best.t else low
    cubic = _cubic(best, trial)
    if not math.isfinite(cubic) or (cubic - trial.t) * (trial.t - best.t) <= 0:
        cubic = end  # the cubic falls for ever, or has its minimum behind the trial
    if not bracketed:
        step = cubic if abs(cubic - trial.t) > abs(secant - trial.t) else secant
        return min(max(step, low), high)
    step = cubic if abs(cubic - trial.t) < abs(secant - trial.t) else secant
    limit = trial.t + 0.66 * (other.t - trial.t)
    return min(step, limit) if trial.t > best.t else max(step, limit)


def _cubic(a: _Point, b: _Point) -> float:
    """Where the cubic through two points with their slopes has its minimum; infinity if nowhere."""
    theta = 3 * (a.f - b.f) / (b.t - a.t) + a.df + b.df
    scale = max(abs(theta), abs(a.df), abs(b.df))
    if scale == 0:
        return math.inf
    root = scale * math.sqrt(max(0.0, (theta / scale) ** 2 - a.df / scale * (b.df / scale)))
    root = math.copysign(root, b.t - a.t)
    across = b.df - a.df + 2 * root
    return b.t - (b.t - a.t) * (b.df + root - theta) / across if across else math.inf
