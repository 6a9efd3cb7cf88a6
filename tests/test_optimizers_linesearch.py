"""The line search: where it ends, and how many evaluations it takes."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pynst.optimizers.linesearch import search


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
