"""What every optimiser of the table has: a budget, its best iterate, and a resumable run."""

from __future__ import annotations

import numpy as np
import pytest
from closures import Quadratic, run_to_the_end
from hypothesis import given
from hypothesis import strategies as st

from pynst.optimizers.descent import Descent, Stop
from pynst.optimizers.table import OPTIMIZERS


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


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(budget=st.integers(1, 30), seed=st.integers(0, 5))
def test_a_run_never_exceeds_its_budget_and_returns_its_best_iterate(name, budget, seed):
    objective = Quadratic(seed, (2, 3, 3))
    run, _ = run_to_the_end(OPTIMIZERS[name], objective, budget)
    assert len(objective.calls) == len(run.history) <= budget
    values = [terms.total for terms in run.history]
    assert run.best_value == min(values)
    np.testing.assert_array_equal(run.best, objective.calls[int(np.argmin(values))])
