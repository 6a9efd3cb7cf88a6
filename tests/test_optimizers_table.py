"""Optimisers on functions whose minimum is known, and the bookkeeping that every run has."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from closures import HostClosure
from hypothesis import given
from hypothesis import strategies as st

from pynst.errors import DivergedError
from pynst.losses.terms import LossTerms
from pynst.optimizers.descent import Descent, Stop, StopReason
from pynst.optimizers.linesearch import search
from pynst.optimizers.table import OPTIMIZERS, adam, lbfgs, lbfgs_scipy


class Quadratic(HostClosure):
    """sum_i w_i (x_i - t_i)^2 over an image; badly scaled on purpose."""

    def __init__(self, seed=0, shape=(6, 5, 3), offset=0.0, reach=1.0):
        rng = np.random.default_rng(seed)
        self.target = 0.5 + reach * (rng.random(shape) - 0.5)
        self.weight = 10 ** rng.uniform(-1, 2, shape)
        self.offset = offset
        self.terms = None
        self.calls = []

    def __call__(self, x):
        self.calls.append(x.copy())
        value = float(np.sum(self.weight * (x - self.target) ** 2)) + self.offset
        self.terms = LossTerms(value, value, 0.0, 0.0)
        return value, 2 * self.weight * (x - self.target)


def run_to_the_end(optimizer, objective, budget, x=None, **settings):
    run = Descent(objective, budget, **settings)
    start = np.full(objective.target.shape, 0.5) if x is None else x
    with pytest.raises(Stop) as stop:
        optimizer(run, start)
    return run, str(stop.value)


def test_lbfgs_finds_the_minimum_of_a_quadratic():
    objective = Quadratic()
    run, _ = run_to_the_end(lbfgs, objective, 600)
    np.testing.assert_allclose(run.best, objective.target, atol=1e-6)


def test_lbfgs_finds_the_minimum_of_rosenbrocks_valley():
    class Rosenbrock(HostClosure):
        terms = None
        target = np.ones((1, 2, 3))

        def __call__(self, x):
            a, b = x[0]
            value = float(np.sum((1 - a) ** 2 + 100 * (b - a**2) ** 2))
            gradient = np.empty_like(x)
            gradient[0, 0] = -2 * (1 - a) - 400 * a * (b - a**2)
            gradient[0, 1] = 200 * (b - a**2)
            self.terms = LossTerms(value, value, 0.0, 0.0)
            return value, gradient

    run, _ = run_to_the_end(lbfgs, Rosenbrock(), 300, np.zeros((1, 2, 3)))
    np.testing.assert_allclose(run.best, 1, atol=1e-5)


class Rosenbrock(HostClosure):
    """The valley in 60 dimensions: the line search has to interpolate."""

    terms = None
    target = np.ones((1, 2, 30))

    def __init__(self):
        self.calls = []

    def __call__(self, x):
        from scipy.optimize import rosen, rosen_der

        self.calls.append(x.copy())
        value = float(rosen(x.ravel()))
        self.terms = LossTerms(value, value, 0.0, 0.0)
        return value, rosen_der(x.ravel()).reshape(x.shape)


@pytest.mark.parametrize(
    ("make", "start", "evaluations", "tolerance"),
    [
        (lambda: Quadratic(reach=0.3), np.full((6, 5, 3), 0.5), 30, 1e-5),
        (lambda: Quadratic(1, (20, 20, 3), reach=0.3), np.full((20, 20, 3), 0.5), 30, 1e-5),
        (Rosenbrock, np.zeros((1, 2, 30)), 20, 2e-3),
    ],
    ids=["quadratic", "larger", "rosenbrock"],
)
def test_lbfgs_goes_where_scipys_goes(make, start, evaluations, tolerance):
    """SciPy is the oracle: the same trial points, until rounding of the float32 pairs has grown."""
    ours, scipys = make(), make()
    run_to_the_end(lbfgs, ours, evaluations, start)
    run_to_the_end(lbfgs_scipy, scipys, evaluations, start)
    np.testing.assert_allclose(ours.calls, scipys.calls, atol=tolerance)


@given(
    st.integers(0, 200), st.floats(0.01, 30), st.sampled_from(["lower", "higher", "wavy"]),
    st.floats(0.05, 20),
)  # fmt: skip
def test_the_line_search_ends_at_a_step_that_is_low_and_flat_enough(seed, where, kind, first):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.1, 3, 2)

    def phi(t):
        calls.append(t)
        bowl, slope = (t - where) ** 2, 2 * (t - where)
        if kind == "wavy":
            return a * bowl + b * math.cos(t), a * slope - b * math.sin(t)
        if kind == "higher":
            return a * bowl**2, 2 * a * bowl * slope
        return a * bowl, a * slope

    calls = []
    value, slope = phi(0.0)
    if slope >= 0:
        return
    found = search(phi, value, slope, first)
    assert len(calls) <= 21
    if found:
        f, df = phi(calls[-1])
        assert f <= value + 1e-3 * slope * calls[-1] or abs(df) < 1e-6
        assert kind == "wavy" or abs(df) <= 0.9 * abs(slope) + 1e-12


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(stops=st.lists(st.integers(1, 40), min_size=1, max_size=3), seed=st.integers(0, 3))
def test_a_run_resumed_from_where_it_stood_meets_the_same_points(name, stops, seed):
    optimizer, budget, start = OPTIMIZERS[name], 40, np.full((3, 4, 3), 0.5)
    whole = Quadratic(seed, (3, 4, 3))
    wanted, _ = run_to_the_end(optimizer, whole, budget, start)
    rest = None
    for stop in [*sorted(stops), budget]:

        def end(run, stop=stop):
            if len(run.history) >= stop:
                raise KeyboardInterrupt

        objective = Quadratic(seed, (3, 4, 3))
        run = Descent(objective, budget, on_evaluation=end, resume=rest)
        try:
            optimizer(run, start if rest is None else rest.state["x"], rest and rest.state)
        except (KeyboardInterrupt, Stop):
            rest = run.snapshot or rest
    assert run.best_value == wanted.best_value
    np.testing.assert_array_equal(run.best, wanted.best)
    assert [terms.total for terms in run.history] == [
        terms.total for terms in wanted.history[: len(run.history)]
    ]


def test_the_first_step_of_lbfgs_is_two_grey_levels():
    objective = Quadratic()
    run_to_the_end(lbfgs, objective, 2)
    step = 255 * (objective.calls[1] - objective.calls[0])
    assert np.sqrt(np.mean(step**2)) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("optimizer", [lbfgs, lbfgs_scipy])
def test_lbfgs_looks_only_inside_and_finds_the_best_image_there(optimizer):
    objective = Quadratic()
    objective.target = 3 * objective.target - 1
    nearest = np.clip(objective.target, 0, 1)
    run, _ = run_to_the_end(optimizer, objective, 600)
    assert min(x.min() for x in objective.calls) >= 0
    assert max(x.max() for x in objective.calls) <= 1
    # A pixel hovers at its bound, where the slope of what is minimised jumps: 0.9 to 1.4 % remain.
    assert run.best_value == pytest.approx(objective(nearest)[0], rel=2e-2)


def test_bounds_keep_scipys_lbfgs_inside():
    objective = Quadratic()
    objective.target = 3 * objective.target - 1
    run, _ = run_to_the_end(lbfgs_with_bounds, objective, 600)
    assert min(x.min() for x in objective.calls) >= 0
    assert max(x.max() for x in objective.calls) <= 1
    np.testing.assert_allclose(run.best, np.clip(objective.target, 0, 1), atol=1e-4)


def lbfgs_with_bounds(run, x):
    lbfgs_scipy(run, x, bounds=True)


def test_adam_comes_near_the_minimum_and_stays_inside():
    objective = Quadratic()
    run, reason = run_to_the_end(adam, objective, 400)
    assert reason == "iterations"
    assert run.best_value < 1e-3 * run.history[0].total
    assert all(x.min() >= 0 and x.max() <= 1 for x in objective.calls)


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(budget=st.integers(1, 30), seed=st.integers(0, 5))
def test_a_run_never_exceeds_its_budget_and_returns_its_best_iterate(name, budget, seed):
    objective = Quadratic(seed, (2, 3, 3))
    run, _ = run_to_the_end(OPTIMIZERS[name], objective, budget)
    assert len(objective.calls) == len(run.history) <= budget
    values = [terms.total for terms in run.history]
    assert run.best_value == min(values)
    np.testing.assert_array_equal(run.best, objective.calls[int(np.argmin(values))])


def test_a_run_ends_at_its_deadline():
    run, reason = run_to_the_end(lbfgs, Quadratic(), 10**6, deadline=time.monotonic() - 1)
    assert reason == "minutes"
    assert len(run.history) == 1, "one evaluation is always made, so that there is an image"


def test_a_run_ends_when_it_no_longer_improves():
    run, reason = run_to_the_end(adam, Quadratic(offset=1e6), 10**4, tolerance=1e-3)
    assert reason == "tolerance"
    assert len(run.history) < 100


def test_a_failing_line_search_restarts_from_the_best_image_and_then_ends():
    class Liar(Quadratic):
        """A gradient of the wrong sign after a while: no step along it can lower the value."""

        def __call__(self, x):
            value, gradient = super().__call__(x)
            return value, gradient if len(self.calls) < 8 else -gradient

    run, reason = run_to_the_end(lbfgs, Liar(), 10**4)
    assert reason == "converged"
    assert run.restarts >= 1
    assert run.best_value == min(terms.total for terms in run.history)


def test_a_start_at_the_minimum_ends_at_once():
    objective = Quadratic()
    run, reason = run_to_the_end(lbfgs, objective, 50, objective.target.copy())
    assert reason == "converged"
    assert run.best_value < 1e-25
    assert len(run.history) < 20


@pytest.mark.parametrize("poison", ["value", "gradient"])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_best(poison):
    class Poisoned(Quadratic):
        def __call__(self, x):
            value, gradient = super().__call__(x)
            if len(self.calls) == 5:
                return (math.nan, gradient) if poison == "value" else (value, gradient * math.inf)
            return value, gradient

    run = Descent(Poisoned(), 50)
    with pytest.raises(DivergedError, match="not finite at evaluation 5"):
        lbfgs(run, np.full((6, 5, 3), 0.5))
    assert math.isfinite(run.best_value)
    assert run.best is not None


def test_the_watcher_sees_every_evaluation_and_may_stop():
    seen = []

    def watch(run):
        seen.append(run.history[-1].total)
        if len(seen) == 7:
            raise Stop(StopReason.CALLBACK)

    run, reason = run_to_the_end(lbfgs, Quadratic(), 100, on_evaluation=watch)
    assert reason == "callback"
    assert seen == [terms.total for terms in run.history]
