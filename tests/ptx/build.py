"""Compiles the CUDA core with nvcc and links it with a runtime that has no device.

    from ptx import build
    core, kernels = build.load()

The launchers are those that nvcc compiles, and so are the kernels, as PTX for the architectures
below. Only what changed is compiled. Products go to build/ptx; PYNST_PTX_BUILD names another place.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from cuda_on_cpu.build import CUDA, ROOT, include_flags, is_current, locked, module_sources
from ptx.assembly import Kernel, kernels_of

HERE = Path(__file__).resolve().parent
ARCHITECTURES = ("75", "90")  # with and without mma of 16 channels, cp.async and the like
COMPILERS_AT_A_TIME = 2
FOR_A_MODULE = "-Xcompiler=-fPIC,-fvisibility=hidden"


class BuildError(RuntimeError):
    """The compiler's message."""


def compiler() -> str | None:
    """The path of nvcc, or None."""
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def load() -> tuple[ModuleType, ctypes.CDLL]:
    """Compile and import the core; returns it and the runtime that it calls."""
    folder = build_folder()
    nvcc = compiler()
    assert nvcc is not None
    with locked(folder):
        runtime = build_runtime(folder, nvcc)
        jobs = [(path, folder / f"{path.stem}.o", nvcc) for path in module_sources()]
        with ThreadPoolExecutor(COMPILERS_AT_A_TIME) as pool:
            changed = list(pool.map(lambda job: compile_one(*job), jobs))
        module = folder / ("_cuda" + sysconfig.get_config_var("EXT_SUFFIX"))
        if any(changed) or not module.exists():
            module.unlink(missing_ok=True)  # a process may hold the old one open
            objects = [str(target) for _, target, _ in jobs]
            run(["g++", "-shared", "-o", str(module), *objects, str(runtime),
                 f"-Wl,-rpath,{folder}"])  # fmt: skip
    spec = importlib.util.spec_from_file_location("_cuda", module)
    assert spec is not None
    assert spec.loader is not None
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    return core, ctypes.CDLL(str(runtime))


def kernels(architecture: str) -> dict[str, Kernel]:
    """Every kernel of the core for an architecture, by its mangled name; `load` comes first."""
    found: dict[str, Kernel] = {}
    for path in module_sources():
        if path.suffix == ".cu":
            found |= kernels_of((build_folder() / ptx_name(path, architecture)).read_text())
    return found


def ptx_name(source: Path, architecture: str) -> str:
    return f"{source.stem}.compute_{architecture}.ptx"


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


def compile_one(source: Path, target: Path, nvcc: str) -> bool:
    """Compile a source unless its object is up to date; tells whether it had to."""
    if is_current(target):
        return False
    target.unlink(missing_ok=True)
    dependencies = ["-MMD", "-MF", str(target.with_suffix(".d"))]
    if source.suffix == ".cpp":
        run([nvcc, "-c", "-std=c++17", "-O1", *include_flags(True), FOR_A_MODULE, *dependencies,
             "-o", str(target), str(source)])  # fmt: skip
        return True
    kept = target.with_suffix(".kept")
    kept.mkdir(exist_ok=True)
    run([nvcc, "-c", "-std=c++17", "-O3", "--cudart", "shared", "--keep", "--keep-dir", str(kept),
         *(f"-gencode=arch=compute_{each},code=compute_{each}" for each in ARCHITECTURES),
         FOR_A_MODULE, *dependencies, "-o", str(target), str(source)])  # fmt: skip
    for architecture in ARCHITECTURES:
        name = ptx_name(source, architecture)
        (kept / name).replace(target.parent / name)
    shutil.rmtree(kept)
    return True


def build_folder() -> Path:
    named = os.environ.get("PYNST_PTX_BUILD")
    return Path(named) if named else ROOT / "build" / "ptx"


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=CUDA, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")


def plain_names(mangled: list[str]) -> dict[str, str]:
    """``"gram_kernel"`` for the mangled name of any of its variants."""
    told = subprocess.run(["c++filt", *mangled], capture_output=True, text=True, check=True).stdout
    found = (re.search(r"\w+_kernel", line) for line in told.splitlines())
    return {name: match[0] for name, match in zip(mangled, found, strict=True) if match}
