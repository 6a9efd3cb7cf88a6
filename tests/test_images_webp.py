"""WebP files of one frame are decoded by the library itself, to what Pillow makes of them."""

import io

import numpy as np
import pytest
from pictures import encoded
from PIL import Image

from pynst.errors import ImageError
from pynst.images import webp
from pynst.images.pictures import load_image, read_picture

RNG = np.random.default_rng(0)
COLOUR = Image.fromarray(RNG.integers(0, 256, (37, 53, 3), np.uint8))
ALPHA = Image.fromarray(RNG.integers(0, 256, (37, 53, 4), np.uint8))


def seen():
    """Skip where the functions of Pillow's library cannot be seen."""
    if webp._library() is None:
        pytest.skip("this Pillow does not show the functions of its libwebp")


def frames_of(data, decode):
    """What is decoded of a file, and the number of bytes that a pixel is said to take."""
    with Image.open(io.BytesIO(data)) as image:
        said = webp.bytes_per_pixel(image)
        decode(image)
        return np.asarray(image.convert("RGBA")), said


@pytest.mark.parametrize("image", [COLOUR, ALPHA], ids=["colour", "alpha"])
@pytest.mark.parametrize(
    "settings", [{}, {"lossless": True}, {"quality": 20, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}]
)
def test_the_pixels_are_those_of_pillow(image, settings):
    seen()
    data = encoded("WEBP", image, **settings)
    ours, said = frames_of(data, webp.release_decoder)
    theirs, _ = frames_of(data, lambda image: image.load())
    np.testing.assert_array_equal(ours, theirs)
    assert said == 8


def test_an_animation_is_left_to_pillow():
    for count in (1, 3):
        more = [ALPHA.rotate(90 * k, expand=False) for k in range(1, count)]
        data = encoded("WEBP", ALPHA, save_all=True, append_images=more, lossless=True)
        ours, said = frames_of(data, webp.release_decoder)
        theirs, _ = frames_of(data, lambda image: image.load())
        np.testing.assert_array_equal(ours, theirs)
        assert said == (8 if count == 1 and webp._library() else 12)


def test_one_frame_that_is_stored_as_an_animation():
    """Its flag says so; the library's function for single frames would refuse it."""
    frames = encoded("WEBP", ALPHA, save_all=True, append_images=[COLOUR], lossless=True)
    second = frames.rindex(b"ANMF")
    head = bytearray(frames[:second])
    head[4:8] = (len(head) - 8).to_bytes(4, "little")
    ours, said = frames_of(bytes(head), webp.release_decoder)
    theirs, _ = frames_of(bytes(head), lambda image: image.load())
    np.testing.assert_array_equal(ours, theirs)
    assert said == 12


def test_without_the_library_pillow_decodes(monkeypatch):
    data = encoded("WEBP", COLOUR, lossless=True)
    plain = load_image(io.BytesIO(data))
    monkeypatch.setattr(webp, "_library", lambda: None)
    np.testing.assert_array_equal(load_image(io.BytesIO(data)), plain)
    assert frames_of(data, webp.release_decoder)[1] == 12


@pytest.mark.parametrize("settings", [{}, {"lossless": True}])
def test_damaged_files_are_refused_in_a_sentence(settings):
    """Bytes are altered or cut off; what comes is a picture of the right size or an ImageError."""
    data = encoded("WEBP", ALPHA, **settings)
    refused = 0
    for trial in range(200):
        damaged = bytearray(data)
        for _ in range(RNG.integers(1, 5)):
            damaged[RNG.integers(12, len(damaged))] = RNG.integers(0, 256)
        if trial % 2:
            del damaged[RNG.integers(20, len(damaged)) :]
        try:
            picture = read_picture(io.BytesIO(bytes(damaged)), "content")
        except ImageError as error:
            assert str(error).startswith("content: ")
            refused += 1
        else:
            assert picture.pixels.ndim == 3
    assert refused > 50
