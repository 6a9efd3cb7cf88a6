"""Runs kernels block by block, one NumPy lane for each thread, and checks what they do to memory.

Of the threads that may go on, those with the lowest statement run it together. So loops and
branches come together again where they end, and warps stay in step unless an order by chance is
asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from ptx import accesses, matrices  # noqa: F401 (their instructions register themselves)
from ptx.assembly import Kernel, Statement
from ptx.instructions import step_of
from ptx.operands import Operands, unsigned

WARP = 32
MOST_STEPS = 20_000_000  # of a block, before its loop is taken for endless
SEVERAL = -2  # in the place of a warp's number: more than one
UNWRITTEN = 0xFF  # halves and floats of this are NaN
LOWEST = 4096  # no memory of a process lies below it

# Told of every access to memory: space, kind, addresses, bytes, and the lanes of the block.
Observer = Callable[[str, str, np.ndarray, int, np.ndarray], None]


class Fault(Exception):
    """A kernel has done what a device would punish, or what it would not do twice alike."""


class GlobalMemory:
    """The memory of this process, of which kernels may touch the living blocks alone."""

    def __init__(self) -> None:
        count = (1 << 47) - 2 * LOWEST
        everything = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(LOWEST))
        self._views = {bits: everything.view(unsigned(bits)) for bits in (8, 16, 32, 64)}
        self._starts = self._ends = np.empty(0, np.int64)

    def allow(self, blocks: dict[int, int]) -> None:
        """Name the living blocks: their sizes in bytes, by their addresses."""
        ordered = sorted(blocks.items())
        self._starts = np.array([start for start, _ in ordered], np.int64)
        self._ends = np.array([start + nbytes for start, nbytes in ordered], np.int64)

    def check(self, addresses: np.ndarray, nbytes: np.ndarray | int, text: str) -> None:
        last = np.searchsorted(self._starts, addresses, side="right") - 1
        outside = (last < 0) | (addresses + nbytes > self._ends[np.maximum(last, 0)])
        if outside.any():
            where = int(addresses[outside][0])
            near = int(np.abs(self._ends - where).min()) if self._ends.size else 0
            raise Fault(f"{text}: outside global memory, {near} bytes from the end of a block")

    def view(self, bits: int) -> np.ndarray:
        return self._views[bits]

    def index(self, addresses: np.ndarray, bits: int) -> np.ndarray:
        return (addresses - LOWEST) // (bits // 8)


class SharedMemory:
    """The shared memory of a block, which knows who wrote and who read each byte, and when.

    Two warps may touch a byte that one of them writes only if a barrier lies between. What nothing
    has written yet may be read, since kernels fetch ahead and pad their rows; it is NaN as a float
    and so is seen in the results where it is used.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        room = -(-nbytes // 16) * 16
        raw = np.full(room + 16, UNWRITTEN, np.uint8)
        start = -raw.ctypes.data % 16
        self.values = raw[start : start + room]
        self._views = {bits: self.values.view(unsigned(bits)) for bits in (8, 16, 32, 64)}
        self._writer, self._reader = (np.full(room, -1, np.int32) for _ in range(2))
        self._write_epoch, self._read_epoch = (np.full(room, -1, np.int32) for _ in range(2))

    def view(self, bits: int) -> np.ndarray:
        return self._views[bits]

    def index(self, addresses: np.ndarray, bits: int) -> np.ndarray:
        return addresses // (bits // 8)

    def check(self, addresses: np.ndarray, nbytes: int, text: str) -> None:
        if addresses.size and (addresses.min() < 0 or addresses.max() + nbytes > self.nbytes):
            raise Fault(f"{text}: outside the {self.nbytes} bytes of shared memory")

    def read(self, addresses: np.ndarray, nbytes: int, warps: np.ndarray, now: int, text: str):
        """Note that warps read bytes at the epoch `now`, the number of barriers so far."""
        where = addresses[:, None] + np.arange(nbytes)
        who = np.broadcast_to(warps[:, None], where.shape)
        if ((self._write_epoch[where] == now) & (self._writer[where] != who)).any():
            raise Fault(f"{text}: reads what another warp writes, no barrier between")
        others = (self._read_epoch[where] == now) & (self._reader[where] != who)
        self._reader[where] = readers = np.where(others, SEVERAL, who)
        self._reader[where[self._reader[where] != readers]] = SEVERAL  # in this very access
        self._read_epoch[where] = now

    def write(self, addresses: np.ndarray, nbytes: int, warps: np.ndarray, now: int, text: str):
        """Note that warps write bytes at the epoch `now`."""
        where = addresses[:, None] + np.arange(nbytes)
        who = np.broadcast_to(warps[:, None], where.shape)
        for epoch, by in ((self._write_epoch, self._writer), (self._read_epoch, self._reader)):
            if ((epoch[where] == now) & (by[where] != who)).any():
                raise Fault(f"{text}: writes what another warp touches, no barrier between")
        self._writer[where], self._write_epoch[where] = who, now
        if (self._writer[where] != who).any():
            raise Fault(f"{text}: two warps write to the same place")

    def forget(self, addresses: np.ndarray, nbytes: int) -> None:
        """A copy into these bytes is under way: until it has landed they hold nothing."""
        self.values[addresses[:, None] + np.arange(nbytes)] = UNWRITTEN


class Program:
    """A kernel whose statements are translated when they are first run."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.operands = Operands(kernel)
        self.targets = set(kernel.labels.values())
        self._steps: dict[int, Callable[[Any, np.ndarray], None]] = {}
        self._guards = {
            each.guard: self.operands.reader(each.guard, "pred")
            for each in kernel.statements
            if each.guard is not None
        }

    def step(self, index: int) -> Callable[[Any, np.ndarray], None]:
        if index not in self._steps:
            self._steps[index] = step_of(self.operands, self.kernel.statements[index])
        return self._steps[index]

    def taken(self, block: Block, statement: Statement, mask: np.ndarray) -> np.ndarray:
        """Those of the mask's threads whose guard lets them run the statement."""
        if statement.guard is None:
            return mask
        predicate = self._guards[statement.guard](block)
        return mask & (~predicate if statement.inverted else predicate)


class Launch:
    """What the blocks of a launch have in common.

    Parameters
    ----------
    seed : int or None
        For warps that run ahead of others by chance; None keeps them in step.
    truncating : bool
        Whether products of matrices cut their sums towards zero, as tensor cores do.
    """

    def __init__(self, program: Program, grid: Any, block: Any, arguments: bytes, dynamic: int,
                 memory: GlobalMemory, *, observe: Observer | None = None,
                 seed: int | None = None, truncating: bool = False) -> None:  # fmt: skip
        self.program, self.grid, self.block = program, grid, block
        self.arguments = np.frombuffer(arguments + bytes(16), np.uint8)
        self.dynamic, self.memory, self.observe = dynamic, memory, observe
        self.random = None if seed is None else np.random.default_rng(seed)
        self.truncating = truncating

    def run(self) -> None:
        for z, y, x in product(*(range(count) for count in reversed(self.grid))):
            Block(self, (x, y, z)).run()


class Block:
    """One block while it runs.

    Attributes
    ----------
    files : registers of each width in bits, (registers, threads)
    special : values of %tid.x and the like
    text : the statement that runs, for messages
    epoch : barriers so far
    copies : asynchronous copies under way, and `group` the number of groups each thread closed
    """

    def __init__(self, launch: Launch, index: tuple[int, int, int]) -> None:
        self.launch, self.program = launch, launch.program
        self.threads = threads = int(np.prod(launch.block))
        self.lanes = np.arange(threads)
        self.warps = (self.lanes // WARP).astype(np.int32)
        self.special = special_registers(launch.grid, launch.block, index)
        operands = launch.program.operands
        self.files = {
            width: np.full((count, threads), np.iinfo(unsigned(width)).max, unsigned(width))
            if width > 1
            else np.zeros((count, threads), bool)
            for width, count in operands.counts.items()
        }
        self.memory = launch.memory
        self.shared = SharedMemory(operands.static_nbytes + launch.dynamic)
        self.copies: list[Any] = []
        self.group = np.zeros(threads, np.int64)
        self.text, self.epoch, self.steps = "", 0, 0
        self.at = np.zeros(threads, np.int64)
        self.exited, self.waiting = (np.zeros(threads, bool) for _ in range(2))

    def run(self) -> None:
        for ready in self.turns():
            first = int(self.at[ready].min())
            mask = ready & (self.at == first)
            self.go(first, mask)

    def turns(self) -> Iterator[np.ndarray]:
        """The threads that may go on, until all have returned."""
        while not self.exited.all():
            ready = ~self.exited & ~self.waiting
            if not ready.any():
                self.pass_barrier()
                continue
            random = self.launch.random
            if random is not None:
                warps = np.unique(self.warps[ready])
                some = random.permutation(warps)[: random.integers(1, warps.size + 1)]
                ready &= np.isin(self.warps, some)
            yield ready

    def pass_barrier(self) -> None:
        if len({int(each) for each in self.at[self.waiting]}) > 1:
            raise Fault("threads wait at different barriers")
        self.waiting[:] = False
        self.epoch += 1

    def go(self, index: int, mask: np.ndarray) -> None:
        """Run statements until threads part or may meet others."""
        statements, targets = self.program.kernel.statements, self.program.targets
        while True:
            statement = statements[index]
            self.text = statement.text
            taken = self.program.taken(self, statement, mask)
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise Fault(f"{self.text}: an endless loop?")
            if self.leaves(statement, index, mask, taken):
                return
            if taken.any():
                self.program.step(index)(self, taken)
            index += 1
            if index in targets:
                self.at[mask] = index
                return

    def leaves(self, statement: Statement, index: int, mask: np.ndarray, taken: np.ndarray) -> bool:
        """Whether the statement decides where threads go on; if so, it has."""
        name, _, rest = statement.opcode.partition(".")
        at_barrier = name in ("bar", "barrier") and rest.startswith("sync")
        if name not in ("bra", "ret", "exit") and not at_barrier:
            return False
        self.at[mask] = index + 1
        if name == "bra":
            self.at[taken] = self.program.kernel.labels[statement.operands[0]]
        elif name in ("ret", "exit"):
            self.exited |= taken
        else:
            self.whole_warps(taken)
            self.waiting |= taken
        return True

    # ---- what instructions ask for ---------------------------------------------------------------

    def whole_warps(self, mask: np.ndarray) -> np.ndarray:
        """The warps of a mask, all of whose lanes have to be in it."""
        lanes = mask.reshape(-1, WARP)
        if (lanes.any(1) != lanes.all(1)).any():
            raise Fault(f"{self.text}: not all lanes of a warp are here")
        return np.flatnonzero(lanes.all(1))

    def access(self, space: str, kind: str, addresses: np.ndarray, nbytes: int, mask: np.ndarray):
        """Check and note one access of each thread of a mask."""
        memory = self.shared if space == "shared" else self.memory
        memory.check(addresses, nbytes, self.text)
        if (addresses % nbytes).any():
            raise Fault(f"{self.text}: not aligned to {nbytes} bytes")
        if space == "shared":
            note = self.shared.write if kind == "write" else self.shared.read
            note(addresses, nbytes, self.warps[mask], self.epoch, self.text)
        if self.launch.observe is not None:
            self.launch.observe(space, kind, addresses, nbytes, mask)
        return memory


def special_registers(grid: Any, block: Any, index: Any) -> dict[str, np.ndarray]:
    lanes = np.arange(int(np.prod(block)), dtype=np.uint32)
    found = {"%laneid": lanes % WARP}
    strides = (1, block[0], block[0] * block[1])
    for axis, stride, size, count, which in zip("xyz", strides, block, grid, index, strict=True):
        found[f"%tid.{axis}"] = lanes // np.uint32(stride) % np.uint32(size)
        found[f"%ntid.{axis}"] = np.full_like(lanes, size)
        found[f"%ctaid.{axis}"] = np.full_like(lanes, which)
        found[f"%nctaid.{axis}"] = np.full_like(lanes, count)
    return found
