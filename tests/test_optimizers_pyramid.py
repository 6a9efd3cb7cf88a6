"""The preconditioner of L-BFGS: its filters, its algebra, and what it does to a descent."""

from __future__ import annotations

import numpy as np
import pytest
from closures import HostClosure
from conftest import picture
from test_optimizers_descent import run_to_the_end

from pynst import Objective
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.losses.terms import LossTerms
from pynst.optimizers.descent import Descent
from pynst.optimizers.device_vectors import CoreOps, DeviceVectors, sums_of
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.pyramid import FIRST, LATER, HostOps, Pyramid, without_stripes
from pynst.optimizers.table import lbfgs, lbfgs_scipy

CONTENT, STYLE = picture(1, 40, 30), picture(2, 36, 44)
SHAPES = [(1, 1, 3), (1, 7, 3), (2, 3, 3), (5, 4, 3), (16, 16, 3), (37, 50, 3)]


def core_ops(threads=2):
    return CoreOps(CpuBackend(threads).device_images((1, 1, 3)))


def preconditioned(ops, g):
    h = ops.empty(g.shape)
    Pyramid(ops, g.shape)(g, h)
    return h


@pytest.mark.parametrize("shape", SHAPES)
def test_the_preconditioner_is_symmetric_and_positive(shape):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, *shape))
    Ma, Mb = (preconditioned(HostOps(), each) for each in (a, b))
    assert np.vdot(Ma, b) == pytest.approx(np.vdot(a, Mb), rel=1e-12)
    assert np.vdot(a, Ma) > 0


@pytest.mark.parametrize(("period", "left"), [(2, 0.003), (2.5, 0.03), (4, 0.64), (40, 1.01)])
@pytest.mark.parametrize("axis", [0, 1])
def test_short_stripes_along_an_axis_go_and_the_rest_stays(period, left, axis):
    ripple = np.cos(2 * np.pi * np.arange(80) / period)
    stripes = np.broadcast_to(np.expand_dims(ripple, (1 - axis, 2)), (80, 80, 3))
    inside = np.s_[20:60, 20:60]  # the border is mirrored, where a stripe is twice as wide
    kept = np.linalg.norm(without_stripes(stripes)[inside]) / np.linalg.norm(stripes[inside])
    assert left / 2 < kept <= left
    checks = np.outer(ripple, ripple)[..., None] * np.ones(3)
    assert np.linalg.norm(without_stripes(checks)) > 0.98 * np.linalg.norm(checks)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_variables_are_a_square_root_of_it(shape):
    rng = np.random.default_rng(1)
    pyramid = Pyramid(HostOps(), shape)
    g, y = rng.standard_normal(shape), rng.standard_normal(pyramid.count)
    assert np.vdot(pyramid.image(y), g) == pytest.approx(y @ pyramid.of_variables(g), rel=1e-11)
    found = pyramid.image(pyramid.of_variables(g))
    np.testing.assert_allclose(found, preconditioned(HostOps(), g), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_core_computes_what_numpy_computes(shape):
    g = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    wanted = preconditioned(HostOps(), g.astype(np.float64))
    found = preconditioned(core_ops(), g)
    np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())
    np.testing.assert_array_equal(found, preconditioned(core_ops(1), g))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reduction_is_that_of_the_built_in_network(shape):
    H, W, _ = shape
    x = np.random.default_rng(3).standard_normal(shape)
    y = np.empty((-(-H // 2), -(-W // 2), 3))
    HostOps().down(x, y)
    wanted = np.empty((3, *y.shape[:2]))
    ReferenceBackend().binomial_down(x.transpose(2, 0, 1), wanted)
    np.testing.assert_allclose(y, wanted.transpose(1, 2, 0), atol=1e-14)


def test_large_shapes_move_further_than_details_and_stripes_least():
    H = W = 64
    u = np.arange(W)
    gains = []
    for period in (64, 16, 4, 2.5, 2):
        wave = np.broadcast_to(np.cos(2 * np.pi * (u + 0.25) / period)[None, :, None], (H, W, 3))
        gains.append(np.vdot(wave, preconditioned(HostOps(), wave)) / np.vdot(wave, wave))
    assert np.all(np.diff(gains) < 0)
    assert gains[0] > 2.5 * gains[2]
    assert gains[4] < 0.07 * gains[2]


def test_later_levels_move_details_further_and_large_shapes_as_before():
    u = np.arange(64)
    coarse, fine = (
        np.cos(2 * np.pi * (u[None, :, None] + u[:, None, None] + 0.25) / period) * np.ones(3)
        for period in (64, 4)
    )

    def gain(wave, finest):
        h = np.empty(wave.shape)
        Pyramid(HostOps(), wave.shape, finest)(wave, h)
        return np.vdot(wave, h) / np.vdot(wave, wave)

    assert gain(fine, LATER) > 2.5 * gain(fine, FIRST)
    assert gain(coarse, FIRST) < gain(coarse, LATER) < 1.5 * gain(coarse, FIRST)


class Quadratic(HostClosure):
    """A loss that is flat along smooth images and steep along fine detail."""

    def __init__(self, shape):
        rng = np.random.default_rng(4)
        self.target = 0.5 + 0.2 * (rng.random(shape) - 0.5)
        self.terms, self.calls = None, []

    def __call__(self, x):
        self.calls.append(x)
        away = x - self.target
        slope = preconditioned(HostOps(), away)
        value = 0.5 * float(np.vdot(away, slope))
        self.terms = LossTerms(value, value, 0.0, 0.0)
        return value, slope


def test_scipys_driver_goes_where_ours_goes():
    start = np.full((12, 9, 3), 0.5)
    ours, scipys = Quadratic(start.shape), Quadratic(start.shape)
    run_to_the_end(lambda d, x: lbfgs(d, x, pyramid=FIRST), ours, 8, start)
    run_to_the_end(lambda d, x: lbfgs_scipy(d, x, pyramid=FIRST), scipys, 8, start)
    # Our pairs are kept in float32, so that the two drift apart slowly.
    for step, (one, other) in enumerate(zip(ours.calls, scipys.calls, strict=True)):
        np.testing.assert_allclose(one, other, atol=1e-6 * 3**step)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_core_drives_a_descent_to_equal_bits(threads):
    options = {"image_size": 40, "network": "builtin"}

    def history(count):
        objective = Objective(CONTENT, STYLE, threads=count, backend="cpu", **options)
        descent, _ = run_to_the_end(
            lambda d, x: lbfgs(d, x, pyramid=FIRST), objective, 12, objective.content
        )
        return [terms.total for terms in descent.history]

    assert history(threads) == history(2)


def test_the_core_and_numpy_take_the_same_steps():
    objective = Objective(CONTENT, STYLE, image_size=40, network="builtin", backend="cpu")
    x = objective.content
    vectors = DeviceVectors(
        objective.in_place(sums_of(Pairs(4).rows)), Pairs(4).rows, pyramid=FIRST
    )
    point = vectors.start(Descent(objective, 10), vectors.upload(x))
    g = vectors.download(point.g)
    h = preconditioned(HostOps(), g)
    np.testing.assert_allclose(vectors.download(point.h), h, atol=1e-5 * np.abs(h).max())
    assert point.g_h == pytest.approx(np.vdot(g, h), rel=1e-5)
    assert point.h_h == pytest.approx(np.vdot(h, h), rel=1e-5)
