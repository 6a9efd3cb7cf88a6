"""Colour: the colours of the content survive, luma and statistics are what they should be."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pynst.errors import ImageError, OptionError
from pynst.images.color import luminance_of_result, match_color, mixed_in_linear_light

LUMA = np.array([0.2126, 0.7152, 0.0722])
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
METHODS: list[Literal["symmetric", "cholesky"]] = ["symmetric", "cholesky"]
pixels = hnp.arrays("f8", (3, 4, 3), elements=st.floats(0, 1))


def palette(mean, spread, seed=0, shape=(40, 50)):
    """Correlated colours of this mean, well inside [0, 1]."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((3, 3))
    colours = rng.uniform(-1, 1, (*shape, 3)) @ mix.T
    return np.asarray(mean) + spread * colours / np.abs(colours).max()


def statistics(image):
    colours = image.reshape(-1, 3)
    return colours.mean(axis=0), np.cov(colours.T, bias=True)


@given(pixels, pixels)
def test_luma_is_that_of_the_result(result, content):
    out = luminance_of_result(result, content)
    assert out.min() >= 0
    assert out.max() <= 1
    np.testing.assert_allclose(out @ LUMA, result @ LUMA, atol=1e-12)


@given(pixels, pixels)
def test_chroma_is_that_of_the_content_or_a_share_of_it(result, content):
    out = luminance_of_result(result, content)
    chroma = out - (out @ LUMA)[..., None]
    wanted = content - (content @ LUMA)[..., None]
    share = np.sum(chroma * wanted, axis=-1) / np.maximum(np.sum(wanted**2, axis=-1), 1e-30)
    assert (share[np.abs(wanted).max(axis=-1) > 1e-6] <= 1 + 1e-9).all()
    np.testing.assert_allclose(chroma, share[..., None] * wanted, atol=1e-12)
    # It is the largest share that fits: where it is below 1, some channel lies on the edge.
    reduced = (share < 1 - 1e-6) & (np.abs(wanted).max(axis=-1) > 1e-9)
    edge = np.minimum(out.min(axis=-1), 1 - out.max(axis=-1))
    assert (edge[reduced] < 1e-9).all()


def test_chroma_axes_are_those_of_yiq_where_nothing_is_clipped():
    content, result = palette([0.5, 0.4, 0.6], 0.1), palette([0.5, 0.5, 0.5], 0.1, seed=1)
    out = luminance_of_result(result, content)
    I_and_Q = RGB_TO_YIQ[1:].T
    np.testing.assert_allclose(out @ I_and_Q, content @ I_and_Q, atol=2e-3)


def test_a_grey_content_makes_a_grey_picture():
    out = luminance_of_result(palette([0.5, 0.4, 0.6], 0.3), np.full((40, 50, 3), 0.7))
    np.testing.assert_allclose(out, out[..., :1].repeat(3, axis=-1), atol=1e-12)


def test_content_and_result_alike_change_nothing():
    content = palette([0.5, 0.4, 0.6], 0.3)
    np.testing.assert_allclose(luminance_of_result(content, content), content, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5, 3), (5, 4, 4), (5, 4)])
def test_pictures_of_different_shapes_are_refused(shape):
    with pytest.raises(ImageError, match=r"one shape .H, W, 3., got .5, 4, 3. and"):
        luminance_of_result(np.zeros((5, 4, 3)), np.zeros(shape))


@pytest.mark.parametrize("method", METHODS)
def test_the_style_gets_the_mean_and_covariance_of_the_content(method):
    style, content = palette([0.5, 0.45, 0.55], 0.3), palette([0.45, 0.55, 0.5], 0.3, 1, (30, 60))
    matched = match_color(style, content, method)
    assert matched.min() > 0  # nothing was clipped
    assert matched.max() < 1
    for got, wanted in zip(statistics(matched), statistics(content), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12)
    assert np.abs(statistics(style)[1] - statistics(content)[1]).max() > 3e-3


@pytest.mark.parametrize("method", METHODS)
def test_colours_that_match_already_stay(method):
    content = palette([0.5, 0.45, 0.55], 0.3)
    np.testing.assert_allclose(match_color(content, content, method), content, atol=1e-9)


def test_symmetric_moves_colours_less_than_cholesky():
    style, content = palette([0.5, 0.45, 0.55], 0.3), palette([0.45, 0.55, 0.5], 0.3, 1)
    moved = [np.mean((match_color(style, content, m) - style) ** 2) for m in METHODS]
    assert moved[0] < moved[1]


