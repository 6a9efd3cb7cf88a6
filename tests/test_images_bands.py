"""Large pictures: reduced while they are read, like the full picture, always the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, flat_png
from PIL import Image

from pynst import stylize
from pynst.images import bands, load_image, read_picture, resize, size_to_long_side
from pynst.images.bands import reading_size

SIDE = 600


@pytest.fixture
def large(monkeypatch):
    """A picture that counts as large, with detail of every size."""
    monkeypatch.setattr(bands, "_LARGE", 100_000)
    Y, X = np.mgrid[:400, :SIDE] / SIDE
    waves = [np.sin(40 * X + 90 * Y**2), np.cos(200 * X * Y), np.sin(700 * X**2)]
    return np.rint(np.stack(waves, -1) * 100 + 128).astype(np.uint8)


def difference(full, reduced, long_side):
    size = size_to_long_side(*full.shape[:2], long_side)
    assert size == size_to_long_side(*reduced.shape[:2], long_side)
    return 255 * np.abs(resize(full, *size) - resize(reduced, *size))


@pytest.mark.parametrize("long_side", [10, 37, 100])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "array", "PIL"])
def test_a_reduced_picture_is_resized_like_the_full_one(large, file_format, long_side):
    image = Image.fromarray(large)
    settings = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(file_format, {})
    if file_format == "array":
        source, whole = large, large
    elif file_format == "PIL":
        source, whole = image, image
    else:
        source, whole = (io.BytesIO(encoded(file_format, image, **settings)) for _ in range(2))
    picture = read_picture(source, "content", long_side=long_side)
    H, W = picture.pixels.shape[:2]
    assert max(H, W) == 3 * long_side
    assert picture.notes == (f"reduced to {W} x {H} while reading",)
    assert picture.size == (400, SIDE)
    levels = difference(load_image(whole), picture.pixels, long_side)
    assert levels.mean() < 0.4
    assert levels.max() < 3


def test_bands_do_not_show(large, monkeypatch):
    whole = read_picture(large, "content", long_side=50).pixels
    monkeypatch.setattr(bands, "_BAND", 1)
    np.testing.assert_allclose(
        read_picture(large, "content", long_side=50).pixels, whole, atol=1e-6
    )


def test_bands_of_any_height_give_the_samples(monkeypatch):
    samples = np.random.default_rng(0).integers(0, 65536, (53, 41, 4), dtype=np.uint16)
    whole = read_picture(samples, "content")
    for size in (1, 900, 3000):
        monkeypatch.setattr(bands, "_BAND", size)
        picture = read_picture(samples, "content")
        np.testing.assert_array_equal(picture.pixels, whole.pixels)
        np.testing.assert_array_equal(picture.alpha, whole.alpha)


def test_reading_is_deterministic(large):
    data = encoded("JPEG", Image.fromarray(large))
    first, second = (
        read_picture(io.BytesIO(data), "content", long_side=40).pixels for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF", "PNG"])
def test_a_reduced_picture_stands_upright(large, file_format, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(file_format, Image.fromarray(large), exif=exif.tobytes())
    full = read_picture(io.BytesIO(data), "content")
    reduced = read_picture(io.BytesIO(data), "content", long_side=40)
    assert full.size == reduced.size == full.pixels.shape[:2]
    assert (full.size == (SIDE, 400)) == (orientation > 4)
    assert reduced.pixels.flags.c_contiguous
    assert difference(full.pixels, reduced.pixels, 40).mean() < 0.4


def test_a_reduced_picture_keeps_its_alpha(large):
    alpha = np.zeros(large.shape[:2], np.uint8)
    alpha[:200], alpha[200:, :300] = 255, 100
    source = np.dstack([large, alpha])
    full, reduced = (read_picture(source, "content", long_side=side) for side in (None, 40))
    assert reduced.alpha is not None
    assert reduced.alpha.shape == reduced.pixels.shape[:2]
    assert difference(full.alpha, reduced.alpha, 40).mean() < 0.4
    assert difference(full.pixels, reduced.pixels, 40).mean() < 0.4
    opaque = np.dstack([large, np.full_like(alpha, 255)])
    assert read_picture(opaque, "content", long_side=40).alpha is None


@pytest.mark.parametrize("kind", ["grey", "16 bits", "float"])
def test_pictures_of_every_depth_are_reduced(large, kind):
    source = {
        "grey": large[:, :, 0],
        "16 bits": large.astype(np.uint16) * 257,
        "float": (large / 255).astype(np.float32),
    }[kind]
    full, reduced = load_image(source), read_picture(source, "content", long_side=40).pixels
    assert difference(full, reduced, 40).mean() < 0.4


def test_an_ordinary_picture_keeps_every_bit(large, monkeypatch):
    monkeypatch.setattr(bands, "_LARGE", large[:, :, 0].size)
    picture = read_picture(large, "content", long_side=10)
    np.testing.assert_array_equal(picture.pixels, large / 255)
    assert picture.notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_large_picture_that_is_needed_keeps_every_bit_in_the_memory_of_its_samples(large, dtype):
    stored = large.astype(dtype) * (np.iinfo(dtype).max // 255)
    picture = read_picture(stored, "content", long_side=101)
    np.testing.assert_array_equal(picture.samples, stored)
    assert picture.samples.dtype == dtype
    np.testing.assert_array_equal(picture.pixels, large / 255)
    assert picture.notes == ()
    for H, W in (stored.shape[:2], (101, 67)):
        np.testing.assert_array_equal(
            resize(picture.samples, H, W), resize(picture.pixels, H, W), strict=True
        )


@pytest.mark.parametrize("kind", ["float", "alpha", "turned", "grey"])
def test_what_is_stored_of_a_large_picture_is_what_its_pixels_are(large, kind):
    source = large / 255 if kind == "float" else large
    if kind == "alpha":
        source = np.dstack([large, large[:, :, 0]])
    elif kind == "grey":
        source = large[:, :, 0]
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        source = io.BytesIO(encoded("PNG", Image.fromarray(large), exif=exif))
    picture = read_picture(source, "content")
    assert picture.samples.dtype == (np.uint8 if kind in ("turned", "grey") else np.float64)
    if kind == "turned":
        np.testing.assert_array_equal(picture.samples, np.rot90(large, -1))
    elif kind == "grey":
        np.testing.assert_array_equal(picture.samples, np.dstack([source] * 3))
    assert picture.pixels.shape == picture.samples.shape
    assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1


def test_a_run_has_the_same_bits_whatever_its_pictures_are_stored_as(large, monkeypatch):
    settings = {"network": "builtin", "image_size": 101, "iterations": 2, "levels": 1}
    settings |= {"match_color": "symmetric", "preserve_color": True}
    stored = stylize(large, large[::-1], **settings)
    monkeypatch.setattr(bands, "_LARGE", 10**9)
    wide = stylize(large, large[::-1], **settings)
    np.testing.assert_array_equal(stored.pixels, wide.pixels)
    assert stored.record.pictures == wide.record.pictures


@given(st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 5000))
def test_the_size_when_reading_leads_to_the_size_wanted(height, width, long_side):
    H, W = reading_size(height, width, long_side)
    assert height >= H
    assert width >= W
    assert (height, width) == (H, W) or max(H, W) <= max(height, width) // 2
    wanted = size_to_long_side(height, width, long_side)
    if min(H, W) >= 3:  # a side of one or two pixels cannot be divided by three
        assert size_to_long_side(H, W, long_side) == wanted


def test_the_thinnest_large_pictures_are_reduced(large):
    for shape in ((1, large.size), (large.size, 1)):
        picture = read_picture(np.zeros(shape, np.uint8), "content", long_side=64)
        assert sorted(picture.pixels.shape[:2]) == [1, 192]


def test_a_file_that_is_large_by_itself_is_reduced(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(flat_png(4100, 4000, 1, 0))
    assert read_picture(path, "style", long_side=64).pixels.shape == (186, 192, 3)
