"""Checks the kernels of conformance.cu against plain arithmetic.

    python tests/cuda_on_cpu/conformance.py                         # g++ and the stand-in for CUDA
    python tests/cuda_on_cpu/conformance.py --nvcc nvcc --arch 90   # on a GPU

Needs NumPy and the compiler, nothing else.
"""

# ruff: noqa: T201 (a program: it prints)
from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from cuda_on_cpu import build  # noqa: E402


class Library:
    """The compiled kernels; arrays travel to the device and back with every call."""

    def __init__(self, path: Path):
        self._library = ctypes.CDLL(str(path))
        self._library.memory_from.restype = ctypes.c_void_p
        self._library.device_name.restype = ctypes.c_char_p
        self.name = self._library.device_name().decode()
        self.capability = self._library.device_capability()

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a launcher; all arrays hold afterwards what the device's copies hold."""
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        sizes = {id(a): ctypes.c_size_t(a.nbytes) for a in arrays}
        memory = {
            id(a): ctypes.c_void_p(self._library.memory_from(a.ctypes.data_as(ctypes.c_void_p), s))
            for a, s in zip(arrays, sizes.values(), strict=True)
        }
        getattr(self._library, function)(*(memory.get(id(a), a) for a in arguments))
        for a in arrays:
            to = a.ctypes.data_as(ctypes.c_void_p)
            self._library.memory_to(to, memory[id(a)], sizes[id(a)])
            self._library.memory_free(memory[id(a)])


Check = Callable[[Library, np.random.Generator], None]


def halves(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float16)


