"""Adam on a function whose minimum is known."""

from __future__ import annotations

from closures import Quadratic, run_to_the_end

from pynst.optimizers.table import adam


def test_adam_comes_near_the_minimum_and_stays_inside():
    objective = Quadratic()
    run, reason = run_to_the_end(adam, objective, 400)
    assert reason == "iterations"
    assert run.best_value < 1e-3 * run.history[0].total
    assert all(x.min() >= 0 and x.max() <= 1 for x in objective.calls)
