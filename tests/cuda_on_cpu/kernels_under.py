"""Runs every kernel of the CUDA core under a sanitizer, without a GPU.

python tests/cuda_on_cpu/kernels_under.py address    # out of bounds, misaligned, freed, leaked
python tests/cuda_on_cpu/kernels_under.py thread     # races: a barrier or an atomic is missing
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from cuda_on_cpu import build  # noqa: E402

SANITIZER_SETTINGS = {
    "ASAN_OPTIONS": "detect_leaks=0",  # the pool of stacks lives as long as the process
    "UBSAN_OPTIONS": "print_stacktrace=0",
    "TSAN_OPTIONS": "halt_on_error=0 report_signal_unsafe=0 history_size=4",
}


def without_randomised_addresses() -> list[str]:
    """What to put before a command: ThreadSanitizer of g++ 12 needs its usual places in memory."""
    prefix = ["setarch", "-R"]
    if shutil.which("setarch") is None:
        return []
    return prefix if subprocess.run([*prefix, "true"], check=False).returncode == 0 else []


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in ("address", "thread"):
        sys.exit(f"usage: {sys.argv[0]} address | thread")
    sanitizer: build.Sanitizer = "address" if sys.argv[1] == "address" else "thread"
    kernels = [path for path in build.module_sources() if path.suffix == ".cu"]
    try:
        program = build.build("every_kernel", [HERE / "every_kernel.cu", *kernels], sanitizer)
    except build.BuildError as error:
        sys.exit(str(error))
    command = [str(program)]
    if sanitizer == "thread":
        command = [*without_randomised_addresses(), *command, "small"]
    return subprocess.run(command, env={**os.environ, **SANITIZER_SETTINGS}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
