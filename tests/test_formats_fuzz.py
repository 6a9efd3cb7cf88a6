"""Damaged files of every format: nothing but a WeightsError may leave an importer, and soon."""

from __future__ import annotations

import io
import random
import struct
import time
import zipfile
import zlib
from pathlib import Path

import pytest
import weights_files as files
from conftest import MEAN, tiny_convolutions
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_files import assert_tiny, tiny_table

from pynst.errors import WeightsError
from pynst.weights import VGG19Weights, save_weights
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")


def own_file(directory: Path) -> bytes:
    path = directory / "own.npz"
    save_weights(VGG19Weights(tiny_convolutions(), MEAN), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, bytes]:
    """A sound file of each format."""
    return {
        "own": own_file(tmp_path_factory.mktemp("own")),
        "npz": files.npz(files.keras_arrays()),
        "packed npz": files.npz(files.keras_arrays(), compressed=True),
        "pth": files.pth(files.caffe_arrays()),
        "legacy pth": files.legacy_pth(files.caffe_arrays()),
        "keras h5": files.keras_h5(files.keras_arrays("/", "kernel:0", "bias:0")),
        "mat": files.matconvnet(),
        "packed mat": files.matconvnet(compressed=True),
        "safetensors": files.safetensors(files.caffe_arrays()),
    }


FORMATS = [
    "own",
    "npz",
    "packed npz",
    "pth",
    "legacy pth",
    "keras h5",
    "mat",
    "packed mat",
    "safetensors",
]


def survives(data: bytes) -> bool:
    """Whether a file is still accepted; anything but acceptance or a WeightsError is raised."""
    try:
        converted = convert_file(io.BytesIO(data), None)
        VGG19Weights(converted.convolutions, converted.mean, training=converted.training)
    except WeightsError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 600
        return False
    return True


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_is_refused_at_every_length(sound, name):
    data = sound[name]
    lengths = {
        *range(200),
        *range(0, len(data), len(data) // 150),
        *range(len(data) - 60, len(data)),
    }
    for length in sorted(lengths):
        if survives(data[:length]):  # what is missing was padding
            assert_tiny(convert_file(io.BytesIO(data[:length]), None).convolutions)
            assert length > len(data) - 400


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60)
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_flipped_bytes_lead_to_nothing_worse_than_an_error(sound, name, edits):
    data = bytearray(sound[name])
    for place, value, near_start in edits:
        data[int(place * (len(data) if not near_start else 3000))] = value
    survives(bytes(data))


INTERESTING = (0, 1, 4, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1)


@pytest.mark.parametrize("name", FORMATS)
def test_extreme_numbers_in_headers_lead_to_nothing_worse_than_an_error(sound, name):
    rng = random.Random(name)
    for _ in range(250):
        data = bytearray(sound[name])
        for _ in range(rng.randint(1, 3)):
            width = rng.choice((2, 4, 8))
            value = rng.choice(INTERESTING) & ((1 << 8 * width) - 1)
            edge = rng.randrange(4000)
            at = edge if rng.random() < 0.5 else len(data) - width - edge
            data[at : at + width] = value.to_bytes(width, "little")
        survives(bytes(data))


SIZES = (*range(16), *(-n for n in range(1, 17)), 1 << 40, -(1 << 63), (1 << 63) - 1)


