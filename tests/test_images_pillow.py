"""Well-formed files of every format: what is in them comes out, and what was done is noted."""

from __future__ import annotations

import threading
import warnings
import zlib

import numpy as np
import pytest
from pictures import (
    ALPHA,
    DISPLAY_P3,
    GREY16,
    MUTED,
    RGB,
    RGB16,
    RGBA16,
    SLOPE,
    SMOOTH,
    loaded,
    over_white,
    png16,
    rgb_profile,
    saved,
)
from PIL import Image, ImageCms

from pynst.errors import ImageError
from pynst.images import load_image, read_picture

# ----------------------------------------------------------------------------------- formats, modes


@pytest.mark.parametrize(
    ("file_format", "settings"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "packbits"}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_lossless_files_give_their_samples(tmp_path, file_format, settings):
    picture = read_picture(saved(RGB, tmp_path, file_format, **settings), "content")
    np.testing.assert_array_equal(picture.pixels, RGB / 255)
    assert picture.alpha is None
    assert picture.notes == ()
    assert picture.source == str(tmp_path / "picture")


@pytest.mark.parametrize(
    ("file_format", "settings"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("WEBP", {"quality": 98}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
    ],
)
def test_lossy_files_come_close(tmp_path, file_format, settings):
    pixels = load_image(saved(SMOOTH, tmp_path, file_format, **settings))
    assert np.abs(pixels - SMOOTH / 255).mean() < 0.02


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF", "PPM"])
def test_grey_files_give_three_equal_channels(tmp_path, file_format):
    pixels = load_image(saved(SLOPE, tmp_path, file_format))
    np.testing.assert_array_equal(pixels, np.repeat(SLOPE[..., None] / 255, 3, axis=2))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF", "PPM"])
def test_one_bit_files_are_black_and_white(tmp_path, file_format):
    bits = SLOPE > 100
    pixels = load_image(saved(Image.fromarray(bits), tmp_path, file_format))
    np.testing.assert_array_equal(pixels[:, :, 1], bits)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept(tmp_path, file_format):
    lossless = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    path = saved(np.dstack([RGB, ALPHA]), tmp_path, file_format, **lossless)
    picture = read_picture(path, "content")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, ALPHA / 255)
    np.testing.assert_allclose(picture.pixels, over_white(RGB / 255, ALPHA[..., None] / 255))
    assert picture.notes == ("alpha composited over white",)


def test_grey_with_alpha_is_kept(tmp_path):
    picture = read_picture(saved(np.dstack([SLOPE, ALPHA]), tmp_path, "PNG"), "content")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, ALPHA / 255)
    np.testing.assert_allclose(picture.pixels[..., 0], over_white(SLOPE / 255, ALPHA / 255))


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
@pytest.mark.parametrize("transparency", [None, 3])
def test_palettes_give_their_colours_and_transparency(tmp_path, file_format, transparency):
    palette = Image.fromarray(SMOOTH).quantize(16)
    settings = {} if transparency is None else {"transparency": transparency, "optimize": False}
    picture = read_picture(saved(palette, tmp_path, file_format, **settings), "content")
    colours, hole = np.asarray(palette.convert("RGB")) / 255, np.asarray(palette) == transparency
    np.testing.assert_array_equal(picture.pixels, np.where(hole[..., None], 1, colours))
    if transparency is None:
        assert picture.alpha is None
    else:
        assert hole.any()
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, ~hole)


def test_a_palette_with_an_alpha_for_each_colour(tmp_path):
    palette = Image.fromarray(SMOOTH).quantize(16)
    alphas = bytes(range(0, 256, 16))
    picture = read_picture(saved(palette, tmp_path, "PNG", transparency=alphas), "content")
    assert picture.alpha is not None
    wanted = np.frombuffer(alphas, np.uint8)[np.asarray(palette)] / 255
    np.testing.assert_array_equal(picture.alpha, wanted)


def test_a_transparent_colour_is_transparent(tmp_path):
    key = tuple(int(value) for value in RGB[4, 5])
    picture = read_picture(saved(RGB, tmp_path, "PNG", transparency=key), "content")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.any(key != RGB, axis=2))
    np.testing.assert_array_equal(picture.pixels[4, 5], 1)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_not_inverted(tmp_path, file_format):
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:, 0] = 255  # bare paper on the left, cyan on the right
    settings = {"quality": 100} if file_format == "JPEG" else {}
    image = Image.frombytes("CMYK", (32, 16), inks.tobytes())
    picture = read_picture(saved(image, tmp_path, file_format, **settings), "content")
    np.testing.assert_allclose(picture.pixels[8, 4], [1, 1, 1], atol=0.02)
    np.testing.assert_allclose(picture.pixels[8, 28], [0, 1, 1], atol=0.02)
    assert picture.notes == ("converted from CMYK without an ICC profile: colours are approximate",)


