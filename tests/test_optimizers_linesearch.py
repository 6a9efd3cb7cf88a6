"""The line search: where it ends, and how many evaluations it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
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


def parabola(calls, minimum=1.0):
    """(t - minimum)^2 and its slope; notes each step that it is asked for."""

    def phi(t):
        calls.append(t)
        return (t - minimum) ** 2, 2 * (t - minimum)

    return phi


def test_a_first_step_that_is_good_enough_is_the_only_one():
    calls = []
    assert search(parabola(calls), 1.0, -2.0, 0.7)
    assert calls == [0.7]


@pytest.mark.parametrize("first", [0.01, 50.0])
def test_the_interpolation_of_a_parabola_is_its_minimum(first):
    calls = []
    assert search(parabola(calls), 1.0, -2.0, first)
    assert abs(2 * (calls[-1] - 1.0)) <= 0.9 * 2.0
    assert (calls[-1] - 1.0) ** 2 <= 1.0 - 1e-3 * 2.0 * calls[-1]
    assert len(calls) <= 5


def test_a_line_that_falls_for_ever_is_given_up_or_ends_at_the_longest_step():
    calls = []

    def phi(t):
        calls.append(t)
        return -t, -1.0

    search(phi, 0.0, -1.0, 1.0)
    assert len(calls) <= 20
    assert max(calls) == calls[-1] <= 1e10
