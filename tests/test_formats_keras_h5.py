"""Keras' HDF5 files: the subset that is read, and files that lie or loop."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import weights_files as files
from weights_files import NOWHERE, HDF5Writer, assert_tiny, tiny_table

from pynst.errors import WeightsError
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


def keras(**names) -> bytes:
    return files.keras_h5(files.keras_arrays("/", **names))


@pytest.mark.parametrize(
    ("kernel", "bias"),
    [("kernel:0", "bias:0"), ("W_1:0", "b_1:0"), ("kernel", "bias")],
)
def test_the_names_of_all_keras_versions_are_read(kernel, bias):
    # Keras 1 repeated the layer in the name: block1_conv1/block1_conv1_W_1:0.
    arrays = files.keras_arrays("/", kernel, bias)
    repeat = kernel.startswith("W")
    arrays = {
        f"{path.split('/')[0]}/{path.replace('/', '_')}" if repeat else path: array
        for path, array in arrays.items()
    }
    assert_tiny(load(files.keras_h5(arrays)).convolutions)


def nested(data: HDF5Writer, levels: int) -> bytes:
    root = data.group({})
    for _ in range(levels):
        root = data.group({"g": root[0]})
    return data.finish(root)


def test_groups_within_groups_are_walked_to_a_limit():
    writer = HDF5Writer()
    inner: dict[str, dict[str, int]] = {}
    for path, array in files.keras_arrays("/", "kernel:0", "bias:0").items():
        layer, name = path.split("/")
        inner.setdefault(layer, {})[name] = writer.dataset(array)
    layers = {
        layer: writer.group({layer: writer.group(members)[0]})[0]
        for layer, members in inner.items()
    }
    data = writer.finish(writer.group({"model_weights": writer.group(layers)[0]}))
    assert_tiny(load(data).convolutions)
    with pytest.raises(WeightsError, match="nests more than a network does"):
        load(nested(HDF5Writer(), 12))


def test_a_group_that_contains_itself_ends():
    writer = HDF5Writer()
    group = writer.group({"a": 0, "b": 0})
    data = bytearray(writer.finish(group))
    at = data.index(b"SNOD") + 8
    for entry in (at, at + 40):
        data[entry + 8 : entry + 16] = struct.pack("<Q", group[0])
    with pytest.raises(WeightsError, match="is not VGG-19"):
        load(bytes(data))


def test_a_tree_that_contains_itself_ends_soon():
    data = bytearray(keras())
    root_tree = struct.unpack_from("<Q", data, 80)[0]
    data[root_tree + 5] = 1  # an inner node, whose children are ...
    used = 30
    data[root_tree + 6 : root_tree + 8] = struct.pack("<H", used)
    for child in range(used):  # ... itself, thirty times
        at = root_tree + 24 + 8 + 16 * child
        data[at : at + 8] = struct.pack("<Q", root_tree)
    start = time.perf_counter()
    with pytest.raises(WeightsError):
        load(bytes(data))
    assert time.perf_counter() - start < 20


def test_continuations_that_contain_themselves_end():
    writer = HDF5Writer()
    root = writer.group({})
    at = len(writer.file) + 16
    header = writer.header((0x10, struct.pack("<QQ", at, 24)), (0x10, struct.pack("<QQ", at, 24)))
    assert header + 16 == at
    data = writer.finish((header, *root[1:]))
    with pytest.raises(WeightsError, match="is not VGG-19"):
        load(data)


def test_soft_links_are_passed_by():
    data = bytearray(keras())
    at = data.index(b"SNOD") + 8
    data[at + 16 : at + 20] = struct.pack("<I", 2)
    with pytest.raises(WeightsError, match="is not VGG-19: it holds 16 3 x 3"):
        load(bytes(data))


@pytest.mark.parametrize("message", [(0x07, bytes(16)), (0x0B, bytes(16))])
def test_filters_and_external_files_are_refused(message):
    data = files.keras_h5(files.keras_arrays("/", "kernel:0", "bias:0"), message)
    with pytest.raises(WeightsError, match="compressed or lies in another file"):
        load(data)


def patched(data: bytes, find: bytes, replace: bytes, skip: int = 0) -> bytes:
    at = data.index(find) + skip
    return data[:at] + replace + data[at + len(replace) :]


SPACE = struct.pack("<BBB5x4Q", 1, 4, 0, 3, 3, 3, 4)
LAYOUT = struct.pack("<BB", 3, 1)


@pytest.mark.parametrize(
    ("find", "skip", "replace", "message"),
    [
        (SPACE, 8, struct.pack("<Q", 1 << 60), "claims to have|shape"),
        (SPACE, 8, struct.pack("<Q", 4), "needs 576 bytes"),
        (SPACE, 1, b"\x05", "damaged"),
        (SPACE, 1, b"\xff", "damaged"),
        (SPACE, 0, b"\x07", "has no shape"),
        (files.FLOAT_TYPES[4], 1, b"\x21", "is not VGG-19"),  # big-endian
        (files.FLOAT_TYPES[4], 4, b"\x08", "is not VGG-19"),
        (files.FLOAT_TYPES[4], 0, b"\x10", "is not VGG-19"),  # an integer
        (b"HDF\r\n", 7, b"\x09", "version"),
        (b"HDF\r\n", 12, b"\x04", "version"),
        (b"HDF\r\n", 23, b"\x10", "within another file"),
        (b"TREE", 0, b"XXXX", "list of members"),
        (b"SNOD", 0, b"XXXX", "list of members"),
        (b"HEAP", 0, b"XXXX", "has no names"),
    ],
)
def test_a_header_that_lies_is_refused(find, skip, replace, message):
    with pytest.raises(WeightsError, match=message):
        load(patched(keras(kernel="kernel:0", bias="bias:0"), find, replace, skip))


@pytest.mark.parametrize("address", [NOWHERE, 1 << 62, 10**7])
def test_data_outside_the_file_are_refused(address):
    array = files.keras_arrays("/", "kernel:0", "bias:0")["block1_conv1/kernel:0"]
    data = keras(kernel="kernel:0", bias="bias:0")
    place = data.index(SPACE)
    at = data.index(struct.pack("<Q", array.nbytes), place) - 8
    wrong = data[:at] + struct.pack("<Q", address) + data[at + 8 :]
    with pytest.raises(WeightsError, match="which are not there"):
        load(wrong)


@pytest.mark.parametrize("layout", [(3, 0), (3, 2), (4, 2), (1, 1), (9, 9)])
def test_chunks_and_unknown_layouts_are_refused(layout):
    writer = HDF5Writer()
    header = writer.dataset(np.ones(3, np.float32))
    data = bytearray(writer.finish(writer.group({"a": header})))
    at = data.rindex(LAYOUT, 0, header + 200)
    data[at : at + 2] = bytes(layout)
    with pytest.raises(WeightsError, match="stored in chunks or otherwise unusually"):
        load(bytes(data))


def test_a_name_with_a_slash_and_a_name_given_twice_are_refused():
    writer = HDF5Writer()
    header = writer.dataset(np.ones(3, np.float32))
    with pytest.raises(WeightsError, match="'a/b'"):
        load(writer.finish(writer.group({"a/b": header})))
    data = writer.finish(writer.group({"aa": header, "bb": writer.dataset(np.ones(2, "f4"))}))
    with pytest.raises(WeightsError, match="names 'aa', or twice"):
        load(data.replace(b"bb\0", b"aa\0"))
