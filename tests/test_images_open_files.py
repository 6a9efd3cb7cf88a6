"""Open binary files instead of paths: read, written, and refused with a reason."""

from __future__ import annotations

import io
import os
import socket
import tempfile
import zipfile

import numpy as np
import pytest
from pictures import FILES, RGB, RGB16, SMOOTH, png16
from PIL import Image

from pynst.errors import ImageError
from pynst.images import load_image, read_metadata, read_picture, save_image

FORMATS = ["png", "tif", "tiff", "jpg", "jpeg", "webp", "bmp"]


@pytest.mark.parametrize("name", FILES)
def test_an_open_file_gives_what_its_path_gives(tmp_path, name):
    path = tmp_path / "picture"
    path.write_bytes(FILES[name])
    wanted = read_picture(path, "content")
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for source in (file, raw, io.BytesIO(FILES[name])):
            picture = read_picture(source, "content")
            np.testing.assert_array_equal(picture.pixels, wanted.pixels)
            assert picture.notes == wanted.notes
            assert not source.closed


def test_a_picture_of_16_bits_is_read_twice_from_one_file():
    file = io.BytesIO(png16(RGB16))
    for _ in range(2):
        np.testing.assert_array_equal(load_image(file), RGB16 / 65535)


def test_a_file_is_read_from_its_beginning_wherever_it_stands():
    file = io.BytesIO()
    assert save_image(SMOOTH, file, format="png") is None
    assert file.tell() == len(file.getvalue())
    np.testing.assert_array_equal(load_image(file), SMOOTH / 255)


def test_other_objects_that_read_and_seek_will_do(tmp_path):
    class Minimal:
        def __init__(self, data):
            self._file = io.BytesIO(data)

        def read(self, size=-1):
            return self._file.read(size)

        def seek(self, offset, whence=0):
            return self._file.seek(offset, whence)

        def tell(self):
            return self._file.tell()

    for name in ("png", "jpeg", "tiff lzw", "webp", "gif", "bmp"):
        wanted = load_image(io.BytesIO(FILES[name]))
        np.testing.assert_array_equal(load_image(Minimal(FILES[name])), wanted)
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", FILES["png alpha"])
    with zipfile.ZipFile(path) as archive, archive.open("a.png") as member:
        assert read_picture(member, "style").alpha is not None


def test_a_temporary_file_serves_both_ways():
    with tempfile.TemporaryFile() as file:
        save_image(RGB, file, format="TIFF")
        np.testing.assert_array_equal(load_image(file), RGB / 255)


def test_an_open_file_is_named_in_messages(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(FILES["png"][:-30])
    wanted = pytest.raises(ImageError, match=r"^style 2: .*file .*picture\.png")
    with path.open("rb") as file, wanted:
        read_picture(file, "style 2")


def test_the_source_of_an_open_file_is_its_path_if_it_has_one(tmp_path):
    path = save_image(SMOOTH, tmp_path / "picture.png")
    with path.open("rb") as file:
        assert read_picture(file, "content").source == str(path)
    with tempfile.TemporaryFile() as file:
        save_image(SMOOTH, file, format="png")
        assert read_picture(file, "content").source == "file"
    assert read_picture(io.BytesIO(FILES["png"]), "content").source == "file"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (io.StringIO("a picture"), "an open file must be binary and able to seek, got StringIO"),
        (io.BytesIO(), "file is empty: file"),
        (io.BytesIO(b"hello"), "not a readable JPEG, PNG"),
        (io.BytesIO(FILES["png"][:100]), "the file ends before the picture is complete|damaged"),
    ],
)
def test_what_cannot_be_read_from_is_refused(source, message):
    with pytest.raises(ImageError, match=f"content: .*({message})"):
        read_picture(source, "content")


def test_a_closed_file_is_refused():
    file = io.BytesIO(FILES["png"])
    file.close()
    with pytest.raises(ImageError, match=r"content: cannot read file: .*closed file"):
        read_picture(file, "content")
    with pytest.raises(ImageError, match=r"output: cannot write file: .*closed file"):
        save_image(SMOOTH, file, format="png")


