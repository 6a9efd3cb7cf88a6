"""PyTorch files: what torch writes is read; what runs code or reaches out of bounds is refused."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import weights_files as files
from weights_files import assert_tiny, group, name_of, number, storage, tensor, text, tiny_table

from pynst.errors import WeightsError
from pynst.formats.pickles import parse_pickle
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")


@pytest.fixture(autouse=True)
def no_unpickler(monkeypatch):
    """Nothing under test may use Python's unpickler, safe or not."""

    def refuse(*_arguments, **_settings):
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


def both_formats(pickled: bytes) -> list[bytes]:
    arrays = files.caffe_arrays()
    return [files.pth(arrays, pickled), files.legacy_pth(arrays, pickled)]


def with_first(entry: bytes) -> bytes:
    """The state dict with `entry` for the first tensor."""
    tensors = files.tensors_of(files.caffe_arrays())
    return files.state_pickle({**tensors, "conv1_1.weight": entry})


# ---- what torch writes --------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_that_holds_a_state_dict_is_read(wrap):
    inner = files.state_pickle(files.tensors_of(files.caffe_arrays()))[2:-1]
    outer = b"\x80\x02}(" + text("epoch") + number(3) + text(wrap) + inner + b"u."
    for data in both_formats(outer):
        assert_tiny(load(data).convolutions)


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
    assert_tiny(load(files.pth(arrays, files.state_pickle(tensors))).convolutions)
    keys = [str(key) for key in range(len(arrays)) if key != 2]
    stored = {name: array for name, array in arrays.items() if name != "conv1_2.weight"}
    assert_tiny(load(files.legacy_pth(stored, files.state_pickle(tensors), keys)).convolutions)
    assert N == 4


def test_a_parameter_and_the_first_form_of_a_tensor_are_read():
    shape = files.caffe_arrays()["conv1_1.weight"].shape
    block = storage("0", int(np.prod(shape)))
    sizes = group(*map(number, shape)), group(*map(number, (27, 9, 3, 1)))
    old = name_of("torch._utils", "_rebuild_tensor") + group(block, number(0), *sizes) + b"R"
    parameter = name_of("torch._utils", "_rebuild_parameter") + group(old, b"\x88", b")") + b"R"
    for entry in (old, parameter):
        for data in both_formats(with_first(entry)):
            assert_tiny(load(data).convolutions)


def test_the_dictionary_of_python_2_is_read():
    # Python 2 pickled an ordered dictionary as a call with a list of pairs, its names as bytes.
    pairs = b""
    for name, value in files.tensors_of(files.caffe_arrays()).items():
        pairs += b"](U" + bytes([len(name)]) + name.encode() + value + b"e"
    pickled = b"\x80\x02" + name_of("collections", "OrderedDict") + b"](" + pairs + b"e\x85R."
    for data in both_formats(pickled):
        assert_tiny(load(data).convolutions)


def test_protocol_4_is_read():
    tensors = files.tensors_of(files.caffe_arrays())
    pickled = files.state_pickle(tensors)
    short = name_of("collections", "OrderedDict")
    stacked = b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93"
    pickled = b"\x80\x04\x95" + bytes(8) + pickled[2:].replace(short, stacked)
    for data in both_formats(pickled):
        assert_tiny(load(data).convolutions)


def test_a_view_of_an_old_file_is_read():
    arrays = files.caffe_arrays()
    weight = arrays["conv1_1.weight"]
    padded = np.concatenate([np.full(5, 9, np.float32), weight.ravel(), np.full(3, 9, np.float32)])
    view = group(text("7"), number(5), number(weight.size))
    tensors = files.tensors_of(arrays)
    tensors["conv1_1.weight"] = tensor(storage("0", padded.size, view=view), weight.shape)
    stored = {**arrays, "conv1_1.weight": padded}
    assert_tiny(load(files.legacy_pth(stored, files.state_pickle(tensors))).convolutions)


