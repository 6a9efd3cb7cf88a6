"""The bookkeeping of a descent: limits, losses that are not finite, and interruptions."""

from __future__ import annotations

import math
import sys
import time
import weakref

import numpy as np
import pytest
from closures import HostClosure, Quadratic, run_to_the_end

from pynst.errors import DivergedError
from pynst.losses.terms import LossTerms
from pynst.optimizers.descent import Descent, Stop, StopReason, handed_over, taken
from pynst.optimizers.table import OPTIMIZERS, adam, lbfgs


def test_what_is_handed_over_is_held_by_nobody_else():
    given = np.zeros(3)
    held = weakref.ref(given)
    give = handed_over(given)
    del given
    assert held() is not None
    taken(give)
    assert held() is None
    assert taken(5) == 5


def test_a_run_ends_at_its_deadline():
    run, reason = run_to_the_end(lbfgs, Quadratic(), 10**6, deadline=time.monotonic() - 1)
    assert reason == "minutes"
    assert len(run.history) == 1, "one evaluation is always made, so that there is an image"


def test_a_run_ends_when_it_no_longer_improves():
    run, reason = run_to_the_end(adam, Quadratic(offset=1e6), 10**4, tolerance=1e-3)
    assert reason == "tolerance"
    assert len(run.history) < 100


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


class Valley(HostClosure):
    """A function on which L-BFGS fills its memory, drops pairs and is long under way."""

    terms = None
    target = np.random.default_rng(3).random((4, 5, 3))
    weight = 10 ** np.random.default_rng(4).uniform(-1, 3, (4, 5, 3))

    def __call__(self, x):
        off = x - self.target
        value = float(np.sum(self.weight * (off**2 + off**4)))
        self.terms = LossTerms(value, value, 0.0, 0.0)
        return value, self.weight * (2 * off + 4 * off**3)


NEVER = 10**9


START = np.full((4, 5, 3), 0.5)


class InterruptAtLine:
    """Raises KeyboardInterrupt at the n-th line that is executed in PyNST's drivers, as a signal
    would between any two of them."""

    files = ("lbfgs.py", "adam.py", "pairs.py", "vectors.py", "descent.py", "evaluation.py")

    def __init__(self, line):
        self.left = line

    def __call__(self, frame, event, _):
        if not frame.f_code.co_filename.endswith(self.files):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def interrupted(optimizer, objective, budget, line, resume=None):
    """Run until a line is reached; returns the run, and whether it was interrupted there."""
    run = Descent(objective, budget, resume=resume)
    before = sys.gettrace()
    sys.settrace(InterruptAtLine(line))
    try:
        optimizer(run, resume.state["x"] if resume else START, resume and resume.state)
    except KeyboardInterrupt:
        return run, True
    except Stop:
        return run, False
    finally:
        sys.settrace(before)
    raise AssertionError("an optimiser ends by Stop")


def assert_no_interruption_loses_work(optimizer, make, budget, stride):
    """Wherever a signal falls, the snapshot is whole, and leads to the same end."""
    wanted, _ = interrupted(optimizer, make(), budget, NEVER)
    was, line, met = True, 1, 0
    while was:
        run, was = interrupted(optimizer, make(), budget, line)
        rest = run.snapshot
        assert rest is not None or not run.history
        if rest is not None:
            met += 1
            assert len(rest.history) >= len(run.history) - 6, "more than a line search is lost"
            ended, _ = interrupted(optimizer, make(), budget, NEVER, rest)
            assert ended.best_value == wanted.best_value
            np.testing.assert_array_equal(ended.best, wanted.best)
        line += stride
    assert met > 30


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_an_interruption_at_any_line_keeps_all_work_but_the_step_under_way(name):
    assert_no_interruption_loses_work(OPTIMIZERS[name], Valley, 22, stride=7)