def nearly(found: np.ndarray, wanted: np.ndarray) -> None:
    """Sums of at most a few hundred products, in some order, in float32 (or truncated to it)."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max() * 8)


# ---- ptx.cuh -------------------------------------------------------------------------------------


def mma_m16n8k16(library: Library, rng: np.random.Generator) -> None:
    a, b = halves(rng, 16, 16), halves(rng, 16, 8)
    d = rng.standard_normal((16, 8)).astype(np.float32)
    wanted = d + a.astype(np.float64) @ b.astype(np.float64)
    library.call("product", a, b, d)
    nearly(d, wanted)


def ldmatrix_x4(library: Library, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 2**16, (4, 8, 8)).astype(np.uint16)
    for function, matrices in (
        ("load_matrix", rows),
        ("load_matrix_transposed", rows.transpose(0, 2, 1)),
    ):
        parts = np.zeros((32, 4, 2), np.uint16)
        library.call(function, rows, parts)
        # Lane l gets columns 2 (l % 4) and the next of row l / 4 of each matrix.
        wanted = matrices.reshape(4, 32, 2).transpose(1, 0, 2)
        np.testing.assert_array_equal(parts, wanted)


def cp_async_16(library: Library, rng: np.random.Generator) -> None:
    source = rng.integers(1, 2**32, (192, 4)).astype(np.uint32)
    valid = rng.integers(0, 2, 192).astype(np.uint8)
    found = np.full_like(source, 7)
    library.call("copy", source, valid, found)
    np.testing.assert_array_equal(found, source * valid[:, None])


def clusters(library: Library, rng: np.random.Generator) -> None:
    if library.capability < 90:
        return  # there are none
    for n in (1, 2, 3, 8):
        values = rng.standard_normal((2, n, 64, 4)).astype(np.float32)
        found = np.zeros((2, n, n, 64, 4), np.float32)
        library.call("cluster", values, 2 * n, n, found)
        turned = [np.roll(values[:, rank], -rank, axis=1) for rank in range(n)]
        for block in range(n):
            np.testing.assert_array_equal(found[:, block], np.stack(turned, axis=1))


# ---- intrinsics ----------------------------------------------------------------------------------


def shuffles(library: Library, rng: np.random.Generator) -> None:
    values = rng.integers(-1000, 1000, 32).astype(np.int32)
    found = np.zeros((8, 32), np.int64)
    library.call("shuffle", values, found)
    lane = np.arange(32)
    sources = [
        (7 * lane + 3) % 32,
        lane // 8 * 8 + 3,
        np.where(lane >= 3, lane - 3, lane),
        np.where(lane % 16 + 5 < 16, lane + 5, lane),
        lane ^ 17,
        np.where((lane ^ 12) < lane // 8 * 8 + 8, lane ^ 12, lane),
        lane ^ 1,
        np.minimum(lane + 1, 31),
    ]
    for row, source, factor in zip(found, sources, [1, 1, 1, 1, 1, 1, 2**40, 1], strict=True):
        np.testing.assert_array_equal(row, values[source].astype(np.int64) * factor)


def votes(library: Library, rng: np.random.Generator) -> None:
    threads = 96
    values = rng.integers(-99, 99, threads).astype(np.int32)
    found = np.zeros((7, threads), np.uint32)
    library.call("vote", values, threads, found)
    warps = values.reshape(-1, 32)
    positive = warps > 0
    ballots = (positive * (np.uint64(1) << np.arange(32, dtype=np.uint64))).sum(axis=1)
    low, high = ballots & np.uint64(0xFFFF), ballots & np.uint64(0xFFFF0000)
    wanted = [
        np.repeat(ballots, 32),
        np.repeat((warps > 90).any(axis=1), 32),
        np.repeat((warps > -90).all(axis=1), 32),
        np.full(threads, (values > 97).any()),
        np.full(threads, (values > -97).all()),
        np.full(threads, (values > 0).sum()),
        np.stack([low, high], axis=1).repeat(16, axis=1).ravel(),
    ]
    np.testing.assert_array_equal(found, np.stack(wanted))


def conversions(library: Library, rng: np.random.Generator) -> None:
    special = [
        0.0,
        -0.0,
        65504.0,
        65519.9,
        65520.0,
        -1e30,
        np.inf,
        2.0**-24,
        2.0**-25,
        3 * 2.0**-26,
    ]
    values = np.concatenate([special, rng.standard_normal(54) * 10.0 ** rng.integers(-6, 5, 54)])
    values = values.astype(np.float32)
    found = np.zeros((5, 64), np.uint32)
    library.call("convert", values, 64, found)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    bits = half.view(np.uint16).astype(np.uint32)
    np.testing.assert_array_equal(found[0], bits)
    np.testing.assert_array_equal(found[1].view(np.float32), half.astype(np.float32))
    np.testing.assert_array_equal(found[2], bits | bits[::-1] << 16)
    np.testing.assert_array_equal(found[3].view(np.float32), half.astype(np.float32))
    np.testing.assert_array_equal(found[4].view(np.float32), half[::-1].astype(np.float32))


def atomics(library: Library, rng: np.random.Generator) -> None:
    blocks = 5
    values = rng.integers(-1000, 1000, 64 * blocks).astype(np.int32)
    found, total = np.zeros(6, np.int32), np.zeros(1, np.float32)
    library.call("atomics", values, blocks, found, total)
    masks = np.bitwise_or.reduce(np.int32(1) << (values & 31))
    wanted = [
        values.sum(), max(0, values.max()), min(0, values.min()),
        values.view(np.uint32).max().astype(np.int32), masks, values.size,
    ]  # fmt: skip
    np.testing.assert_array_equal(found, np.array(wanted, np.int32))
    assert total[0] == values.sum()  # whole numbers: exact in any order


def arithmetic(library: Library, rng: np.random.Generator) -> None:
    values = rng.integers(-(2**31), 2**31, 64).astype(np.int32)
    values[:5] = [0, 1, -1, 0x7F800000, 0x7FC00000]  # the last two: infinity, NaN
    found = np.zeros((8, 64), np.float32)
    library.call("arithmetic", values, 64, found)
    bits = [int(v) & 0xFFFFFFFF for v in values]
    floats = values.view(np.float32)
    remainder = np.fmod(values.astype(np.float64), 1000)
    wanted = [
        [b.bit_count() for b in bits],
        [(b & -b).bit_length() for b in bits],
        [32 - b.bit_length() for b in bits],
        floats,
        floats,
        np.isfinite(floats),
        0.5 * remainder + 3.0,
        np.minimum(values, 7).astype(np.float32) + np.maximum(values, 9).astype(np.float32),
    ]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


CHECKS: list[Check] = [
    mma_m16n8k16, ldmatrix_x4, cp_async_16, clusters, shuffles, votes, conversions, atomics,
    arithmetic,
]  # fmt: skip


def build_for_cpu(sanitize: build.Sanitizer | None = None) -> Path:
    return build.build("conformance.so", [HERE / "conformance.cu"], sanitize, shared=True)


def build_for_gpu(nvcc: str, architecture: str, folder: Path) -> Path:
    target = folder / "conformance.so"
    command = [nvcc, "-std=c++17", "-O2", "-shared", "-Xcompiler", "-fPIC", f"-I{build.CUDA}"]
    command += ["-gencode", f"arch=compute_{architecture},code=sm_{architecture}"]
    subprocess.run([*command, str(HERE / "conformance.cu"), "-o", str(target)], check=True)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks wrappers of GPU instructions.")
    parser.add_argument("--nvcc", help="compile for a GPU with this compiler")
    parser.add_argument("--arch", default="90", help="its architecture: 75, 80, 86, ...")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.nvcc:
            library = Library(build_for_gpu(arguments.nvcc, arguments.arch, Path(folder)))
        else:
            library = Library(build_for_cpu())
        for check in CHECKS:
            try:
                check(library, np.random.default_rng(0))
                print(f"ok      {check.__name__}")
            except AssertionError as error:
                failed += 1
                print(f"FAILED  {check.__name__}\n{error}")
    print(f"{library.name}: {len(CHECKS) - failed} of {len(CHECKS)} wrappers conform")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
