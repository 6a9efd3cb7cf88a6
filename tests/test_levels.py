"""Sizes of the levels."""

from __future__ import annotations

import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st

from pynst import TransferOptions, stylize
from pynst.inputs import read_inputs
from pynst.levels import level_sizes, plan_levels


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (512, (128, 256, 512)),
        (384, (96, 192, 384)),
        (360, (180, 360)),
        (256, (128, 256)),
        (1024, (128, 256, 512, 1024)),
        (180, (180,)),
        (128, (128,)),
        (100, (100,)),
    ],
)
def test_default_levels_double(size, wanted):
    assert level_sizes(size) == wanted


@given(st.integers(16, 5000), st.none() | st.integers(1, 12), st.integers(1, 600))
def test_levels_grow_to_the_size_and_are_never_too_small(size, levels, smallest):
    sizes = level_sizes(size, levels, smallest=smallest)
    assert sizes[-1] == size
    assert list(sizes) == sorted(sizes)
    assert all(each >= smallest for each in sizes[:-1])
    assert len(sizes) <= (levels or 20)


def test_the_coarsest_level_is_the_networks():
    assert level_sizes(512, coarsest=256) == (256, 512)


def test_one_level_is_the_size_itself():
    assert level_sizes(700, 1) == (700,)


class Network:
    """What `plan_levels` asks of a network."""

    content_layers, style_layers = ("relu4_2",), ("relu1_1", "relu5_1")
    layers = ("relu1_1", "relu4_2", "relu5_1")
    coarsest, finest_share = 128, 0.0

    def smallest_side(self, layers):
        return 1 << max(int(layer[4]) - 1 for layer in layers)


@pytest.mark.parametrize(
    ("style", "settings", "coarsest"),
    [
        ((60, 80), {}, 128),
        ((16, 160), {}, 256),  # 10:1, 16 pixels at 160
        ((160, 16), {}, 256),
        ((60, 80), {"style_scale": 0.1}, 256),
        ((16, 160), {"style_layers": "relu1_1"}, 128),
    ],
)
def test_levels_that_are_too_small_for_a_style_are_left_out(style, settings, coarsest):
    options = TransferOptions(image_size=512, **settings)
    inputs = read_inputs(picture(0, 60, 80), picture(1, *style), options)
    levels = plan_levels(options, Network(), inputs)
    assert (coarsest, 512) == (levels[0].W, levels[-1].W)
    assert round(coarsest * 60 / 80) == levels[0].H


def test_a_long_style_paints_where_one_of_the_levels_is_large_enough():
    result = stylize(picture(0, 60, 80), picture(1, 40, 400), network="builtin", image_size=360,
                     levels=2, iterations=1)  # fmt: skip
    assert len(result.history) == 1
