"""PTX instructions that the lanes of a warp carry out together: shuffles, ldmatrix, mma.

Layouts are the formulas of the PTX ISA ("Warp Level Matrix Instructions"); nothing is taken from
the stand-in for CUDA, so that an error of one of them cannot hide in the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ptx.assembly import members_of
from ptx.instructions import Instruction, Step, translates
from ptx.operands import Operands

WARP = 32
LANE = np.arange(WARP)
GROUP, MEMBER = LANE // 4, LANE % 4
ROW_NBYTES = 16  # of an 8 x 8 matrix of halves


@translates("shfl")
def shuffle(operands: Operands, it: Instruction) -> Step:
    """shfl.sync.bfly: each lane reads the lane whose number differs in some bits."""
    if it.modifiers != ("sync", "bfly"):
        raise NotImplementedError(str(it))
    target, _, valid = it.operands[0].partition("|")
    write, read = operands.writer(target), operands.reader(it.operands[1], "u32")
    bits, clamp = (operands.reader(each, "u32") for each in it.operands[2:4])
    report = operands.writer(valid) if valid else None

    def step(block: Any, mask: np.ndarray) -> None:
        block.whole_warps(mask)
        assert (np.broadcast_to(clamp(block), block.threads)[mask] == WARP - 1).all(), it
        source = block.lanes ^ np.broadcast_to(bits(block) % WARP, block.threads)
        write(block, np.broadcast_to(read(block), block.threads)[source], mask)
        if report is not None:
            report(block, np.ones(block.threads, bool), mask)

    return step


@translates("ldmatrix")
def load_matrices(operands: Operands, it: Instruction) -> Step:
    """Threads 8 i to 8 i + 7 name the rows of matrix i; lane 4 r + c gets elements 2 c, 2 c + 1."""
    if it.modifiers[:4] != ("sync", "aligned", "m8n8", "x4"):
        raise NotImplementedError(str(it))
    writers, address = operands.writers(it.operands[0]), operands.address(it.operands[1], "shared")

    def step(block: Any, mask: np.ndarray) -> None:
        block.whole_warps(mask)
        where = address(block)
        memory = block.access("shared", "read", where[mask], ROW_NBYTES, mask)
        first = memory.index(np.where(mask, where, 0), 16).reshape(-1, 4, 8)
        matrices = memory.view(16)[first[..., None] + np.arange(8)]  # warp, matrix, row, column
        if "trans" in it.modifiers:
            matrices = matrices.swapaxes(2, 3)
        pairs = np.ascontiguousarray(matrices).view(np.uint32).reshape(-1, 4, WARP)
        for i, write in enumerate(writers):
            write(block, pairs[:, i].reshape(-1), mask)

    return step


def truncated(sums: np.ndarray) -> np.ndarray:
    """float64 to float32, towards zero."""
    rounded = sums.astype(np.float32)
    too_large = np.abs(rounded.astype(np.float64)) > np.abs(sums)
    return np.where(too_large, np.nextafter(rounded, np.float32(0)), rounded)


@translates("mma")
def multiply_matrices(operands: Operands, it: Instruction) -> Step:
    """D = A B + C of 16 x K halves, K x 8 halves and 16 x 8 floats, with K = 8 or 16."""
    depth = {"m16n8k8": 8, "m16n8k16": 16}.get(it.modifiers[2])
    types = (*it.modifiers[3:], it.kind)
    if depth is None or types != ("row", "col", "f32", "f16", "f16", "f32"):
        raise NotImplementedError(str(it))
    writers = operands.writers(it.operands[0])
    a, b = (operands.readers(each, "u32") for each in it.operands[1:3])
    c = operands.readers(it.operands[3], "f32")
    assert (len(members_of(it.operands[1])), len(b)) == (depth // 4, depth // 8), it

    def step(block: Any, mask: np.ndarray) -> None:
        block.whole_warps(mask)
        A, B, C = (gathered(block, readers) for readers in (a, b, c))
        sums = left(A, depth) @ right(B, depth) + accumulators(C)
        D = truncated(sums) if block.launch.truncating else sums.astype(np.float32)
        for i, write in enumerate(writers):
            row, column = place_in_accumulators(i)
            write(block, np.ascontiguousarray(D[:, row, column]).reshape(-1), mask)

    return step


def gathered(block: Any, readers: list[Any]) -> np.ndarray:
    """(warps, lanes, registers)"""
    values = [np.broadcast_to(read(block), block.threads) for read in readers]
    return np.stack(values, 1).reshape(-1, WARP, len(readers))


def left(registers: np.ndarray, depth: int) -> np.ndarray:
    """Row g for elements 0, 1, 4, 5, else g + 8; column 2 t + (i & 1), from element 4 on 8 more."""
    halves = registers.view(np.float16).astype(np.float64)
    found = np.empty((len(halves), 16, depth))
    for i in range(halves.shape[2]):
        row = GROUP + (8 if i & 2 else 0)
        found[:, row, 2 * MEMBER + (i & 1) + (8 if i >= 4 else 0)] = halves[:, :, i]
    return found


def right(registers: np.ndarray, depth: int) -> np.ndarray:
    """Row 2 t + (i & 1), from element 2 on 8 more; column g."""
    halves = registers.view(np.float16).astype(np.float64)
    found = np.empty((len(halves), depth, 8))
    for i in range(halves.shape[2]):
        found[:, 2 * MEMBER + (i & 1) + (8 if i >= 2 else 0), GROUP] = halves[:, :, i]
    return found


def accumulators(registers: np.ndarray) -> np.ndarray:
    found = np.empty((len(registers), 16, 8))
    for i in range(4):
        row, column = place_in_accumulators(i)
        found[:, row, column] = registers[:, :, i]
    return found


def place_in_accumulators(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Row g for elements 0 and 1, else g + 8; column 2 t + (i & 1)."""
    return GROUP + (8 if i >= 2 else 0), 2 * MEMBER + (i & 1)
