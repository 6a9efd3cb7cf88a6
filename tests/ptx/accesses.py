"""PTX instructions that read and write memory: loads, stores, copies on the side, maxima."""

from __future__ import annotations

from typing import Any

import numpy as np
from ptx.instructions import Instruction, Step, computed, translates
from ptx.operands import RANK_BIT, Operands, unsigned

COPY_NBYTES = 16  # of cp.async


def space_of(it: Instruction) -> str:
    for space in ("param", "shared", "shared::cluster", "global"):
        if space in it.modifiers:
            return space
    raise NotImplementedError(f"generic addresses: {it}")


@translates("ld")
def load(operands: Operands, it: Instruction) -> Step:
    space, bits = space_of(it), int(it.kind[1:])
    if space == "param":
        return load_parameter(operands, it)
    writers, address = operands.writers(it.operands[0]), operands.address(it.operands[1], space)
    dtype = np.dtype(f"{'i' if it.kind[0] == 's' else 'u'}{bits // 8}")

    def step(wave: Any, mask: np.ndarray) -> None:
        where = address(wave)[mask]
        memory = wave.access(space, "read", where, bits // 8 * len(writers), mask)
        view, first = memory.view(bits), memory.index(where, bits)
        for i, write in enumerate(writers):
            values = np.empty(wave.threads, dtype)
            values[mask] = view[first + i].view(dtype)
            write(wave, values, mask)

    return step


def load_parameter(operands: Operands, it: Instruction) -> Step:
    """At a constant place, or at one that each thread computes."""
    bits = int(it.kind[1:])
    writers, (name, _, offset) = (
        operands.writers(it.operands[0]),
        it.operands[1].strip("[]").partition("+"),
    )
    base = operands.reader(name, "u64")

    def step(wave: Any, mask: np.ndarray) -> None:
        arguments = wave.launch.arguments
        start = np.asarray(base(wave)).astype(np.int64) + int(offset or 0)
        for i, write in enumerate(writers):
            at = np.where(mask, start + i * bits // 8, 0)
            raw = arguments[at[:, None] + np.arange(bits // 8)]
            write(wave, np.ascontiguousarray(raw).view(unsigned(bits))[:, 0], mask)

    return step


@translates("mapa")
def map_to_block(operands: Operands, it: Instruction) -> Step:
    """The address in the shared memory of another block of the cluster."""
    it.only("shared::cluster")
    sources = [operands.reader(each, "u32") for each in it.operands[1:]]
    return computed(
        operands, it.operands[0], sources, lambda own, rank: own | (rank + np.uint32(1)) << RANK_BIT
    )


@translates("st")
def store(operands: Operands, it: Instruction) -> Step:
    space, bits = space_of(it), int(it.kind[1:])
    kind = it.kind if it.kind[0] == "f" else f"u{bits}"
    readers, address = (
        operands.readers(it.operands[1], kind),
        operands.address(it.operands[0], space),
    )

    def step(wave: Any, mask: np.ndarray) -> None:
        where = address(wave)[mask]
        memory = wave.access(space, "write", where, bits // 8 * len(readers), mask)
        view, first = memory.view(bits), memory.index(where, bits)
        for i, read in enumerate(readers):
            values = np.broadcast_to(read(wave), wave.threads)[mask]
            view[first + i] = values.view(unsigned(bits))

    return step


@translates("atom")
def largest(operands: Operands, it: Instruction) -> Step:
    """atom.global.max.u32, one thread after the other."""
    if set(it.modifiers) - {"relaxed", "gpu"} != {"global", "max"} or it.kind != "u32":
        raise NotImplementedError(str(it))
    write, address = operands.writer(it.operands[0]), operands.address(it.operands[1], "global")
    read = operands.reader(it.operands[2], "u32")

    def step(wave: Any, mask: np.ndarray) -> None:
        where = address(wave)
        memory = wave.access("global", "write", where[mask], 4, mask)
        view, values = memory.view(32), np.broadcast_to(read(wave), wave.threads)
        before = np.zeros(wave.threads, np.uint32)
        for lane in np.flatnonzero(mask):
            at = memory.index(where[lane], 32)
            before[lane] = view[at]
            view[at] = max(before[lane], values[lane])
        write(wave, before, mask)

    return step


# ---- cp.async ------------------------------------------------------------------------------------


@translates("cp")
def copy_on_the_side(operands: Operands, it: Instruction) -> Step:
    if it.kind == "commit_group":
        return close_group
    if it.kind == "wait_group":
        return lambda wave, mask: land(wave, mask, int(it.operands[0]))
    if it.modifiers != ("async", "cg", "shared") or it.operands[2] != str(COPY_NBYTES):
        raise NotImplementedError(str(it))
    target = operands.address(it.operands[0], "shared")
    source = operands.address(it.operands[1], "global")
    size = operands.reader(it.operands[3] if len(it.operands) > 3 else str(COPY_NBYTES), "u32")

    def step(wave: Any, mask: np.ndarray) -> None:
        to, come = target(wave)[mask], source(wave)[mask]
        count = np.broadcast_to(size(wave), wave.threads).astype(np.int64)[mask]
        wave.access("shared", "write", to, COPY_NBYTES, mask)
        reads = mask.copy()
        reads[mask] = count > 0
        wave.access("global", "read", come[count > 0], COPY_NBYTES, reads)
        wave.shared.forget(to)
        lanes = np.flatnonzero(mask)
        wave.copies.append((lanes, to, come, count, wave.group[lanes]))

    return step


def close_group(wave: Any, mask: np.ndarray) -> None:
    wave.group[mask] += 1


def land(wave: Any, mask: np.ndarray, open_groups: int) -> None:
    """Carry out the copies of all groups of these threads but the last ones."""
    under_way, byte = [], np.arange(COPY_NBYTES)
    for copies in wave.copies:
        lanes, to, come, count, group = copies
        go = mask[lanes] & (group < wave.group[lanes] - open_groups)
        if not go.any():
            under_way.append(copies)
            continue
        wanted = byte < count[go, None]
        values = np.zeros(wanted.shape, np.uint8)
        values[wanted] = wave.memory.view(8)[wave.memory.index((come[go, None] + byte)[wanted], 8)]
        wave.shared.view(64)[to[go, None] // 8 + np.arange(2)] = values.view(np.uint64)
        wave.note("write", to[go], COPY_NBYTES, lanes[go])
        if not go.all():
            under_way.append(tuple(each[~go] for each in copies))
    wave.copies = under_way
