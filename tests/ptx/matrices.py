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

    def step(wave: Any, mask: np.ndarray) -> None:
        wave.whole_warps(mask)
        assert (np.broadcast_to(clamp(wave), wave.threads)[mask] == WARP - 1).all(), it
        source = wave.lanes ^ np.broadcast_to(bits(wave) % WARP, wave.threads)
        write(wave, np.broadcast_to(read(wave), wave.threads)[source], mask)
        if report is not None:
            report(wave, np.ones(wave.threads, bool), mask)

    return step


@translates("ldmatrix")
def load_matrices(operands: Operands, it: Instruction) -> Step:
    """Threads 8 i to 8 i + 7 name the rows of matrix i; lane 4 r + c gets elements 2 c, 2 c + 1."""
    if it.modifiers[:4] != ("sync", "aligned", "m8n8", "x4"):
        raise NotImplementedError(str(it))
    writers, address = operands.writers(it.operands[0]), operands.address(it.operands[1], "shared")

    def step(wave: Any, mask: np.ndarray) -> None:
        wave.whole_warps(mask)
        where = address(wave)
        memory = wave.access("shared", "read", where[mask], ROW_NBYTES, mask)
        first = memory.index(np.where(mask, where, 0), 16).reshape(-1, 4, 8)
        matrices = memory.view(16)[first[..., None] + np.arange(8)]  # warp, matrix, row, column
        if "trans" in it.modifiers:
            matrices = matrices.swapaxes(2, 3)
        pairs = np.ascontiguousarray(matrices).view(np.uint32).reshape(-1, 4, WARP)
        for i, write in enumerate(writers):
            write(wave, pairs[:, i].reshape(-1), mask)

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
    c = operands.readers(it.operands[3], "u32")
    assert (len(members_of(it.operands[1])), len(b)) == (depth // 4, depth // 8), it

    def step(wave: Any, mask: np.ndarray) -> None:
        wave.whole_warps(mask)
        A, B = (gathered(wave, readers).view(np.float16).astype(np.float64) for readers in (a, b))
        C = gathered(wave, c).view(np.float32)[:, ACCUMULATORS]
        sums = A[:, LEFT[depth]] @ B[:, RIGHT[depth]] + C
        D = truncated(sums) if wave.launch.truncating else sums.astype(np.float32)
        by_lane = D.reshape(-1, ACCUMULATORS.size)[:, ELEMENTS]
        for i, write in enumerate(writers):
            write(wave, by_lane[:, i].reshape(-1), mask)

    return step


def gathered(wave: Any, readers: list[Any]) -> np.ndarray:
    """(warps, lanes x registers)"""
    found = np.empty((wave.threads, len(readers)), np.uint32)
    for i, read in enumerate(readers):
        found[:, i] = read(wave)
    return found.reshape(-1, WARP * len(readers))


def place_in_left(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Row g for elements 0, 1, 4, 5, else g + 8; column 2 t + (i & 1), from element 4 on 8 more."""
    return GROUP + (8 if i & 2 else 0), 2 * MEMBER + (i & 1) + (8 if i >= 4 else 0)


def place_in_right(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Row 2 t + (i & 1), from element 2 on 8 more; column g."""
    return 2 * MEMBER + (i & 1) + (8 if i >= 2 else 0), GROUP


def place_in_accumulators(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Row g for elements 0 and 1, else g + 8; column 2 t + (i & 1)."""
    return GROUP + (8 if i >= 2 else 0), 2 * MEMBER + (i & 1)


def source_of(place: Any, rows: int, columns: int) -> np.ndarray:
    """For each element of a matrix, where it lies among the elements of a warp's lanes."""
    each = rows * columns // WARP
    found = np.empty((rows, columns), np.int64)
    for i in range(each):
        found[place(i)] = LANE * each + i
    return found


LEFT = {depth: source_of(place_in_left, 16, depth) for depth in (8, 16)}
RIGHT = {depth: source_of(place_in_right, depth, 8) for depth in (8, 16)}
ACCUMULATORS = source_of(place_in_accumulators, 16, 8)
# The other way round: where each lane's elements lie in the matrix, (elements, lanes).
ELEMENTS = np.argsort(ACCUMULATORS.reshape(-1)).reshape(WARP, -1).T
