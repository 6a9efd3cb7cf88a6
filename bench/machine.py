"""The machine: what it is, what it can do at most, and which packages it has."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import ROOT
from pynst.machine import usable_processors

__all__ = ["PEERS", "all_threads", "describe", "has", "load", "peaks", "peers"]

PEERS = {
    "torch": "pip install -e '.[bench]'",
    "jax": "pip install jax",
    "matplotlib": "pip install -e '.[bench]'",
}
"""Optional packages, and how to get them: peers to measure against, and the plots."""

_VERSIONS = ("numpy", "scipy", "pillow", "pybind11", "pytest-benchmark", "torch", "jax")
_SGEMM = 2048
_COPY_BYTES = 256 << 20


def all_threads() -> int:
    """Count the processors that this process may use."""
    return usable_processors()


def load() -> float | None:
    """Load average of the last minute, which tells what else was running; None if unknown."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def has(package: str) -> bool:
    """Whether an optional package of `PEERS` is installed."""
    return peers()[package]["version"] is not None


def peers() -> dict[str, dict[str, Any]]:
    """The optional packages: the version that is installed, or None, and how to install it."""
    return {
        name: {"version": _version(name), "install": install} for name, install in PEERS.items()
    }


def _version(package: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    """The machine, the versions and the commit, as they stand in every result."""
    from pynst.backends import available_backends

    versions = {name: version for name in _VERSIONS if (version := _version(name))}
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    return {
        "processor": _processor(),
        "threads": all_threads(),
        "memory_gb": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "huge_pages": _huge_pages(),
        "python": platform.python_version(),
        "versions": versions,
        "backends": available_backends(),
        "commit": commit(),
    }


def commit() -> str:
    """The short commit, with a `+` behind it where the measured sources differ from it.

    PYNST_BENCH_COMMIT names the commit of a copy of the sources that came without their history.
    """
    given = os.environ.get("PYNST_BENCH_COMMIT")
    if given:
        return given
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return "unknown"

    def ask(*words: str) -> str:
        done = subprocess.run([git, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    name = ask("rev-parse", "--short=10", "HEAD") or "unknown"
    changed = ask("status", "--porcelain", "--", "pynst", "csrc", "CMakeLists.txt")
    return name + ("+" if changed else "")


def _processor() -> str:
    """Name of the processor, with family and model: cloud machines give some of them one name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        found = {name.strip(): value.strip() for name, value in facts.items()}
        place = (found.get(key, "?") for key in ("cpu family", "model"))
        return f"{found['model name']} (family {', model '.join(place)})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def _huge_pages() -> str:
    """The kernel's setting of transparent huge pages, which decide much of a large layer's time."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    except OSError:
        return "unknown"
    return text[text.find("[") + 1 : text.find("]")]


# ---- peaks ---------------------------------------------------------------------------------------


def peaks(threads: int) -> dict[str, float | None]:
    """Measure GFLOP/s of a loop of fused multiply-adds and of a matrix product, GB/s of a copy.

    The product is NumPy's, which uses the threads that the process was started with. The loop needs
    a C compiler; without one its rate is None.
    """
    return {
        "fma_gflops": _fma(threads),
        "sgemm_gflops": _sgemm(),
        "copy_gbs": _copy(threads),
    }


def _rate(work: Callable[[], float], seconds: float = 1.0) -> float:
    """Largest work per second of all repetitions, in 10^9: the least disturbed one is the peak."""
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        done = work()
        best = max(best, done / (time.perf_counter() - start) / 1e9)
    return float(f"{best:.4g}")


def _fma(threads: int) -> float | None:
    """GFLOP/s of ``peak.c``, compiled for this processor; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform == "win32":
        return None
    source = Path(__file__).parent / "peak.c"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "peak.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        built = subprocess.run(
            [compiler, *flags, str(source), "-o", str(library)], capture_output=True, check=False
        )
        if built.returncode:
            return None
        rounds = ctypes.CDLL(str(library)).fma_rounds
        rounds.restype = ctypes.c_double
        rounds.argtypes = [ctypes.c_long, ctypes.POINTER(ctypes.c_float)]
        with ThreadPoolExecutor(threads) as pool:  # ctypes releases the interpreter lock

            def work() -> float:
                def one(_: int) -> float:
                    return float(rounds(10_000_000, ctypes.byref(ctypes.c_float())))

                return sum(pool.map(one, range(threads)))

            return _rate(work)


def _sgemm() -> float:
    """GFLOP/s of NumPy's float32 matrix product."""
    a = np.random.default_rng(0).random((_SGEMM, _SGEMM), np.float32)
    out = np.empty_like(a)

    def work() -> float:
        np.matmul(a, a, out=out)
        return 2.0 * _SGEMM**3

    work()
    return _rate(work)


def _copy(threads: int) -> float:
    """GB/s of a copy that is too large for any cache, counting the bytes read and written."""
    share = _COPY_BYTES // threads
    pairs = [(np.ones(share, np.uint8), np.zeros(share, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def work() -> float:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))
            return 2.0 * share * threads

        work()
        return _rate(work)
