"""Compiles the CUDA core with g++ and the stand-in for CUDA in this folder.

    from cuda_on_cpu.build import load
    _cuda = load()                       # the module that nvcc's build calls pynst._cuda

    python tests/cuda_on_cpu/build.py    # compiles it and prints its path

Only what changed is compiled, two files at a time. Products go to build/cuda_on_cpu, one folder for
each sanitizer; PYNST_CUDA_ON_CPU_BUILD names another place.
"""

# ruff: noqa: T201 (a program: it prints)
from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CUDA = ROOT / "csrc" / "cuda"
ENGINE = tuple(sorted(HERE.glob("*.cpp")))  # the scheduler and the instructions
COMPILERS_AT_A_TIME = 2

Sanitizer = Literal["address", "thread"]

# Aliasing: kernels load vectors through pointers to floats, as CUDA allows. Contraction: results
# shall not depend on the processor. Warnings are nvcc's business: g++ knows too few of its rules.
COMMON = (
    "-std=c++17", "-O2", "-fPIC", "-pthread", "-fvisibility=hidden", "-fno-strict-aliasing",
    "-ffp-contract=off", "-w", "-DPYNST_CUDA_ON_CPU",
)  # fmt: skip
SANITIZED: dict[str | None, tuple[str, ...]] = {
    None: (),
    "address": ("-O1", "-g", "-fsanitize=address,alignment", "-fno-sanitize-recover=alignment"),
    "thread": ("-O1", "-g", "-fsanitize=thread"),
}


class BuildError(RuntimeError):
    """The compiler's message, or what is missing."""


def module_sources() -> list[Path]:
    """Every kernel, and the bindings."""
    return [*sorted(CUDA.glob("*.cu")), *sorted(CUDA.glob("bindings*.cpp"))]


def load(sanitize: Sanitizer | None = None) -> ModuleType:
    """Compiles and imports the extension module."""
    path = build_module(sanitize)
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_module(sanitize: Sanitizer | None = None) -> Path:
    """Compiles the extension module; returns its path."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return build("_cuda" + suffix, module_sources(), sanitize, shared=True, python=True)


def build(
    name: str,
    sources: Sequence[Path],
    sanitize: Sanitizer | None = None,
    *,
    shared: bool = False,
    python: bool = False,
    flags: Sequence[str] = (),
) -> Path:
    """Compiles sources and the engine into a program or a shared library of that name."""
    folder = build_folder() / (sanitize or "plain")
    with locked(folder):
        kernels = kernel_flags(sanitize, python)
        engine = [*COMMON, *processor_flags(), "-g1"]
        if sanitize is not None:  # the engine tells the sanitizer what it does; it is not watched
            engine.append(f"-DCUDA_ON_CPU_SANITIZE_{sanitize.upper()}")
        jobs = [(path, folder / f"engine.{path.stem}.o", engine) for path in ENGINE]
        prefix = Path(name).name.split(".")[0]
        jobs += [(path, folder / f"{prefix}.{path.stem}.o", [*kernels, *flags]) for path in sources]
        changed = compile_all(jobs)
        target = folder / name
        link = [compiler(), *(str(object) for _, object, _ in jobs), "-pthread", "-o", str(target)]
        link += [flag for flag in SANITIZED[sanitize] if flag.startswith("-fsanitize")]
        if shared:
            link.append("-shared")
        if any(changed) or not target.exists():
            target.unlink(missing_ok=True)  # a process may hold the old one open
            run(link)
    return target


def build_bindings() -> list[Path]:
    """Compiles the bindings, which hold no kernels, as `build_module` does; returns the objects."""
    folder = build_folder() / "plain"
    with locked(folder):
        jobs = [
            (path, folder / f"_cuda.{path.stem}.o", kernel_flags(None, python=True))
            for path in module_sources()
            if path.suffix == ".cpp"
        ]
        compile_all(jobs)
    return [target for _, target, _ in jobs]


def compile_all(jobs: Sequence[tuple[Path, Path, Sequence[str]]]) -> list[bool]:
    """Compiles sources to objects with flags; tells for each whether it had to."""
    with ThreadPoolExecutor(COMPILERS_AT_A_TIME) as pool:
        return list(pool.map(lambda job: compile_one(*job), jobs))


def kernel_flags(sanitize: Sanitizer | None, python: bool) -> list[str]:
    return [*COMMON, *processor_flags(), *SANITIZED[sanitize], *include_flags(python)]


def compile_one(source: Path, target: Path, flags: Sequence[str]) -> bool:
    """Compiles one file unless the object is up to date; tells whether it had to."""
    command = [compiler(), *flags, "-MMD", "-MF", str(target.with_suffix(".d"))]
    command += ["-x", "c++", "-c", str(source), "-o", str(target)]
    recipe = target.with_suffix(".command")
    if is_current(target) and recipe.exists() and recipe.read_text() == " ".join(command):
        return False
    target.unlink(missing_ok=True)
    run(command)
    recipe.write_text(" ".join(command))
    return True


def is_current(target: Path) -> bool:
    """Whether the object is newer than every file that the compiler read for it."""
    dependencies = target.with_suffix(".d")
    if not target.exists() or not dependencies.exists():
        return False
    files = dependencies.read_text().replace("\\\n", " ").partition(":")[2].split()
    made = target.stat().st_mtime_ns
    return all(Path(file).exists() and Path(file).stat().st_mtime_ns <= made for file in files)


def build_folder() -> Path:
    named = os.environ.get("PYNST_CUDA_ON_CPU_BUILD")
    return Path(named) if named else ROOT / "build" / "cuda_on_cpu"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process builds at a time; the others find its products."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def processor_flags() -> list[str]:
    """Instructions that this processor has for half floats: without, each conversion is a call."""
    if platform.machine() != "x86_64":
        return []
    present = Path("/proc/cpuinfo").read_text().split()
    return [f"-m{name}" for name in ("f16c", "avx2", "fma") if name in present]


def include_flags(python: bool) -> list[str]:
    folders = [HERE, CUDA]
    if python:
        try:
            import pybind11
        except ImportError as error:
            raise BuildError("the bindings need pybind11: pip install pybind11") from error
        folders += [Path(pybind11.get_include()), Path(sysconfig.get_path("include"))]
    return [f"-I{folder}" for folder in folders]


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")


if __name__ == "__main__":
    which = sys.argv[1] if len(sys.argv) > 1 else None
    if which not in SANITIZED:
        sys.exit(f"usage: {sys.argv[0]} [address | thread]")
    print(build_module(which))  # type: ignore[arg-type]
