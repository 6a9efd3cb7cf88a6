"""What PyNST finds on this machine: for `pynst info`, and for a report of a problem."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pynst.backends import available_backends
from pynst.errors import PyNSTError
from pynst.record import versions
from pynst.resources import available_memory
from pynst.weights import cache_directory, find_weights, load_weights

__all__ = ["system_info"]

_FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "amx_bf16",
    "asimd",
)  # fmt: skip


def system_info() -> dict[str, Any]:
    """Collect versions, processor, GPU, memory, cache, weights and backends.

    Returns
    -------
    dict
        Strings, numbers, None and dicts of them: ready for JSON. Nothing is raised.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            **versions(),
            "pooch": _version("pooch"),
            "cupy": _cupy(),
        },
        "system": platform.platform(),
        "processor": _processor(),
        "gpu": _gpu(),
        "memory available": _memory(),
        "cache": str(cache_directory()),
        "weights": _weights(),
        "backends": available_backends(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("PYNST_") or name == "OMP_NUM_THREADS"
        },
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cupy() -> str:
    """Version of CuPy, whichever of its packages is installed."""
    found = [
        name for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy") if _version(name)[0].isdigit()
    ]
    return f"{_version(found[0])} ({found[0]})" if found else "not installed"


def _processor() -> dict[str, Any]:
    """Name, instruction sets that matter here, and processors that this process may use."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:  # not Linux
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    features = " ".join(feature for feature in _FEATURES if feature in flags)
    return {"name": name, "features": features or None, "usable": usable, "all": os.cpu_count()}


def _gpu() -> str:
    """Name, driver and memory of each GPU, as nvidia-smi says, or why it does not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "nvidia-smi is not installed: no NVIDIA driver"
    query = ["--query-gpu=name,driver_version,memory.total,memory.free,compute_cap"]
    try:
        answer = subprocess.run(
            [program, *query, "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi fails: {error}"
    lines = (answer.stdout if answer.returncode == 0 else answer.stdout + answer.stderr).split("\n")
    text = "; ".join(line.strip() for line in lines if line.strip())
    return text if answer.returncode == 0 else f"nvidia-smi fails: {text[:300]}"


def _memory() -> int | str | None:
    """Bytes that a run could take."""
    try:
        return available_memory()
    except PyNSTError as error:
        return str(error)


def _weights() -> dict[str, Any]:
    """The file that would be used, and what is in it."""
    try:
        path = find_weights()
        if path is None:
            return {"path": None, "state": 'none; "pynst weights fetch" downloads them'}
        weights = load_weights(path)
    except PyNSTError as error:
        return {"path": None, "state": str(error)}
    return {
        "path": str(path),
        "source": weights.source,
        "training": weights.training,
        "sha256": weights.sha256,
    }