def test_symmetric_does_not_depend_on_the_order_of_the_channels():
    style, content = palette([0.5, 0.45, 0.55], 0.3), palette([0.45, 0.55, 0.5], 0.3, 1)
    swapped = match_color(style[..., ::-1], content[..., ::-1])[..., ::-1]
    np.testing.assert_allclose(swapped, match_color(style, content), atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_flat_style_becomes_the_mean_of_the_content(method):
    content = palette([0.45, 0.55, 0.5], 0.3)
    matched = match_color(np.full((8, 9, 3), 0.2), content, method)
    np.testing.assert_allclose(matched, np.broadcast_to(statistics(content)[0], (8, 9, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_a_grey_content_makes_the_style_grey(method):
    grey = np.random.default_rng(0).random((40, 50, 1)).repeat(3, axis=2)
    matched = match_color(palette([0.5, 0.45, 0.55], 0.3), grey, method)
    assert np.ptp(matched, axis=2).max() < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_rounding_noise_of_a_grey_style_is_not_stretched_to_the_range_of_the_content(method):
    rng = np.random.default_rng(0)
    grey = rng.random((40, 50, 1)) + rng.uniform(-0.5, 0.5, (40, 50, 3)) / 255
    colourful = palette([0.5, 0.5, 0.5], 0.5, seed=3)
    matched = match_color(np.clip(grey, 0, 1), colourful, method)
    # An exact transport would give the noise all of this spread.
    spread = np.sqrt(np.linalg.eigvalsh(statistics(colourful)[1]))
    noise = np.sqrt(np.linalg.eigvalsh(statistics(matched)[1]))
    assert noise[1] < 0.25 * spread[1]


@given(pixels, pixels, st.sampled_from(METHODS))
def test_any_pictures_give_a_finite_picture_in_range(style, content, method):
    matched = match_color(style, content, method)
    assert matched.min() >= 0
    assert matched.max() <= 1


def test_an_unknown_method_is_refused():
    with pytest.raises(OptionError, match=r"method must be cholesky or symmetric, got 'pca'"):
        match_color(np.zeros((2, 2, 3)), np.zeros((2, 2, 3)), "pca")  # type: ignore[arg-type]


def test_an_array_that_is_no_picture_is_refused():
    with pytest.raises(ImageError, match=r"style must have shape .H, W, 3., got .2, 2."):
        match_color(np.zeros((2, 2)), np.zeros((2, 2, 3)))


# ---- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_inside_masks_mean_and_covariance_are_those_of_the_content_inside_its_mask(method):
    style, content = palette([0.5, 0.5, 0.4], 0.1), palette([0.4, 0.6, 0.5], 0.1, seed=1)
    inside, there = np.zeros((40, 50)), np.zeros((40, 50))
    inside[:20], there[:, :30] = 1, 1
    style[20:] = 1.0  # a white frame
    matched = match_color(style, content, method, style_mask=inside, content_mask=there)
    for found, wanted in zip(statistics(matched[:20]), statistics(content[:, :30]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_masks_that_are_white_match_as_none_do(method):
    style, content = palette([0.5, 0.5, 0.4], 0.1), palette([0.4, 0.6, 0.5], 0.1, seed=1)
    white = np.ones((40, 50))
    np.testing.assert_allclose(
        match_color(style, content, method, style_mask=white, content_mask=white),
        match_color(style, content, method),
        atol=1e-12,
    )


@given(pixels, pixels, hnp.arrays("f8", (3, 4), elements=st.floats(0, 1)))
def test_mixing_in_linear_light_lies_between_and_is_exact_at_the_ends(here, there, share):
    mixed = mixed_in_linear_light(here, there, share)
    assert (mixed >= np.minimum(here, there) - 1e-6).all()
    assert (mixed <= np.maximum(here, there) + 1e-6).all()
    np.testing.assert_array_equal(mixed[share == 0], here[share == 0])
    np.testing.assert_array_equal(mixed[share == 1], there[share == 1])


def test_half_of_black_and_white_is_half_of_the_light():
    half = mixed_in_linear_light(np.zeros((1, 1, 3)), np.ones((1, 1, 3)), np.full((1, 1), 0.5))
    assert half[0, 0, 0] == pytest.approx(0.7354, abs=1e-4)  # 188 of 255
