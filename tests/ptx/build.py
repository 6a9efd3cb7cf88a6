"""Compiles the CUDA core with nvcc and links it with a runtime that has no device.

    from ptx import build
    core, runtime = build.load()

The launchers are those that nvcc compiles, and so are the kernels, as PTX; the bindings are those
of the stand-in (`cuda_on_cpu`). `check_registers` looks at the same products. Only what changed is
compiled. Products go to build/ptx; PYNST_PTX_BUILD names another place.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from cuda_on_cpu import build as stand_in
from cuda_on_cpu.build import CUDA, ROOT, is_current, locked, module_sources
from ptx.assembly import Kernel, kernels_of

HERE = Path(__file__).resolve().parent
ARCHITECTURES = ("75", "90")  # with and without mma of 16 channels, cp.async and the like
COMPILERS_AT_A_TIME = 2
PRODUCTS = ("ptx", "cubin", "usage")


class BuildError(RuntimeError):
    """The compiler's message."""


def compiler() -> str | None:
    """The path of nvcc, or None."""
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def load() -> tuple[ModuleType, ctypes.CDLL]:
    """Compile and import the core; returns it and the runtime that it calls."""
    folder, nvcc = build_folder(), compiler()
    assert nvcc is not None
    with locked(folder):
        runtime = build_runtime(folder, nvcc)
        compile_all(ARCHITECTURES)
        objects = [folder / f"{path.stem}.o" for path in kernel_sources()]
        objects += [*stand_in.build_bindings(), build_runtime_of_bindings(folder)]
        module = folder / ("_cuda" + sysconfig.get_config_var("EXT_SUFFIX"))
        if not module.exists() or any(newer(each, module) for each in (*objects, runtime)):
            module.unlink(missing_ok=True)  # a process may hold the old one open
            run(["g++", "-shared", "-o", str(module), *map(str, objects), str(runtime),
                 f"-Wl,-rpath,{folder}"])  # fmt: skip
    # The stand-in is called `_cuda`, too, and pybind11 keeps the first module of each full name.
    spec = importlib.util.spec_from_file_location("ptx._cuda", module)
    assert spec is not None
    assert spec.loader is not None
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    return core, ctypes.CDLL(str(runtime))


def kernels(architecture: str) -> dict[str, Kernel]:
    """Every kernel of the core for an architecture, by its mangled name; `load` comes first."""
    found: dict[str, Kernel] = {}
    for path in kernel_sources():
        found |= kernels_of(product(path, architecture, "ptx").read_text())
    return found


def kernel_sources() -> list[Path]:
    return [path for path in module_sources() if path.suffix == ".cu"]


def product(source: Path, architecture: str, kind: str) -> Path:
    """The "ptx" or the "cubin" of a source, or "usage": what ptxas told of both."""
    return build_folder() / f"{source.stem}.compute_{architecture}.{kind}"


def build_runtime(folder: Path, nvcc: str) -> Path:
    """Under the name and with the version of symbols by which the core looks for the true one."""
    source, versions = HERE / "runtime.cpp", folder / "versions"
    name = f"libcudart.so.{major_version(nvcc)}"
    target = folder / name
    if not is_current(target):
        versions.write_text(name + " { global: *; };\n")
        linker = f"--version-script={versions},-soname,{name}"
        run([nvcc, "-std=c++17", "-shared", "-O1", "--cudart", "none", "-Xcompiler=-fPIC",
             f"-Xlinker={linker}", "-MMD", "-MF", str(target.with_suffix(".d")),
             "-o", str(target), str(source)])  # fmt: skip
    return target


def major_version(nvcc: str) -> str:
    told = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return told.partition("release ")[2].partition(".")[0]


def build_runtime_of_bindings(folder: Path) -> Path:
    target = folder / "bindings_runtime.o"
    stand_in.compile_one(HERE / "bindings_runtime.cpp", target, stand_in.kernel_flags(None, False))
    return target


def compile_all(architectures: Iterable[str]) -> None:
    """Compile the kernels that are not up to date; the folder has to be locked."""
    with ThreadPoolExecutor(COMPILERS_AT_A_TIME) as pool:
        list(pool.map(lambda source: compile_one(source, tuple(architectures)), kernel_sources()))


def compile_one(source: Path, architectures: tuple[str, ...]) -> None:
    """Compile a source to an object and to what `product` names, unless they are up to date."""
    folder = build_folder()
    target, nvcc = folder / f"{source.stem}.o", compiler()
    assert nvcc is not None
    products = [product(source, each, kind) for each in architectures for kind in PRODUCTS]
    if is_current(target) and all(each.exists() for each in products):
        return
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        targets = (f"-gencode=arch=compute_{each},code=sm_{each}" for each in architectures)
        usage = run([nvcc, "-c", "-std=c++17", "-O3", "--cudart", "shared", *targets,
                     "-Xcompiler=-fPIC,-fvisibility=hidden", "-Xptxas=-v",
                     "-MMD", "-MF", str(target.with_suffix(".d")),
                     "--keep", "--keep-dir", kept, "-o", str(target), str(source)])  # fmt: skip
        for each in products:
            if each.suffix == ".usage":
                each.write_text(usage)
            else:
                (Path(kept) / each.name).replace(each)


def newer(path: Path, than: Path) -> bool:
    return path.stat().st_mtime_ns > than.stat().st_mtime_ns


def build_folder() -> Path:
    named = os.environ.get("PYNST_PTX_BUILD")
    return Path(named) if named else ROOT / "build" / "ptx"


def run(command: list[str]) -> str:
    """Run a compiler; returns what it has to say."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=CUDA, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")
    return done.stderr


def plain_names(mangled: list[str]) -> dict[str, str]:
    """``"gram_kernel"`` for the mangled name of any of its variants."""
    told = subprocess.run(["c++filt", *mangled], capture_output=True, text=True, check=True).stdout
    found = (re.search(r"\w+_kernel", line) for line in told.splitlines())
    return {name: match[0] for name, match in zip(mangled, found, strict=True) if match}
