"""The camera of the scene: where a point is seen."""

import numpy as np

from pynst.demo.canvas import make_grid
from pynst.demo.view import HORIZON, View


def test_mirrored_view_sees_each_point_where_its_mirror_image_is():
    grid = make_grid(64, 48)
    point = np.array([[3.0, 20.0, 4.0]])
    below = point * [1, 1, -1]
    mirrored = View(grid, mirrored=True).project(point)
    assert np.allclose(mirrored, View(grid, mirrored=False).project(below))
    assert mirrored[0, 1] > HORIZON
