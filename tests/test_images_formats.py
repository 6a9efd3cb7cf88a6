"""Formats beyond the common ones: TGA, JPEG 2000, AVIF, and HEIC where its package is installed."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from pictures import ALPHA, GREY16, RGB, SLOPE, SMOOTH, over_white, saved
from PIL import Image, ImageFile, features

from pynst.errors import ImageError
from pynst.images import load_image, read_picture


@pytest.mark.parametrize("compression", [None, "tga_rle"])
@pytest.mark.parametrize("kind", ["grey", "rgb", "alpha", "palette"])
def test_tga_gives_its_samples(tmp_path, kind, compression):
    image = Image.fromarray(
        {"grey": SLOPE, "rgb": RGB, "alpha": np.dstack([RGB, ALPHA])}.get(kind, SMOOTH)
    )
    image = image.quantize(16) if kind == "palette" else image
    picture = read_picture(saved(image, tmp_path, "TGA", compression=compression), "content")
    wanted = np.asarray(image.convert("RGB")) / 255
    if kind == "alpha":
        np.testing.assert_array_equal(picture.alpha, ALPHA / 255)
        wanted = over_white(wanted, ALPHA[..., None] / 255)
    np.testing.assert_allclose(picture.pixels, wanted, atol=1e-12)


def test_tga_without_a_footer_is_known_by_its_name(tmp_path):
    header = bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 0, 11, 0, 24, 0x20])
    for name in ("picture.tga", "picture.VST"):
        (tmp_path / name).write_bytes(header + RGB[:, :, ::-1].tobytes())
        np.testing.assert_array_equal(load_image(tmp_path / name), RGB / 255)
    (tmp_path / "picture.raw").write_bytes(header + RGB[:, :, ::-1].tobytes())
    with pytest.raises(ImageError, match="not a readable"):
        load_image(tmp_path / "picture.raw")


@pytest.mark.parametrize("kind", ["grey", "rgb", "alpha", "16 bits grey"])
def test_jpeg_2000_gives_its_samples(tmp_path, kind):
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow is built without JPEG 2000")
    samples = {"grey": SLOPE, "rgb": RGB, "alpha": np.dstack([RGB, ALPHA])}.get(kind, GREY16)
    picture = read_picture(saved(samples, tmp_path, "JPEG2000"), "content")
    wanted = np.atleast_3d(samples) / np.iinfo(samples.dtype).max
    if kind == "alpha":
        wanted = over_white(wanted[:, :, :3], wanted[:, :, 3:])
    wanted = np.broadcast_to(wanted, RGB.shape)
    np.testing.assert_allclose(picture.pixels, wanted, atol=1e-12)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_avif_comes_close_and_stands_upright(tmp_path, orientation):
    if not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(
        np.dstack([SMOOTH, ALPHA]), tmp_path, "AVIF", quality=100, subsampling="4:4:4",
        exif=exif.tobytes(),
    )  # fmt: skip
    picture = read_picture(path, "content")
    turns = {1: 0, 3: 2, 6: -1}[orientation]
    wanted = np.rot90(over_white(SMOOTH / 255, ALPHA[..., None] / 255), turns)
    assert np.abs(picture.pixels - wanted).mean() < 0.02
    assert picture.alpha is not None
    assert np.abs(picture.alpha - np.rot90(ALPHA / 255, turns)).mean() < 0.02


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_names_the_package_that_opens_it(tmp_path, monkeypatch, brand):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    (tmp_path / "picture.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(100))
    with pytest.raises(ImageError, match=r"content: .*HEIC.*pip install pillow-heif.*picture"):
        read_picture(tmp_path / "picture.heic", "content")


def test_heic_is_opened_where_the_package_is_installed(tmp_path, monkeypatch):
    class HeifImageFile(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode = (14, 11), "RGB"
            self.tile = [ImageFile._Tile("raw", (0, 0, 14, 11), 24, "RGB")]

    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_open(
        "HEIF", HeifImageFile, lambda head: head[4:12] == b"ftypheic"
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    for registry in ("ID", "OPEN"):
        monkeypatch.setattr(Image, registry, getattr(Image, registry).copy())
    path = tmp_path / "picture.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic".ljust(24, b"\0") + RGB.tobytes())
    np.testing.assert_array_equal(load_image(path), RGB / 255)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match="the file ends before the picture is complete"):
        load_image(path)