def test_bfloat16_and_double_are_read():
    arrays = files.caffe_arrays()
    tensors = files.tensors_of(arrays)
    bias = np.array([1.0, -2.5, 0.15625, 3e38], np.float32)
    arrays["conv1_1.bias"] = (bias.view(np.uint32) >> 16).astype(np.uint16)
    tensors["conv1_1.bias"] = tensor(storage("1", 4, "BFloat16"), (4,))
    data = files.pth(arrays, files.state_pickle(tensors))
    got = load(data).convolutions["conv1_1"][1]
    np.testing.assert_allclose(got, bias, rtol=2**-8)
    doubles = {name: array.astype("f8") for name, array in files.caffe_arrays().items()}
    assert_tiny(load(files.pth(doubles)).convolutions)


# ---- code ---------------------------------------------------------------------------------------


class Payload:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class State:
    """Pickled with NEWOBJ and BUILD."""

    x = 0

    def __setstate__(self, state):
        raise AssertionError("was run")


class NewArguments(State):
    """Pickled with NEWOBJ_EX where the protocol has it."""

    def __getnewargs_ex__(self):
        return (), {"x": 1}

    def __new__(cls, x=None):
        return super().__new__(cls)


def code(marker: str) -> dict[str, bytes]:
    """Pickles that run something when they are unpickled, of all kinds."""
    make = f"import os; os.mkdir({marker!r})"
    found = {}
    for protocol in range(6):
        found[f"reduce {protocol}"] = pickle.dumps(Payload(os.mkdir, marker), protocol)
        found[f"exec {protocol}"] = pickle.dumps(Payload(exec, make), protocol)
        state = State()
        state.x = 1
        found[f"build {protocol}"] = pickle.dumps(state, protocol)
        found[f"new {protocol}"] = pickle.dumps(NewArguments(), protocol)
    line = make.encode()
    mkdir = text(marker)
    dictionary = name_of("collections", "OrderedDict") + b")R"
    return found | {
        "inst": b"(S'" + line + b"'\nibuiltins\nexec\n.",
        "obj": b"(cbuiltins\nexec\nS'" + line + b"'\no.",
        "extension 1": b"\x80\x02\x82\x01" + mkdir + b"\x85R.",
        "extension 2": b"\x80\x02\x83\x01\x00" + mkdir + b"\x85R.",
        "extension 4": b"\x80\x02\x84\x01\x00\x00\x00" + mkdir + b"\x85R.",
        "stack global": b"\x80\x04" + text("os") + text("mkdir") + b"\x93" + mkdir + b"\x85R.",
        "memo": b"\x80\x02" + text("os") + b"q\x00" + text("mkdir") + b"q\x01N0N0h\x00h\x01\x93.",
        "memo 2": b"\x80\x04" + text("os") + b"\x94" + text("mkdir") + b"\x94h\x00h\x01\x93.",
        "dotted": b"\x80\x04" + text("collections") + text("OrderedDict.fromkeys") + b"\x93.",
        "dotted module": name_of("collections.abc", "OrderedDict") + b")R.",
        "new object": name_of("os", "_Environ") + b")\x81.",
        "new dictionary": name_of("collections", "OrderedDict") + b")\x81.",
        "storage from bytes": name_of("torch.storage", "_load_from_bytes") + group(mkdir) + b"R.",
        "reconstruct": name_of("numpy.core.multiarray", "_reconstruct") + b")R.",
        "call a string": b"\x80\x02" + text("os.mkdir") + mkdir + b"\x85R.",
        "call a tuple": b"\x80\x02" + text("collections") + text("OrderedDict") + b"\x86)R.",
        "call a storage": name_of("torch", "FloatStorage") + group(number(10)) + b"R.",
        "call a tensor": tensor(storage("0", 108), (4, 3, 3, 3)) + b")R.",
        "call with many": name_of("torch._utils", "_rebuild_parameter")
        + group(*[mkdir] * 9)
        + b"R.",
        "call without a tuple": name_of("collections", "OrderedDict") + b"]R.",
        "attributes of a function": name_of("collections", "OrderedDict") + b"}b.",
        "attributes of a list": b"]}b.",
        "slots": dictionary + b"N}" + text("__class__") + mkdir + b"s\x86b.",
        "text persistent id": b"Pmodule\n.",
        "persistent id": mkdir + b"Q.",
        "persistent module": group(text("module"), name_of("os", "mkdir"), mkdir, mkdir) + b"Q.",
        "buffers": b"\x80\x05\x97\x98.",
        "set": b"\x80\x04\x8f(" + mkdir + b"\x90.",
        "frozen set": b"\x80\x04(" + mkdir + b"\x91.",
        "pop and dup": b"\x80\x02" + mkdir + b"2" + b"0.",
        "unicode name": "cos\nmkd\u0131r\n.".encode(),
        "whole model": name_of("torch.nn.modules.container", "Sequential") + b")\x81}b.",
    }


