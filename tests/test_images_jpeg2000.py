"""JPEG 2000: decoded at a half, a quarter, ... where that is enough, and nothing moves by it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded
from PIL import Image, features

from pynst.images import bands, decode, load_image, read_picture, resize, size_to_long_side
from pynst.images.jpeg2000 import halvings

pytestmark = pytest.mark.skipif(
    not features.check("jpg_2000"), reason="this Pillow is built without JPEG 2000"
)
FORMAT = "JPEG2000"
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(bands, "_LARGE", 1000)


def waves(height, width):
    Y, X = np.mgrid[:height, :width] / 600
    planes = [np.sin(40 * X + 90 * Y**2), np.cos(200 * X * Y), np.sin(90 * X + 60 * Y)]
    return np.rint(np.stack(planes, -1) * 100 + 128).astype(np.uint8)


def halved(data, size, wanted=(1, 1)):
    return halvings(io.BytesIO(data), size, wanted)


def read(data, long_side=None):
    return read_picture(io.BytesIO(data), "content", long_side=long_side)


def in_full(data, long_side, monkeypatch):
    """The picture as read without halving."""
    with monkeypatch.context() as patch:
        patch.setattr(decode, "halvings", lambda *_: 0)
        return read(data, long_side)


# ---- how often -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_codestream", [True, False])
@pytest.mark.parametrize(
    ("size", "wanted", "count"),
    [
        ((64, 64), (1, 1), 5),
        ((64, 64), (16, 16), 2),
        ((64, 64), (16, 17), 1),
        ((64, 64), (33, 1), 0),
        ((65, 64), (1, 1), 1),  # 65 / 4 is 17 rounded up, 16 to the nearest
        ((61, 59), (1, 1), 5),
        ((61, 59), (5, 5), 1),
        ((41, 57), (1, 1), 4),
    ],
)
def test_as_often_as_pillow_and_the_decoder_agree_on_the_size(is_codestream, size, wanted, count):
    data = encoded(FORMAT, Image.fromarray(waves(*size)), no_jp2=is_codestream)
    assert halved(data, size, wanted) == count
    with Image.open(io.BytesIO(data)) as image:
        image.reduce = count
        image.load()
        assert image.size[::-1] == tuple(-(-side >> count) for side in size)


def test_pillow_still_disagrees_with_the_decoder():
    """If this fails, a newer Pillow can be trusted with every number."""
    data = encoded(FORMAT, Image.fromarray(waves(65, 64)))
    with Image.open(io.BytesIO(data)) as image:
        image.reduce = 2
        with pytest.raises(OSError, match="broken data stream"):
            image.load()


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_never_more_often_than_the_file_is_halved(kept):
    data = encoded(FORMAT, Image.fromarray(waves(64, 64)), num_resolutions=kept)
    assert halved(data, (64, 64)) == kept - 1


def test_a_picture_that_begins_elsewhere_on_its_grid_is_not_halved(monkeypatch):
    image = Image.fromarray(NOISE)
    data = encoded(FORMAT, image, tile_size=(64, 64), offset=(10, 10), tile_offset=(7, 3))
    assert halved(data, (40, 56)) == 0
    np.testing.assert_array_equal(read(data, 8).pixels, in_full(data, 8, monkeypatch).pixels)


def test_channels_of_half_the_size_are_not_halved():
    data = bytearray(encoded(FORMAT, Image.fromarray(NOISE), no_jp2=True))
    assert halved(data, (40, 56)) > 0
    data[2 + 4 + 36 + 3 + 1] = 2  # the horizontal step of the second channel
    assert halved(data, (40, 56)) == 0


def test_channels_that_are_halved_less_often_count():
    data = encoded(FORMAT, Image.fromarray(waves(64, 64)), no_jp2=True)
    at = data.index(b"\xff\x5c")  # before the quantisation
    one = struct.pack(">HHBBBBBBB", 0xFF53, 9, 2, 0, 2, 4, 4, 0, 1)
    assert halved(data[:at] + one + data[at:], (64, 64)) == 2


def test_a_header_of_another_size_is_not_trusted():
    data = encoded(FORMAT, Image.fromarray(NOISE))
    assert halved(data, (40, 57)) == 0
    assert halved(data, (56, 40)) == 0


def test_the_places_in_a_palette_are_not_halved(monkeypatch):
    places = np.random.default_rng(0).integers(0, 4, (64, 64), np.uint8)
    data = encoded(FORMAT, Image.fromarray(places))
    palette = struct.pack(">HB3B12B", 4, 3, 7, 7, 7, *range(0, 240, 20))
    boxes = [(b"pclr", palette), (b"cmap", struct.pack(">HBBHBBHBB", 0, 1, 0, 0, 1, 1, 0, 1, 2))]
    added = b"".join(struct.pack(">I4s", 8 + len(body), kind) + body for kind, body in boxes)
    at = data.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", data, at)
    colour = struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 16)
    header = data[at + 8 : at + 8 + 22] + added + colour
    data = data[:at] + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + data[at + length :]
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
    assert halved(data, (64, 64)) > 0
    np.testing.assert_array_equal(read(data, 8).pixels, in_full(data, 8, monkeypatch).pixels)


@given(st.data())
def test_no_header_is_too_damaged_to_be_refused(data):
    sound = encoded(FORMAT, Image.fromarray(NOISE), no_jp2=data.draw(st.booleans()))
    damaged = bytearray(sound[:300])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 299))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, 300))])
    assert 0 <= halved(cut, (40, 56)) <= 6


# ---- what comes of it ----------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"irreversible": True}, {"tile_size": (97, 61)}], ids=str)
@pytest.mark.parametrize("size", [(400, 600), (397, 601), (403, 601)])
@pytest.mark.parametrize("long_side", [20, 37, 100])
def test_a_halved_picture_is_resized_like_the_full_one(settings, size, long_side):
    data = encoded(FORMAT, Image.fromarray(waves(*size)), **settings)
    full, reduced = read(data), read(data, long_side)
    assert full.size == reduced.size == size
    assert max(reduced.pixels.shape) == 3 * long_side
    small = size_to_long_side(*size, long_side)
    levels = 255 * np.abs(resize(full.pixels, *small) - resize(reduced.pixels, *small))
    assert levels.mean() < 1.5
    assert levels.max() < 6


@pytest.mark.parametrize("size", [(400, 600), (397, 601)])
@pytest.mark.parametrize("long_side", [12, 25, 50, 100])
def test_nothing_moves(size, long_side):
    """Two ramps tell by how much: at their middle, a pixel is as much as a level or two."""
    Y, X = np.mgrid[: size[0], : size[1]]
    slope = 0.4
    ramps = np.stack([slope * X, slope * Y, slope * (X + Y) / 2], -1)
    data = encoded(
        FORMAT, Image.fromarray(np.rint(ramps).astype(np.uint8)), irreversible=True,
        quality_layers=[1],
    )  # fmt: skip
    full, reduced = read(data).pixels, read(data, long_side).pixels
    wanted = resize(full, *reduced.shape[:2])
    inner = np.s_[len(wanted) // 8 : -len(wanted) // 8, len(wanted[0]) // 8 : -len(wanted[0]) // 8]
    for channel in range(2):
        moved = 255 * (reduced - wanted)[inner][..., channel].mean() / slope
        assert abs(moved) < 0.1, "pixels of the full picture"


@pytest.mark.parametrize("kind", ["grey", "16 bits grey", "alpha"])
def test_every_kind_of_samples_is_halved(kind, monkeypatch):
    rgb = waves(300, 421)
    samples = {
        "grey": rgb[:, :, 0],
        "16 bits grey": rgb[:, :, 0].astype(np.uint16) * 257,
        "alpha": np.dstack([rgb, rgb[:, :, 2]]),
    }[kind]
    data = encoded(FORMAT, Image.fromarray(samples))
    reduced, whole = read(data, 30), in_full(data, 30, monkeypatch)
    assert np.any(reduced.pixels != whole.pixels), "it was halved"
    assert 255 * np.abs(reduced.pixels - whole.pixels).mean() < 2
    assert (reduced.alpha is None) == (kind != "alpha")
    if reduced.alpha is not None:
        assert 255 * np.abs(reduced.alpha - whole.alpha).mean() < 2


def test_a_picture_that_is_needed_keeps_every_bit():
    samples = waves(397, 601)
    data = encoded(FORMAT, Image.fromarray(samples))
    for picture in (read(data, 101), read(data)):
        np.testing.assert_array_equal(picture.pixels, samples / 255)
    np.testing.assert_array_equal(load_image(io.BytesIO(data)), samples / 255)
