"""Runs kernels, one NumPy lane for each thread, and checks what they do to memory.

The blocks of a launch run in waves of as many as give NumPy enough to do at a time, and those of a
cluster always in one. Of the threads that may go on, those with the lowest statement run it
together. So loops and branches come together again where they end. Warps stay in step, unless a
seed lets some run ahead of others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from ptx import accesses, matrices  # noqa: F401 (their instructions register themselves)
from ptx.assembly import Kernel, Statement
from ptx.instructions import Step, step_of
from ptx.operands import RANK_BIT, REGISTER_TYPES, Operands, Reader, unsigned

WARP = 32
MOST_LANES = 2048  # of a wave
MOST_STEPS = 20_000_000  # of a wave, before its loop is taken for endless
UNWRITTEN = 0xFF  # halves and floats of this are NaN
LOWEST = 4096  # no memory of a process lies below it
Index = tuple[int, int, int]

# Told of every access to memory: space, kind, addresses, bytes, and the lanes of the wave.
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


class Marks:
    """Which warp has touched each byte since the last barrier: its number, NOBODY or SEVERAL.

    Accesses are aligned, so that the marks of one are read and written as whole words.
    """

    NOBODY, SEVERAL = 0xFF, 0xFE

    def __init__(self, nbytes: int) -> None:
        self._marks = np.empty(nbytes, np.uint8)
        self._views = {bits: self._marks.view(unsigned(bits)) for bits in (8, 16, 32, 64)}
        self.clear()

    def clear(self) -> None:
        self._marks.fill(self.NOBODY)

    def all(self) -> np.ndarray:
        return self._marks

    def at(self, addresses: np.ndarray, nbytes: int) -> tuple[np.ndarray, np.ndarray]:
        """The words of these accesses, (lanes, words), and their marks, (lanes, bytes)."""
        size = min(nbytes, 8)
        where = addresses[:, None] // size + np.arange(nbytes // size)
        return where, self._views[8 * size][where].view(np.uint8)

    def put(self, where: np.ndarray, marks: np.ndarray) -> np.ndarray:
        """Store marks; tells for which words another lane has stored other ones."""
        size = marks.shape[1] // where.shape[1]
        view, words = self._views[8 * size], np.ascontiguousarray(marks).view(f"u{size}")
        view[where] = words
        return view[where] != words

    def blur(self, where: np.ndarray, nbytes: int) -> None:
        """Several warps have touched these words of an access of that many bytes."""
        size = min(nbytes, 8)
        self._views[8 * size][where] = int.from_bytes(bytes([self.SEVERAL]) * size, "little")


class Races:
    """Two warps, or two blocks, may touch a byte that one of them writes only after a barrier.

    Parameters
    ----------
    nbytes : size of the shared memory of a wave
    among : "warp" or "block"
    """

    def __init__(self, nbytes: int, among: str) -> None:
        self._among = among
        self._writers, self._readers = Marks(nbytes), Marks(nbytes)

    def pass_barrier(self) -> None:
        self._writers.clear()
        self._readers.clear()

    def read(self, addresses: np.ndarray, nbytes: int, numbers: np.ndarray, text: str) -> None:
        """Note that warps or blocks of these numbers read bytes."""
        who = numbers[:, None]
        _, writers = self._writers.at(addresses, nbytes)
        if ((writers != Marks.NOBODY) & (writers != who)).any():
            raise Fault(f"{text}: reads what another {self._among} writes, no barrier between")
        where, readers = self._readers.at(addresses, nbytes)
        alone = (readers == Marks.NOBODY) | (readers == who)
        shared = self._readers.put(where, np.where(alone, who, np.uint8(Marks.SEVERAL)))
        self._readers.blur(where[shared], nbytes)

    def write(self, addresses: np.ndarray, nbytes: int, numbers: np.ndarray, text: str) -> None:
        """Note that warps or blocks of these numbers write bytes."""
        who = numbers[:, None]
        for marks in (self._readers, self._writers):
            where, others = marks.at(addresses, nbytes)
            if ((others != Marks.NOBODY) & (others != who)).any():
                raise Fault(
                    f"{text}: writes what another {self._among} touches, no barrier between"
                )
        if self._writers.put(where, np.broadcast_to(who, others.shape)).any():
            raise Fault(f"{text}: two {self._among}s write to the same place")

    def read_by_others(self, numbers: np.ndarray) -> np.ndarray:
        """Whether anybody else has read from equal parts of the memory, of which each has one."""
        readers = self._readers.all().reshape(numbers.size, -1)
        return ((readers != Marks.NOBODY) & (readers != numbers[:, None])).any(1)


class SharedMemory:
    """The shared memory of a wave's blocks.

    What nothing has written yet may be read, since kernels fetch ahead and pad their rows; it is
    NaN as a float and so is seen in the results where it is used.

    Attributes
    ----------
    stride : bytes from one block's memory to the next one's
    size : bytes of all blocks
    """

    def __init__(self, nbytes: int, blocks: int) -> None:
        self._nbytes, self.stride = nbytes, -(-nbytes // 1024) * 1024
        self.size = self.stride * blocks
        raw = np.full(self.size + 16, UNWRITTEN, np.uint8)
        start = -raw.ctypes.data % 16
        values = raw[start : start + self.size]
        self._views = {bits: values.view(unsigned(bits)) for bits in (8, 16, 32, 64)}

    def view(self, bits: int) -> np.ndarray:
        return self._views[bits]

    def index(self, addresses: np.ndarray, bits: int) -> np.ndarray:
        return addresses // (bits // 8)

    def check(self, addresses: np.ndarray, nbytes: int, text: str) -> None:
        """Addresses count from the start of each lane's own block."""
        if addresses.size and (addresses.min() < 0 or addresses.max() + nbytes > self._nbytes):
            raise Fault(f"{text}: outside the {self._nbytes} bytes of shared memory")

    def forget(self, addresses: np.ndarray) -> None:
        """Copies of 16 bytes are under way: until they have landed, nothing is there."""
        self._views[64][addresses[:, None] // 8 + np.arange(2)] = np.uint64(2**64 - 1)


class Line(NamedTuple):
    """A translated statement.

    Attributes
    ----------
    guard, inverted : see `assembly.Statement`
    end : "bra", "exit", "barrier" or "cluster", which is a barrier of the cluster, where the
        statement decides how its threads go on, else ""
    run : what it does to the threads of a mask, where it has no `end`
    target : index of the statement to which it jumps, where it does
    """

    text: str
    guard: Reader | None
    inverted: bool
    end: str
    run: Step | None
    target: int | None


ENDS = {"bra": "bra", "ret": "exit", "exit": "exit", "bar": "barrier", "barrier": "barrier"}


class Program:
    """A kernel whose statements are translated when they are first run."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.operands = Operands(kernel)
        self.targets = set(kernel.labels.values())
        self._lines: list[Line | None] = [None] * len(kernel.statements)

    def line(self, index: int) -> Line:
        line = self._lines[index]
        if line is None:
            it, *following = self.kernel.statements[index : index + 2]
            line = self._lines[index] = self._translated(it, *following)
        return line

    def _translated(self, it: Statement, following: Statement | None = None) -> Line:
        name, _, rest = it.opcode.partition(".")
        end = "" if rest.startswith(("warp", "cluster")) else ENDS.get(name, "")
        end = "cluster" if rest.startswith("cluster.wait") else end
        waits = following is not None and "cluster.wait" in following.opcode
        if rest.startswith("cluster.arrive") and not waits:
            raise NotImplementedError(f"{it.text}, and no wait at once")
        return Line(
            it.text,
            self.operands.reader(it.guard, "pred") if it.guard is not None else None,
            it.inverted,
            end,
            None if end else step_of(self.operands, it),
            self.kernel.labels[it.operands[0]] if end == "bra" else None,
        )


class Launch:
    """What the blocks of a launch have in common.

    Parameters
    ----------
    seed : int or None
        For warps that run ahead of others, drawn anew at each barrier; None keeps all in step.
    truncating : bool
        Whether products of matrices cut their sums towards zero, as tensor cores do.
    cluster : int
        So many blocks along z are a cluster.
    """

    def __init__(self, program: Program, grid: Any, block: Any, arguments: bytes, dynamic: int,
                 memory: GlobalMemory, *, observe: Observer | None = None,
                 seed: int | None = None, truncating: bool = False,
                 cluster: int = 1) -> None:  # fmt: skip
        self.program, self.grid, self.block = program, grid, block
        self.arguments = np.frombuffer(arguments + bytes(16), np.uint8)
        self.dynamic, self.memory, self.observe = dynamic, memory, observe
        self.random = None if seed is None else np.random.default_rng(seed)
        self.truncating, self.cluster = truncating, cluster

    def run(self) -> None:
        x, y, z = map(range, self.grid)
        clusters = product(z[:: self.cluster], y, x)
        blocks = [(i, j, k + rank) for k, j, i in clusters for rank in range(self.cluster)]
        clusters_together = max(1, MOST_LANES // (int(np.prod(self.block)) * self.cluster))
        together = clusters_together * self.cluster
        for first in range(0, len(blocks), together):
            Wave(self, blocks[first : first + together]).run()


class Wave:
    """Blocks of a launch that run together.

    Attributes
    ----------
    threads : number of threads of all blocks, numbered block by block: the lanes
    registers : values of all registers of a type, (registers, threads), by the type's name
    special : values of %tid.x and the like
    warps : number of each thread's warp in its cluster
    shared_start : where each thread's block has its shared memory
    races : who touches shared memory between barriers, with the numbers by which they know threads
    text : the statement that runs, for messages
    copies : asynchronous copies under way, and `group` the number of groups each thread closed
    """

    def __init__(self, launch: Launch, blocks: list[Index]) -> None:
        self.launch, self.program = launch, launch.program
        self.memory = launch.memory
        each, operands = int(np.prod(launch.block)), launch.program.operands
        self.blocks, self.threads = len(blocks), len(blocks) * each
        self.lanes = np.arange(self.threads)
        assert each * launch.cluster // WARP < Marks.SEVERAL
        self.warps = (self.lanes % (each * launch.cluster) // WARP).astype(np.uint8)
        self.shared = SharedMemory(operands.static_nbytes + launch.dynamic, self.blocks)
        self.shared_start = self.lanes // each * self.shared.stride
        self.races = [(Races(self.shared.size, "warp"), self.warps)]
        if launch.cluster > 1:
            ranks = (self.lanes // each % launch.cluster).astype(np.uint8)
            self.races.append((Races(self.shared.size, "block"), ranks))
        self.special = special_registers(launch.grid, launch.block, blocks)
        self.registers = registers(operands.counts, self.threads)
        self.copies: list[Any] = []
        self.group = np.zeros(self.threads, np.int64)
        self.text, self.steps = "", 0
        self.at = np.zeros(self.threads, np.int64)
        self.exited, self.waiting, self.for_cluster = np.zeros((3, self.threads), bool)

    def run(self) -> None:
        for ready in self.turns():
            first = int(self.at[ready].min())
            mask = ready & (self.at == first)
            self.go(first, mask, alone=bool((mask == ~(self.exited | self.waiting)).all()))

    def turns(self) -> Iterator[np.ndarray]:
        """The threads that may go on, until all have returned."""
        first = self.run_ahead()
        while not self.exited.all():
            ready = ~(self.exited | self.waiting)
            if not ready.any():
                self.pass_barrier()
                first = self.run_ahead()
            else:
                ahead = ready & first
                yield ahead if ahead.any() else ready

    def run_ahead(self) -> np.ndarray:
        """The threads of the warps that are the first to come to the next barrier."""
        random = self.launch.random
        if random is None:
            return np.ones(self.threads, bool)
        return np.repeat(random.random(self.threads // WARP) < 0.5, WARP)

    def pass_barrier(self) -> None:
        """All threads of all blocks wait, or have returned.

        Those that wait for their block go on first: the others of a cluster may wait for them.
        """
        self.at_one_barrier(self.blocks)
        for_block = self.waiting & ~self.for_cluster
        passed = self.races[:1]
        if for_block.any():
            self.waiting &= ~for_block
        else:
            self.at_one_barrier(self.blocks // self.launch.cluster)
            self.waiting[:] = self.for_cluster[:] = False
            passed = self.races
        for races, _ in passed:
            races.pass_barrier()

    def at_one_barrier(self, parts: int) -> None:
        """Of each part of the threads, all that wait have to be at one barrier."""
        waiting, at = (each.reshape(parts, -1) for each in (self.waiting, self.at))
        first = np.where(waiting, at, np.iinfo(at.dtype).max).min(1)
        if (waiting & (at != first[:, None])).any():
            raise Fault("threads wait at different barriers")

    def go(self, index: int, mask: np.ndarray, *, alone: bool) -> None:
        """Run statements until threads part or, unless they are alone, may meet others."""
        program = self.program
        while True:
            line = program.line(index)
            self.text, taken = line.text, mask
            self.steps += 1
            if line.guard is not None:
                taken = mask & (line.guard(self) != line.inverted)
            index += 1
            if line.run is None:
                self.end(line, index, mask, taken)
                return
            if line.guard is None or taken.any():
                line.run(self, taken)
            if not alone and index in program.targets:
                self.at[mask] = index
                return

    def end(self, line: Line, following: int, mask: np.ndarray, taken: np.ndarray) -> None:
        """Let threads jump, return or wait; those that are not taken go on as they were."""
        if self.steps > MOST_STEPS:
            raise Fault(f"{self.text}: an endless loop?")
        self.at[mask] = following
        if line.end == "bra":
            self.at[taken] = line.target
        elif line.end == "exit":
            self.exited |= taken
            if self.launch.cluster > 1:
                self.check_exit()
        else:
            self.whole_warps(taken)
            self.waiting |= taken
            if line.end == "cluster":
                self.for_cluster |= taken

    # ---- what instructions ask for ---------------------------------------------------------------

    def whole_warps(self, mask: np.ndarray) -> np.ndarray:
        """The warps of a mask, all of whose lanes have to be in it."""
        lanes = mask.reshape(-1, WARP)
        if (lanes.any(1) != lanes.all(1)).any():
            raise Fault(f"{self.text}: not all lanes of a warp are here")
        return np.flatnonzero(lanes[:, 0])

    def access(self, space: str, kind: str, addresses: np.ndarray, nbytes: int, mask: np.ndarray):
        """Check and note one access of each thread of a mask."""
        in_block, shared = addresses, space != "global"
        if space == "shared::cluster":
            in_block = addresses % self.shared.stride
            self.check_block(addresses // self.shared.stride, mask)
        elif shared:
            in_block = addresses - self.shared_start[mask]
        if shared:
            self.shared.check(in_block, nbytes, self.text)
        else:
            self.memory.check(addresses, nbytes, self.text)
        if (addresses & (nbytes - 1)).any():
            raise Fault(f"{self.text}: not aligned to {nbytes} bytes")
        if shared:
            self.note(kind, addresses, nbytes, mask)
        if self.launch.observe is not None:
            self.launch.observe(space, kind, in_block, nbytes, mask)
        return self.shared if shared else self.memory

    def note(self, kind: str, addresses: np.ndarray, nbytes: int, lanes: np.ndarray) -> None:
        """Note a "read" or "write" of shared memory by some threads."""
        for races, numbers in self.races:
            getattr(races, kind)(addresses, nbytes, numbers[lanes], self.text)

    def check_block(self, block: np.ndarray, mask: np.ndarray) -> None:
        """Some blocks of the wave have to be of the threads' cluster, and to run still."""
        mine = self.shared_start[mask] // self.shared.stride
        if (block // self.launch.cluster != mine // self.launch.cluster).any():
            raise Fault(f"{self.text}: outside the shared memory of the cluster")
        if self.exited.reshape(self.blocks, -1).all(1)[block].any():
            raise Fault(f"{self.text}: the block that has this memory has returned")

    def check_exit(self) -> None:
        """A block that returns gives its memory up, of which no other one may be reading."""
        blocks, _ = self.races[1]
        returned = self.exited.reshape(self.blocks, -1).all(1)
        own = np.arange(self.blocks) % self.launch.cluster
        if blocks.read_by_others(own)[returned].any():
            raise Fault("a block returns while another may read its shared memory")

    def of_cluster(self, addresses: np.ndarray) -> np.ndarray:
        """Addresses in shared memory from those that `mapa` makes, or from those of one's own."""
        rank, mine = addresses >> RANK_BIT, self.shared_start // self.shared.stride
        block = np.where(rank == 0, mine, mine - mine % self.launch.cluster + rank - 1)
        return block * self.shared.stride + (addresses & (1 << RANK_BIT) - 1)


def registers(counts: dict[int, int], threads: int) -> dict[str, np.ndarray]:
    """Registers of each width, as each type of that width; what nothing has written is NaN."""
    found = {"pred": np.zeros((counts[1], threads), bool)}
    for bits in (16, 32, 64):
        values = np.full((counts[bits], threads), np.iinfo(unsigned(bits)).max, unsigned(bits))
        found |= {kind: values.view(dtype) for kind, dtype in REGISTER_TYPES[bits].items()}
    return found


def special_registers(grid: Any, block: Any, blocks: list[Index]) -> dict[str, np.ndarray]:
    each = int(np.prod(block))
    lanes = np.tile(np.arange(each, dtype=np.uint32), len(blocks))
    index = np.repeat(np.array(blocks, np.uint32), each, axis=0)
    found = {"%laneid": lanes % WARP}
    strides = (1, block[0], block[0] * block[1])
    for axis, stride, size, count, which in zip("xyz", strides, block, grid, index.T, strict=True):
        found[f"%tid.{axis}"] = lanes // np.uint32(stride) % np.uint32(size)
        found[f"%ntid.{axis}"] = np.full_like(lanes, size)
        found[f"%ctaid.{axis}"] = np.ascontiguousarray(which)
        found[f"%nctaid.{axis}"] = np.full_like(lanes, count)
    return found
