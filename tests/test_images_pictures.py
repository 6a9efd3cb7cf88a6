"""Pictures: resizing, the long side, and that Pillow is loaded only when it is needed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pynst.errors import ImageError
from pynst.images import (
    resize,
    size_to_long_side,
)

RNG = np.random.default_rng(0)
NOISE = RNG.random((23, 31, 3))
ALPHA = RNG.random((23, 31))
Y, X = np.mgrid[:23, :31]
SMOOTH = np.stack([X / 30, Y / 22, 1 - X / 30], axis=-1)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 31), (23, 30), (100, 100)])
def test_resizing_a_slope_gives_a_slope(shape):
    H, W = shape
    resized = resize(np.broadcast_to(np.linspace(0.2, 0.8, 31), (23, 31)), H, W)
    assert resized.shape == shape
    assert resized.dtype == np.float64
    # Pixel x of W lies at (x + 1/2) / W; near the ends the kernel is cut off.
    wanted = 0.5 + ((np.arange(W) + 0.5) / W - 0.5) * 0.6 * 31 / 30
    np.testing.assert_allclose(resized, np.broadcast_to(wanted, shape), atol=0.02)
    inner = slice(W // 8, W - W // 8) if W > 16 else slice(0)
    np.testing.assert_allclose(resized[0, inner], wanted[inner], atol=2e-3)


def test_shrinking_does_not_alias():
    checks = np.indices((96, 96)).sum(axis=0) % 2.0
    np.testing.assert_allclose(resize(checks, 32, 32), 0.5, atol=0.1)
    assert np.abs(checks[::3, ::3] - 0.5).min() == 0.5  # what dropping pixels would give


def test_resizing_keeps_the_range_where_bicubic_overshoots():
    edge = np.repeat([0.0, 1.0], 16)[None, :, None] * np.ones((4, 1, 3))
    resized = resize(edge, 4, 200)
    assert resized.min() == 0
    assert resized.max() == 1


def test_resizing_to_the_same_size_is_an_exact_copy():
    same = resize(NOISE, 23, 31)
    np.testing.assert_array_equal(same, NOISE)
    assert not np.shares_memory(same, NOISE)


def test_resizing_treats_channels_alike_and_apart():
    resized = resize(NOISE, 12, 40)
    for c in range(3):
        np.testing.assert_array_equal(resized[:, :, c], resize(NOISE[:, :, c], 12, 40))


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_resizing_to_nothing_is_refused(size):
    with pytest.raises(ImageError, match=r"at least 1, got"):
        resize(NOISE, *size)


@given(st.integers(1, 65500), st.integers(1, 65500), st.integers(1, 10000))
@example(1, 65500, 16)
@example(3, 2, 3)
def test_the_long_side_is_met_and_the_aspect_kept(height, width, long_side):
    H, W = size_to_long_side(height, width, long_side)
    assert max(H, W) == long_side
    assert min(H, W) >= 1
    scale = long_side / max(height, width)
    assert abs(H - max(1, height * scale)) <= 0.5 + 1e-9
    assert abs(W - max(1, width * scale)) <= 0.5 + 1e-9


def test_pillow_is_loaded_only_when_it_is_needed():
    script = "import sys, pynst.images.pictures; print('PIL' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
