"""PyTorch files: what torch writes is read; what reaches out of its storage is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import weights_files as files
from weights_files import (
    assert_tiny,
    both_formats,
    group,
    name_of,
    no_unpickler,
    number,
    read_bytes,
    storage,
    tensor,
    text,
    tiny_table,
    with_first,
)

from pynst.errors import WeightsError

__all__ = ["no_unpickler", "tiny_table"]

pytestmark = pytest.mark.usefixtures("no_unpickler", "tiny_table")


# ---- what torch writes --------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_that_holds_a_state_dict_is_read(wrap):
    inner = files.state_pickle(files.tensors_of(files.caffe_arrays()))[2:-1]
    outer = b"\x80\x02}(" + text("epoch") + number(3) + text(wrap) + inner + b"u."
    for data in both_formats(outer):
        assert_tiny(read_bytes(data).convolutions)


def test_views_strides_and_shared_storages_are_followed():
    # One storage holds the first two layers' weights; the first one is stored channels last.
    arrays = files.caffe_arrays()
    first, second = arrays["conv1_1.weight"], arrays["conv1_2.weight"]
    block = np.concatenate([first.transpose(0, 2, 3, 1).ravel(), second.ravel()])
    tensors = files.tensors_of(arrays)
    shared = storage("0", block.size)
    N, C = first.shape[:2]
    tensors["conv1_1.weight"] = tensor(shared, first.shape, (9 * C, 1, 3 * C, C))
    tensors["conv1_2.weight"] = tensor(shared, second.shape, offset=first.size)
    arrays["conv1_1.weight"] = block
    assert_tiny(read_bytes(files.pth(arrays, files.state_pickle(tensors))).convolutions)
    keys = [str(key) for key in range(len(arrays)) if key != 2]
    stored = {name: array for name, array in arrays.items() if name != "conv1_2.weight"}
    assert_tiny(
        read_bytes(files.legacy_pth(stored, files.state_pickle(tensors), keys)).convolutions
    )
    assert N == 4


def test_a_parameter_and_the_first_form_of_a_tensor_are_read():
    shape = files.caffe_arrays()["conv1_1.weight"].shape
    block = storage("0", int(np.prod(shape)))
    sizes = group(*map(number, shape)), group(*map(number, (27, 9, 3, 1)))
    old = name_of("torch._utils", "_rebuild_tensor") + group(block, number(0), *sizes) + b"R"
    parameter = name_of("torch._utils", "_rebuild_parameter") + group(old, b"\x88", b")") + b"R"
    for entry in (old, parameter):
        for data in both_formats(with_first(entry)):
            assert_tiny(read_bytes(data).convolutions)


def test_the_dictionary_of_python_2_is_read():
    # Python 2 pickled an ordered dictionary as a call with a list of pairs, its names as bytes.
    pairs = b""
    for name, value in files.tensors_of(files.caffe_arrays()).items():
        pairs += b"](U" + bytes([len(name)]) + name.encode() + value + b"e"
    pickled = b"\x80\x02" + name_of("collections", "OrderedDict") + b"](" + pairs + b"e\x85R."
    for data in both_formats(pickled):
        assert_tiny(read_bytes(data).convolutions)


def test_protocol_4_is_read():
    tensors = files.tensors_of(files.caffe_arrays())
    pickled = files.state_pickle(tensors)
    short = name_of("collections", "OrderedDict")
    stacked = b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93"
    pickled = b"\x80\x04\x95" + bytes(8) + pickled[2:].replace(short, stacked)
    for data in both_formats(pickled):
        assert_tiny(read_bytes(data).convolutions)


def test_a_view_of_an_old_file_is_read():
    arrays = files.caffe_arrays()
    weight = arrays["conv1_1.weight"]
    padded = np.concatenate([np.full(5, 9, np.float32), weight.ravel(), np.full(3, 9, np.float32)])
    view = group(text("7"), number(5), number(weight.size))
    tensors = files.tensors_of(arrays)
    tensors["conv1_1.weight"] = tensor(storage("0", padded.size, view=view), weight.shape)
    stored = {**arrays, "conv1_1.weight": padded}
    assert_tiny(read_bytes(files.legacy_pth(stored, files.state_pickle(tensors))).convolutions)


def test_bfloat16_and_double_are_read():
    arrays = files.caffe_arrays()
    tensors = files.tensors_of(arrays)
    bias = np.array([1.0, -2.5, 0.15625, 3e38], np.float32)
    arrays["conv1_1.bias"] = (bias.view(np.uint32) >> 16).astype(np.uint16)
    tensors["conv1_1.bias"] = tensor(storage("1", 4, "BFloat16"), (4,))
    data = files.pth(arrays, files.state_pickle(tensors))
    got = read_bytes(data).convolutions["conv1_1"][1]
    np.testing.assert_allclose(got, bias, rtol=2**-8)
    doubles = {name: array.astype("f8") for name, array in files.caffe_arrays().items()}
    assert_tiny(read_bytes(files.pth(doubles)).convolutions)


# ---- tensors and storages -----------------------------------------------------------------------

FULL = (4, 3, 3, 3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (tensor(storage("0", 108), FULL, offset=1), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, offset=-1), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, offset=1 << 62), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, (27, 9, 3, 2)), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, (27, 9, 3, -1)), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, (-27, -9, -3, -1), 107), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, (1 << 61, 9, 3, 1)), "lies outside its storage"),
        (tensor(storage("0", 108), FULL, (27, 9, 3)), "lies outside its storage"),
        (tensor(storage("0", 108), (4, 3, 3, -3)), "has the shape"),
        (tensor(storage("0", 108), (1,) * 9), "too many dimensions"),
        (tensor(storage("0", 108), (1 << 40, 1 << 40, 3, 3)), "claims to have"),
        (tensor(storage("0", 109), FULL), "storage"),
        (tensor(storage("0", 1 << 50), FULL), "claims to have|storage"),
        (tensor(storage("0", -1), FULL), "shape|storage"),
        (tensor(storage("0", 108, "Double"), FULL), "storage"),
        (tensor(storage("99", 108), FULL), "storage"),
        (tensor(storage("../../0", 108), FULL), "storage"),
        (tensor(storage("0", 108, "Quantized"), FULL), "asks for 'torch.QuantizedStorage'"),
        (tensor(number(3), FULL), "not described by numbers"),
        (tensor(storage("0", 108), FULL).replace(b"J\x04\0\0\0", b"N", 1), "numbers"),
        (name_of("torch._utils", "_rebuild_tensor_v2") + b")R", "damaged"),
        (name_of("torch._utils", "_rebuild_parameter") + group(number(1)) + b"R", "not a tensor"),
        (tensor(storage("0", 108, view=group(text("v"), number(9), number(108))), FULL), "view"),
        (tensor(storage("0", 108, view=group(text("v"), number(-1), number(8))), FULL), "view"),
        (tensor(storage("0", 108, view=number(1)), FULL), "damaged"),
        (number(3), "is not VGG-19|list of storages does not agree"),
        (text("3"), "is not VGG-19|list of storages does not agree"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(entry, message):
    for data in both_formats(with_first(entry)):
        with pytest.raises(WeightsError, match=message):
            read_bytes(data)


def test_a_tensor_scattered_over_a_huge_storage_is_refused():
    arrays = files.caffe_arrays()
    arrays["conv1_1.weight"] = np.zeros(4000, np.float32)
    entry = tensor(storage("0", 4000), FULL, (1000, 9, 3, 1))
    with pytest.raises(WeightsError, match="scattered over 3027 numbers"):
        read_bytes(files.pth(arrays, with_first(entry)))


def test_a_storage_of_another_size_than_its_entry_is_refused():
    entries = files.pth_entries(files.caffe_arrays())
    entries["archive/data/0"] += b"\0\0\0\0"
    with pytest.raises(WeightsError, match="should have 432 bytes, has 436"):
        read_bytes(files.zipped(entries))


def test_a_big_endian_file_is_refused():
    entries = files.pth_entries(files.caffe_arrays())
    with pytest.raises(WeightsError, match="big-endian"):
        read_bytes(files.zipped({**entries, "archive/byteorder": b"big"}))
    data = files.legacy_pth(files.caffe_arrays())
    with pytest.raises(WeightsError, match="little-endian"):
        read_bytes(data.replace(b"endian\x88", b"endian\x89", 1))


def test_a_list_of_storages_that_disagrees_is_refused():
    arrays = files.caffe_arrays()
    keys = [str(key) for key in range(len(arrays))]
    for wrong in ([*keys, "x"], keys[:-1], [keys[0], *keys], []):
        with pytest.raises(WeightsError, match="storage"):
            read_bytes(files.legacy_pth(arrays, keys=wrong))


def test_a_lying_count_before_a_storage_is_refused():
    data = files.legacy_pth(files.caffe_arrays())
    at = data.index(b"e." + struct.pack("<q", 108)) + 2
    for lie in (107, 109, -1, 1 << 60):
        wrong = data[:at] + struct.pack("<q", lie) + data[at + 8 :]
        with pytest.raises(WeightsError, match=f"should have 108 numbers, has {lie}"):
            read_bytes(wrong)


# ---- archives -----------------------------------------------------------------------------------


def test_two_pickles_in_one_archive_are_refused():
    entries = files.pth_entries(files.caffe_arrays())
    with pytest.raises(WeightsError, match=r"not one data.pkl"):
        read_bytes(files.zipped({**entries, "other/data.pkl": b"}."}))
