"""SciPy's L-BFGS: the oracle of this package's own, and the bounds that it alone has."""

from __future__ import annotations

import numpy as np
import pytest
from closures import HostClosure, Quadratic, run_to_the_end

from pynst.losses.terms import LossTerms
from pynst.optimizers.table import lbfgs, lbfgs_scipy


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


def test_bounds_keep_scipys_lbfgs_inside():
    objective = Quadratic()
    objective.target = 3 * objective.target - 1
    run, _ = run_to_the_end(lbfgs_with_bounds, objective, 600)
    assert min(x.min() for x in objective.calls) >= 0
    assert max(x.max() for x in objective.calls) <= 1
    np.testing.assert_allclose(run.best, np.clip(objective.target, 0, 1), atol=1e-4)


def lbfgs_with_bounds(run, x):
    lbfgs_scipy(run, x, bounds=True)
