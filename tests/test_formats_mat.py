"""MatConvNet's files: both generations, packed and plain, and files that lie, nest or burst."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import weights_files as files
from weights_files import assert_tiny, mat_element, mat_file, mat_matrix, tiny_table

from pynst.errors import WeightsError
from pynst.formats.mat import read_mat
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


def packed(element: bytes) -> bytes:
    data = zlib.compress(element)
    return struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_both_generations_are_read(old, compressed, dtype):
    converted = load(files.matconvnet(old=old, compressed=compressed, dtype=dtype))
    assert_tiny(converted.convolutions)
    assert converted.mean == (123.68, 116.779, 103.939)


def test_whole_numbers_stored_in_a_smaller_type_are_read():
    # MATLAB stores an array of doubles that are all whole in the smallest integer type.
    small = mat_element(2, bytes([7, 0, 9]))
    pair = mat_matrix("", 1, (1, 2), mat_matrix("", 6, (1, 3), small), mat_matrix("", 6, (0, 0)))
    with pytest.raises(WeightsError):
        load(mat_file(pair))  # the second array has no data element
    weights = mat_matrix("", 1, (1, 1), mat_matrix("", 6, (1, 3), small))
    name = mat_matrix("", 4, (1, 1), mat_element(16, b"x"))
    names = mat_element(5, struct.pack("<i", 8)) + mat_element(1, b"name\0\0\0\0weights\0")
    layer = mat_matrix("", 2, (1, 1), names, name, weights)
    arrays = read_mat(io.BytesIO(mat_file(mat_matrix("layers", 1, (1, 1), layer)))).arrays
    np.testing.assert_array_equal(arrays["x.filters"].read(), [[7.0, 0.0, 9.0]])
    assert arrays["x.filters"].dtype == np.float64


def test_a_classifier_is_skipped_unread():
    big = mat_matrix("fc6", 7, (25088, 100), mat_element(7, bytes(4 * 25088 * 100)))
    for element in (big, packed(big)):
        data = files.matconvnet() + element
        tracemalloc.start()
        try:
            file = io.BytesIO(data)
            assert_tiny(convert_file(file, None).convolutions)
            assert tracemalloc.get_traced_memory()[1] < len(files.matconvnet()) * 8 + len(data) // 4
        finally:
            tracemalloc.stop()


def test_a_compressed_bomb_takes_little_memory():
    bomb = mat_matrix("x", 7, (4096, 4096), mat_element(7, bytes(64 << 20)))
    data = mat_file(packed(bomb))
    assert len(data) < 1 << 18
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="is not VGG-19"):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_variable_that_unpacks_to_more_than_a_gigabyte_is_refused():
    claim = struct.pack("<II", 14, 0xFFFFFFFF) + bytes(100)
    with pytest.raises(WeightsError, match="more than a gigabyte"):
        load(mat_file(packed(claim)))


def test_many_kept_arrays_are_refused_when_they_add_up(monkeypatch):
    kept = mat_matrix("", 7, (3, 3, 64, 64), mat_element(7, bytes(4 * 9 * 64 * 64)))
    cell = mat_matrix("layers", 1, (1, 120), *[kept] * 120)
    monkeypatch.setattr("pynst.formats.mat._MAX_KEPT", 1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="holds more than any VGG-19"):
            load(mat_file(packed(cell)))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_deep_nesting_and_many_elements_are_refused():
    deep = mat_matrix("", 6, (0, 0), mat_element(9, b""))
    for _ in range(5000):
        deep = struct.pack("<II", 14, len(deep) + 40) + mat_matrix("", 1, (1, 1))[8:] + deep
    with pytest.raises(WeightsError, match="nests more than a network does"):
        load(mat_file(deep))
    wide = mat_matrix("x", 1, (1, 100_000), *[mat_element(14, b"")] * 100_000)
    with pytest.raises(WeightsError, match="more elements than a network needs"):
        load(mat_file(wide))
    with pytest.raises(WeightsError, match="more elements than a network needs"):
        load(mat_file(mat_element(3, b"") * 100_000))


@pytest.mark.parametrize("kind", [1, 2])
def test_a_cell_or_struct_of_a_billion_elements_is_refused_at_its_end(kind):
    names = mat_element(5, struct.pack("<i", 4)) + mat_element(1, b"abc\0") if kind == 2 else b""
    with pytest.raises(WeightsError, match="ends within an element"):
        load(mat_file(mat_matrix("x", kind, (1 << 15, 1 << 15), names)))


def test_a_struct_without_fields_is_refused_whatever_it_claims():
    names = mat_element(5, struct.pack("<i", 4)) + mat_element(1, b"")
    with pytest.raises(WeightsError, match="no sensible length"):
        load(mat_file(mat_matrix("x", 2, (1 << 15, 1 << 15), names)))


ARRAY = mat_element(9, bytes(8 * 6))


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (mat_matrix("x", 6, (2, 3), mat_element(9, bytes(40))), "needs 48 bytes, has 40"),
        (mat_matrix("x", 6, (2, -3), ARRAY), "has the shape"),
        (mat_matrix("x", 6, (1 << 30, 1 << 30), ARRAY), "claims to have"),
        (mat_matrix("x", 6, (2, 3), mat_element(14, bytes(48))), "needs 6 bytes, has 48"),
        (mat_matrix("x", 6, (2, 3), mat_element(9, bytes(48), size=1 << 31)), "larger than the"),
        (mat_matrix("x", 6, (1,) * 9, ARRAY), "9|shape|at most"),
        (mat_matrix("x", 1, (1, 1), mat_element(9, bytes(8))), "something that is not a matrix"),
        (mat_matrix("x" * 9000, 6, (2, 3), ARRAY), "at most 8192 make sense"),
        (mat_matrix("x", 2, (1, 1), mat_element(5, struct.pack("<i", 0)), b""), "damaged"),
        (
            mat_matrix("x", 2, (1, 1), mat_element(5, b"\xff\xff\xff\xff"), mat_element(1, b"ab")),
            "no sensible length",
        ),
        (mat_element(14, struct.pack("<HHI", 6, 9, 0)), "more than four bytes"),
        (mat_element(14, b"1234"), "ends within an element"),
        (mat_element(14, b"", size=1 << 31), "ends at byte"),
        (mat_element(15, b"not packed"), "damaged"),
        (
            struct.pack("<II", 15, 30) + zlib.compress(mat_matrix("x", 6, (2, 3), ARRAY))[:30],
            "ends too early",
        ),
        (packed(struct.pack("<II", 14, 1000)), "ends too early"),
        (mat_matrix("x", 6, (2, 3), ARRAY) * 2, "'x' occurs twice"),
        (b"1234", "truncated"),
        (mat_matrix("x", 3, (1, 1), bytes(8)), "is not VGG-19"),  # an object is passed by
        (mat_matrix("x", 17, (1, 1), bytes(8)), "is not VGG-19"),  # an opaque one as well
        (mat_matrix("layers", 6, (2, 3), ARRAY), "is not VGG-19"),
        (mat_element(3, bytes(16)), "is not VGG-19"),
    ],
)
def test_elements_that_lie_are_refused(element, message):
    with pytest.raises(WeightsError, match=message):
        load(mat_file(element))


def test_complex_numbers_are_not_read_as_real():
    flags = struct.pack("<II", 0x0806, 0)
    body = mat_element(6, flags) + mat_element(5, struct.pack("<2i", 1, 1)) + mat_element(1, b"x")
    data = mat_file(mat_element(14, body + mat_element(9, bytes(8)) * 2))
    assert read_mat(io.BytesIO(data)).arrays == {}


def test_two_layers_of_one_name_are_refused():
    data = files.matconvnet()
    with pytest.raises(WeightsError, match="'conv1_1' occurs twice"):
        load(data.replace(b"conv1_2", b"conv1_1"))


def test_an_average_image_of_no_use_is_refused():
    data = files.matconvnet()
    at = data.index(struct.pack("<3i", 2, 2, 3))
    wrong = data[:at] + struct.pack("<3i", 2, 3, 2) + data[at + 12 :]
    with pytest.raises(WeightsError, match=r"average image has the shape \(2, 3, 2\)"):
        load(wrong)


def test_other_versions_are_told_what_to_do():
    with pytest.raises(WeightsError, match="save it with -v7"):
        load(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
    with pytest.raises(WeightsError, match="save it with -v7"):
        load(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + bytes(600))
