"""Kept vectors in half precision: how far they are off, and that the core has the same."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st

from pynst import OptionError, stylize
from pynst.backends.cpu import CpuBackend
from pynst.optimizers.kept_vectors import RUN, HalfVectors

IMAGES = CpuBackend(2).device_images((1, 1, 3))
CORE = IMAGES.device.core


def kept(values):
    """A vector, kept and read again."""
    vectors = HalfVectors(3, values.size)
    vectors[1] = values
    return vectors, vectors[1, slice(0, values.size)]


@given(
    n=st.sampled_from([1, RUN - 1, RUN, RUN + 1, 3 * RUN + 7]),
    exponent=st.integers(-30, 30),
    seed=st.integers(0, 5),
)
def test_a_value_is_off_by_a_65534th_of_the_largest_of_its_run(n, exponent, seed):
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(n) * 10.0**exponent).astype(np.float32)
    _, found = kept(values)
    for start in range(0, n, RUN):
        run, read = values[start : start + RUN], found[start : start + RUN]
        largest = np.abs(run).max()
        assert np.abs(read - run).max() <= largest / 65534 * 1.01
        assert read[np.abs(run).argmax()] == pytest.approx(run[np.abs(run).argmax()], rel=1e-6)
        np.testing.assert_array_equal(kept(-run)[1], -read), "both signs are rounded alike"


def test_a_run_has_a_factor_of_its_own_and_a_row_its_own_numbers():
    values = np.concatenate([np.full(RUN, 1e-6), np.full(RUN, 1e6)]).astype(np.float32)
    vectors, found = kept(values)
    np.testing.assert_allclose(found, values, rtol=1e-4)
    assert not vectors[0, slice(0, 2 * RUN)].any()
    np.testing.assert_array_equal(vectors[1, slice(RUN, 2 * RUN)], found[RUN:])
    np.testing.assert_array_equal(vectors[np.array([1, 2]), slice(RUN, 2 * RUN)][0], found[RUN:])
    assert vectors.numbers.nbytes == values.nbytes * 3 / 2


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-42, np.nan, np.inf, -np.inf])
def test_a_run_of_nothing_and_a_run_that_is_not_finite_are_zeros(value):
    values = np.full(RUN + 5, 2.0, np.float32)
    values[7] = value
    if abs(value) < 1:
        values[:RUN] = value
    _, found = kept(values)
    assert not found[:RUN].any()
    np.testing.assert_array_equal(found[RUN:], values[RUN:])


def arrived(pairs, vectors, rows, spare):
    """The sums of `lbfgs_arrive`, which writes into the spare rows."""
    n = vectors[0].size
    sums = np.zeros(4 + 4 * rows)
    scratch = IMAGES.device.allocate(CORE.lbfgs_arrive_scratch(rows, n))
    IMAGES.launch("lbfgs_arrive", *vectors, pairs, spare, sums, scratch)
    return sums


@pytest.mark.parametrize("n", [1, 703, RUN, 9 * RUN + 3])
def test_the_core_keeps_the_same_numbers_and_takes_the_products_of_what_it_keeps(n):
    rng, rows, spare = np.random.default_rng(n), 4, 2
    x, g, h, d, after, next_g, next_h = rng.standard_normal((7, n)).astype(np.float32)
    vectors, wanted = HalfVectors(2 * rows, n), HalfVectors(2 * rows, n)
    for row in range(2 * rows):
        vectors[row] = wanted[row] = rng.standard_normal(n)
    sums = arrived(vectors.arrays, (x, g, h, d, after, next_g, next_h), rows, spare)
    wanted[spare], wanted[rows + spare] = after - x, next_h - h
    np.testing.assert_array_equal(vectors.numbers, wanted.numbers)
    np.testing.assert_array_equal(vectors.factors, wanted.factors)
    wide = wanted[:, slice(0, n)].astype(np.float64)
    slope, change = next_g.astype(np.float64), next_g.astype(np.float64) - g
    np.testing.assert_allclose(sums[4:], [*(wide @ slope), *(wide @ change)], rtol=1e-9, atol=1e-9)

    rows_used, factors = [5, 0, 2], [0.5, -2.0, 1.0]
    found = np.empty(n, np.float32)
    coefficients = IMAGES.device.core.PairCoefficients(rows_used, factors, 0.25)
    IMAGES.launch("lbfgs_direction", vectors.arrays, coefficients, h, found)
    direction = factors @ wide[rows_used] + 0.25 * h
    np.testing.assert_allclose(found, direction, rtol=1e-6, atol=1e-6)


def test_the_core_says_what_is_wrong_with_the_factors():
    vectors = HalfVectors(4, 2 * RUN)
    h = d = np.zeros(2 * RUN, np.float32)
    coefficients = IMAGES.device.core.PairCoefficients([0], [1.0], 1.0)
    for pairs, message in (
        ((vectors.numbers, vectors.factors[:, :1].copy()), r"float32 of shape \(4, 2\), got"),
        ((vectors.numbers.astype(np.int32), vectors.factors), "pairs must be int16 of shape"),
        ((vectors.numbers, None), "factors of pairs must be an array"),
    ):
        with pytest.raises(ValueError, match=f"lbfgs_direction: .*{message}"):
            IMAGES.launch("lbfgs_direction", pairs, coefficients, h, d)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("variables", ["pixels", "pyramid"])
def test_a_run_descends_as_with_pairs_in_full(backend, variables):
    settings = {"network": "builtin", "image_size": 48, "levels": 1, "iterations": 16}
    settings |= {"backend": backend, "variables": variables}
    full, half = (
        stylize(picture(0, 48, 40), picture(1, 40, 48), pair_precision=precision, **settings)
        for precision in ("full", "half")
    )
    for there, here in zip(full.history[0], half.history[0], strict=True):
        assert here.total == pytest.approx(there.total, rel=1e-2)
    assert half.history != full.history


def test_a_device_has_no_half_precision(monkeypatch):
    monkeypatch.setattr("pynst.optimizers.lbfgs.HostMemory", int)
    black = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(OptionError, match="pair_precision='half' needs memory of the host"):
        stylize(
            black, black, image_size=20, network="builtin", pair_precision="half", backend="cpu"
        )
