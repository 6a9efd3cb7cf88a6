"""PNG and TIFF written by hand, read back by decoders that share nothing with the writer."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pynst.images.pillow import srgb_profile
from pynst.images.png_tiff import _BAND, encode_png, encode_tiff

SHAPES = [(1, 1, 3), (1, 7, 4), (9, 1, 3), (13, 17, 3), (13, 17, 4)]


def noise(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def smooth(shape, dtype):
    """Slopes, so that every PNG filter is the best one somewhere."""
    y, x, c = np.ogrid[: shape[0], : shape[1], : shape[2]]
    waves = np.sin(x / 3 + c) + np.cos(y / 2) + np.sin((x + y) / 5) + (x * y % 7 == 0)
    return ((waves + 2) / 5.1 * np.iinfo(dtype).max).astype(dtype)


def png_chunks(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        yield kind, body
        at += 12 + length
    assert at == len(data)


def decoded_png(data):
    """Decode after the standard, byte by byte; also the filter of each row."""
    chunks = list(png_chunks(data))
    assert [chunks[0][0], chunks[-1]] == [b"IHDR", (b"IEND", b"")]
    width, height, bits, kind, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert rest == [0, 0, 0]
    channels = {2: 3, 6: 4}[kind]
    step = channels * bits // 8
    stream = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    size = width * step
    assert len(stream) == height * (size + 1)
    above, rows, filters = bytearray(size), [], []
    for start in range(0, len(stream), size + 1):
        method, row = stream[start], bytearray(stream[start + 1 : start + 1 + size])
        filters.append(method)
        for i in range(size):
            a = row[i - step] if i >= step else 0
            b = above[i]
            c = above[i - step] if i >= step else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + [0, a, b, (a + b) // 2, nearest][method]) % 256
        rows.append(bytes(row))
        above = row
    samples = np.frombuffer(b"".join(rows), f">u{bits // 8}")
    return samples.reshape(height, width, channels), filters


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [noise, smooth])
def test_png_decodes_to_the_same_samples(shape, dtype, make):
    samples = make(shape, dtype)
    np.testing.assert_array_equal(decoded_png(encode_png(samples))[0], samples)


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]), st.binary(min_size=4))
def test_png_decodes_whatever_the_bytes(height, width, channels, raw):
    samples = np.resize(np.frombuffer(raw, np.uint8), (height, width, channels))
    np.testing.assert_array_equal(decoded_png(encode_png(samples))[0], samples)


def test_png_uses_every_filter():
    row = noise((40, 3), np.uint8)
    mean = row // 2
    for x in range(1, 40):
        mean[x] = (row[x].astype(int) + mean[x - 1]) // 2
    near_zero = noise((3, 40, 3), np.uint8) % 9 - 4  # modulo 256
    samples = np.vstack([smooth((60, 40, 3), np.uint8), [row, row, mean], near_zero])
    assert set(decoded_png(encode_png(samples))[1]) == {0, 1, 2, 3, 4}


def test_png_filters_make_a_smooth_picture_smaller():
    y, x, c = np.ogrid[:64, :64, :3]
    samples = (300 * x + 500 * y + 100 * c + x * y).astype(np.uint16)
    assert len(encode_png(samples)) < 0.3 * len(zlib.compress(samples.tobytes()))


def test_png_bands_join_without_a_seam():
    rows = _BAND // 30_000
    samples = np.repeat(noise((1, 10_000, 3), np.uint8), rows + 2, axis=0)
    with Image.open(io.BytesIO(encode_png(samples))) as image:
        np.testing.assert_array_equal(np.asarray(image), samples)
    stream = b"".join(body for kind, body in png_chunks(encode_png(samples)) if kind == b"IDAT")
    filters = np.frombuffer(zlib.decompress(stream), np.uint8)[::30_001]
    assert (filters[1:] == 2).all()  # each row repeats the one above, across bands too


def test_png_says_that_it_is_srgb():
    chunks = dict(png_chunks(encode_png(noise((2, 2, 3), np.uint8), "text")))
    assert chunks[b"sRGB"] == b"\0"
    assert struct.unpack(">I", chunks[b"gAMA"])[0] == 45455
    assert chunks[b"iTXt"] == b"pynst\0\0\0\0\0text"
    assert b"iTXt" not in dict(png_chunks(encode_png(noise((2, 2, 3), np.uint8))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_tiff_decodes_to_the_same_samples(shape, dtype):
    tifffile = pytest.importorskip("tifffile", reason="tifffile comes with scikit-image")
    samples = noise(shape, dtype)
    with tifffile.TiffFile(io.BytesIO(encode_tiff(samples, "text", srgb_profile()))) as file:
        (page,) = file.pages
        np.testing.assert_array_equal(page.asarray().reshape(shape), samples)
        tags = {tag.code: tag.value for tag in page.tags}
    assert list(tags) == sorted(tags)
    assert tags[270] == "text"
    assert tags[34675] == srgb_profile()
    assert tags.get(338, ()) == ((2,) if shape[2] == 4 else ())


def test_tiff_of_many_strips_decodes_to_the_same_samples():
    rows = _BAND // (1000 * 3)
    samples = smooth((2 * rows + 1, 1000, 3), np.uint8)
    with Image.open(io.BytesIO(encode_tiff(samples, "", b""))) as image:
        assert isinstance(image.tag_v2[273], tuple)  # type: ignore[attr-defined]
        assert len(image.tag_v2[273]) == 3  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(image), samples)


# ---- for print -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_big_tiff_comes_back_by_two_decoders(monkeypatch, shape, dtype):
    monkeypatch.setattr("pynst.images.png_tiff._CLASSIC", 0)
    monkeypatch.setattr("pynst.images.png_tiff._BAND", 100)  # several strips
    samples = noise(shape, dtype)
    data = encode_tiff(samples, "words", srgb_profile(), 300)
    assert data[:4] == b"II+\0"
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), samples)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        assert file.is_bigtiff
        assert tags["ImageDescription"].value == "words"
        assert tags["XResolution"].value == tags["YResolution"].value == (30000, 100)
        assert bytes(tags["InterColorProfile"].value) == srgb_profile()
    if dtype == np.uint8:
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(np.asarray(image), samples)


def test_a_tiff_that_is_short_enough_stays_a_classic_one():
    assert encode_tiff(noise((5, 7, 3), np.uint8), "", b"")[:4] == b"II*\0"


@pytest.mark.parametrize("dpi", [1, 72, 300, 299.5, 10_000])
def test_both_formats_say_how_large_they_are_to_be_printed(dpi):
    samples = noise((5, 7, 3), np.uint8)
    for data in (encode_png(samples, dpi=dpi), encode_tiff(samples, "", b"", dpi)):
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["dpi"][0] == pytest.approx(dpi, abs=0.02)  # whole pixels per metre
