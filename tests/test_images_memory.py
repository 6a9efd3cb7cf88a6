"""Memory of reading a picture: little per pixel, measured, and compared with what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, flat_png
from PIL import Image, features

from pynst.errors import ImageError, OptionError
from pynst.images import load_image, read_picture
from pynst.machine import resident_memory

SCRIPT = """
import sys
import numpy, PIL.Image, PIL.ImageCms, PIL.PngImagePlugin
from pynst.images import read_picture
from pynst.machine import peak_memory, resident_memory
small, path, long_side = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
read_picture(small, "content")  # what is loaded once
before = resident_memory()
height, width = read_picture(path, "content", long_side=long_side).size
print((peak_memory() - before) / (height * width))
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is measured on Linux only"
)


def bytes_per_pixel(tmp_path, path, long_side):
    """Growth of a fresh process from before reading to its peak."""
    small = tmp_path / "small.png"
    small.write_bytes(flat_png(300, 300, 8, 2))
    arguments = [sys.executable, "-c", SCRIPT, str(small), str(path), str(long_side or 0)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return float(run.stdout)


def noise(height, width):
    small = np.random.default_rng(0).integers(0, 256, (height // 50, width // 50, 3), np.uint8)
    return Image.fromarray(small).resize((width, height))


def test_a_small_file_of_very_many_pixels_takes_little_memory(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(flat_png(11_000, 11_000, 1, 0))
    assert path.stat().st_size < 23_000
    assert bytes_per_pixel(tmp_path, path, 64) < 4


@pytest.mark.parametrize(
    ("file_format", "settings"),
    [
        ("JPEG", {"progressive": True}),
        ("WEBP", {"method": 0}),
        ("WEBP", {"method": 0, "lossless": True}),
        ("JPEG2000", {}),
    ],
)
def test_a_large_picture_takes_12_bytes_per_pixel_when_little_is_needed(
    tmp_path, file_format, settings
):
    """The bands in between and a WebP's file are among the 12."""
    if file_format == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow is built without JPEG 2000")
    path = tmp_path / "large"
    path.write_bytes(encoded(file_format, noise(4200, 4000), **settings))
    assert bytes_per_pixel(tmp_path, path, 256) < 12


def test_jpeg_2000_at_a_quarter_takes_little_memory(tmp_path):
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow is built without JPEG 2000")
    path = tmp_path / "large"
    path.write_bytes(encoded("JPEG2000", noise(4200, 4000)))
    assert bytes_per_pixel(tmp_path, path, 64) < 4


def test_16_bits_per_channel_take_12_bytes_per_pixel(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(flat_png(4200, 4000, 16, 6))
    assert bytes_per_pixel(tmp_path, path, 64) < 12


def test_the_full_picture_takes_12_bytes_per_pixel_more_than_its_floats(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(flat_png(3000, 3000, 8, 2))
    assert bytes_per_pixel(tmp_path, path, None) < 24 + 12


@pytest.mark.parametrize("kind", ["path", "PIL image", "array"])
def test_a_picture_that_does_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch, kind):
    def decoded(*_):
        raise AssertionError("decoded")

    path = tmp_path / "large.png"
    path.write_bytes(flat_png(9_000, 8_000, 1, 0))
    source = {"path": lambda: path, "PIL image": lambda: Image.open(path)}.get(
        kind, lambda: np.broadcast_to(np.uint8(0), (8_000, 9_000))
    )()
    monkeypatch.setenv("PYNST_MEMORY", "1G")
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", decoded)
        with pytest.raises(ImageError) as raised:
            read_picture(source, "content")
    label = path if kind == "path" else kind
    begins = f"content: cannot read {label}: it has 8000 x 9000 pixels, reading it takes "
    assert str(raised.value).startswith(begins)
    needed, available = (
        int(each.split(" MB")[0].split()[-1]) for each in str(raised.value).split(", available")
    )
    assert 24 * 72 <= needed <= 36 * 72 + 100
    assert available < 1000
    if kind == "PIL image":
        source.close()


def test_the_same_picture_fits_where_little_of_it_is_needed(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    path.write_bytes(flat_png(6_000, 4_000, 1, 0))
    monkeypatch.setenv("PYNST_MEMORY", str(resident_memory() + 100_000_000))
    with pytest.raises(ImageError, match="available are"):
        load_image(path)
    assert read_picture(path, "content", long_side=64).pixels.shape == (129, 192, 3)


def test_small_pictures_are_read_however_little_memory_there_is(monkeypatch):
    monkeypatch.setenv("PYNST_MEMORY", "1")
    assert load_image(np.zeros((1000, 900), np.uint8)).shape == (1000, 900, 3)


def test_a_limit_that_is_no_size_is_the_fault_of_the_limit(monkeypatch):
    monkeypatch.setenv("PYNST_MEMORY", "plenty")
    with pytest.raises(OptionError, match="PYNST_MEMORY must be like 4G"):
        load_image(np.zeros((2000, 2000), np.uint8))
