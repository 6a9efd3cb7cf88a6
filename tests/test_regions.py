"""Regions: masks of every kind become shares of the image, each with its paintings."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pynst import ImageError, OptionError, TransferOptions, stylize
from pynst.inputs import read_inputs

H, W = 40, 60
CONTENT, STYLES = picture(0, H, W), [picture(1, 50, 30), picture(2, 30, 30), picture(3, 20, 40)]
LEFT = np.repeat([[1.0, 0.0]], W // 2, axis=1) * np.ones((H, 1))
RAMP = np.linspace(0, 1, W) * np.ones((H, 1))
GREY = np.full((H, W), 0.25)
OPTIONS = {"network": "builtin", "image_size": W}


def inputs(styles=STYLES[:2], **options):
    return read_inputs(CONTENT, styles, TransferOptions(image_size=W, **options))


def named(found):
    return {region.name: [style.name for style in region.styles] for region in found.regions}


# ---- one mask for each style picture -------------------------------------------------------------


def test_without_masks_the_whole_image_is_one_region_with_all_paintings():
    found = inputs(style_blend=(3, 1))
    assert named(found) == {"styles 1, 2": ["style 1", "style 2"]}
    assert found.regions[0].mask is None
    assert [style.share for style in found.regions[0].styles] == [0.75, 0.25]


def test_rest_is_what_the_others_leave():
    first, second = inputs(style_masks=[RAMP, "rest"]).regions
    np.testing.assert_allclose(first.mask, RAMP)
    np.testing.assert_allclose(second.mask, 1 - RAMP)
    assert [style.share for style in first.styles] == [1.0]


def test_masks_may_leave_pixels_without_a_style():
    first, second = inputs(style_masks=[GREY, LEFT * 0.5]).regions
    np.testing.assert_allclose(first.mask + second.mask, 0.25 + 0.5 * LEFT)


def test_masks_above_one_are_divided_and_it_is_noted():
    found = inputs(style_masks=[LEFT, np.ones((H, W))])
    first, second = found.regions
    np.testing.assert_allclose(first.mask + second.mask, 1)
    np.testing.assert_allclose(first.mask, LEFT / 2)
    assert found.pictures["mask of style 1"].notes == (
        f"with the others above 1 at {H * W // 2} pixels, where all were divided",
    )


def test_paintings_with_the_same_mask_are_blended_in_one_region():
    found = inputs(STYLES, style_masks=[LEFT, "rest", "rest"], style_blend=(5, 1, 3))
    assert named(found) == {"style 1": ["style 1"], "styles 2, 3": ["style 2", "style 3"]}
    assert [style.share for style in found.regions[1].styles] == [0.25, 0.75]
    assert len(inputs(style_masks=[LEFT, LEFT.copy()]).regions) == 1


@pytest.mark.parametrize("white", ["all", np.ones((H, W)), np.full((2 * H, 2 * W), 255, np.uint8)])
def test_white_everywhere_is_no_mask(white):
    assert [region.mask for region in inputs(style_masks=[white, white]).regions] == [None]


masks = hnp.arrays("f8", (H, W), elements=st.floats(0, 1)).filter(lambda mask: mask.any())


@given(st.lists(st.one_of(st.just("rest"), st.just("all"), masks), min_size=3, max_size=3))
def test_shares_never_add_up_to_more_than_one(given_masks):
    try:
        regions = inputs(STYLES, style_masks=given_masks).regions
    except ImageError as error:
        assert "leave nothing for 'rest'" in str(error)
        return
    shares = [np.ones((H, W)) if each.mask is None else each.mask for each in regions]
    assert np.max(sum(shares)) <= 1 + 1e-6
    assert sorted(s.name for each in regions for s in each.styles) == [
        f"style {i}" for i in (1, 2, 3)
    ]
    assert all(sum(style.share for style in each.styles) == pytest.approx(1) for each in regions)


def test_a_source_mask_belongs_to_its_painting():
    part = np.zeros((50, 30))
    part[10:40, 5:25] = 1
    found = inputs(style_source_masks=[part, "all"])
    first, second = found.regions[0].styles
    np.testing.assert_array_equal(first.mask, part)
    assert second.mask is None


# ---- maps ----------------------------------------------------------------------------------------

RED, BLUE, GREEN = ([255, 0, 0], [0, 0, 255], [0, 255, 0])


def halves(left, right, height, width):
    """A map of two colours."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = left, right
    return pixels


MAP = halves(RED, BLUE, H, W)


def test_equal_colours_of_maps_belong_together():
    maps = [halves(RED, BLUE, 50, 30), halves([250, 4, 4], GREEN, 30, 30)]
    found = inputs(regions=halves(BLUE, RED, H, W), style_regions=maps)
    assert named(found) == {"#0000ff": ["style 1"], "#ff0000": ["style 1", "style 2"]}
    blue, red = found.regions
    np.testing.assert_array_equal(blue.mask, LEFT)
    np.testing.assert_array_equal(blue.styles[0].mask, halves([0], [1], 50, 30)[:, :, 0])
    np.testing.assert_array_equal(red.styles[1].mask, halves([1], [0], 30, 30)[:, :, 0])
    assert [style.share for style in red.styles] == [0.5, 0.5]