def test_a_pipe_and_a_socket_cannot_seek():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb") as sink:
        sink.write(FILES["png"])
        sink.flush()
        with pytest.raises(ImageError, match="must be binary and able to seek: "):
            load_image(file)
    one, other = socket.socketpair()
    with one, other, one.makefile("rb") as file, pytest.raises(ImageError, match="able to seek"):
        load_image(file)

    class OnlyReads:
        read = io.BytesIO(FILES["png"]).read

    with pytest.raises(ImageError, match="able to seek, got OnlyReads without seek"):
        load_image(OnlyReads())


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd"), ZeroDivisionError()])
def test_a_file_that_fails_while_it_is_read_is_an_image_error(error):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 40:
                raise error
            return super().read(size)

    with pytest.raises(ImageError, match="content: "):
        read_picture(Failing(FILES["jpeg"]), "content")


# ------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("spelling", [str, str.upper, lambda name: f".{name}"])
def test_a_file_gets_the_bytes_that_the_path_gets(tmp_path, format_name, spelling):
    file = io.BytesIO()
    metadata = {"seed": "3"}
    save_image(SMOOTH, file, format=spelling(format_name), metadata=metadata)
    path = save_image(SMOOTH, tmp_path / f"result.{format_name}", metadata=metadata)
    assert file.getvalue() == path.read_bytes()
    assert read_metadata(file) == ({} if format_name == "bmp" else metadata)


def test_the_name_of_an_open_file_says_the_format(tmp_path):
    path = tmp_path / "result.TIF"
    with path.open("wb") as file:
        assert save_image(SMOOTH, file, bits=16) is None
        assert not file.closed
    with Image.open(path) as image:
        assert image.format == "TIFF"
    with path.open("wb") as file:
        save_image(SMOOTH, file, format="jpg")
    with Image.open(path) as image:
        assert image.format == "JPEG"


def test_a_path_takes_a_format_too(tmp_path):
    path = save_image(SMOOTH, tmp_path / "result", format="png")
    np.testing.assert_array_equal(load_image(path), SMOOTH / 255)


def test_a_file_is_written_where_it_stands():
    file = io.BytesIO(b"header")
    file.seek(6)
    save_image(SMOOTH, file, format="png")
    assert file.getvalue().startswith(b"header\x89PNG")


def test_a_file_that_takes_a_part_at_a_time_gets_all():
    class Slow(io.RawIOBase):
        parts = b""

        def writable(self):
            return True

        def write(self, data):
            self.parts += bytes(data[:100])
            return min(len(data), 100)

    slow, fast = Slow(), io.BytesIO()
    save_image(SMOOTH, slow, format="png")
    save_image(SMOOTH, fast, format="png")
    assert slow.parts == fast.getvalue()


@pytest.mark.parametrize(
    ("file", "settings", "message"),
    [
        (io.BytesIO(), {}, "an open file needs format, one of .png, .tif"),
        (io.BytesIO(), {"format": "gif"}, "format must be one of .png, .*, got 'gif'"),
        (io.BytesIO(), {"format": 3}, "format must be one of .png, .*, got 3"),
        (io.BytesIO(), {"format": ""}, "format must be one of"),
        (io.BytesIO(), {"format": "jpg", "bits": 16}, "16 bits per channel need .png or .tif"),
        (io.BytesIO(), {"format": "bmp", "alpha": SMOOTH[:, :, 0]}, "transparency needs"),
        (io.StringIO(), {"format": "png"}, "an open file must be binary, got StringIO of text"),
        (None, {"format": "png"}, "must be a path or an open binary file, got NoneType"),
        (3, {}, "must be a path or an open binary file, got int"),
    ],
)
def test_what_cannot_be_written_to_is_refused(file, settings, message):
    with pytest.raises(ImageError, match=f"output: {message}"):
        save_image(SMOOTH, file, **settings)
    assert not isinstance(file, io.BytesIO) or file.getvalue() == b""


def test_a_file_that_is_open_for_reading_is_no_output(tmp_path):
    path = save_image(SMOOTH, tmp_path / "result.png")
    with path.open("rb") as file, pytest.raises(ImageError, match="output: cannot write file"):
        save_image(SMOOTH, file)


def test_a_full_disk_is_an_image_error():
    class Full(io.BytesIO):
        def write(self, data):
            if len(data):
                raise OSError(28, "No space left on device")
            return 0

    with pytest.raises(ImageError, match="output: cannot write file: No space left on device"):
        save_image(SMOOTH, Full(), format="png")
