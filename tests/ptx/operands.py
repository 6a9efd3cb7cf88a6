"""Registers, constants and addresses of PTX statements, as functions that read and write them.

A statement is translated once for its kernel and then run for many waves of blocks. A reader takes
a wave and returns one value for each thread, or one value for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from ptx.assembly import Kernel, members_of

BITS = {"pred": 1, "b16": 16, "b32": 32, "b64": 64, "f32": 32, "f64": 64}
KINDS = {"u": "u", "b": "u", "s": "i", "f": "f"}
REGISTER_TYPES = {
    bits: {f"{letter}{bits}": np.dtype(f"{kind}{bits // 8}") for letter, kind in KINDS.items()}
    for bits in (16, 32, 64)
}
# An address in the shared memory of a cluster has the block's rank, plus one, above this bit. Those
# without one are in the thread's own block.
RANK_BIT = 24
ADDRESS = re.compile(r"\[([^+\]]+)(?:\+(-?\d+))?\]$")
FLOAT = re.compile(r"0[fF]([0-9a-fA-F]{8})$|0[dD]([0-9a-fA-F]{16})$")

Reader = Callable[[Any], Any]


def dtype_of(kind: str) -> np.dtype:
    """``"b32"`` as NumPy's uint32, and so on."""
    if kind == "pred":
        return np.dtype(bool)
    return np.dtype(f"{KINDS[kind[0]]}{int(kind[1:]) // 8}")


def unsigned(bits: int) -> np.dtype:
    return np.dtype(f"u{bits // 8}")


class Operands:
    """The registers and the shared arrays of one kernel.

    Attributes
    ----------
    rows : width in bits, and row in the file of that width, of each register
    counts : number of registers of each width
    symbols : offset of each shared array in shared memory, bytes
    static_nbytes : shared memory before that whose size a launch gives
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.rows: dict[str, tuple[int, int]] = {}
        self.counts = dict.fromkeys((1, 16, 32, 64), 0)
        for name, kind in kernel.registers.items():
            self.rows[name] = BITS[kind], self.counts[BITS[kind]]
            self.counts[BITS[kind]] += 1
        self.symbols, end = {}, 0
        for name, align, nbytes in kernel.shared:
            self.symbols[name] = -(-end // align) * align
            end = self.symbols[name] + nbytes
        self.static_nbytes = -(-end // 1024) * 1024 if kernel.dynamic else end
        self.symbols |= dict.fromkeys(kernel.dynamic, self.static_nbytes)

    def reader(self, operand: str, kind: str) -> Reader:
        """A function from a wave to the operand as values of a type such as "u32"."""
        if operand in self.rows:
            return self._register(operand, kind)
        if operand[0] == "%":
            dtype = dtype_of(kind)
            return lambda wave: wave.special[operand].astype(dtype, copy=False)
        value = self.constant(operand, kind)
        return lambda wave: value

    def _register(self, name: str, kind: str) -> Reader:
        width, row = self.rows[name]
        dtype = dtype_of(kind)
        if width == 1 or width == 8 * dtype.itemsize:
            return lambda wave: wave.registers[kind][row]
        low = unsigned(8 * dtype.itemsize)  # the low part of a wider register
        return lambda wave: wave.registers[f"u{width}"][row].astype(low).view(dtype)

    def constant(self, operand: str, kind: str) -> Any:
        if operand in self.symbols:
            return dtype_of(kind).type(self.symbols[operand])
        if operand in self.kernel.parameters:
            return dtype_of(kind).type(self.kernel.parameters[operand][0])
        if kind == "pred":
            return np.bool_(int(operand) != 0)
        bits = FLOAT.match(operand)
        if bits:
            width = 32 if bits[1] else 64
            return unsigned(width).type(int(bits[1] or bits[2], 16)).view(f"f{width // 8}")
        width = 8 * dtype_of(kind).itemsize
        value = int(operand, 0) & ((1 << width) - 1)
        return unsigned(width).type(value).view(dtype_of(kind))

    def writer(self, operand: str) -> Callable[[Any, Any, np.ndarray], None]:
        """A function that stores values in a register, for the threads of a mask."""
        if operand == "_":
            return lambda wave, values, mask: None
        width, row = self.rows[operand]
        if width == 1:
            return lambda wave, values, mask: np.copyto(
                wave.registers["pred"][row], values, where=mask
            )
        kind, dtype, signed = f"u{width}", unsigned(width), np.dtype(f"i{width // 8}")

        def write(wave: Any, values: Any, mask: np.ndarray) -> None:
            if values.dtype.itemsize != dtype.itemsize:
                values = values.astype(signed if values.dtype.kind == "i" else dtype)
            np.copyto(wave.registers[kind][row], values.view(dtype), where=mask)

        return write

    def readers(self, operand: str, kind: str) -> list[Reader]:
        """One for each member of a vector."""
        return [self.reader(each, kind) for each in members_of(operand)]

    def writers(self, operand: str) -> list[Callable[[Any, Any, np.ndarray], None]]:
        return [self.writer(each) for each in members_of(operand)]

    def address(self, operand: str, space: str) -> Reader:
        """``[%rd1+16]`` as a function from a wave to the address of each thread, int64.

        An address in shared memory counts from the start of the wave's, not the block's.
        """
        match = ADDRESS.match(operand)
        assert match is not None, operand
        base, offset = match[1].strip(), int(match[2] or 0)
        wide = not space.startswith("shared") or self.rows.get(base, (0, 0))[0] == 64
        read = self.reader(base, "u64" if wide else "u32")

        def addresses(wave: Any) -> np.ndarray:
            start = np.asarray(read(wave)).astype(np.int64) + offset
            if space == "shared":
                return start + wave.shared_start
            if space == "shared::cluster":
                return wave.of_cluster(start)
            return np.broadcast_to(start, wave.threads)

        return addresses
