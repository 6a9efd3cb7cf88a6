"""Image files: hostile ones give an `ImageError`, and an output is judged before the work."""

from __future__ import annotations

import os
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import FILES, SMOOTH, repaired
from PIL import Image

from pynst.errors import ImageError
from pynst.images import load_image, read_metadata, read_picture, save_image
from pynst.images.files import check_output, only_image_errors

AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


def read_bytes(tmp_path, data):
    """Pixels, or the ImageError; anything else fails the test, as does a warning."""
    path = tmp_path / "picture"
    path.write_bytes(data)
    try:
        pixels = read_picture(path, "content", max_pixels=10**6).pixels
    except ImageError as error:
        assert str(error).startswith("content: ")
        assert str(error).isprintable()
        return error
    assert pixels.ndim == 3
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    return pixels


# ------------------------------------------------------------------------------------ hostile files


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"^content: no such file: .*foo\.jpg$"):
        read_picture(tmp_path / "foo.jpg", "content")
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"^content: no such file: "):
        read_picture(tmp_path / "file" / "foo.jpg", "content")


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 300, "\ud800", "a\nb\x1b[31m", b"b"])
def test_impossible_paths_are_image_errors(path):
    with pytest.raises(ImageError, match=r"style 2: ") as raised:
        read_picture(path, "style 2")
    assert str(raised.value).isprintable()
    with pytest.raises(ImageError):
        save_image(SMOOTH, path)


@pytest.mark.parametrize("source", [None, 3, [[0.5]], open])
def test_what_is_no_picture_at_all_is_refused(source):
    with pytest.raises(ImageError, match=r"must be a path, a PIL image or a NumPy array, got"):
        load_image(source)


def test_a_directory_is_not_an_image(tmp_path):
    with pytest.raises(ImageError, match=r"content: is a directory"):
        read_picture(tmp_path, "content")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"content: is not a regular file"):
        read_picture(tmp_path / "pipe.png", "content")
    with pytest.raises(ImageError, match=r"output: is not a regular file"):
        check_output(tmp_path / "pipe.png")


@AS_ROOT
def test_a_file_without_permission_is_an_image_error(tmp_path):
    path = save_image(SMOOTH, tmp_path / "picture.png")
    path.chmod(0)
    with pytest.raises(ImageError, match=r"Permission denied"):
        load_image(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file is empty"),
        (
            b"hello",
            "not a readable JPEG, PNG, TIFF, WebP, BMP, GIF, PPM, AVIF, JPEG 2000 or TGA file",
        ),
        (b"%PDF-1.4 ...", "not a readable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable"),
        (b"8BPS\0\1", "not a readable"),
    ],
)
def test_what_is_no_image_of_a_named_format_is_refused(tmp_path, data, message):
    assert message in str(read_bytes(tmp_path, data))