def test_lab_is_converted(tmp_path):
    lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    image = ImageCms.applyTransform(Image.fromarray(SMOOTH), lab)
    picture = read_picture(saved(image, tmp_path, "TIFF"), "content")
    assert np.abs(picture.pixels - SMOOTH / 255).mean() < 0.02
    assert picture.notes == ("converted from LAB",)


@pytest.mark.parametrize(
    ("file_format", "note"),
    [
        ("GIF", "animated: first of 3 frames used"),
        ("PNG", "animated: first of 3 frames used"),
        ("WEBP", "animated: first of 3 frames used"),
        ("TIFF", "several pictures: the first one used"),
        ("MPO", "several pictures: the first one used"),
    ],
)
def test_of_several_frames_the_first_is_used(tmp_path, file_format, note):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    settings = {"save_all": True, "append_images": frames[1:], "lossless": True}
    path = saved(frames[0], tmp_path, file_format, **settings)
    picture = read_picture(path, "content")
    np.testing.assert_allclose(picture.pixels[5, 5], [1, 0, 0], atol=0.02)
    assert picture.notes == (note,)


@pytest.mark.parametrize("shape", [(1, 1), (1, 65500), (65500, 1)])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP"])
def test_the_thinnest_pictures_are_read(tmp_path, shape, file_format):
    path = saved(np.full((*shape, 3), 128, np.uint8), tmp_path, file_format)
    np.testing.assert_allclose(load_image(path), np.full((*shape, 3), 128 / 255), atol=0.01)


# ------------------------------------------------------------------------------------------ 16 bits


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [GREY16, RGB16], ids=["grey", "rgb"])
def test_png_of_16_bits_keeps_all_of_them(tmp_path, samples, interlaced):
    picture = loaded(png16(samples, interlaced=interlaced), tmp_path)
    wanted = np.broadcast_to(np.atleast_3d(samples / 65535), RGB16.shape)
    np.testing.assert_array_equal(picture.pixels, wanted)


def test_png_of_16_bits_with_alpha_keeps_all_of_them(tmp_path):
    picture = loaded(png16(RGBA16), tmp_path)
    colour, alpha = RGBA16[:, :, :3] / 65535, RGBA16[:, :, 3] / 65535
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_allclose(picture.pixels, over_white(colour, alpha[..., None]), atol=1e-12)


def test_png_of_16_bit_grey_with_alpha_keeps_8_as_documented(tmp_path):
    picture = loaded(png16(RGBA16[:, :, :2]), tmp_path)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, (RGBA16[:, :, 1] >> 8) / 255)


@pytest.mark.parametrize("samples", [GREY16, RGB16], ids=["grey", "rgb"])
def test_a_transparent_colour_of_16_bits_is_compared_with_all_of_them(tmp_path, samples):
    samples = samples.copy()
    samples[4, 6] = samples[4, 5]
    samples.reshape(11, 14, -1)[4, 6, 0] ^= 1  # the same high byte, and the same other channels
    key = np.atleast_1d(samples[4, 5]).astype(">u2").tobytes()
    picture = loaded(png16(samples, (b"tRNS", key)), tmp_path)
    assert picture.alpha is not None
    assert picture.alpha[4, 5] == 0
    assert picture.alpha[4, 6] == 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("samples", [GREY16, RGB16], ids=["grey", "rgb"])
