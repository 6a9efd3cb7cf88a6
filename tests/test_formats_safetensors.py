"""safetensors files: offsets, shapes and headers that lie."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc

import numpy as np
import pytest
import weights_files as files
from weights_files import assert_tiny, tiny_table, with_header

from pynst.errors import WeightsError
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")

NAME = "conv1_1.weight"
SHAPE = [4, 3, 3, 3]


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


def first(**changes) -> bytes:
    """The tiny network with changes in the entry of its first array."""
    entry = {"dtype": "F32", "shape": SHAPE, "data_offsets": [0, 432], **changes}
    return files.safetensors(files.caffe_arrays(), **{NAME: entry})


def test_an_array_of_an_unknown_type_that_is_not_needed_does_not_matter():
    end = sum(array.nbytes for array in files.caffe_arrays().values())
    extra = {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [end, end]}
    assert_tiny(load(files.safetensors(files.caffe_arrays(), scale=extra)).convolutions)


def test_bfloat16_is_read():
    arrays = files.caffe_arrays()
    arrays["conv1_1.bias"] = np.array([1.0, -2.0, 0.5, 3e38], np.float32)
    halves = (arrays["conv1_1.bias"].view(np.uint32) >> 16).astype("<u2").view("<f2")
    entry = {"dtype": "BF16", "shape": [4], "data_offsets": [432, 440]}
    data = files.safetensors({**arrays, "conv1_1.bias": halves}, **{"conv1_1.bias": entry})
    got = load(data).convolutions["conv1_1"][1]
    np.testing.assert_allclose(got, arrays["conv1_1.bias"], rtol=2**-8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (first(data_offsets=[0, 431]), "needs 432 bytes, its offsets span 431"),
        (first(data_offsets=[432, 0]), "has the offsets"),
        (first(data_offsets=[-432, 0]), "has the offsets"),
        (first(data_offsets=[4, 436]), "overlaps another array"),
        (first(data_offsets=[0.0, 432.0]), "has the offsets"),
        (first(data_offsets=[True, 432]), "has the offsets"),
        (first(data_offsets=[0, 1 << 70]), "overlaps another array or leaves the file"),
        (first(data_offsets=[1 << 40, (1 << 40) + 432]), "leaves the file"),
        (first(data_offsets=[0]), "damaged"),
        (first(data_offsets=None), "damaged"),
        (first(shape=[4, 3, 3, 4]), "needs 576 bytes"),
        (first(shape=[-4, -3, 3, 3]), "has the shape"),
        (first(shape=[1 << 40, 1 << 40]), "claims to have"),
        (first(shape=[1] * 9), "has the shape"),
        (first(shape=432), "has the shape"),
        (first(shape=[4, 3, 3, 3.0]), "has the shape"),
        (first(shape=[True] * 4), "has the shape"),
        (first(dtype="F64"), "needs 864 bytes"),
        (first(dtype="I32"), "must be floats of shape"),
        (first(dtype="F8"), "is not VGG-19"),
        (first(dtype=["F32"]), "damaged"),
        (files.safetensors(files.caffe_arrays(), **{NAME: 3}), "damaged"),
        (with_header(b"{}"), "is not VGG-19"),
        (with_header(b"{" + b" " * 20), "damaged"),
        (with_header(b'{"a":' + b"[" * 100_000), "damaged"),
        (with_header(b'{"a":' + b"9" * 10_000 + b"}"), "damaged"),
        (with_header(b'{"\xff": 1}'), "damaged"),
        (with_header(b'{"a": {"dtype": "F32"}}'), "damaged"),
        (with_header(json.dumps({str(i): 0 for i in range(5000)}).encode()), "not a list of arr"),
        (struct.pack("<Q", 1 << 62) + b"{}", "header claims"),
        (struct.pack("<Q", 100) + b"{}", "header claims 100 bytes"),
    ],
)
def test_a_header_that_lies_is_refused(data, message):
    with pytest.raises(WeightsError, match=message):
        load(data)


def test_a_name_given_twice_is_refused():
    data = files.safetensors(files.caffe_arrays())
    with pytest.raises(WeightsError, match="name occurs twice"):
        load(data.replace(b'"conv1_2.bias"', b'"conv1_1.bias"'))
    inner = b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [], "data_offsets": [0, 4]}}'
    with pytest.raises(WeightsError, match="name occurs twice"):
        load(with_header(inner, bytes(4)))


def test_a_claim_of_a_huge_array_takes_no_memory():
    huge = {"dtype": "F32", "shape": [512, 512, 3, 3 << 20], "data_offsets": [0, 9 << 40]}
    data = files.safetensors({}, **{NAME: huge})
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