MARKER = "made-by-a-pickle"


@pytest.mark.parametrize("kind", code(MARKER))
def test_code_in_a_pickle_is_refused_and_never_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    payload = code(MARKER)[kind]
    value = payload.removesuffix(b".")
    value = value[2:] if value[:1] == b"\x80" else value
    if value[:1] == b"\x95":
        value = value[9:]  # the frame belongs to the whole pickle
    variants = [*both_formats(payload), *both_formats(with_first(value))]
    variants.append(files.LEGACY_START + payload)
    for data in variants:
        with pytest.raises(WeightsError) as caught:
            load(data)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_whole_model_is_told_what_to_do():
    with pytest.raises(
        WeightsError, match=r"whole pickled model .*save its state_dict\(\) instead"
    ):
        load(files.pth(files.caffe_arrays(), code(MARKER)["whole model"]))
    with pytest.raises(WeightsError, match=r"asks for 'posix.mkdir', .*nothing of it was run"):
        load(files.pth(files.caffe_arrays(), code(MARKER)["reduce 2"]))


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"", "truncated: the pickle"),
        (b"\x80\x02", "truncated: the pickle"),
        (b"\x80\x09}.", "unknown protocol"),
        (b".", "unfinished object"),
        (b"}}.", "unfinished object"),
        (b"(.", "unfinished object|takes more"),
        (b"s.", "takes more than it has put down"),
        (b"}(" + text("a") + b"u.", "a key without a value"),
        (b"}u.", "has not begun"),
        (b"h\x05.", "has not remembered"),
        (b"N(]u.", "key without a value"),
        (b"N" + text("a") + text("b") + b"s.", "fills something that is not a dictionary"),
        (b"}" + text("a") + b"N" + b"s" + text("a") + b"Ns.", "sets 'a' twice"),
        (b"}]Ns.", "key of type list"),
        (b"}" + number(1 << 40) + b"Ns.", "key of type int"),
        (b"}\x88Ns.", "key of type bool"),
        (b"}Na.", "appends to something that is not a list"),
        (b"NN\x93.", "names something that is not text"),
        (b"c" + b"x" * 300, "names something without end"),
        (b"]" * 70000 + b".", "describes far more than a state dict"),
        (b"N" + b"\x94" * 70000 + b".", "describes far more than a state dict"),
        (b"X\xff\xff\xff\x7f", "truncated"),
        (b"T\xff\xff\xff\xff", "truncated"),
        (b"\x8a\xff", "truncated"),
        (b"(" * 60000 + b"t" * 59999 + b".", "unfinished|takes more|truncated|not of a state dict"),
    ],
)
def test_a_pickle_that_makes_no_sense_is_refused(pickled, message):
    with pytest.raises(WeightsError, match=message):
        load(files.pth(files.caffe_arrays(), pickled or b"\x80"))


def test_deep_nesting_and_self_reference_do_no_harm():
    deep = b")" + b"\x85" * 100_000 + b"."
    with pytest.raises(WeightsError, match="not of a state dict"):
        load(files.pth(files.caffe_arrays(), deep))
    own = b"}q\x00" + text("state_dict") + b"h\x00s."
    with pytest.raises(WeightsError, match="is not VGG-19"):
        load(files.pth(files.caffe_arrays(), own))
    nested = group(text("storage"), b")" + b"\x85" * 100_000, text("0"), text("cpu"), number(4))
    with pytest.raises(WeightsError, match="describes a storage badly"):
        load(files.pth(files.caffe_arrays(), with_first(tensor(nested + b"Q", (4,)))))


