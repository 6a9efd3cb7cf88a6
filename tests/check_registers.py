"""Compiles every CUDA source with nvcc and fails where a kernel's registers spill.

    python tests/check_registers.py            # 75 80 90 120
    python tests/check_registers.py 80 86 90

A kernel that spills is right, but reads and writes memory for what should be in a register: no test
of results would find it. Needs nvcc, but no GPU; where there is no nvcc it says so and succeeds.
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


def compile_one(nvcc: str, source: Path, architecture: str) -> tuple[str, list[str]]:
    """Returns a line for people, and what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            nvcc, "-cubin", f"-arch=sm_{architecture}", "-std=c++17", "-O3", "-Xptxas=-v",
            "-o", f"{folder}/out.cubin", str(source),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    most = max(int(kernel["registers"]) for kernel in kernels)
    return f"{name}: {len(kernels)} kernels, at most {most} registers", spills


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
