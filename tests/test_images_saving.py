"""Saving: what is written comes back, at the highest quality, with its metadata."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import flat_png
from PIL import Image

from pynst.errors import ImageError
from pynst.images import (
    check_output,
    load_image,
    read_metadata,
    read_picture,
    save_image,
    to_png,
)

RNG = np.random.default_rng(0)


NOISE = RNG.random((23, 31, 3))


ALPHA = RNG.random((23, 31))


Y, X = np.mgrid[:23, :31]


SMOOTH = np.stack([X / 30, Y / 22, 1 - X / 30], axis=-1)


EVERY_FORMAT = [".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp"]


WITH_METADATA = [".png", ".tif", ".jpg", ".webp"]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_lossless_files_come_back_to_the_last_bit(tmp_path, extension, bits):
    peak = 2**bits - 1
    path = save_image(NOISE, tmp_path / f"result{extension}", bits=bits)
    np.testing.assert_array_equal(load_image(path), np.rint(NOISE * peak) / peak)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extension", [".png", ".tif"])
def test_alpha_comes_back_to_the_last_bit(tmp_path, extension, bits):
    peak = 2**bits - 1
    picture = read_picture(
        save_image(NOISE, tmp_path / f"result{extension}", bits=bits, alpha=ALPHA), "content"
    )
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.rint(ALPHA * peak) / peak)
    opaque = picture.alpha > 0.1
    weight = picture.alpha[..., None]
    colour = (picture.pixels - 1 + weight)[opaque] / weight[opaque]
    np.testing.assert_allclose(colour, (np.rint(NOISE * peak) / peak)[opaque], atol=1e-12)


@pytest.mark.parametrize("extension", EVERY_FORMAT)
@pytest.mark.parametrize("upper", [False, True])
def test_every_format_comes_back(tmp_path, extension, upper):
    path = tmp_path / f"result{extension.upper() if upper else extension}"
    assert save_image(SMOOTH, path) == path
    assert np.abs(load_image(path) - SMOOTH).max() < 0.06
    assert np.abs(load_image(path) - SMOOTH).mean() < 0.01


def test_jpeg_keeps_the_chroma_at_full_resolution(tmp_path):
    stripes = np.zeros((32, 32, 3))
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 0.8
    assert np.abs(load_image(save_image(stripes, tmp_path / "result.jpg")) - stripes).mean() < 0.05


@pytest.mark.parametrize("extension", EVERY_FORMAT)
def test_noise_is_written_at_the_highest_quality(tmp_path, extension):
    noise = np.random.default_rng(0).random((600, 600, 3))
    written = load_image(save_image(noise, tmp_path / f"result{extension}", quality=100))
    assert np.abs(written - noise).mean() < 0.2  # WebP halves the resolution of the chroma


def test_quality_makes_files_larger(tmp_path):
    for extension in (".jpg", ".webp"):
        sizes = [
            save_image(NOISE, tmp_path / f"{quality}{extension}", quality=quality).stat().st_size
            for quality in (10, 100)
        ]
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    "image",
    [NOISE.astype(np.float32), np.rint(NOISE * 255).astype(np.uint8), NOISE[:, :, :1]],
    ids=["float32", "uint8", "grey"],
)
def test_every_kind_of_array_is_written(tmp_path, image):
    written = load_image(save_image(image, tmp_path / "result.png"))
    np.testing.assert_allclose(written, load_image(image), atol=0.5001 / 255)


@pytest.mark.parametrize("extension", [".tif", ".jpg", ".webp"])
def test_files_carry_the_profile_of_srgb(tmp_path, extension):
    with Image.open(save_image(NOISE, tmp_path / f"result{extension}")) as image:
        profile = image.info["icc_profile"]
    assert b"sRGB" in profile.replace(b"\0", b"")
    assert profile[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # not the time of writing
    assert read_picture(tmp_path / f"result{extension}", "content").notes == ()


@pytest.mark.parametrize("extension", EVERY_FORMAT)
def test_equal_images_make_equal_files(tmp_path, extension):
    files = [tmp_path / f"{i}{extension}" for i in range(2)]
    for file in files:
        save_image(NOISE, file, metadata={"seed": "0"})
    assert files[0].read_bytes() == files[1].read_bytes()


def test_to_png_is_what_save_image_writes(tmp_path):
    path = save_image(NOISE, tmp_path / "result.png")
    assert to_png(NOISE) == path.read_bytes()


@pytest.mark.parametrize(
    ("extension", "settings", "message"),
    [
        (".png", {"quality": 0}, "quality must be an integer from 1 to 100, got 0"),
        (".png", {"quality": 95.5}, "quality must be an integer from 1 to 100, got 95.5"),
        (".png", {"bits": 12}, "bits must be 8 or 16, got 12"),
        (".jpg", {"bits": 16}, "16 bits per channel need .png or .tif"),
        (".jpg", {"alpha": ALPHA}, "transparency needs .png, .webp or .tif"),
        (".png", {"alpha": ALPHA[:5]}, r"alpha: must have the shape of the image, \(23, 31\), got"),
        (".png", {"alpha": ALPHA + 1}, "alpha: floating-point values must lie in"),
        (".png", {"metadata": {"a": 1}}, "metadata must map str to str"),
        (".jpg", {"metadata": {"a": "x" * 70000}}, "output: cannot write"),
        (".gif", {}, "must end in .png, .tif"),
    ],
)
def test_settings_that_make_no_sense_are_refused_and_nothing_is_written(
    tmp_path, extension, settings, message
):
    with pytest.raises(ImageError, match=message):
        save_image(NOISE, tmp_path / f"result{extension}", **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 4, 3), np.nan), "image: floating-point values must be finite"),
        (np.full((4, 4, 3), 1.5), "image: floating-point values must lie in"),
        (np.zeros((4, 4, 4)), "image: must have shape .H, W, 3., got .4, 4, 4."),
        (np.zeros((4, 4, 3), int), "got int64"),
        (np.zeros((1, 16384, 3)), "WEBP holds at most 16383 pixels .*, got 1 x 16384"),
    ],
)
def test_images_that_cannot_be_written_are_refused(tmp_path, image, message):
    with pytest.raises(ImageError, match=message):
        save_image(image, tmp_path / "result.webp")


@pytest.mark.parametrize("extension", WITH_METADATA)
@given(st.dictionaries(st.text(), st.text(), max_size=4))
@example({"seed": "0", "style": "é \u2603 \U0001f600", "": '\0\n\\"', "lone": "\ud800"})
def test_metadata_comes_back(tmp_path, extension, metadata):
    path = save_image(SMOOTH[:3, :3], tmp_path / f"result{extension}", metadata=metadata)
    assert read_metadata(path) == metadata


@pytest.mark.parametrize("extension", EVERY_FORMAT)
def test_a_file_without_metadata_has_none(tmp_path, extension):
    assert read_metadata(save_image(SMOOTH, tmp_path / f"result{extension}")) == {}


@pytest.mark.parametrize(
    "text", ["a cat", "[]", "{}", '{"pynst": 3}', '{"pynst": null}', "[" * 100_000, "null", "1e999"]
)
def test_the_description_of_another_program_is_none(tmp_path, text):
    exif = Image.Exif()
    exif[270] = text
    path = tmp_path / "picture.webp"
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path, exif=exif.tobytes())
    assert read_metadata(path) == {}


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_metadata_of_no_image_is_an_image_error(tmp_path, content):
    path = tmp_path / "picture.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"image: .*picture\.png"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("suffix", "nearest"), [("png", 0.02), ("tif", 0.01), ("jpg", 0.5), ("bmp", 0.02)]
)
def test_pixels_per_inch_come_back(tmp_path, suffix, nearest):
    path = save_image(np.zeros((4, 5, 3), np.uint8), tmp_path / f"a.{suffix}", dpi=300)
    with Image.open(path) as image:
        assert image.info["dpi"][0] == pytest.approx(300, abs=nearest)


@pytest.mark.parametrize("dpi", [0, -1, 10_001, float("nan"), "300", True])
def test_pixels_per_inch_that_cannot_be_are_refused(tmp_path, dpi):
    with pytest.raises(ImageError, match="output: dpi must be a number from 1 to 10000, got"):
        save_image(np.zeros((4, 5, 3), np.uint8), tmp_path / "a.png", dpi=dpi)
    with pytest.raises(ImageError, match="dpi must be"):
        check_output(tmp_path / "a.png", dpi=dpi)
    assert not list(tmp_path.iterdir())


def test_metadata_are_read_of_pictures_beyond_the_limit_of_reading(tmp_path):
    """PyNST makes pictures of more pixels than it reads; what is embedded needs no pixel."""
    path = tmp_path / "large.png"
    path.write_bytes(flat_png(15_000, 15_000, 1, 0))
    assert read_metadata(path) == {}
    with pytest.raises(ImageError, match="more than 200000000 pixels"):
        load_image(path)
