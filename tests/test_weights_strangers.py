"""Files that are not VGG-19: what they are is said in a few words."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.formats.common import Container, StoredArray
from pynst.weights.strangers import describe

VGG16 = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6


def container(shapes):
    """Arrays of these shapes, which nothing may read."""

    def refuse():
        raise AssertionError("was read")

    stored = {name: StoredArray(shape, np.dtype("f4"), refuse) for name, shape in shapes.items()}
    return Container("a test", stored)


def convolutions(widths, keras=False):
    shapes, C = {}, 3
    for index, N in enumerate(widths):
        shapes[f"features.{index}.weight"] = (3, 3, C, N) if keras else (N, C, 3, 3)
        C = N
    return shapes


@pytest.mark.parametrize("keras", [False, True])
def test_a_sister_network_is_named_in_either_order_of_the_axes(keras):
    assert describe(container(convolutions(VGG16, keras))) == "it looks like VGG-16"


def test_a_sister_network_is_named_whatever_the_order_of_its_arrays():
    shapes = dict(sorted(convolutions(VGG16).items()))  # features.10 before features.2
    assert describe(container(shapes)) == "it looks like VGG-16"


def test_batch_normalisation_is_named():
    shapes = {**convolutions(VGG16), "features.1.running_mean": (64,)}
    assert describe(container(shapes)) == "a network with batch normalisation"


def test_other_convolutions_are_counted():
    assert describe(container(convolutions([64, 65]))).startswith("it holds 2 3 x 3 convolutions")


def test_arrays_of_another_kind_are_counted_and_some_named():
    text = describe(container({"é\n": (3,), "b": (4, 5)}))
    assert text == r"it holds 2 arrays ('\xe9\n', 'b' ...) and no 3 x 3 convolution"
    assert describe(container({})) == "it holds 0 arrays and no 3 x 3 convolution"
