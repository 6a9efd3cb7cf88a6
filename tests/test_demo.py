"""The two pictures that the demo draws: their sizes, tones, colours and brushwork."""

import numpy as np
import pytest

from pynst.demo import draw_painting, draw_scene
from pynst.errors import ImageError

DRAWINGS = [draw_scene, draw_painting]


@pytest.fixture(scope="module")
def pictures():
    """Both pictures at the default size."""
    return {draw: draw() for draw in DRAWINGS}


def luminance(picture):
    return picture @ np.array([0.299, 0.587, 0.114])


def halved(picture):
    H, W = picture.shape[:2]
    return picture.reshape(H // 2, 2, W // 2, 2, 3).mean(axis=(1, 3))


def colorfulness(picture):
    """Hasler and Suesstrunk 2003; their scale calls 59 quite and 82 highly colourful."""
    R, G, B = np.moveaxis(picture.astype(float), -1, 0)
    rg, yb = R - G, (R + G) / 2 - B
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


@pytest.mark.parametrize("draw", DRAWINGS)
def test_default_picture_is_512_by_384_rgb_bytes(pictures, draw):
    assert pictures[draw].shape == (384, 512, 3)
    assert pictures[draw].dtype == np.uint8


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize(("width", "height"), [(33, 47), (101, 75), (32, 128), (np.int64(160), 32)])
def test_odd_sizes_are_drawn(draw, width, height):
    picture = draw(width, height)
    assert picture.shape == (height, width, 3)
    assert luminance(picture).std() > 15


@pytest.mark.parametrize("draw", DRAWINGS)
def test_drawing_twice_gives_the_same_picture(draw):
    assert np.array_equal(draw(96, 72), draw(96, 72))


@pytest.mark.parametrize("draw", DRAWINGS)
def test_composition_is_the_same_at_every_size(pictures, draw):
    half = halved(pictures[draw])
    assert np.abs(half - draw(256, 192)).mean() < 2
    assert np.abs(halved(half) - draw(128, 96)).mean() < 6  # half as many samples


@pytest.mark.parametrize("draw", DRAWINGS)
def test_wide_picture_shows_the_middle_of_the_composition(draw):
    wide, whole = draw(128, 48), draw(128, 96)
    assert np.abs(wide - whole[24:72].astype(float)).mean() < 2


@pytest.mark.parametrize("draw", DRAWINGS)
def test_tones_reach_from_dark_to_light(pictures, draw):
    low, middle, high = np.percentile(luminance(pictures[draw]), [2, 50, 98])
    assert low < 45
    assert 80 < middle < 170
    assert high > 215


@pytest.mark.parametrize(
    ("draw", "least", "most"), [(draw_scene, 35, 75), (draw_painting, 80, 130)]
)
def test_scene_is_coloured_like_a_photograph_and_painting_more_strongly(
    pictures, draw, least, most
):
    assert least < colorfulness(pictures[draw]) < most


@pytest.mark.parametrize(("draw", "least"), [(draw_scene, 5), (draw_painting, 12)])
def test_no_part_of_the_picture_is_flat(pictures, draw, least):
    blocks = luminance(pictures[draw]).reshape(6, 64, 8, 64).std(axis=(1, 3))
    assert blocks.min() > least


def test_painting_has_blue_yellow_green_and_red(pictures):
    R, G, B = np.moveaxis(pictures[draw_painting].astype(int), -1, 0)
    assert np.mean(np.minimum(R, 255) + 60 < B) > 0.2
    assert np.mean((R > 180) & (G > 130) & (B < 120)) > 0.08
    assert np.mean((G > R + 15) & (G > B + 15)) > 0.08
    assert np.mean((R > 150) & (G < 90) & (B < 90)) > 0.005


def test_painting_is_brushwork_everywhere(pictures):
    """Away from the strokes' direction the tone changes within a few pixels in every block."""
    tone = luminance(pictures[draw_painting])
    change = np.hypot(np.diff(tone, axis=0)[:, :-1], np.diff(tone, axis=1)[:-1])
    blocks = change[:378, :510].reshape(6, 63, 6, 85).mean(axis=(1, 3))
    assert blocks.min() > 5


def test_scene_is_reflected_in_the_water(pictures):
    """Right of the middle trees are dark above and below, the sky between is light."""
    tone = luminance(pictures[draw_scene])
    trees, open_sky = slice(450, 505), slice(310, 360)
    assert tone[140:190, trees].mean() + 40 < tone[140:190, open_sky].mean()
    assert tone[290:350, trees].mean() + 40 < tone[290:350, open_sky].mean()


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize(
    ("width", "height", "complaint"),
    [
        (31, 384, "width must be an integer from 32 to 4096, got 31"),
        (512, 4097, "height must be an integer from 32 to 4096, got 4097"),
        (-512, 384, "width must be an integer from 32 to 4096, got -512"),
        (512, 384.0, "height must be an integer from 32 to 4096, got 384.0"),
        (True, 384, "width must be an integer from 32 to 4096, got True"),
        ("512", 384, "width must be an integer from 32 to 4096, got '512'"),
    ],
)
def test_absurd_sizes_are_refused(draw, width, height, complaint):
    with pytest.raises(ImageError, match=f"^{draw.__name__}: {complaint}$"):
        draw(width, height)
