"""What a user feels: import, --help, the first picture and the last, memory, disk space."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import has
from bench.measure import ROOT, Display, Worker, summary

__all__ = ["OWN_REQUIREMENTS", "installed_mb", "measure", "networks", "own_mb", "pictures", "steps"]

OWN_REQUIREMENTS = ("numpy", "scipy", "pillow", "pooch")
"""What PyNST requires, as in ``pyproject.toml``: it may run without being installed."""


def measure(threads: int, runs: int, size: int, display: Display) -> dict[str, Any]:
    """Measure all of it; VGG-19 only where PYNST_WEIGHTS names its weights."""
    return {
        "start": _start(runs, display),
        "picture": pictures(threads, size, "cpu", "fast", display),
        "installed_mb": _installed(display),
    }


def steps() -> int:
    """Count the steps that `measure` shows."""
    return len(_commands()) + len(networks()) + 1


def networks() -> list[str]:
    """Name the networks that a picture is made with."""
    return ["builtin", *(["vgg19"] if os.environ.get("PYNST_WEIGHTS") else [])]


def _commands() -> dict[str, list[str]]:
    """What a process does, in words and as Python's arguments; an empty Python is the floor."""
    commands = {
        "python": ["-c", "pass"],
        "import numpy": ["-c", "import numpy"],
        "import pynst": ["-c", "import pynst"],
        "pynst --help": ["-m", "pynst", "--help"],
        "load pynst.stylize": ["-c", "import pynst; pynst.stylize"],
    }
    for name in ("torch", "jax"):
        if has(name):
            commands[f"import {name}"] = ["-c", f"import {name}"]
    return commands


def _start(runs: int, display: Display) -> list[dict[str, Any]]:
    """Time processes that import something and end."""
    rows = []
    for name, words in _commands().items():
        display(f"users: {name}")
        seconds = [_run(words) for _ in range(runs + 1)][1:]  # the first one reads the disk
        rows.append({"what": name, "ms": summary(seconds)})
    return rows


def _run(words: Sequence[str]) -> float:
    """Seconds of one Python process from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def pictures(
    threads: int, size: int, backend: str, precision: str, display: Display
) -> list[dict[str, Any]]:
    """Make a picture with each network; see `bench.worker.stylized`."""
    rows = []
    for network in networks():
        display(f"users: a picture at {size} with {network}, {backend}")
        answer = Worker(threads)(
            "stylized", size=size, quality="normal", threads=threads, network=network,
            backend=backend, precision=precision,
        )  # fmt: skip
        rows.append({"network": network, "size": size, "quality": "normal", **answer})
    return rows


def _installed(display: Display) -> dict[str, float]:
    """MB of each stack that is installed; PyTorch's version tells whether it is that for CUDA."""
    display("users: installed sizes")
    package = _package_mb("pynst")
    found = {
        "pynst": package,
        "pynst with its dependencies": own_mb(),
    }
    for cupy in ("cupy-cuda12x", "cupy-cuda13x"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(cupy)
            found[f"pynst and {cupy} with their dependencies"] = package + installed_mb(
                *OWN_REQUIREMENTS, cupy
            )
    if has("torch"):
        version = importlib.metadata.version("torch")
        found[f"torch {version} with its dependencies"] = installed_mb("torch")
    return {name: round(size, 1) for name, size in found.items()}


def _package_mb(name: str) -> float:
    """MB of a package with its compiled module, wherever an editable install left that."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    files = {path for path in folder.rglob("*") if _counts(path)}
    compiled = importlib.util.find_spec(f"{name}._cpu")
    if compiled is not None and compiled.origin is not None:
        files.add(Path(compiled.origin))
    return sum(path.stat().st_size for path in files) / 1e6


def _counts(path: Path) -> bool:
    """Whether a path is a file and no byte code."""
    return path.is_file() and "__pycache__" not in path.parts


def own_mb() -> float:
    """MB of PyNST and of all that it requires."""
    return _package_mb("pynst") + installed_mb(*OWN_REQUIREMENTS)


def installed_mb(*names: str) -> float:
    """MB of distributions and of all that they require, byte code left out."""
    return sum(map(_files_mb, set().union(*map(_requirements, names))))


def _requirements(name: str) -> set[str]:
    """The distribution's name and those of its installed requirements, without extras."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = str(canonicalize_name(waiting.pop()))
        if each in found:
            continue
        try:
            requires = importlib.metadata.requires(each) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(each)
        for text in requires:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def _files_mb(name: str) -> float:
    """MB of the files of one distribution."""
    files = importlib.metadata.distribution(name).files or []
    paths = {Path(str(file.locate())) for file in files}
    return sum(path.stat().st_size for path in paths if _counts(path)) / 1e6
