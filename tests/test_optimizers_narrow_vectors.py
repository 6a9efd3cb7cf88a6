"""L-BFGS in 32 bits: the same descent as in 64, in half the memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from closures import Quadratic, run_to_the_end

from pynst.optimizers.descent import Descent, Stop
from pynst.optimizers.lbfgs import lbfgs
from pynst.optimizers.narrow_vectors import NarrowVectors
from pynst.optimizers.vectors import HostVectors

SHAPE = (40, 90, 3)  # more numbers than one slice has


def narrow(objective):
    """The start of a descent in 32 bits."""
    return np.full(objective.target.shape, 0.5, np.float32)


@pytest.mark.parametrize("reach", [1.0, 1.6])  # 1.6: targets beyond [0, 1], so that the pull counts
def test_the_losses_are_those_of_64_bits_until_rounding_has_grown(reach):
    wide, _ = run_to_the_end(lbfgs, Quadratic(shape=SHAPE, reach=reach), 25)
    objective = Quadratic(shape=SHAPE, reach=reach)
    run, reason = run_to_the_end(lbfgs, objective, 25, narrow(objective))
    totals, others = ([terms.total for terms in each.history] for each in (run, wide))
    np.testing.assert_allclose(totals[:6], others[:6], rtol=1e-5)
    assert run.best_value == pytest.approx(wide.best_value, rel=0.02)
    assert run.best.dtype == np.float32
    assert reason == "iterations"


def test_one_step_has_the_value_slope_and_products_of_64_bits():
    objective, rows, spare, t = Quadratic(shape=SHAPE, reach=1.6), 4, 2, 0.7
    rng = np.random.default_rng(0)
    x = rng.random(SHAPE).astype(np.float32)
    pairs = rng.standard_normal((2 * rows, x.size)).astype(np.float32)
    c = rng.standard_normal(2 * rows)
    points = []
    for vectors in (HostVectors(SHAPE, rows), NarrowVectors(SHAPE, rows)):
        descent = Descent(objective, 10)
        vectors.upload_pairs(pairs)
        start = vectors.upload(x if isinstance(vectors, NarrowVectors) else x.astype(np.float64))
        here = vectors.start(descent, start)
        d = vectors.combine(0.01 * c, -1e-3, here.g)
        points.append((here, vectors.evaluate(descent, here, d, t, spare), vectors.pairs, d))
    (here, wide, wide_pairs, wide_d), (here_narrow, other, other_pairs, other_d) = points
    assert here_narrow.g_g == pytest.approx(here.g_g, rel=1e-5)
    np.testing.assert_allclose(other_d, wide_d, atol=1e-6)
    for name in ("value", "g_g", "slope"):
        assert getattr(other, name) == pytest.approx(getattr(wide, name), rel=1e-4), name
    for name in ("x", "g", "with_g", "with_s", "with_y"):
        wanted = getattr(wide, name)
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(getattr(other, name), wanted, atol=1e-4 * scale, err_msg=name)
    np.testing.assert_allclose(other_pairs, wide_pairs, atol=1e-4 * np.abs(wide_pairs).max())


@pytest.mark.parametrize("pairs", [3, 7])
def test_fewer_pairs_are_kept_and_go_on_to_the_same_bits(pairs):
    objective, kept = Quadratic(shape=SHAPE), []

    def keep(run):
        if len(run.history) >= 12 and not kept:
            state = {name: array.copy() for name, array in run.snapshot.state.items()}
            kept.append(replace(run.snapshot, state=state, best=run.best.copy()))

    whole, _ = run_to_the_end(lbfgs, objective, 20, narrow(objective), pairs=pairs, on_step=keep)
    (rest,) = kept
    assert rest.state["pairs"].shape[0] == 2 * (pairs + 1)
    assert rest.state["x"].dtype == rest.state["g"].dtype == np.float32
    run = Descent(objective, 20, resume=rest, pairs=pairs)
    with pytest.raises(Stop, match="iterations"):
        lbfgs(run, rest.state["x"], rest.state)
    assert [terms.total for terms in run.history] == [terms.total for terms in whole.history]
    np.testing.assert_array_equal(run.best, whole.best)


def test_an_image_that_was_handed_out_is_never_written_to_again():
    objective, kept = Quadratic(shape=SHAPE), []
    run, _ = run_to_the_end(
        lbfgs, objective, 15, narrow(objective),
        on_evaluation=lambda run: kept.append((run.best, run.best.copy())),
    )  # fmt: skip
    for image, copied in kept:
        np.testing.assert_array_equal(image, copied)
    assert run.best.min() >= 0
    assert run.best.max() <= 1
