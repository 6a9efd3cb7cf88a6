"""Archives: names, sizes and compression that lie are refused before anything is unpacked."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import pytest
import weights_files as files
from weights_files import tiny_table

from pynst.errors import WeightsError
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]


pytestmark = pytest.mark.usefixtures("tiny_table")


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name", ["archive/data/0", "../../etc/passwd", "/etc/passwd", "a\\b", "a/../../b"]
)
def test_duplicates_and_paths_are_refused(name):
    file = io.BytesIO(files.pth(files.caffe_arrays()))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(WeightsError, match="suspect: the archive holds"):
        load(file.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(method):
    data = files.zipped(files.pth_entries(files.caffe_arrays()), method)
    with pytest.raises(WeightsError, match="compressed in an unusual way"):
        load(data)


def test_an_encrypted_entry_is_refused():
    data = bytearray(files.pth(files.caffe_arrays()))
    data[6] |= 1  # the flag in the entry's own header, and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(WeightsError, match="damaged"):
        load(bytes(data))


def peak_bytes(data: bytes) -> int:
    """Most memory that refusing a file takes."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            load(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_not_unpacked():
    bomb = bytes(64 << 20)
    entries = files.pth_entries(files.caffe_arrays())
    for name in ("archive/data.pkl", "archive/data/0", "archive/byteorder"):
        data = files.zipped({**entries, name: bomb}, zipfile.ZIP_DEFLATED)
        assert len(data) < 1 << 20
        assert peak_bytes(data) < 4 << 20


def test_an_archive_whose_sizes_lie_is_refused():
    data = files.zipped(files.pth_entries(files.caffe_arrays()), zipfile.ZIP_DEFLATED)
    directory = data.index(b"PK\x01\x02")
    at = directory + 24  # the unpacked size of data.pkl
    for lie in (0, 1, 1 << 17, 1 << 30, 0xFFFFFFFE):
        wrong = data[:at] + struct.pack("<I", lie) + data[at + 4 :]
        assert peak_bytes(wrong) < 4 << 20
    at = directory + 20  # its packed size: too much is noticed at the end of the stream
    for lie in (0, 1):
        wrong = data[:at] + struct.pack("<I", lie) + data[at + 4 :]
        assert peak_bytes(wrong) < 4 << 20


def test_a_directory_of_a_million_entries_is_refused_before_it_is_read():
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"a"
    directory = entry * 100_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 50000, 50000, len(directory), 4, 0)
    assert peak_bytes(b"PK\x03\x04" + directory + end) < 2 << 20
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**5, 10**5, 47 * 10**5, 4)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 4 + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 10, 4, 0)
    with pytest.raises(WeightsError, match="claims 100000 entries"):
        load(b"PK\x03\x04" + directory + record + locator + end)
