"""Masks: read from anything, resized without overshoot, carried down as the features are."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from conftest import tiny_vgg19
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pynst.backends.reference import ReferenceBackend
from pynst.errors import ImageError
from pynst.images import Picture, save_image
from pynst.images.masks import (
    carried_down,
    check_aspect,
    feathered,
    flat_colours,
    read_mask,
    resize_mask,
)
from pynst.networks.gabor import Gabor

RNG = np.random.default_rng(0)
SOFT = np.rint(RNG.random((20, 30)) * 255) / 255
HALF = np.repeat([[0.0, 1.0]], 15, axis=1) * np.ones((20, 1))
sizes = st.integers(1, 70)


# ---- reading -------------------------------------------------------------------------------------


def as_path(mask, tmp_path):
    save_image(np.repeat(mask[:, :, None], 3, axis=2), tmp_path / "mask.png")
    return tmp_path / "mask.png"


def as_alpha(mask):
    levels = np.rint(mask * 255).astype(np.uint8)
    return PIL.Image.fromarray(np.dstack([np.full((20, 30, 3), 90, np.uint8), levels]), "RGBA")


@pytest.mark.parametrize(
    "made",
    [
        as_path,
        lambda mask, _: mask,
        lambda mask, _: mask[:, :, None],
        lambda mask, _: np.dstack([mask] * 3),
        lambda mask, _: np.rint(mask * 255).astype(np.uint8),
        lambda mask, _: PIL.Image.fromarray(np.rint(mask * 255).astype(np.uint8)),
        lambda mask, _: as_alpha(mask),
        lambda mask, tmp_path: str(as_path(mask, tmp_path)),
        lambda mask, tmp_path: io.BytesIO(as_path(mask, tmp_path).read_bytes()),
    ],
)
def test_a_mask_comes_from_anything_that_is_a_picture(made, tmp_path):
    read = read_mask(made(SOFT, tmp_path), "mask")
    np.testing.assert_allclose(read.pixels, SOFT, atol=1e-12)
    assert read.alpha is None
    assert read.size == (20, 30)


def test_truth_values_are_a_mask_and_white_is_exactly_one():
    np.testing.assert_array_equal(read_mask(HALF > 0, "mask").pixels, HALF)
    assert (read_mask(np.full((3, 4, 3), 255, np.uint8), "mask").pixels == 1).all()


def test_alpha_is_used_and_said():
    assert read_mask(as_alpha(SOFT), "mask").notes == ("its alpha is the mask",)


def test_black_and_white_of_a_jpeg_are_black_and_white():
    file = io.BytesIO()
    PIL.Image.fromarray((HALF * 255).astype(np.uint8)).resize((300, 200), 0).save(
        file, "JPEG", quality=70
    )
    decoded = np.asarray(PIL.Image.open(file)) / 255
    read = read_mask(file, "mask")
    assert not np.isin(decoded, (0, 1)).all(), "the file has what compression makes of black"
    np.testing.assert_array_equal(read.pixels[:, :140], 0)
    np.testing.assert_array_equal(read.pixels[:, 160:], 1)
    count = np.count_nonzero(read.pixels != decoded)
    assert read.notes == (f"JPEG: {count} pixels within 8 levels of black or white taken for it",)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 5)), "mask of style 1: is black everywhere"),
        (np.full((4, 5), np.nan), "mask of style 1: floating-point values must be finite"),
        (np.full((4, 5), 2.0), r"mask of style 1: .* must lie in \[0, 1\], got 2 to 2"),
        (np.zeros((4, 5, 2)), "mask of style 1: must be uint8"),
        (np.zeros((0, 5)), "mask of style 1: must have at least one pixel"),
        ("missing.png", "mask of style 1: no such file: missing.png"),
        (io.BytesIO(b"GIF89a nonsense"), "mask of style 1: "),
        (7, "mask of style 1: must be a path, a PIL image or a NumPy array, got int"),
    ],
)
def test_what_is_no_mask_is_refused_by_name(source, message):
    with pytest.raises(ImageError, match=message):
        read_mask(source, "mask of style 1")


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (40, 30), (399, 300), (1333, 1000)])
def test_the_aspect_is_compared_within_a_pixel(size):
    mask = Picture(np.ones(size), None, (), "array", size)
    if size == (300, 400):
        with pytest.raises(ImageError, match=r"^m: has 400 x 300 pixels, another aspect than the"
                           r" content of 300 x 400$"):  # fmt: skip
            check_aspect(mask, "m", (400, 300), "content")
    else:
        check_aspect(mask, "m", (400, 300), "content")


# ---- sizes ---------------------------------------------------------------------------------------


@given(hnp.arrays("f8", st.tuples(sizes, sizes), elements=st.floats(0, 1)), sizes, sizes)
def test_shares_still_add_up_to_one_at_every_size(mask, H, W):
    here, there = resize_mask(mask, H, W), resize_mask(1 - mask, H, W)
    np.testing.assert_allclose(here + there, 1, atol=1e-6)
    assert here.shape == (H, W)
    assert here.min() >= 0
    assert here.max() <= 1


def test_what_is_flat_stays_exactly_so_and_a_hard_edge_does_not_ring():
    assert (resize_mask(np.ones((20, 30)), 47, 61) == 1).all()
    wide = resize_mask(HALF, 40, 60)
    assert (wide[:, :28] == 0).all()
    assert (wide[:, 32:] == 1).all()


@given(st.integers(16, 90), st.integers(16, 90))
def test_masks_are_carried_down_to_every_layer_by_the_means_of_average_pooling(H, W):
    backend, mask = ReferenceBackend(), RNG.random((H, W))
    pooled = mask[None]
    for block in range(1, 6):
        _, h, w = tiny_vgg19().shape(f"relu{block}_1", H, W)
        np.testing.assert_allclose(carried_down(mask, h, w), pooled[0], rtol=1e-12)
        y = np.empty((1, pooled.shape[1] // 2, pooled.shape[2] // 2))
        backend.pool2x2(pooled, "average", y, None)
        pooled = y
    # the built-in network rounds its sizes up
    for level in range(1, 5):
        _, h, w = Gabor(backend).shape(f"level{level}", H, W)
        carried = carried_down(mask, h, w)
        assert carried.shape == (h, w)
        np.testing.assert_allclose(carried + carried_down(1 - mask, h, w), 1)


def test_no_layer_is_carried_down_to_by_mistake():
    with pytest.raises(ValueError, match="a mask of 9 x 9 has no layer of 7 x 9"):
        carried_down(np.ones((9, 9)), 7, 9)


@pytest.mark.parametrize("side", [64, 512, 1000])
def test_feathering_is_a_gaussian_of_a_share_of_the_long_side(side):
    soft = feathered(np.repeat([[0.0, 1.0]], side // 2, axis=1) * np.ones((8, 1)))
    edge = np.diff(soft[4])
    spread = np.sqrt(np.sum(edge * (np.arange(side - 1) - side / 2 + 1) ** 2))
    assert edge.min() > -1e-12, "no ringing"
    assert spread == pytest.approx(max(0.004 * side, np.sqrt(2)), abs=1.0)
    np.testing.assert_allclose(feathered(np.ones((5, side))), 1, rtol=1e-12)


# ---- maps ----------------------------------------------------------------------------------------

COLOURS = np.array([[255, 0, 0], [0, 0, 255], [20, 200, 30]], np.uint8)
LABELS = np.zeros((60, 90), int)
LABELS[:, 40:] = 1
LABELS[30:, 60:] = 2
MAP = COLOURS[LABELS]


def test_the_flat_colours_of_a_map_are_found():
    colours, labels, others = flat_colours(MAP / 255, "regions")
    assert others == 0
    np.testing.assert_array_equal(colours[labels], MAP)


@pytest.mark.parametrize("how", ["JPEG", "smooth"])
def test_shades_at_borders_belong_to_the_nearest_colour(how):
    large = PIL.Image.fromarray(MAP).resize((720, 480), 0)
    if how == "JPEG":
        file = io.BytesIO()
        large.crop((3, 3, 720, 480)).save(file, "JPEG", quality=92, subsampling=0)
        shaded = np.asarray(PIL.Image.open(file))
    else:
        shaded = np.asarray(large.resize((711, 475), PIL.Image.Resampling.BICUBIC))
    colours, labels, others = flat_colours(shaded / 255, "regions")
    assert len(colours) == 3
    assert others > 0
    wanted = PIL.Image.fromarray(MAP).resize(labels.shape[::-1], 0)
    assert np.abs(colours[labels].astype(int) - np.asarray(wanted)).max(axis=2).mean() < 3


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (RNG.random((60, 80, 3)), "regions: is no map in flat colours: .* % of its pixels"),
        (np.linspace(0, 1, 20 * 30).reshape(20, 30, 1) * np.ones(3), "more than 16 flat colours"),
    ],
)
def test_a_picture_with_shades_is_no_map(pixels, message):
    with pytest.raises(ImageError, match=message):
        flat_colours(pixels, "regions")
