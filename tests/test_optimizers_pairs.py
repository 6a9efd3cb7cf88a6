"""The memory of L-BFGS: the direction it gives, and that an interruption never finds it torn."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from closures import HostClosure

from pynst.losses.terms import LossTerms
from pynst.optimizers.descent import Descent, Stop
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.table import OPTIMIZERS


def kept(memory, pairs, s, y):
    """Write a pair as `Vectors.evaluate` does, and offer it to the memory."""
    rows = [memory.spare, memory.rows + memory.spare]
    pairs[rows] = s, y
    memory.add(*(pairs[rows] @ pairs.T))


def direction(memory, pairs, g):
    c, c_g, slope = memory.direction(pairs @ g, g @ g)
    return c @ pairs + c_g * g, slope


def two_loops(pairs, g):
    """Nocedal's recursion as it stands in the textbooks."""
    q, alphas = g.copy(), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q -= alphas[-1] * y
    s, y = pairs[-1]
    r = q * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r += s * (alpha - y @ r / (s @ y))
    return -r


@pytest.mark.parametrize("count", [1, 2, 4, 7, 12])
def test_the_direction_is_that_of_the_two_loop_recursion(count):
    rng = np.random.default_rng(0)
    memory, n = Pairs(4), 20_000
    rows, pairs = np.zeros((2 * memory.rows, n)), []
    hessian = 10 ** rng.uniform(-1, 1, n)
    for _ in range(count):
        s = rng.standard_normal(n)
        kept(memory, rows, s, hessian * s)
        pairs = [*pairs, (s, hessian * s)][-4:]
    g = rng.standard_normal(n)
    d, slope = direction(memory, rows, g)
    wanted = two_loops(pairs, g)
    np.testing.assert_allclose(d, wanted, atol=1e-12 * np.abs(wanted).max())
    assert slope == pytest.approx(wanted @ g, rel=1e-12)
    assert slope < 0


def test_without_pairs_the_direction_is_downhill():
    d, slope = direction(Pairs(3), np.zeros((8, 4)), np.arange(4.0))
    np.testing.assert_array_equal(d, -np.arange(4.0))
    assert slope == -14


def test_a_pair_without_curvature_is_not_kept():
    memory, rows = Pairs(3), np.zeros((8, 4))
    kept(memory, rows, np.ones(4), -np.ones(4))
    assert not memory.order


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