def test_tiff_of_16_bits_keeps_all_of_them(tmp_path, samples, tile, compression, byteorder):
    tifffile = pytest.importorskip("tifffile", reason="tifffile comes with scikit-image")
    kind = "rgb" if samples.ndim == 3 else "minisblack"
    path = tmp_path / "picture"
    tifffile.imwrite(
        path, samples, byteorder=byteorder, compression=compression, tile=tile, photometric=kind
    )
    wanted = np.broadcast_to(np.atleast_3d(samples / 65535), RGB16.shape)
    np.testing.assert_array_equal(load_image(path), wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_in_which_white_is_zero_is_not_read_as_a_negative(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile", reason="tifffile comes with scikit-image")
    peak = 1 if dtype == np.float32 else np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "picture", np.array([[0, peak]], dtype), photometric="miniswhite")
    np.testing.assert_array_equal(load_image(tmp_path / "picture")[0, :, 0], [1, 0])


@pytest.mark.parametrize(
    ("samples", "settings", "message"),
    [
        (RGB16.transpose(2, 0, 1), {"planarconfig": "separate"}, "8 bits in separate planes"),
        (GREY16.astype(np.int16), {}, "signed integers"),
        (GREY16.astype(np.uint32), {}, "grey integers must be unsigned, of 8, 12 or 16 bits"),
        (GREY16.astype(np.float32), {}, r"must lie in \[0, 1\]"),
    ],
)
def test_tiff_that_pillow_would_misread_is_refused(tmp_path, samples, settings, message):
    tifffile = pytest.importorskip("tifffile", reason="tifffile comes with scikit-image")
    kind = "rgb" if settings else "minisblack"
    tifffile.imwrite(tmp_path / "picture", samples, photometric=kind, **settings)
    with pytest.raises(ImageError, match=f"style: .*{message}"):
        read_picture(tmp_path / "picture", "style")


def test_ppm_of_16_bits_keeps_8_as_documented(tmp_path):
    picture = loaded(b"P6 14 11 65535\n" + RGB16.astype(">u2").tobytes(), tmp_path)
    np.testing.assert_allclose(picture.pixels, RGB16 / 65535, atol=0.5001 / 255)
    picture = loaded(b"P5 14 11 65535\n" + GREY16.astype(">u2").tobytes(), tmp_path)
    np.testing.assert_array_equal(picture.pixels[:, :, 2], GREY16 / 65535)


# --------------------------------------------------------------------------------------- PIL images


@pytest.mark.parametrize(
    "mode", ["L", "P", "RGB", "RGBX", "YCbCr", "HSV", "I", "I;16", "I;16B", "F"]
)
def test_pil_images_of_opaque_modes_are_taken(mode):
    image = Image.new("L", (5, 4), 128).convert(mode if mode not in ("HSV", "I;16B") else "RGB")
    if mode == "I;16B":
        image = Image.frombytes("I;16B", (5, 4), b"\x80\x80" * 20)
    if mode == "HSV":
        image = image.convert("HSV")
    if mode in ("I", "I;16"):
        image = image.point(lambda value: value * 257)
    if mode == "F":
        image = image.point(lambda value: value * (1 / 255))
    picture = read_picture(image, "content")
    np.testing.assert_allclose(picture.pixels, 128 / 255, atol=1e-7)
    assert picture.source == "PIL image"


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_pil_images_with_alpha_are_taken(mode):
    straight = {"La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    image = Image.new("RGBA", (5, 4), (0, 0, 0, 51)).convert("LA" if straight == "LA" else "RGBA")
    picture = read_picture(image.convert(straight).convert(mode), "content")
    assert picture.alpha is not None
    np.testing.assert_allclose(picture.alpha, 0.2)
    np.testing.assert_allclose(picture.pixels, 0.8)


def test_a_pil_image_is_read_like_its_file(tmp_path):
    exif = Image.Exif()
    exif[274] = 8
    profile = rgb_profile(DISPLAY_P3, 1.8)
    path = saved(MUTED, tmp_path, "PNG", exif=exif.tobytes(), icc_profile=profile)
    with Image.open(path) as image:
        picture = read_picture(image, "content")
    np.testing.assert_array_equal(picture.pixels, load_image(path))
    assert len(picture.notes) == 2


def test_a_closed_pil_image_is_an_image_error(tmp_path):
    with Image.open(saved(RGB, tmp_path, "PNG")) as image:
        pass
    with pytest.raises(ImageError, match=r"content: cannot read PIL image"):
        read_picture(image, "content")


def test_threads_leave_the_settings_of_the_process_alone(tmp_path):
    path = saved(RGB, tmp_path, "PNG")
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    threads = [
        threading.Thread(target=lambda: [load_image(path) for _ in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_a_large_text_does_not_keep_a_picture_from_being_read(tmp_path):
    chunk = (b"zTXt", b"x\0\0" + zlib.compress(bytes(2_000_000), 9))
    np.testing.assert_array_equal(loaded(png16(RGB16, chunk), tmp_path).pixels, RGB16 / 65535)
