"""Pickles: plain values and tensors are parsed; nothing is ever run, copied or nested deeply."""

from __future__ import annotations

import collections
import os
import pickle
import time

import pytest
import weights_files as files
from weights_files import (
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
from pynst.formats.pickles import parse_pickle

__all__ = ["no_unpickler", "tiny_table"]


pytestmark = pytest.mark.usefixtures("no_unpickler", "tiny_table")


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
            read_bytes(data)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_whole_model_is_told_what_to_do():
    with pytest.raises(
        WeightsError, match=r"whole pickled model .*save its state_dict\(\) instead"
    ):
        read_bytes(files.pth(files.caffe_arrays(), code(MARKER)["whole model"]))
    with pytest.raises(WeightsError, match=r"asks for 'posix.mkdir', .*nothing of it was run"):
        read_bytes(files.pth(files.caffe_arrays(), code(MARKER)["reduce 2"]))


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
        read_bytes(files.pth(files.caffe_arrays(), pickled or b"\x80"))


def test_deep_nesting_and_self_reference_do_no_harm():
    deep = b")" + b"\x85" * 100_000 + b"."
    with pytest.raises(WeightsError, match="not of a state dict"):
        read_bytes(files.pth(files.caffe_arrays(), deep))
    own = b"}q\x00" + text("state_dict") + b"h\x00s."
    with pytest.raises(WeightsError, match="is not VGG-19"):
        read_bytes(files.pth(files.caffe_arrays(), own))
    nested = group(text("storage"), b")" + b"\x85" * 100_000, text("0"), text("cpu"), number(4))
    with pytest.raises(WeightsError, match="describes a storage badly"):
        read_bytes(files.pth(files.caffe_arrays(), with_first(tensor(nested + b"Q", (4,)))))


def test_a_remembered_list_is_not_multiplied():
    # Each call takes five bytes and would copy or look through all that the memo holds.
    pairs = b"](" + b"".join(text(f"{i}") + b"N\x86" for i in range(8000)) + b"eq\x00\x85q\x01"
    make = name_of("collections", "OrderedDict") + b"q\x02"
    again = b"h\x02h\x01R" * 10_000
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="far more than a state dict"):
        read_bytes(files.pth(files.caffe_arrays(), pairs + make + again + b"."))
    numbers = b"](" + b"K\x01" * 30_000 + b"eq\x03"
    rebuild = name_of("torch._utils", "_rebuild_tensor") + b"q\x04"
    call = b"(" + storage("0", 108) + b"K\x00h\x03h\x03tq\x05h\x04h\x05R" + b"h\x04h\x05R" * 10_000
    with pytest.raises(WeightsError, match="too many dimensions"):
        read_bytes(files.pth(files.caffe_arrays(), numbers + rebuild + call + b"."))
    keys = b"}(" + text("ab") + b"Nuq\x06\x85"
    with pytest.raises(WeightsError, match="something else than pairs"):
        read_bytes(files.pth(files.caffe_arrays(), make + keys + b"R."))
    assert time.perf_counter() - start < 10


def test_a_pickle_is_parsed_to_plain_values():
    value = collections.OrderedDict(a=[1, 2.5, None, True, (3, "x")], b={"c": -(1 << 40)})
    parsed = parse_pickle(pickle.dumps(value, 2), 0)
    assert parsed.value == value
    assert type(parsed.value) is dict
    assert parsed.end == len(pickle.dumps(value, 2))
