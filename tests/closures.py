"""Losses for the tests of optimisers, in place of an `Objective`."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.losses.terms import LossTerms
from pynst.optimizers.descent import Descent, Stop


class HostClosure:
    """What `pynst.optimizers.descent.Closure` asks for, of a loss that is computed on the host."""

    terms: LossTerms | None = None
    gradient_scale = 1.0

    def in_place(self, sums):
        """There is no device."""
        return


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
