"""Understand the pickles of PyTorch's state dicts without running them.

A pickle is a program for a stack machine, and unpickling one can call anything. The machine below
knows only the two dozen instructions that PyTorch emits and has no way to import or to call: a
function's name stays a name (`Name`), and a call is looked up in the short table of `_CALLS`, where
it becomes a plain record. Every other instruction or name is refused with one sentence. Nothing
here uses `pickle`.

The machine cannot loop and never copies what its memo shares, but for a dictionary made of a list,
which is counted: its work and its memory are bounded by the size of the pickle.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from pynst.formats.common import DamagedFile, show

__all__ = ["Parsed", "Storage", "Tensor", "parse_pickle"]

_MARK = object()
_MAX_OBJECTS = 1 << 16
"""On the stack and in the memo each; VGG-19's state dict needs some hundred."""


class Name(NamedTuple):
    """A class or function that the pickle names; never looked up."""

    module: str
    name: str


class Storage(NamedTuple):
    """A block of numbers beside the pickle: `numbers` of a kind such as ``"Float"``."""

    key: str
    kind: str
    numbers: int
    start: int
    """Number in the root block at which this one begins (views of old files)."""
    root_count: int | None
    """Numbers in the root block where that is written elsewhere (views of old files)."""


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers. Nothing is checked yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Parsed(NamedTuple):
    """What a pickle describes."""

    value: Any
    end: int
    """Where the next pickle begins."""
    storages: list[Storage]
    """Every storage it refers to."""


def parse_pickle(data: bytes, start: int) -> Parsed:
    """Parse the pickle at `start` of `data`."""
    machine = _Machine(data, start)
    return Parsed(machine.run(), machine.at, machine.storages)


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    """Stand in for ``collections.OrderedDict``; Python 2 wrote the items as pairs."""
    if type(items) not in (list, tuple):
        raise DamagedFile("damaged: the pickle fills a dictionary with something else than pairs")
    result: dict[Any, Any] = {}
    for key, value in items:
        _set_item(result, key, value)
    return result


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_unused: Any) -> Tensor:
    if len(shape) > 8 or len(strides) > 8:
        raise DamagedFile("damaged: a tensor of the pickle has too many dimensions")
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or any(type(number) is not int for number in numbers):
        raise DamagedFile("damaged: a tensor of the pickle is not described by numbers")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Any, *_unused: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise DamagedFile("damaged: a parameter of the pickle is not a tensor")
    return tensor


