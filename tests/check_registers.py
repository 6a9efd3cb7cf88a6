"""Compiles every CUDA source with nvcc; fails where registers spill or bytes are read singly.

    python tests/check_registers.py            # 75 80 90 120
    python tests/check_registers.py 80 86 90

A kernel whose registers spill is right, but reads and writes memory for what should be in a
register; and so is one that reads its numbers byte by byte: no test of results would find either.
Needs nvcc, but no GPU; where there is no nvcc it says so and succeeds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "csrc" / "cuda"
ARCHITECTURES = ("75", "80", "90", "120")
COMPILERS_AT_A_TIME = 2
KERNEL = re.compile(
    r"Compiling entry function '(?P<name>[^']+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)
ENTRY = re.compile(r"\.entry (?P<name>\w+)\((?P<code>.*?)^}", re.DOTALL | re.MULTILINE)
BYTE_ACCESS = re.compile(r"\b(?:ld|st)\.global(?:\.nc)?\.[us]8\b")

# Sources whose kernels read, write or copy the bits of a ReLU, one byte for eight channels.
# Everything else in memory is a number of two bytes or more.
SOURCES_WITH_BITS = {
    "conv3x3_relu", "conv3x3_relu_backward", "conv3x3_relu_pool", "conv3x3_relu_pool_backward",
    "image_conv3x3_relu", "image_conv3x3_relu_backward", "filter7x7", "filter7x7_backward", "wrap",
}  # fmt: skip


def byte_accesses(ptx: str) -> dict[str, int]:
    """Count the accesses of single bytes in global memory, for each kernel that has some."""
    found = ((entry["name"], BYTE_ACCESS.findall(entry["code"])) for entry in ENTRY.finditer(ptx))
    return {name: len(accesses) for name, accesses in found if accesses}


def compile_one(nvcc: str, source: Path, architecture: str) -> tuple[str, list[str]]:
    """Returns a line for people, and what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            nvcc, "-cubin", f"-arch=sm_{architecture}", "-std=c++17", "-O3", "-Xptxas=-v",
            "--keep", "--keep-dir", folder, "-o", f"{folder}/out.cubin", str(source),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        kept = Path(folder) / f"{source.stem}.ptx"
        ptx = kept.read_text() if done.returncode == 0 else ""
    name = f"{source.name} (sm_{architecture})"
    if done.returncode != 0:
        return f"{name}: does not compile", [f"{name}:\n{done.stderr}"]
    kernels = list(KERNEL.finditer(done.stderr))
    if not kernels:
        return f"{name}: no kernels", [f"{name}: nvcc told of no kernel"]
    spills = [
        f"{name}: {kernel['name']} spills {kernel['stores']} bytes, reads {kernel['loads']} back"
        for kernel in kernels
        if int(kernel["stores"]) or int(kernel["loads"])
    ]
    bytewise = {} if source.stem in SOURCES_WITH_BITS else byte_accesses(ptx)
    wrong = spills + [
        f"{name}: {kernel} accesses single bytes of global memory in {count} places"
        for kernel, count in bytewise.items()
    ]
    most = max(int(kernel["registers"]) for kernel in kernels)
    return f"{name}: {len(kernels)} kernels, at most {most} registers", wrong


def jobs(architectures: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Every source with every architecture."""
    return list(product(sorted(SOURCES.glob("*.cu")), architectures))


def main(architectures: tuple[str, ...]) -> int:
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        print("registers are not checked: there is no nvcc")
        return 0
    with ThreadPoolExecutor(COMPILERS_AT_A_TIME) as pool:
        found = list(pool.map(lambda job: compile_one(nvcc, *job), jobs(architectures)))
    for line, _ in found:
        print(line)
    wrong = [problem for _, problems in found for problem in problems]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or ARCHITECTURES))
