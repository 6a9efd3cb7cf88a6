"""The pairs that L-BFGS remembers: the direction that they give."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.optimizers.pairs import Pairs


def kept(memory, vectors, s, y, M):
    """Write a pair as `Vectors.evaluate` does, and offer it to the memory."""
    vectors[memory.spare], vectors[memory.rows + memory.spare] = s, M * y
    memory.add(vectors @ y)


def direction(memory, vectors, g, M):
    c, c_h, slope = memory.direction(vectors @ g, g @ (M * g))
    return c @ vectors + c_h * M * g, slope


def two_loops(pairs, g, M):
    """Nocedal's recursion as it stands in the textbooks, from gamma M."""
    q, alphas = g.copy(), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q -= alphas[-1] * y
    s, y = pairs[-1]
    r = M * q * (s @ y) / (y @ (M * y))
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r += s * (alpha - y @ r / (s @ y))
    return -r


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4, 7, 12])
def test_the_direction_is_that_of_the_two_loop_recursion(count, preconditioned):
    rng = np.random.default_rng(0)
    memory, n = Pairs(4), 20_000
    vectors, pairs = np.zeros((2 * memory.rows, n)), []
    hessian = 10 ** rng.uniform(-1, 1, n)
    M = 10 ** rng.uniform(-1, 1, n) if preconditioned else np.ones(n)
    for _ in range(count):
        s = rng.standard_normal(n)
        kept(memory, vectors, s, hessian * s, M)
        pairs = [*pairs, (s, hessian * s)][-4:]
    g = rng.standard_normal(n)
    d, slope = direction(memory, vectors, g, M)
    wanted = two_loops(pairs, g, M)
    np.testing.assert_allclose(d, wanted, atol=1e-12 * np.abs(wanted).max())
    assert slope == pytest.approx(wanted @ g, rel=1e-12)
    assert slope < 0


def test_without_pairs_the_direction_is_downhill():
    d, slope = direction(Pairs(3), np.zeros((8, 4)), np.arange(4.0), np.ones(4))
    np.testing.assert_array_equal(d, -np.arange(4.0))
    assert slope == -14


def test_a_pair_without_curvature_is_not_kept():
    memory, rows = Pairs(3), np.zeros((8, 4))
    kept(memory, rows, np.ones(4), -np.ones(4), np.ones(4))
    assert not memory.order