_CALLS: dict[Name, Callable[..., Any]] = {
    Name("collections", "OrderedDict"): _dictionary,
    Name("torch._utils", "_rebuild_tensor"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
}
"""All that a weights file may ask to be called, and PyNST's own reading of it."""

_KINDS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_STORAGES = {
    Name(module, f"{kind}Storage"): kind for module in ("torch", "torch.storage") for kind in _KINDS
}


def _set_item(target: Any, key: Any, value: Any) -> None:
    if type(target) is not dict:
        raise DamagedFile("damaged: the pickle fills something that is not a dictionary")
    if type(key) is not str and not (type(key) is int and abs(key) < 1 << 31):
        raise DamagedFile(f"suspect: the pickle has a dictionary key of type {type(key).__name__}")
    if key in target:
        raise DamagedFile(f"suspect: the pickle sets {show(key)} twice")
    target[key] = value


def _name(module: str, name: str) -> Name:
    found = Name(module, name)
    if found in _CALLS or found in _STORAGES:
        return found
    if module.startswith(("torch.nn", "torchvision.models", "__main__")):
        raise DamagedFile(
            f"is a whole pickled model ({show(f'{module}.{name}')}), whose code is never run;"
            " save its state_dict() instead"
        )
    raise DamagedFile(
        f"asks for {show(f'{module}.{name}')}, which no weights file needs; nothing of it was run"
    )


def _storage(reference: Any) -> Storage:
    """Describe the storage of a persistent id: ("storage", type, key, place, count[, view])."""
    if type(reference) is not tuple or len(reference) not in (5, 6) or reference[0] != "storage":
        raise DamagedFile("damaged: the pickle refers to something that is not a storage")
    _, kind, key, _place, count, *rest = reference
    known = type(kind) is Name and kind in _STORAGES
    if not known or type(key) is not str or type(count) is not int:
        raise DamagedFile("damaged: the pickle describes a storage badly")
    if not rest or rest[0] is None:
        return Storage(key, _STORAGES[kind], count, 0, None)
    _view_key, start, view_count = rest[0]
    if (
        type(start) is not int
        or type(view_count) is not int
        or not 0 <= start <= count - view_count
    ):
        raise DamagedFile("damaged: a view lies outside its storage")
    return Storage(key, _STORAGES[kind], view_count, start, count)


class _Machine:
    """One run over one pickle."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.at = start
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: list[Storage] = []
        self.items_left = _MAX_OBJECTS

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                if len(self.stack) != 1:
                    raise DamagedFile("damaged: the pickle ends with an unfinished object")
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise DamagedFile(
                    f"suspect: the pickle has the instruction {show(code)}, which no weights need"
                )
            step(self)
            if max(len(self.stack), len(self.memo)) > _MAX_OBJECTS:
                raise DamagedFile("suspect: the pickle describes far more than a state dict")

    # ---- operands ---------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if count < 0 or len(piece) != count:
            raise DamagedFile(
                "truncated: the pickle has no end (or is larger than any state dict's)"
            )
        self.at += count
        return piece

    def number(self, form: str) -> int:
        value = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return int(value)

    def text(self, form: str, encoding: str = "utf-8") -> str:
        return self.take(self.number(form)).decode(encoding)

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 256)
        if end < 0:
            raise DamagedFile("damaged: the pickle names something without end")
        text = self.data[self.at : end].decode("ascii")
        self.at = end + 1
        return text

    # ---- stack ------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise DamagedFile("damaged: the pickle takes more than it has put down")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise DamagedFile("damaged: the pickle ends a group that it has not begun")

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(values[::-1]))

    def remember(self, slot: int) -> None:
        value = self.pop()
        self.memo[slot] = value
        self.push(value)

    def recall(self, slot: int) -> None:
        if slot not in self.memo:
            raise DamagedFile("damaged: the pickle recalls what it has not remembered")
        self.push(self.memo[slot])

    # ---- instructions -----------------------------------------------------------------------

    def set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise DamagedFile("damaged: the pickle has a key without a value")
        target = self.pop()
        for key, value in zip(values[::2], values[1::2], strict=True):
            _set_item(target, key, value)
        self.push(target)

    def append(self, values: list[Any]) -> None:
        target = self.pop()
        if type(target) is not list:
            raise DamagedFile("damaged: the pickle appends to something that is not a list")
        target.extend(values)
        self.push(target)

    def pair(self) -> list[Any]:
        value = self.pop()
        return [self.pop(), value]

    def stack_global(self) -> None:
        module, name = self.pair()
        if type(module) is not str or type(name) is not str:
            raise DamagedFile("damaged: the pickle names something that is not text")
        self.push(_name(module, name))

    def reduce(self) -> None:
        function, arguments = self.pair()
        if type(function) is not Name or function not in _CALLS or type(arguments) is not tuple:
            raise DamagedFile("suspect: the pickle calls what cannot be called")
        if len(arguments) > 8:
            raise DamagedFile("suspect: the pickle calls a function with too many arguments")
        # One remembered list could otherwise be made a dictionary of again and again.
        if function.name == "OrderedDict" and arguments:
            self.items_left -= len(arguments[0])
            if self.items_left < 0:
                raise DamagedFile("suspect: the pickle describes far more than a state dict")
        self.push(_CALLS[function](*arguments))

    def build(self) -> None:
        # A state dict carries the version of each module as an attribute: not needed, dropped.
        target, state = self.pair()
        if type(target) is not dict or type(state) is not dict:
            raise DamagedFile("suspect: the pickle gives attributes to something that has none")
        self.push(target)


def _protocol(machine: _Machine) -> None:
    if machine.number("B") > 5:
        raise DamagedFile("damaged: the pickle is of an unknown protocol")


def _persistent(machine: _Machine) -> None:
    machine.storages.append(_storage(machine.pop()))
    machine.push(machine.storages[-1])


def _frame(machine: _Machine) -> None:
    machine.take(8)


def _long(machine: _Machine) -> None:
    machine.push(int.from_bytes(machine.take(machine.number("B")), "little", signed=True))


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    b"(": lambda m: m.push(_MARK),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"\x8a": _long,
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"X": lambda m: m.push(m.text("<I")),
    b"\x8c": lambda m: m.push(m.text("B")),
    b"T": lambda m: m.push(m.text("<i", "latin-1")),  # the str of Python 2
    b"U": lambda m: m.push(m.text("B", "latin-1")),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.set_items(m.pair()),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"q": lambda m: m.remember(m.number("B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number("B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": lambda m: m.push(_name(m.line(), m.line())),
    b"\x93": _Machine.stack_global,
    b"Q": _persistent,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}
