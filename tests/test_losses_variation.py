"""The term of total variation: its value by hand, and its gradient is that of its value."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from terms import gradient_error, inputs_of, set_and_added

from pynst.losses.terms import IMAGE
from pynst.losses.variation import VariationTerm


def planes(image):
    """An image (H, W, 3) in [0, 1] as planes (3, H, W) that span 255 units, as a network reads."""
    return 255 * np.moveaxis(image, 2, 0)


def tv9(x):
    """TV9 of planes, written out from its definition."""
    x = np.pad(x, ((0, 0), (0, 1), (0, 1)), "edge")
    a, b = np.diff(x, axis=2)[:, :-1], np.diff(x, axis=1)[:, :, :-1]
    c, d = x[:, 1:, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, 1:]
    return 2 * sum(np.mean(e**2) / n for e, n in ((a, 3), (b, 3), (c, 12), (d, 12)))


def test_the_value_is_that_of_the_image_between_0_and_1():
    network, image = tiny_vgg19(), picture(0, 9, 12)
    targets = VariationTerm(3.0).at(network, inputs_of(content=image), 9, 12)
    assert targets.layers == (IMAGE,)
    value, _ = set_and_added(targets, network, IMAGE, planes(image))
    assert value == pytest.approx(3.0 * tv9(planes(image) / 255), rel=1e-6)


def test_the_gradient_is_that_of_the_value_and_is_added():
    network = tiny_vgg19()
    targets = VariationTerm(3.0).at(network, inputs_of(content=picture(0, 9, 12)), 9, 12)
    assert gradient_error(targets, network, IMAGE, planes(picture(0, 9, 12))) < 1e-6


def test_a_flat_image_has_none():
    network = tiny_vgg19()
    targets = VariationTerm(3.0).at(network, inputs_of(content=picture(0, 9, 12)), 9, 12)
    value, gradient = set_and_added(targets, network, IMAGE, np.full((3, 9, 12), 77.0))
    assert value == 0
    assert not gradient.any()
