"""NumPy archives: plain arrays of numbers are read, objects and lying headers are not."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import weights_files as files
from weights_files import assert_tiny, tiny_table

from pynst.errors import WeightsError
from pynst.formats.npz import write_npz
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")

NAME = "conv1_1.weight.npy"


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


def with_entry(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The tiny network with `data` for the first array."""
    with zipfile.ZipFile(io.BytesIO(files.npz(files.caffe_arrays()))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    return files.zipped({**entries, NAME: data}, compression)


def entry(header: str, data: bytes = b"", version: int = 1) -> bytes:
    width = 2 if version == 1 else 4
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(width, "little") + text + data


def described(shape: str = "(4, 3, 3, 3)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


FIRST = files.caffe_arrays()["conv1_1.weight"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_all_versions_of_the_header_are_read(version):
    data = with_entry(entry(described(), FIRST.tobytes(), version))
    assert_tiny(load(data).convolutions)


def test_fortran_order_is_read():
    data = with_entry(entry(described(order="True"), FIRST.tobytes(order="F")))
    assert_tiny(load(data).convolutions)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (entry(described("(4, 3, 3, 2)"), FIRST.tobytes()), "needs 288 bytes of data, has 432"),
        (entry(described("(4, 3, 3, 4)"), FIRST.tobytes()), "needs 576 bytes of data, has 432"),
        (entry(described(f"({10**14}, 3)"), FIRST.tobytes()), "claims to have"),
        (entry(described("(" + "1, " * 40 + ")"), bytes(4)), "has the shape"),
        (entry(described("(-4, 3, 3, 3)"), FIRST.tobytes()), "not a plain array"),
        (entry(described("(__import__('os').mkdir('x'),)")), "not a plain array"),
        (entry(described(descr="'|O'")), "must be floats .* is object"),
        (entry(described(descr="[('a', '<f4')]"), FIRST.tobytes()), "not a plain array"),
        (entry(described(descr="'<U9999'")), "needs"),
        (entry(described(descr="'<f9'"), FIRST.tobytes()), "damaged"),
        (entry(described() + " " * 5000, FIRST.tobytes()), "not a plain array"),
        (entry(described(), FIRST.tobytes())[:60], "not a plain array"),
        (entry(described(), FIRST.tobytes(), version=7), "not a NumPy array"),
        (b"", "not a NumPy array"),
        (b"\x93NUMPY\x01\x00\xff\xff", "not a NumPy array|not a plain array"),
        (b"PK\x03\x04 something else", "not a NumPy array"),
    ],
)
def test_an_array_that_lies_is_refused(data, message):
    with pytest.raises(WeightsError, match=message):
        load(with_entry(data))


def test_pickled_objects_are_never_read(tmp_path):
    class Payload:
        def __reduce__(self):
            return (tmp_path / "made").mkdir, ()

    arrays = {**files.caffe_arrays(), "conv1_1.bias": np.array([Payload()] * 4, object)}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"must be floats of shape .* is object"):
        load(file.getvalue())
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_not_needed_does_not_matter():
    arrays = {**files.caffe_arrays(), "notes": np.array([{"a": 1}], object)}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    assert_tiny(load(file.getvalue()).convolutions)


def test_a_bomb_is_not_unpacked():
    zeros = bytes(64 << 20)
    shape = f"({len(zeros) // 4},)"
    for data in (zeros, entry(described(shape), zeros)):
        archive = with_entry(data, zipfile.ZIP_DEFLATED)
        assert len(archive) < 1 << 20
        tracemalloc.start()
        try:
            with pytest.raises(WeightsError):
                load(archive)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


def test_a_flipped_bit_of_the_numbers_is_found():
    data = bytearray(files.npz(files.caffe_arrays()))
    at = data.index(FIRST.tobytes()) + 100
    data[at] ^= 1
    with pytest.raises(WeightsError, match=r"damaged or truncated .*CRC"):
        load(bytes(data))


def test_what_is_written_is_what_numpy_reads_and_always_the_same():
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.random((3, 4)),
        "big": rng.random((2, 2)).astype(">f4"),
        "columns": np.asfortranarray(rng.random((3, 5))),
        "strided": rng.random((6, 4))[::2, ::-1],
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "text": np.frombuffer(b"{}", np.uint8),
    }
    first, second = io.BytesIO(), io.BytesIO()
    write_npz(first, arrays)
    write_npz(second, arrays)
    assert first.getvalue() == second.getvalue()
    with np.load(io.BytesIO(first.getvalue()), allow_pickle=False) as read:
        assert set(read) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype.byteorder != ">"


def test_writing_needs_no_second_copy_of_all_arrays(tmp_path):
    arrays = {str(n): np.zeros(1 << 20) for n in range(8)}  # 8 MB each
    with (tmp_path / "a.npz").open("wb") as file:
        tracemalloc.start()
        write_npz(file, arrays)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 40_000_000
