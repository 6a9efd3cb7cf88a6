"""Sizes of the levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst.levels import level_sizes


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (512, (128, 181, 256, 362, 512)),
        (384, (136, 192, 272, 384)),
        (256, (128, 181, 256)),
        (1024, (128, 181, 256, 362, 512, 724, 1024)),
        (128, (128,)),
        (100, (100,)),
    ],
)
def test_default_levels_grow_by_the_square_root_of_two(size, wanted):
    assert level_sizes(size) == wanted


@given(st.integers(16, 5000), st.none() | st.integers(1, 12), st.integers(1, 600))
def test_levels_grow_to_the_size_and_are_never_too_small(size, levels, smallest):
    sizes = level_sizes(size, levels, smallest=smallest)
    assert sizes[-1] == size
    assert list(sizes) == sorted(sizes)
    assert all(each >= smallest for each in sizes[:-1])
    assert len(sizes) <= (levels or 20)


def test_the_coarsest_level_is_the_networks():
    assert level_sizes(512, coarsest=256) == (256, 362, 512)


def test_one_level_is_the_size_itself():
    assert level_sizes(700, 1) == (700,)