@given(st.binary(max_size=200), st.sampled_from([data[:12] for data in FILES.values()] + [b""]))
@example(b"", b"BM")
def test_random_bytes_behind_any_magic_number(tmp_path, data, magic):
    read_bytes(tmp_path, magic + data)


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_image_errors(tmp_path, name):
    data = FILES[name]
    whole = read_bytes(tmp_path, data)
    assert isinstance(whole, np.ndarray)
    for length in sorted({*range(0, len(data), max(1, len(data) // 50)), *range(12)}):
        cut = read_bytes(tmp_path, data[:length])
        if isinstance(cut, np.ndarray):  # all that is missing lies behind the first frame
            assert length > 0.4 * len(data)
            np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_pictures_or_image_errors(tmp_path, name):
    rng = random.Random(name)
    outcomes = set()
    for _ in range(60):
        data = bytearray(FILES[name])
        for _ in range(rng.choice([1, 1, 2, 5, 20])):
            at = rng.randrange(min(len(data), rng.choice([100, 10**6])))
            data[at] = rng.choice([data[at] ^ 1 << rng.randrange(8), 0, 255, rng.randrange(256)])
        outcomes.add(type(read_bytes(tmp_path, repaired(bytes(data)))))
    assert ImageError in outcomes


def bombs():
    """Small files whose headers claim very many pixels."""
    png = bytearray(FILES["png"])
    png[16:24] = struct.pack(">II", 60000, 60000)
    jpeg = bytearray(FILES["jpeg"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    bmp = bytearray(FILES["bmp"])
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    gif = bytearray(FILES["gif"])
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    webp = bytearray(FILES["webp animated"])
    webp[24:30] = b"\xfe\x3f\0\xfe\x3f\0"  # 16383 x 16383
    tiff = bytearray(FILES["tiff"])
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[entry + 8 : entry + 12] = struct.pack("<I", 60000)
    tga = bytearray(FILES["tga"])
    tga[12:16] = struct.pack("<HH", 60000, 60000)
    files = {
        "tga": bytes(tga),
        "png": repaired(bytes(png)),
        "jpeg": bytes(jpeg),
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "webp": bytes(webp),
        "tiff": bytes(tiff),
        "ppm": b"P6 60000 60000 255\n" + bytes(100),
    }
    if "jpeg 2000" in FILES:
        for name, box in (("jpeg 2000", b"ihdr"), ("jpeg 2000 codestream", None)):
            data = bytearray(FILES[name])
            at = 8 if box is None else data.index(box) + 4
            data[at : at + 8] = struct.pack(">II", 60000, 60000)
            files[name] = bytes(data)
    if "avif" in FILES:
        avif = bytearray(FILES["avif"])
        at = avif.index(b"ispe") + 8
        avif[at : at + 8] = struct.pack(">II", 16000, 16000)
        files["avif"] = bytes(avif)
    return files


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_by_their_headers(tmp_path, name):
    path = tmp_path / "bomb"
    path.write_bytes(bombs()[name])
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=r"content: .* 200000000 pixels"):
        read_picture(path, "content")
    # Metadata are read of every picture that PyNST itself can make; the pixels are not touched.
    if name in ("webp", "avif"):
        read_metadata(path)
    else:
        with pytest.raises(ImageError, match=r"image: .* 1073741824 pixels"):
            read_metadata(path)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "webp", "bmp", "gif", "ppm"])
def test_the_limit_of_pixels_is_exact(tmp_path, name):
    path = tmp_path / "picture"
    path.write_bytes(FILES[name])
    assert load_image(path, max_pixels=11 * 14).size == 3 * 11 * 14
    with pytest.raises(ImageError, match=r"153 pixels"):
        load_image(path, max_pixels=11 * 14 - 1)


def test_a_picture_above_the_warning_of_pillow_is_read_in_silence(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (tmp_path / "picture").write_bytes(FILES["tiff"])
    assert load_image(tmp_path / "picture").shape == (11, 14, 3)


@pytest.mark.parametrize(
    "error", [MemoryError(), SyntaxError("x"), struct.error("x"), zlib.error("x")]
)
def test_whatever_a_decoder_raises_leaves_as_an_image_error(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", fail)
    (tmp_path / "picture").write_bytes(FILES["png"])
    with pytest.raises(ImageError, match=r"content: cannot read .*picture: ") as raised:
        read_picture(tmp_path / "picture", "content")
    assert raised.value.__cause__ is error


def test_interruptions_are_not_swallowed():
    with pytest.raises(KeyboardInterrupt), only_image_errors("content: cannot read"):
        raise KeyboardInterrupt


# ---------------------------------------------------------------------------------- before the work


def test_an_output_that_can_be_written_passes_and_nothing_appears(tmp_path):
    check_output(tmp_path / "result.PNG", bits=16, alpha=True, size=(20000, 30000))
    check_output(str(tmp_path / "result.jpeg"), size=(65500, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("result", {}, "output: must end in .png, .tif, .tiff, .jpg, .jpeg, .webp, .bmp, got"),
        ("result.gif", {}, "must end in"),
        ("", {}, "must end in"),
        ("no/result.png", {}, "output: no such directory: .*no$"),
        ("directory.png", {}, "output: is a directory: "),
        ("file/result.png", {}, "output: no such directory: "),
        ("dangling.png", {}, "output: directory is missing or not writable: "),
        ("x" * 300 + ".png", {}, "output: cannot write .*: File name too long"),
        ("a\0b.png", {}, "output: cannot write .*null"),
        ("result.jpg", {"bits": 16}, "output: 16 bits per channel need .png or .tif, got"),
        ("result.png", {"bits": 1}, "output: bits must be 8 or 16, got 1"),
        ("result.bmp", {"alpha": True}, "output: transparency needs .png, .webp or .tif, got"),
        ("result.jpg", {"size": (1, 65501)}, "JPEG holds at most 65500 pixels .*, got 1 x 65501"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(tmp_path, name, settings, message):
    (tmp_path / "directory.png").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone" / "result.png")
    with pytest.raises(ImageError, match=message):
        check_output(f"{tmp_path}/{name}", **settings)


@AS_ROOT
def test_a_directory_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(ImageError, match=r"directory is missing or not writable"):
        check_output(tmp_path / "result.png")
