"""The layout in eights: what goes to the device comes back, and lies as the kernels read it."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.backends.eights import from_device, in_eights, padded, to_device


def logical(kind, shape):
    rng = np.random.default_rng(0)
    if kind == "bits":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if kind == "choices":
        return rng.integers(0, 4, shape).astype(np.uint8)
    return rng.integers(-99, 99, shape).astype(np.float32)  # whole numbers: exact in float16


@pytest.mark.parametrize("C", [1, 3, 7, 8, 9, 16, 30])
@pytest.mark.parametrize("kind", ["image", "features", "bits", "choices"])
@pytest.mark.parametrize("real", [np.float16, np.float32])
def test_what_goes_to_the_device_comes_back(kind, C, real):
    shape = (3 if kind == "image" else C, 5, 4)
    values = logical(kind, shape)
    found = from_device(to_device(values, kind, np.dtype(real)), kind, shape)
    assert found.dtype == values.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(("C", "wanted"), [(1, 8), (8, 8), (9, 16), (512, 512)])
def test_channels_are_rounded_up_to_eights(C, wanted):
    assert padded(C) == wanted


def test_features_lie_pixel_by_pixel_with_zeros_beyond_the_channels():
    values = logical("features", (3, 5, 4))
    found = to_device(values, "features", np.dtype(np.float16))
    assert (found.shape, found.dtype) == ((5, 4, 8), np.float16)
    np.testing.assert_array_equal(found[2, 1, :3], values[:, 2, 1])
    assert not found[..., 3:].any()


def test_a_bit_and_a_choice_lie_in_the_place_of_their_channel():
    at = np.arange(11)[:, None, None] == 10  # the third channel of the second eight
    assert to_device(at, "bits", np.dtype(np.float32)).ravel().tolist() == [0, 1 << 2]
    choices = to_device(3 * at.astype(np.uint8), "choices", np.dtype(np.float32))
    assert choices.dtype == np.uint16
    assert choices.ravel().tolist() == [0, 3 << 4]


def test_eights_keep_the_values_in_front():
    np.testing.assert_array_equal(in_eights(np.ones((2, 3)), np.float32).sum(axis=1), [3, 3])
