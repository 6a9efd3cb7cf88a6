"""Arrays of samples: what is accepted, what is refused, and what becomes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pynst.errors import ImageError
from pynst.images import load_image, read_picture, to_uint8
from pynst.images.arrays import from_array, quantised, upright

DTYPES = st.one_of(
    st.sampled_from(["u1", "<u2", ">u2", "<f2", "<f4", ">f4", "<f8"]),
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(),
)
SHAPES = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 4])),
)


@settings(max_examples=400)
@given(st.data())
def test_any_array_becomes_pixels_in_range_or_an_image_error(data):
    array = data.draw(hnp.arrays(data.draw(DTYPES), data.draw(SHAPES)))
    try:
        picture = read_picture(array, "style 2")
    except ImageError as error:
        assert str(error).startswith("style 2: ")
        return
    assert picture.pixels.shape == (*array.shape[:2], 3)
    assert picture.pixels.dtype == np.float64
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.min() >= 0
    assert picture.pixels.max() <= 1
    assert picture.alpha is None or picture.alpha.shape == array.shape[:2]


@given(hnp.arrays("f8", (2, 3, 3), elements=st.floats(0, 1)))
@example(np.full((2, 3, 3), 1 + 0.9e-6))
@example(np.full((2, 3, 3), -0.9e-6))
def test_floats_stay_as_they_are_but_for_rounding_beyond_the_range(array):
    np.testing.assert_array_equal(load_image(array), np.clip(array, 0, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
def test_integers_are_taken_over_their_whole_range(dtype):
    peak = np.iinfo(dtype).max
    array = np.array([[[0, 1, peak]]], dtype)
    np.testing.assert_array_equal(load_image(array), [[[0, 1 / peak, 1]]])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_becomes_three_equal_channels(shape):
    grey = np.random.default_rng(0).random(shape)
    pixels = load_image(grey)
    for c in range(3):
        np.testing.assert_array_equal(pixels[:, :, c], grey.reshape(4, 5))


def test_alpha_is_kept_and_composited_over_white():
    rgba = np.array([[[1, 0, 0, 0.25], [0, 0, 0, 1]]])
    picture = read_picture(rgba, "content")
    np.testing.assert_allclose(picture.pixels, np.array([[[1, 0.75, 0.75], [0, 0, 0]]]))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, [[0.25, 1]])
    assert picture.notes == ("alpha composited over white",)


def test_an_alpha_that_is_opaque_throughout_is_none():
    picture = read_picture(np.full((2, 2, 4), 255, np.uint8), "content")
    assert picture.alpha is None
    assert picture.notes == ()


@pytest.mark.parametrize("array", [np.full((4, 5, 3), 0.25), np.full((4, 5, 3), 51, np.uint8)])
def test_views_of_any_layout_become_contiguous(array):
    array[1, 2] = 0
    for view in (array.swapaxes(0, 1), array[::-1, ::2], np.asfortranarray(array)):
        pixels = load_image(view)
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, load_image(view.copy()))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_the_pixels_are_a_copy(dtype):
    array = np.ones((2, 2, 3), dtype)
    load_image(array)[:] = 0.5
    assert (array == 1).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 9)), "image: must be uint8, uint16 or floating point .* shape .3, 8, 9."),
        (np.zeros((8, 9, 2)), "shape .8, 9, 2."),
        (np.zeros((2, 8, 9, 3)), "shape .2, 8, 9, 3."),
        (np.zeros((8, 9), np.int64), "got int64 of shape .8, 9."),
        (np.zeros((8, 9), bool), "got bool"),
        (np.zeros((8, 9), complex), "got complex128"),
        (np.zeros((8, 9), object), "got object"),
        (np.zeros((0, 9, 3)), "at least one pixel, got shape .0, 9, 3."),
        (np.full((8, 9), np.nan), "image: floating-point values must be finite"),
        (np.full((8, 9), np.inf), "must be finite"),
        (np.full((8, 9), 1.001), r"must lie in \[0, 1\], got 1.001 to 1.001$"),
        (np.full((8, 9), -0.5), r"must lie in \[0, 1\], got -0.5 to -0.5$"),
        (np.full((8, 9), 255.0), "is it on a scale of 255"),
    ],
)
def test_a_refusal_says_what_was_given_and_what_is_wanted(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_undoes_each_exif_orientation(orientation):
    # EXIF says where row 0 and column 0 of the stored picture belong: in an upright picture of
    # 2 x 3 pixels, count the pixels and store them so.
    scene = np.arange(6).reshape(2, 3)
    stored = {
        1: scene,
        2: scene[:, ::-1],  # row 0 is the top, column 0 the right side
        3: scene[::-1, ::-1],  # bottom, right
        4: scene[::-1],  # bottom, left
        5: scene.T,  # left, top
        6: np.rot90(scene, 1),  # right, top
        7: scene[::-1, ::-1].T,  # right, bottom
        8: np.rot90(scene, -1),  # left, bottom
    }[orientation]
    np.testing.assert_array_equal(upright(stored, orientation), scene)


@given(hnp.arrays("f8", (3, 3), elements=st.floats(0, 1)), st.sampled_from([8, 16]))
def test_quantising_rounds_to_the_nearest_level(array, bits):
    peak = 2**bits - 1
    levels = quantised(array, bits)
    assert levels.dtype.itemsize * 8 == bits
    assert np.abs(levels / peak - array).max() <= 0.5 / peak * (1 + 1e-9)


def test_eight_bits_survive_sixteen():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantised(quantised(levels, 16), 8), levels)


def test_quantising_in_bands_covers_every_row():
    levels = np.random.default_rng(0).integers(0, 256, (700, 3, 3), dtype=np.uint8)
    np.testing.assert_array_equal(quantised(levels / 255, 8), levels)


def test_to_uint8_clips():
    np.testing.assert_array_equal(to_uint8(np.array([-0.2, 0.5, 1.3])), [0, 128, 255])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_masked_values_are_refused_rather_than_shown(shape):
    mask = np.zeros(shape, bool)
    mask[1, 2] = True
    for dtype in (np.uint8, np.float64):
        masked = np.ma.MaskedArray(np.zeros(shape, dtype), mask)
        with pytest.raises(ImageError, match=r"style: must have no masked values, .*filled"):
            from_array(masked, "style")
        filled = from_array(masked.filled(1), "style")[0]
        np.testing.assert_array_equal(filled[1, 2], 1)


def test_a_masked_array_in_which_nothing_is_masked_is_an_array():
    for mask in (np.ma.nomask, np.zeros((4, 5), bool)):
        masked = np.ma.MaskedArray(np.full((4, 5), 7, np.uint8), mask)
        np.testing.assert_array_equal(from_array(masked, "content")[0], 7)
