"""L-BFGS on functions whose minimum is known."""

from __future__ import annotations

import numpy as np
import pytest
from closures import HostClosure, Quadratic, run_to_the_end

from pynst.losses.terms import LossTerms
from pynst.optimizers.table import lbfgs, lbfgs_scipy


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
