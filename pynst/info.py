"""What PyNST finds on this machine: for `pynst info`, and for a report of a problem."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from pynst.backends import available_backends
from pynst.backends.tuning import measured_devices
from pynst.errors import PyNSTError
from pynst.machine import available_memory, gpus, processor
from pynst.options.environment import VARIABLES
from pynst.record import versions
from pynst.weights import cache_directory, find_weights, load_weights

__all__ = ["system_info"]


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
        "processor": processor(),
        "gpu": gpus(),
        "memory available": _memory(),
        "cache": _cache(),
        "weights": _weights(),
        "backends": available_backends(),
        "measured on CUDA devices": _measured(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("PYNST_") or name in VARIABLES
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


def _measured() -> dict[str, str] | str:
    """What the cache keeps of each device's convolutions."""
    try:
        found = measured_devices(cache_directory())
    except PyNSTError as error:
        return str(error)
    return found or "nothing yet"


def _memory() -> int | str | None:
    """Bytes that a run could take."""
    try:
        return available_memory()
    except PyNSTError as error:
        return str(error)


def _cache() -> str:
    """The folder of downloaded weights, or why there is none."""
    try:
        return str(cache_directory())
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
