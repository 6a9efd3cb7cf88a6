"""`pynst.backends.planes` against the product written out, over block borders."""

import numpy as np
import pytest

from pynst.backends.planes import from_planes, to_planes

AXES = np.array([[0.0, 1.0, 0.0], [0.5, -0.25, 0.25], [0.299, 0.587, 0.114]])
MEAN = np.array([123.68, 116.779, 103.939])


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (90, 91), (91, 91), (64, 256)])
def test_planes_and_their_gradient_are_the_matrix_products(shape):
    rng = np.random.default_rng(1)
    image, gradient = rng.normal(size=(*shape, 3)), rng.normal(size=(3, *shape))
    wanted = np.einsum("pc,hwc->phw", AXES, 255 * image - MEAN)
    found = to_planes(image, AXES, MEAN, np.float64)
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-11)
    wanted = 255 * np.einsum("pc,phw->hwc", AXES, gradient)
    np.testing.assert_allclose(from_planes(gradient, AXES), wanted, rtol=1e-13, atol=1e-11)


def test_planes_have_the_type_that_is_asked_for_and_round_once():
    image = np.random.default_rng(2).random((100, 100, 3)).astype(np.float32)
    single = to_planes(image, AXES, MEAN, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, to_planes(image, AXES, MEAN, float).astype(np.float32))
    assert from_planes(single, AXES).dtype == np.float64
