"""Decoding: pictures stand upright, however the camera was held."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import (
    ALPHA,
    RGB,
    saved,
)
from PIL import Image

from pynst.images import read_picture


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, file_format, orientation):
    # A scene with four different corners, stored as a camera held that way would store it.
    scene = np.zeros((32, 48, 3), np.uint8)
    scene[:16, :24], scene[:16, 24:], scene[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    turn = Image.Transpose
    inverse = {
        2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
        6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270,
    }  # fmt: skip
    stored = Image.fromarray(scene)
    if orientation > 1:
        stored = stored.transpose(inverse[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    picture = read_picture(saved(stored, tmp_path, file_format, exif=exif.tobytes()), "content")
    assert picture.pixels.shape == scene.shape
    corners = [(4, 4), (4, 44), (28, 4), (28, 44)]
    for y, x in corners:
        np.testing.assert_allclose(picture.pixels[y, x], scene[y, x] / 255, atol=0.03)
    assert picture.notes == (() if orientation == 1 else ("rotated by its EXIF orientation",))


def test_orientation_turns_the_alpha_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    path = saved(np.dstack([RGB, ALPHA]), tmp_path, "PNG", exif=exif.tobytes())
    picture = read_picture(path, "content")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.rot90(ALPHA, -1) / 255)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    picture = read_picture(saved(RGB, tmp_path, "PNG", exif=exif.tobytes()), "content")
    np.testing.assert_array_equal(picture.pixels, RGB / 255)
    assert picture.notes == ()