def test_a_colour_that_no_painting_has_stays_without_a_style():
    maps = [halves(RED, RED, 50, 30), halves(RED, RED, 30, 30)]
    found = inputs(regions=halves(BLUE, RED, H, W), style_regions=maps)
    assert list(named(found)) == ["#ff0000"]
    assert found.pictures["regions"].notes == (
        "#0000ff in no map of a style picture: no style there",
    )


# ---- colours -------------------------------------------------------------------------------------


def test_colours_are_matched_region_by_region():
    half = CONTENT.copy()
    half[:, : W // 2] = 0.25 + 0.1 * half[:, : W // 2]  # dark on the left
    part = np.zeros((50, 30))
    part[:25] = 1
    options = TransferOptions(
        image_size=W, match_color="symmetric", style_masks=[LEFT, "rest"],
        style_source_masks=[part, "all"],
    )  # fmt: skip
    first, second = read_inputs(half, [0.5 + 0.1 * STYLES[0], STYLES[1]], options).regions
    counts = first.styles[0].pixels[:25].reshape(-1, 3)
    np.testing.assert_allclose(counts.mean(axis=0), half[:, : W // 2].mean(axis=(0, 1)), atol=0.02)
    bright = second.styles[0].pixels.mean(axis=(0, 1))
    np.testing.assert_allclose(bright, half[:, W // 2 :].mean(axis=(0, 1)), atol=0.02)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style_masks": LEFT}, "style_masks must have one mask for each of the 2 style pictures,"
                                " got 1"),
        ({"style_source_masks": ["all"] * 3}, "style_source_masks must have one mask for each"),
        ({"style_masks": [LEFT, np.zeros((H, W))]}, "mask of style 2: is black everywhere"),
        ({"style_masks": ["all", "rest"]}, "mask of style 2: the other masks leave nothing"),
        ({"style_masks": [LEFT, LEFT.T]}, "mask of style 2: has 40 x 60 pixels, another aspect than"
                                          " the content of 60 x 40"),
        ({"style_source_masks": [LEFT, "all"]}, "source mask of style 1: has 60 x 40 pixels,"
                                                " another aspect than the style 1 of 30 x 50"),
        ({"content_mask": LEFT.T}, "mask of content: has 40 x 60"),
        ({"keep_mask": LEFT.T}, "keep mask: has 40 x 60"),
        ({"keep_mask": "missing.png"}, "keep mask: no such file: missing.png"),
        ({"regions": MAP}, "regions and style_regions must be given together"),
        ({"style_regions": [MAP, MAP]}, "regions and style_regions must be given together"),
        ({"regions": MAP, "style_regions": [MAP]}, "style_regions must have one mask for each"),
        ({"regions": MAP, "style_regions": [halves(GREEN, GREEN, 50, 30),
                                            halves(GREEN, GREEN, 30, 30)]},
         "regions: none of its colours, #0000ff, #ff0000, is in the maps of the style pictures"),
        ({"regions": MAP, "style_regions": [MAP, MAP], "style_masks": ["all", "all"]},
         "style_masks cannot be given with regions, which says it already"),
        ({"style_masks": [LEFT, "rest"], "style_loss": {"gram": 1, "neighbours": 1}},
         "style_masks cannot be given with style_loss='neighbours', which compares whole pictures;"
         " 'gram' and 'wasserstein' know masks of the style"),
        ({"style_source_masks": ["all", "all"], "style_loss": "neighbours"},
         "style_source_masks cannot be given with style_loss='neighbours'"),
        ({"regions": MAP, "style_regions": [MAP, MAP], "style_loss": "neighbours"},
         "style_regions cannot be given with style_loss='neighbours'"),
        ({"regions": CONTENT, "style_regions": [MAP, MAP]}, "regions of style 1: has 60 x 40"),
        ({"style_masks": [LEFT, "rest"], "style_blend": (1, 0)},
         "style_blend must not be 0 for the whole region of style 2"),
        ({"style_scale": (1, 1, 2)}, "style_scale must be one number or one for each of the 2"),
        ({"style_masks": [LEFT, 5]}, "style_masks must be a path, an open file, a PIL image or an"
                                     " array, got 5"),
        ({"style_masks": []}, "style_masks must not be empty"),
        ({"keep_mask": ""}, "keep_mask must be a path"),
        ({"content_mask_weight": -1}, "content_mask_weight must be a number from 0"),
        ({"guidance": "inside"}, "guidance must be one of area, gatys"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_are_refused_in_one_sentence(options, message):
    with pytest.raises((OptionError, ImageError), match=message) as caught:
        stylize(CONTENT, STYLES[:2], **OPTIONS, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "style", "options", "message"),
    [
        (None, STYLES[0], {"keep_mask": LEFT}, "keep_mask needs a content picture, got None"),
        (None, STYLES[0], {"content_mask": LEFT}, "content_mask needs a content picture"),
        (CONTENT, None, {"style_masks": LEFT}, "style_masks needs a style picture, got None"),
        (None, STYLES[0], {"style_masks": LEFT}, "another aspect than the result of 19661 x 32768"),
    ],
)
def test_masks_of_a_missing_picture_are_refused(content, style, options, message):
    with pytest.raises((OptionError, ImageError), match=message):
        stylize(content, style, **OPTIONS, **options)