def test_a_remembered_list_is_not_multiplied():
    # Each call takes five bytes and would copy or look through all that the memo holds.
    pairs = b"](" + b"".join(text(f"{i}") + b"N\x86" for i in range(8000)) + b"eq\x00\x85q\x01"
    make = name_of("collections", "OrderedDict") + b"q\x02"
    again = b"h\x02h\x01R" * 10_000
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="far more than a state dict"):
        load(files.pth(files.caffe_arrays(), pairs + make + again + b"."))
    numbers = b"](" + b"K\x01" * 30_000 + b"eq\x03"
    rebuild = name_of("torch._utils", "_rebuild_tensor") + b"q\x04"
    call = b"(" + storage("0", 108) + b"K\x00h\x03h\x03tq\x05h\x04h\x05R" + b"h\x04h\x05R" * 10_000
    with pytest.raises(WeightsError, match="too many dimensions"):
        load(files.pth(files.caffe_arrays(), numbers + rebuild + call + b"."))
    keys = b"}(" + text("ab") + b"Nuq\x06\x85"
    with pytest.raises(WeightsError, match="something else than pairs"):
        load(files.pth(files.caffe_arrays(), make + keys + b"R."))
    assert time.perf_counter() - start < 10


def test_a_pickle_is_parsed_to_plain_values():
    value = collections.OrderedDict(a=[1, 2.5, None, True, (3, "x")], b={"c": -(1 << 40)})
    parsed = parse_pickle(pickle.dumps(value, 2), 0)
    assert parsed.value == value
    assert type(parsed.value) is dict
    assert parsed.end == len(pickle.dumps(value, 2))


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
            load(data)


def test_a_tensor_scattered_over_a_huge_storage_is_refused():
    arrays = files.caffe_arrays()
    arrays["conv1_1.weight"] = np.zeros(4000, np.float32)
    entry = tensor(storage("0", 4000), FULL, (1000, 9, 3, 1))
    with pytest.raises(WeightsError, match="scattered over 3027 numbers"):
        load(files.pth(arrays, with_first(entry)))


def test_a_storage_of_another_size_than_its_entry_is_refused():
    entries = files.pth_entries(files.caffe_arrays())
    entries["archive/data/0"] += b"\0\0\0\0"
    with pytest.raises(WeightsError, match="should have 432 bytes, has 436"):
        load(files.zipped(entries))


def test_a_big_endian_file_is_refused():
    entries = files.pth_entries(files.caffe_arrays())
    with pytest.raises(WeightsError, match="big-endian"):
        load(files.zipped({**entries, "archive/byteorder": b"big"}))
    data = files.legacy_pth(files.caffe_arrays())
    with pytest.raises(WeightsError, match="little-endian"):
        load(data.replace(b"endian\x88", b"endian\x89", 1))


def test_a_list_of_storages_that_disagrees_is_refused():
    arrays = files.caffe_arrays()
    keys = [str(key) for key in range(len(arrays))]
    for wrong in ([*keys, "x"], keys[:-1], [keys[0], *keys], []):
        with pytest.raises(WeightsError, match="storage"):
            load(files.legacy_pth(arrays, keys=wrong))


def test_a_lying_count_before_a_storage_is_refused():
    data = files.legacy_pth(files.caffe_arrays())
    at = data.index(b"e." + struct.pack("<q", 108)) + 2
    for lie in (107, 109, -1, 1 << 60):
        wrong = data[:at] + struct.pack("<q", lie) + data[at + 8 :]
        with pytest.raises(WeightsError, match=f"should have 108 numbers, has {lie}"):
            load(wrong)


# ---- archives -----------------------------------------------------------------------------------


def test_two_pickles_in_one_archive_are_refused():
    entries = files.pth_entries(files.caffe_arrays())
    with pytest.raises(WeightsError, match=r"not one data.pkl"):
        load(files.zipped({**entries, "other/data.pkl": b"}."}))


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
