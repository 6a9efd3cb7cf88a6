"""What each PTX instruction does to the registers of a wave: arithmetic, and moves between them.

`step_of` translates a statement to a function of a wave and of the threads that take part. Each
translation is registered under its instruction's name; memory and matrices have modules of their
own. An instruction or a modifier that nothing here knows raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ptx.assembly import Statement, members_of
from ptx.operands import Operands, Reader, dtype_of, unsigned

Step = Callable[[Any, np.ndarray], None]


class Instruction(NamedTuple):
    """``add.rn.f32 %f1, %f2, %f3``: its name, modifiers ("rn",), type "f32" and operands."""

    name: str
    modifiers: tuple[str, ...]
    kind: str
    operands: tuple[str, ...]

    def only(self, *allowed: str) -> None:
        """Refuse modifiers that would change the result and are not known."""
        unknown = set(self.modifiers) - set(allowed)
        if unknown:
            raise NotImplementedError(f"{self.name} with {sorted(unknown)}")


TRANSLATIONS: dict[str, Callable[[Operands, Instruction], Step]] = {}


def translates(*names: str) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def step_of(operands: Operands, statement: Statement) -> Step:
    name, *modifiers = statement.opcode.split(".")
    if name not in TRANSLATIONS:
        raise NotImplementedError(statement.text)
    kind = modifiers[-1] if modifiers else ""
    instruction = Instruction(name, tuple(modifiers[:-1]), kind, statement.operands)
    return TRANSLATIONS[name](operands, instruction)


def computed(operands: Operands, target: str, sources: list[Reader], function: Any) -> Step:
    """The step that stores a function of some operands."""
    write = operands.writer(target)

    def step(wave: Any, mask: np.ndarray) -> None:
        write(wave, function(*(read(wave) for read in sources)), mask)

    return step


# ---- arithmetic ----------------------------------------------------------------------------------

PLAIN = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "neg": np.negative, "abs": np.abs,
    "not": np.invert, "sqrt": np.sqrt,
}  # fmt: skip


@translates("add", "sub", "and", "or", "xor", "neg", "abs", "not", "sqrt", "min", "max")
def plain(operands: Operands, it: Instruction) -> Step:
    it.only("rn")
    extreme = {"min": (np.minimum, np.fmin), "max": (np.maximum, np.fmax)}  # PTX drops a NaN
    function = extreme[it.name][it.kind[0] == "f"] if it.name in extreme else PLAIN[it.name]
    sources = [operands.reader(each, it.kind) for each in it.operands[1:]]
    return computed(operands, it.operands[0], sources, function)


@translates("mul", "mad")
def multiply(operands: Operands, it: Instruction) -> Step:
    it.only("rn", "lo", "hi", "wide")
    dtype = dtype_of(it.kind)
    wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}") if dtype.itemsize < 8 else dtype
    sources = [operands.reader(each, it.kind) for each in it.operands[1:3]]
    if it.name == "mad":
        third = f"{it.kind[0]}{8 * wide.itemsize}" if "wide" in it.modifiers else it.kind
        sources.append(operands.reader(it.operands[3], third))

    def product(a: Any, b: Any, *addend: Any) -> Any:
        if "hi" in it.modifiers:
            assert dtype.itemsize == 4, it
            found = (np.asarray(a).astype(wide) * b >> 32).astype(dtype)
        elif "wide" in it.modifiers:
            found = np.asarray(a).astype(wide) * np.asarray(b).astype(wide)
        else:
            found = np.multiply(a, b)
        return found + addend[0] if addend else found

    return computed(operands, it.operands[0], sources, product)


@translates("fma")
def fused(operands: Operands, it: Instruction) -> Step:
    it.only("rn")
    dtype = dtype_of(it.kind)
    wide = {4: np.float64, 8: np.longdouble}[dtype.itemsize]
    sources = [operands.reader(each, it.kind) for each in it.operands[1:]]

    def function(a: Any, b: Any, c: Any) -> Any:
        return (np.asarray(a).astype(wide) * b + c).astype(dtype)

    return computed(operands, it.operands[0], sources, function)


@translates("div", "rem", "rcp")
def divide(operands: Operands, it: Instruction) -> Step:
    it.only("rn")
    sources = [operands.reader(each, it.kind) for each in it.operands[1:]]

    def of_integers(a: Any, b: Any) -> Any:
        b = np.where(b == 0, np.asarray(b).dtype.type(1), b)
        remainder = np.fmod(a, b)  # with the sign of a, as in C
        return remainder if it.name == "rem" else ((a - remainder) // b).astype(remainder.dtype)

    if it.name == "rcp":
        return computed(operands, it.operands[0], sources, np.reciprocal)
    function = np.divide if it.kind[0] == "f" else of_integers
    return computed(operands, it.operands[0], sources, function)


# ---- comparisons ---------------------------------------------------------------------------------

COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater,
    "hs": np.greater_equal,
}  # fmt: skip


def comparison(name: str, floating: bool) -> Callable[[Any, Any], Any]:
    """The comparison of that name; ``equ`` and the like are true where a value is NaN."""
    if name in ("nan", "num"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (name == "nan")
    if name in COMPARISONS:
        function = COMPARISONS[name]
        if not floating or name != "ne":
            return function
        return lambda a, b: function(a, b) & ~(np.isnan(a) | np.isnan(b))
    function = COMPARISONS[name[:-1]]
    return lambda a, b: function(a, b) | np.isnan(a) | np.isnan(b)


@translates("setp")
def set_predicate(operands: Operands, it: Instruction) -> Step:
    if len(it.modifiers) != 1:
        raise NotImplementedError(str(it))
    sources = [operands.reader(each, it.kind) for each in it.operands[1:]]
    function = comparison(it.modifiers[0], it.kind[0] == "f")
    return computed(operands, it.operands[0], sources, function)


@translates("selp")
def select(operands: Operands, it: Instruction) -> Step:
    target, yes, no, predicate = it.operands
    sources = [operands.reader(predicate, "pred"), operands.reader(yes, it.kind),
               operands.reader(no, it.kind)]  # fmt: skip
    return computed(operands, target, sources, np.where)


# ---- moves and conversions -----------------------------------------------------------------------


@translates("mov")
def move(operands: Operands, it: Instruction) -> Step:
    target, source = it.operands
    if target.startswith("{"):
        return unpack(operands, it)
    if source.startswith("{"):
        return pack(operands, it)
    return computed(operands, target, [operands.reader(source, it.kind)], lambda value: value)


def unpack(operands: Operands, it: Instruction) -> Step:
    writers = operands.writers(it.operands[0])
    whole = int(it.kind[1:])
    read, bits = operands.reader(it.operands[1], f"u{whole}"), whole // len(writers)

    def step(wave: Any, mask: np.ndarray) -> None:
        value = np.asarray(read(wave))
        for i, write in enumerate(writers):
            part = value >> unsigned(whole).type(bits * i)
            write(wave, part.astype(unsigned(bits)), mask)

    return step


def pack(operands: Operands, it: Instruction) -> Step:
    whole = unsigned(int(it.kind[1:]))
    bits = 8 * whole.itemsize // len(members_of(it.operands[1]))
    sources = operands.readers(it.operands[1], f"u{bits}")

    def joined(*parts: Any) -> Any:
        found = whole.type(0)
        for i, part in enumerate(parts):
            found = found | np.asarray(part).astype(whole) << whole.type(bits * i)
        return found

    return computed(operands, it.operands[0], sources, joined)


@translates("cvta")
def convert_address(operands: Operands, it: Instruction) -> Step:
    """Addresses of global memory and generic ones are the same here."""
    return computed(
        operands, it.operands[0], [operands.reader(it.operands[1], "u64")], lambda value: value
    )


@translates("cvt")
def convert(operands: Operands, it: Instruction) -> Step:
    *modifiers, to = it.modifiers
    if set(modifiers) - {"rn", "rni", "rzi"}:
        raise NotImplementedError(str(it))
    source, target = dtype_of(it.kind), dtype_of(to)

    def function(value: Any) -> Any:
        value = np.asarray(value)
        if source.kind != "f" or target.kind == "f":
            return value.astype(target)
        whole = np.trunc(value) if "rzi" in modifiers else np.rint(value)
        limits = np.iinfo(target)
        whole = np.nan_to_num(whole.astype(np.float64), posinf=np.inf, neginf=-np.inf)
        return np.clip(whole, limits.min, limits.max).astype(target)

    return computed(operands, it.operands[0], [operands.reader(it.operands[1], it.kind)], function)


# ---- bits ----------------------------------------------------------------------------------------


@translates("shl", "shr")
def shift(operands: Operands, it: Instruction) -> Step:
    dtype = dtype_of(it.kind)
    bits = 8 * dtype.itemsize

    def function(value: Any, count: Any) -> Any:
        value, count = np.asarray(value), np.asarray(count).astype(np.int64)
        within = np.minimum(count, bits - 1).astype(dtype)
        shifted = value << within if it.name == "shl" else value >> within
        signs = value >> dtype.type(bits - 1) if dtype.kind == "i" and it.name == "shr" else 0
        return np.where(count >= bits, signs, shifted).astype(dtype)

    sources = [operands.reader(it.operands[1], it.kind), operands.reader(it.operands[2], "u32")]
    return computed(operands, it.operands[0], sources, function)


@translates("popc", "clz")
def count_bits(operands: Operands, it: Instruction) -> Step:
    bits = int(it.kind[1:])

    def function(value: Any) -> Any:
        high_first = np.atleast_1d(value).astype(f">u{bits // 8}")[:, None].view(np.uint8)
        ones = np.unpackbits(high_first, axis=1)
        if it.name == "popc":
            return ones.sum(1, dtype=np.uint32)
        return np.where(ones.any(1), ones.argmax(1), bits).astype(np.uint32)

    source = operands.reader(it.operands[1], f"u{bits}")
    return computed(operands, it.operands[0], [source], function)


@translates("bfi", "bfe")
def bit_field(operands: Operands, it: Instruction) -> Step:
    """A field that starts at bit `first` and has `count` bits, both below 256."""
    dtype = unsigned(int(it.kind[1:]))
    bits = 8 * dtype.itemsize
    if it.name == "bfe" and it.kind[0] == "s":
        raise NotImplementedError(str(it))

    def field(value: Any, first: Any, count: Any) -> tuple[Any, Any, Any]:
        first, count = (np.asarray(each).astype(np.uint64) & np.uint64(255)
                        for each in (first, count))  # fmt: skip
        ones = np.where(count >= bits, np.uint64(2**64 - 1), (np.uint64(1) << count) - np.uint64(1))
        return np.asarray(value).astype(np.uint64), np.minimum(first, np.uint64(63)), ones

    def extract(value: Any, first: Any, count: Any) -> Any:
        value, first, ones = field(value, first, count)
        return (value >> first & ones).astype(dtype)

    def insert(value: Any, into: Any, first: Any, count: Any) -> Any:
        value, first, ones = field(value, first, count)
        into = np.asarray(into).astype(np.uint64)
        return (into & ~(ones << first) | (value & ones) << first).astype(dtype)

    values = [operands.reader(each, f"u{bits}") for each in it.operands[1:-2]]
    numbers = [operands.reader(each, "u32") for each in it.operands[-2:]]
    function = extract if it.name == "bfe" else insert
    return computed(operands, it.operands[0], values + numbers, function)


@translates("prmt")
def permute_bytes(operands: Operands, it: Instruction) -> Step:
    """Byte i of the result is the one of b:a that four bits of the selector name, or its sign."""
    it.only()

    def function(a: Any, b: Any, selector: Any) -> Any:
        low, high, selector = (np.asarray(each).astype(np.uint64) for each in (a, b, selector))
        both, found = low | high << np.uint64(32), np.uint64(0)
        for i in range(4):
            choice = selector >> np.uint64(4 * i)
            byte = both >> (choice & np.uint64(7)) * np.uint64(8) & np.uint64(255)
            sign = np.where(byte & np.uint64(128), np.uint64(255), np.uint64(0))
            byte = np.where(choice & np.uint64(8), sign, byte)
            found = found | byte << np.uint64(8 * i)
        return found.astype(np.uint32)

    sources = [operands.reader(each, "u32") for each in it.operands[1:]]
    return computed(operands, it.operands[0], sources, function)


@translates("barrier")
def arrive(operands: Operands, it: Instruction) -> Step:
    """barrier.cluster.arrive: to arrive and to wait are one, as in the kernels here."""
    it.only("cluster", "arrive", "release")
    return lambda wave, mask: wave.whole_warps(mask)


@translates("bar")
def meet_in_a_warp(operands: Operands, it: Instruction) -> Step:
    """bar.warp.sync: the lanes of a warp are in step already, but all of them have to come."""
    return lambda wave, mask: wave.whole_warps(mask)
