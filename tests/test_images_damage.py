"""Damaged files are refused in words, whatever the decoder makes of them."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zlib

import numpy as np
import pytest
from pictures import FILES, GREY16, RGB16, RGBA16, SLOPE, SMOOTH, chunk, encoded, png, png16
from PIL import Image, ImageFile

import pynst
from pynst.errors import ImageError
from pynst.images import load_image, read_picture

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def png_parts(data):
    """What stands before the first IDAT chunk, the joined data of all, and what follows."""
    at, before, joined = 8, data[:8], b""
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        whole = data[at : at + 12 + length]
        at += 12 + length
        if whole[4:8] == b"IDAT":
            joined += whole[8:-4]
        elif not joined:
            before += whole
    return before, joined


def idat(body, checksum=None):
    checksum = zlib.crc32(b"IDAT" + body) if checksum is None else checksum
    return len(body).to_bytes(4, "big") + b"IDAT" + body + checksum.to_bytes(4, "big")


def kinds_of_png():
    palette = Image.fromarray(NOISE).quantize(64)
    return {
        "rgb": encoded("PNG", Image.fromarray(NOISE)),
        "grey": encoded("PNG", Image.fromarray(NOISE[:, :, 0])),
        "alpha": encoded("PNG", Image.fromarray(np.dstack([NOISE, NOISE[:, :, 0]]))),
        "palette": encoded("PNG", palette),
        "palette with a hole": encoded("PNG", palette, transparency=3),
        "one bit": encoded("PNG", Image.fromarray(NOISE[:, :, 0] > 99)),
        "16 bits grey": png16(GREY16),
        "16 bits grey with alpha": png16(RGBA16[:, :, :2]),
        "16 bits": png16(RGB16),
        "16 bits with alpha": png16(RGBA16),
        "16 bits interlaced": png16(RGB16, interlaced=True),
        "16 bits grey interlaced": png16(GREY16, interlaced=True),
        "exif": FILES["png"],
    }


PNGS = kinds_of_png()
END = b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize("kind", PNGS)
def test_a_flipped_byte_of_a_png_is_refused_whatever_the_checksum(kind):
    before, data = png_parts(PNGS[kind])
    rng = random.Random(kind)
    for _ in range(20):
        damaged = bytearray(data)
        damaged[rng.randrange(2, len(data))] ^= rng.randrange(1, 256)
        for checksum in (None, zlib.crc32(b"IDAT" + data)):
            file = io.BytesIO(before + idat(bytes(damaged), checksum) + END)
            with pytest.raises(ImageError, match=r"^style: cannot read file: the picture data is"):
                read_picture(file, "style")


@pytest.mark.parametrize("kind", PNGS)
def test_a_lost_block_of_a_png_is_refused(kind):
    before, data = png_parts(PNGS[kind])
    half = len(data) // 2
    for second in (bytes(len(data) - half), b"", data[half:-6], data[half + 3 :]):
        file = io.BytesIO(before + idat(data[:half]) + idat(second) + END)
        with pytest.raises(ImageError, match="the picture data is damaged"):
            load_image(file)
    whole = load_image(io.BytesIO(PNGS[kind]))
    split = io.BytesIO(before + idat(data[:half]) + idat(b"") + idat(data[half:]) + END)
    np.testing.assert_array_equal(load_image(split), whole)


def test_a_wrong_checksum_alone_is_damage():
    before, data = png_parts(PNGS["rgb"])
    with pytest.raises(ImageError, match="wrong checksum of a chunk"):
        load_image(io.BytesIO(before + idat(data, 0) + END))
    with pytest.raises(ImageError, match="incorrect data check"):
        load_image(io.BytesIO(before + idat(data[:-4] + bytes(4)) + END))


@pytest.mark.parametrize("kind", ["content", "style", "start"])
def test_a_damaged_png_does_not_start_a_run(tmp_path, kind):
    before, data = png_parts(PNGS["rgb"])
    path = tmp_path / "damaged.png"
    path.write_bytes(before + idat(data[: len(data) // 2]) + END)
    pictures = {"content": NOISE, "style": NOISE, "start": "content"} | {kind: path}
    with pytest.raises(ImageError, match=r"damaged\.png: the picture data is damaged"):
        pynst.stylize(
            pictures["content"], pictures["style"], init=pictures["start"], network="builtin",
            image_size=64, levels=1, iterations=1,
        )  # fmt: skip


def test_a_pil_image_that_failed_once_fails_again():
    before, data = png_parts(PNGS["rgb"])
    with Image.open(io.BytesIO(before + idat(data[: len(data) // 2]) + END)) as image:
        for _ in range(2):
            with pytest.raises(ImageError, match="content: cannot read PIL image: "):
                read_picture(image, "content")


def test_a_pil_image_that_is_not_decoded_yet_is_checked_as_its_file_is():
    before, data = png_parts(PNGS["rgb"])
    with Image.open(io.BytesIO(before + idat(data[:-4] + bytes(4)) + END)) as image:
        for _ in range(2):
            with pytest.raises(ImageError, match=r"content: cannot read PIL image: .*damaged"):
                read_picture(image, "content")
    with Image.open(io.BytesIO(PNGS["rgb"])) as image:
        for _ in range(2):
            np.testing.assert_array_equal(load_image(image), NOISE / 255)


def test_a_program_that_tolerates_truncated_files_does_not_make_pynst_do_so(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for name in ("png", "jpeg", "gif", "bmp", "tiff deflate"):
        with pytest.raises(ImageError):
            load_image(io.BytesIO(FILES[name][: len(FILES[name]) // 2]))
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("name", [name for name in FILES if "animated" not in name])
def test_a_file_without_its_second_half_is_refused_in_words(name):
    with pytest.raises(ImageError) as raised:
        load_image(io.BytesIO(FILES[name][: len(FILES[name]) // 2]))
    message = str(raised.value)
    for inside in ("decoder error", "-2", "when reading image file", "Error", "unpack requires"):
        assert inside not in message


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4"])
def test_libtiff_writes_nothing_to_standard_error(tmp_path, capfd, compression):
    image = Image.fromarray(NOISE if compression != "group4" else NOISE[:, :, 0] > 99)
    data = encoded("TIFF", image, compression=compression)
    path, rng, refused = tmp_path / "picture.tif", random.Random(0), 0
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[rng.randrange(8, len(data))] ^= rng.randrange(1, 256)
        middle = rng.randrange(100, len(data) // 2)
        damaged[middle : middle + 300] = b"\x80" * 300  # nothing at all to PackBits
        path.write_bytes(damaged)
        try:
            load_image(path)
        except ImageError:
            refused += 1
    assert refused
    assert capfd.readouterr() == ("", "")


def test_a_fax_whose_decoder_gives_up_is_refused():
    # libtiff goes on with white and reports it to standard error only.
    bits = np.random.default_rng(0).random((64, 64)) > 0.5
    data = bytearray(encoded("TIFF", Image.fromarray(bits), compression="group4"))
    assert load_image(io.BytesIO(bytes(data))).shape == (64, 64, 3)
    data[len(data) // 2] ^= 0x55
    with pytest.raises(ImageError, match="the picture data is damaged"):
        load_image(io.BytesIO(bytes(data)))


def test_pixels_behind_the_last_row_are_no_damage_within_reason():
    rows = b"".join(b"\0" + row.tobytes() for row in SMOOTH)
    for extra in (1, 1000):
        longer = png(14, 11, 8, 2, [zlib.compress(rows + bytes(extra))])
        np.testing.assert_array_equal(load_image(io.BytesIO(longer)), SMOOTH / 255)


def test_data_without_end_is_not_unpacked():
    rows = b"".join(b"\0" + row.tobytes() for row in SMOOTH)
    bomb = png(14, 11, 8, 2, [zlib.compress(rows + bytes(20_000_000), 9)])
    with pytest.raises(ImageError, match="it does not end where it should"):
        load_image(io.BytesIO(bomb))


def test_more_than_one_profile_is_refused():
    profile = (b"iCCP", b"x\0\0" + zlib.compress(bytes(1000)))
    data = [zlib.compress(b"".join(b"\0" + row.tobytes() for row in SLOPE))]
    load_image(io.BytesIO(png(14, 11, 8, 0, data, profile)))
    with pytest.raises(ImageError, match="more than one ICC profile"):
        load_image(io.BytesIO(png(14, 11, 8, 0, data, profile, profile)))
    late = png(14, 11, 8, 0, data)[:-12] + 2 * chunk(*profile) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="more than one ICC profile"):
        load_image(io.BytesIO(late))


def test_damaged_exif_data_is_as_good_as_none():
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a description"
    whole, accepted = exif.tobytes(), 0
    for file_format in ("PNG", "JPEG", "WEBP"):
        for cut in range(8, len(whole)):
            data = encoded(file_format, Image.fromarray(NOISE), exif=whole[:cut])
            accepted += load_image(io.BytesIO(data)).shape == (64, 64, 3)
    assert accepted == 3 * (len(whole) - 8)


def test_what_pillow_logs_does_not_reach_standard_error():
    # In a process of its own, as pytest has handlers of its own.
    data = bytearray(FILES["tiff"])
    entry = data.index((277).to_bytes(2, "little") + b"\3\0\1\0\0\0")
    data[entry + 8 : entry + 10] = (2048).to_bytes(2, "little")
    script = (
        "import io, sys, pynst\n"
        "try: pynst.load_image(io.BytesIO(sys.stdin.buffer.read()))\n"
        "except pynst.ImageError as error: print(error)"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    run = subprocess.run(command, input=bytes(data), capture_output=True, check=True)
    assert run.stderr == b""
    assert run.stdout.startswith(b"image: ")


def test_bytes_behind_the_pixels_do_not_matter():
    whole = load_image(io.BytesIO(PNGS["rgb"]))
    for rest in (b"", b"\xff" * 100, b"IEND", END + bytes(500)):
        file = io.BytesIO(PNGS["rgb"][: -len(END)] + rest)
        np.testing.assert_array_equal(load_image(file), whole)


def test_a_chunk_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.write(PNGS["rgb"][:33] + (2**31 - 1).to_bytes(4, "big") + b"tEXt")
        file.truncate(2**31 + 100)
    with pytest.raises(ImageError, match="a chunk of 2147483647 bytes without pixels"):
        load_image(path)


@pytest.mark.parametrize("start", [b"RIFF\0\0\0\0WEBP", b"\0\0\0\x0cftypavif"])
def test_files_that_would_be_read_at_once_have_a_limit(tmp_path, start):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(2**30)
    with pytest.raises(ImageError, match="the file has 1073741824 bytes, more than the 536870912"):
        load_image(path)