class Sparse(io.BytesIO):
    """A file that goes on for terabytes after its bytes; whoever reads far into it is caught."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 <= size < 1 << 24, f"a reader asks for {size} bytes"
        return super().read(size)


@pytest.mark.parametrize("name", ["keras h5", "mat", "legacy pth", "safetensors"])
def test_a_size_below_zero_never_reads_a_file_to_its_end(sound, name):
    # Each aligned place of the headers is given sizes around zero, as a block of HDF5 with the
    # length 7 has, from which a reader subtracts 8.
    data = sound[name]
    head = range(0, min(len(data) - 8, 1600), 4)
    for at in [*head, *range(max(0, len(data) - 800), len(data) - 8, 4)]:
        changed = bytearray(data)
        changed[at : at + 8] = random.Random(at).choice(SIZES).to_bytes(8, "little", signed=True)
        try:
            convert_file(Sparse(bytes(changed)), None)
        except WeightsError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9])
def test_a_short_continuation_of_an_hdf5_header_is_refused(length):
    # Version 2 of an object header: a continuation has a signature and a checksum of 8 bytes.
    block = struct.pack("<BHB", 0x10, 16, 0) + struct.pack("<QQ", 96, length)
    header = b"OHDR" + struct.pack("<BBB", 2, 0, len(block)) + block
    start = bytearray(files.keras_h5(files.keras_arrays("/", "kernel:0", "bias:0")))
    root = len(start)
    start += header + bytes(64)
    start[64:72] = struct.pack("<Q", root)
    with pytest.raises(WeightsError):
        convert_file(Sparse(bytes(start)), None)


def one_storage(compression: int) -> bytes:
    """All tensors far within one storage of 64 MB, which deflates to nearly nothing."""
    arrays, numbers = files.caffe_arrays(), 1 << 24
    tensors = {}
    for name, array in arrays.items():
        block = files.storage("0", numbers)
        tensors[name] = files.tensor(block, array.shape, offset=numbers - array.size)
    entries = {"a/data.pkl": files.state_pickle(tensors), "a/data/0": bytes(4 * numbers)}
    return files.zipped(entries, compression)


def test_compressed_storages_are_refused_before_they_are_unpacked():
    data = one_storage(zipfile.ZIP_DEFLATED)
    assert len(data) < 200_000
    begin = time.process_time()
    with pytest.raises(WeightsError, match="suspect: the storage '0' is compressed"):
        convert_file(io.BytesIO(data), None)
    assert time.process_time() - begin < 1.0


def test_tensors_far_within_a_storage_are_read_without_what_lies_before(monkeypatch):
    read = [0]

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            read[0] += len(data)
            return data

    convert_file(Counting(one_storage(zipfile.ZIP_STORED)), None)
    assert read[0] < 2_000_000


PIECES = (
    files.text("a"),
    files.number(3),
    files.number(1 << 62),
    files.storage("0", 108),
    files.storage("1", 1 << 40),
    files.tensor(files.storage("0", 108), (4, 3, 3, 3)),
    files.name_of("collections", "OrderedDict"),
    files.name_of("torch._utils", "_rebuild_tensor_v2"),
    files.name_of("torch", "FloatStorage"),
    *(bytes([code]) for code in b"()t}]usbealRQNq\x00h\x00\x85\x86\x87\x88\x89\x93\x94\x81io0P2"),
)


@settings(max_examples=300)
@given(program=st.lists(st.sampled_from(PIECES), max_size=40))
def test_random_pickle_programs_lead_to_nothing_worse_than_an_error(program):
    pickled = b"\x80\x02" + b"".join(program) + b"."
    arrays = files.caffe_arrays()
    assert not survives(files.legacy_pth(arrays, pickled))
    assert not survives(files.zipped({"a/data.pkl": pickled, "a/data/0": bytes(432)}))


@settings(max_examples=60)
@given(places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=5))
def test_damage_inside_a_packed_variable_leads_to_nothing_worse_than_an_error(places):
    plain = files.matconvnet()
    size = struct.unpack_from("<I", plain, 132)[0]
    variable = bytearray(plain[128 : 136 + size])
    for at, value in places:
        variable[at] = value
    packed = zlib.compress(bytes(variable), 1)
    survives(plain[:128] + struct.pack("<II", 15, len(packed)) + packed)


@settings(max_examples=200)
@given(
    start=st.sampled_from(
        (
            b"PK\x03\x04",
            b"\x89HDF\r\n\x1a\n",
            files.LEGACY_START,
            files.mat_file(),
            b"\x20" + bytes(7),
        )
    ),
    rest=st.binary(max_size=400),
)
def test_random_bytes_after_a_right_beginning_are_refused(start, rest):
    assert not survives(start + rest)
