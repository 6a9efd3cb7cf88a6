"""Strokes: tables that are joined and cut, colours along a ramp, and paint on a ground."""

from __future__ import annotations

import numpy as np

from pynst.demo.canvas import make_grid
from pynst.demo.strokes import Strokes, accent, join, paint, palette, ramp, strew


def one(x, color):
    """A broad stroke at one place."""
    column = lambda value: np.array([value], np.float32)  # noqa: E731
    return Strokes(
        column(x), column(0.5), column(0), column(0), column(0.4), column(0.2),
        np.array([color], np.float32),
    )  # fmt: skip


def test_later_groups_come_last_in_the_table():
    both = join(one(0.2, (1, 0, 0)), one(0.7, (0, 0, 1)))
    assert len(both) == 2
    np.testing.assert_allclose(both.x, [0.2, 0.7])
    np.testing.assert_array_equal(both[1:].color, [[0, 0, 1]])


def test_a_ramp_gives_its_colours_and_what_lies_between():
    colors = palette("000000", "ff0000", "ffffff")
    found = ramp(colors, np.array([-1, 0, 0.25, 0.5, 1, 2]))
    np.testing.assert_allclose(found[:, 0], [0, 0, 0.5, 1, 1, 1])
    np.testing.assert_allclose(found[:, 1], [0, 0, 0, 0, 1, 1])


def test_points_are_strewn_over_their_box():
    x, y = strew(np.random.default_rng(0), (0.2, 0.3, 0.8, 0.6), gap=1)
    assert len(x) > 10
    assert x.min() >= 0.2
    assert y.min() >= 0.3
    assert np.ptp(x) > 0.5


def test_a_share_of_the_colours_becomes_accents():
    color, accents = np.zeros((1000, 3), np.float32), np.ones((1, 3), np.float32)
    found = accent(np.random.default_rng(0), color, accents, 0.2)
    assert 0.1 < np.mean(found[:, 0] > 0.5) < 0.3


def test_a_stroke_paints_where_it_lies_and_leaves_the_rest():
    grid = make_grid(40, 40)
    found = paint(one(0.6, (1, 0, 0)), np.full(3, 0.5), grid, np.random.default_rng(0))
    H, W = len(grid.y), len(grid.x)
    assert found.shape == (H, W, 3)
    middle = found[H // 2, np.argmin(np.abs(grid.x - 0.6))]
    assert middle[0] > middle[2] + 0.3
    assert np.ptp(found[: H // 8]) == 0
