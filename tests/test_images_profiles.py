"""Colour management: pictures are sRGB, whatever profile was stored."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from pictures import (
    ALPHA,
    DISPLAY_P3,
    LINEAR_GREY,
    MUTED,
    RGB,
    RGB16,
    SLOPE,
    SRGB,
    loaded,
    png16,
    rgb_profile,
    saved,
)
from PIL import ImageCms, features

from pynst.errors import ImageError
from pynst.images import load_image, read_picture


def srgb_coded(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "primaries", [SRGB[[1, 2, 0]], DISPLAY_P3], ids=["swapped primaries", "Display P3"]
)
def test_an_icc_profile_is_converted_to_srgb(tmp_path, primaries, file_format):
    settings: dict[str, dict[str, int]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    path = saved(
        MUTED, tmp_path, file_format, icc_profile=rgb_profile(primaries, 1.8),
        **settings.get(file_format, {}),
    )  # fmt: skip
    picture = read_picture(path, "content")
    wanted = srgb_coded((MUTED / 255) ** 1.8 @ primaries @ np.linalg.inv(SRGB))
    levels = 6 if file_format == "JPEG" else 2
    np.testing.assert_allclose(picture.pixels, wanted, atol=levels / 255)
    assert np.abs(wanted - MUTED / 255).max() > 0.05
    assert picture.notes == ("ICC profile converted to sRGB",)


def test_an_icc_profile_that_amounts_to_srgb_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(saved(RGB, tmp_path, "PNG", icc_profile=profile), "content")
    np.testing.assert_array_equal(picture.pixels, RGB / 255)
    assert picture.notes == ()
    chunk = (b"iCCP", b"sRGB\0\0" + zlib.compress(profile))
    np.testing.assert_array_equal(loaded(png16(RGB16, chunk), tmp_path).pixels, RGB16 / 65535)


def test_an_icc_profile_of_16_bits_is_converted_at_8(tmp_path):
    deep = MUTED.astype(np.uint16) * 257
    chunk = (b"iCCP", b"P3\0\0" + zlib.compress(rgb_profile(DISPLAY_P3, 1.8)))
    picture = loaded(png16(deep, chunk), tmp_path)
    wanted = srgb_coded((MUTED / 255) ** 1.8 @ DISPLAY_P3 @ np.linalg.inv(SRGB))
    np.testing.assert_allclose(picture.pixels, wanted, atol=2 / 255)
    assert picture.notes == ("ICC profile converted to sRGB",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_icc_profile_is_converted(tmp_path, dtype):
    samples = SLOPE.astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    picture = read_picture(saved(samples, tmp_path, "TIFF", icc_profile=LINEAR_GREY), "content")
    np.testing.assert_allclose(picture.pixels[:, :, 1], srgb_coded(SLOPE / 255), atol=0.51 / 255)
    assert picture.notes == ("ICC profile converted to sRGB",)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_grey_profile_serves_grey_pngs_of_every_kind(tmp_path, bits, has_alpha):
    dtype = np.uint8 if bits == 8 else np.uint16
    levels = SLOPE.astype(dtype)
    levels[5, 5] = 64
    grey = levels * dtype(1 if bits == 8 else 257)
    samples = np.dstack([grey, np.full_like(grey, np.iinfo(dtype).max)]) if has_alpha else grey
    chunk = (b"iCCP", b"grey\0\0" + zlib.compress(LINEAR_GREY))
    if bits == 16:
        picture = loaded(png16(samples, chunk), tmp_path)
    else:
        path = saved(samples, tmp_path, "PNG", icc_profile=LINEAR_GREY)
        picture = read_picture(path, "content")
    np.testing.assert_allclose(picture.pixels[:, :, 0], srgb_coded(levels / 255), atol=0.51 / 255)
    assert np.rint(picture.pixels[5, 5] * 255).tolist() == [137] * 3
    assert picture.notes == ("ICC profile converted to sRGB",)


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
def test_a_grey_profile_serves_formats_that_have_no_grey(tmp_path, file_format):
    if not features.check(file_format.lower()):
        pytest.skip(f"this Pillow is built without {file_format}")
    settings = {"lossless": True} if file_format == "WEBP" else {"quality": 100}
    path = saved(SLOPE, tmp_path, file_format, icc_profile=LINEAR_GREY, **settings)
    picture = read_picture(path, "content")
    wanted = np.repeat(srgb_coded(SLOPE / 255)[..., None], 3, axis=2)
    bright = SLOPE > 20  # one level of a dark tone is many after conversion
    np.testing.assert_allclose(picture.pixels[bright], wanted[bright], atol=4 / 255)
    assert picture.notes == ("ICC profile converted to sRGB",)


def padded_profile(profile, size):
    """The same profile with a private tag of so many bytes."""
    count = int.from_bytes(profile[128:132], "big")
    table = b""
    for at in range(132, 132 + 12 * count, 12):
        name, offset, length = struct.unpack(">4sII", profile[at : at + 12])
        table += struct.pack(">4sII", name, offset + 12, length)
    table += struct.pack(">4sII", b"priv", len(profile) + 12, size)
    body = profile[132 + 12 * count :] + bytes(size)
    whole = profile[:128] + struct.pack(">I", count + 1) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_of_several_megabytes_is_used(tmp_path, file_format):
    profile = padded_profile(rgb_profile(DISPLAY_P3, 1.8), 3_000_000)
    settings = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    path = saved(MUTED, tmp_path, file_format, icc_profile=profile, **settings.get(file_format, {}))
    picture = read_picture(path, "content")
    wanted = srgb_coded((MUTED / 255) ** 1.8 @ DISPLAY_P3 @ np.linalg.inv(SRGB))
    np.testing.assert_allclose(picture.pixels, wanted, atol=6 / 255)
    assert picture.notes == ("ICC profile converted to sRGB",)


def test_a_profile_without_bounds_is_refused_in_words(tmp_path):
    chunk = (b"iCCP", b"x\0\0" + zlib.compress(bytes(40_000_000), 9))
    with pytest.raises(ImageError, match="its ICC profile or a text takes more than 16 MB"):
        loaded(png16(RGB16, chunk), tmp_path)


def test_an_rgb_profile_serves_a_grey_picture(tmp_path):
    path = saved(SLOPE, tmp_path, "PNG", icc_profile=rgb_profile(DISPLAY_P3, 1.0))
    np.testing.assert_allclose(load_image(path)[:, :, 0], srgb_coded(SLOPE / 255), atol=2 / 255)


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", rgb_profile(DISPLAY_P3, 1.8)[:200], LINEAR_GREY],
    ids=["nonsense", "truncated", "of another colour space"],
)
def test_a_damaged_or_unfitting_icc_profile_is_ignored(tmp_path, profile):
    picture = read_picture(saved(RGB, tmp_path, "PNG", icc_profile=profile), "content")
    np.testing.assert_array_equal(picture.pixels, RGB / 255)
    assert picture.notes == ("damaged or unfitting ICC profile ignored",)


def test_a_profile_does_not_reach_the_alpha(tmp_path):
    path = saved(
        np.dstack([MUTED, ALPHA]), tmp_path, "PNG", icc_profile=rgb_profile(DISPLAY_P3, 1.8)
    )
    picture = read_picture(path, "content")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, ALPHA / 255)
