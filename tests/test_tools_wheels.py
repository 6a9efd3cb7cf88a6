"""The script that builds the wheels asks the right things of the compiler and of the build."""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "wheels.py"


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(TOOL))


@pytest.fixture
def zig(monkeypatch, tmp_path):
    """A compiler that prints its arguments, in the place of the one that the package ships."""
    spec = ModuleSpec("ziglang", None, origin=str(tmp_path / "ziglang" / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    compiler = tmp_path / "ziglang" / "zig"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)


def given(machine, cuda):
    return argparse.Namespace(machine=machine, cuda=cuda)


def said(tool, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wheels.py", *words])
    with pytest.raises(SystemExit):
        tool["arguments"]()
    return capsys.readouterr().err


def test_a_cuda_core_for_another_machine_is_refused(tool, monkeypatch, capsys):
    words = ["--machine", "aarch64", "--cuda", "on"]
    assert "--cuda on: nvcc compiles for x86_64 only here" in said(tool, words, monkeypatch, capsys)


def test_a_python_that_is_not_there_is_named(tool, monkeypatch, capsys):
    error = said(tool, ["--python", "python2.99"], monkeypatch, capsys)
    assert "--python: there is no python2.99" in error


@pytest.mark.parametrize(("machine", "cuda"), [("x86_64", "on"), ("aarch64", "off")])
def test_the_wheels_have_both_cores_where_there_are_two(tool, monkeypatch, machine, cuda):
    monkeypatch.setattr(sys, "argv", ["wheels.py", "--machine", machine])
    assert tool["arguments"]().cuda == cuda


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("variable", ["CC", "CXX"])
def test_the_compiler_is_asked_for_the_machine_and_the_oldest_glibc(
    tool, zig, tmp_path, machine, variable
):
    scripts = tool["compilers"](machine, tmp_path / "work")
    words = subprocess.check_output([scripts[variable], "-c", "a b.cpp"], text=True).splitlines()
    assert words[0] == {"CC": "cc", "CXX": "c++"}[variable]
    assert words[words.index("-target") + 1] == f"{machine}-linux-gnu.2.17"
    assert words[-2:] == ["-c", "a b.cpp"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_archiver_comes_with_the_compiler(tool, zig, tmp_path, machine):
    script = tool["compilers"](machine, tmp_path / "work")["AR"]
    words = subprocess.check_output([script, "qc", "a b.a"], text=True).splitlines()
    assert words == ["ar", "qc", "a b.a"]
    settings = tool["settings"](given(machine, "off"), sys.executable, tmp_path / "work")
    assert f"cmake.define.CMAKE_AR={script}" in settings


def test_without_the_compiler_the_package_is_named(tool, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="the package `ziglang` is not installed"):
        tool["compilers"]("x86_64", tmp_path)


def test_a_wheel_for_another_machine_is_named_after_that_machine(tool, zig, tmp_path):
    there = tool["environment"](given("aarch64", "off"), tmp_path)
    assert there["_PYTHON_HOST_PLATFORM"] == "linux-aarch64"
    assert there["PYNST_CUDA"] == "OFF"
    settings = tool["settings"](given("aarch64", "off"), sys.executable, tmp_path)
    extension = f".cpython-3{sys.version_info.minor}-aarch64-linux-gnu.so"
    assert f"cmake.define.PYTHON_MODULE_EXTENSION={extension}" in settings


def test_the_kernels_of_the_cuda_core_have_the_system_compiler_as_host(
    tool, zig, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDAHOSTCXX", "a-compiler")
    assert tool["environment"](given("x86_64", "on"), tmp_path)["CUDAHOSTCXX"] == "a-compiler"
    monkeypatch.delenv("CUDAHOSTCXX")
    assert tool["environment"](given("x86_64", "on"), tmp_path)["CUDAHOSTCXX"].endswith("g++")
    assert "CUDAHOSTCXX" not in tool["environment"](given("x86_64", "off"), tmp_path)


def test_nvcc_comes_from_wheels_once_for_all_pythons(tool, zig, tmp_path, monkeypatch):
    pytest.importorskip("tomllib", reason="Python 3.11")
    installed = []

    def install(command, *, check):
        assert check
        installed.append(command)
        nvcc = Path(command[command.index("--target") + 1]) / "nvidia" / "cu13" / "bin" / "nvcc"
        nvcc.parent.mkdir(parents=True)
        nvcc.touch()

    monkeypatch.setattr("subprocess.run", install)
    monkeypatch.setenv("PYNST_NVCC", "wheel")
    monkeypatch.setenv("CUDAFLAGS", "-a-flag")
    first = tool["environment"](given("x86_64", "on"), tmp_path)
    assert Path(first["CUDACXX"]).is_file()
    assert first["CUDAFLAGS"] == f"-a-flag -L{Path(first['CUDACXX']).parent.parent / 'lib'}"
    assert first["PYNST_NVCC"] != "wheel"  # or the build of each Python installs its own
    assert tool["environment"](given("x86_64", "on"), tmp_path) == first
    assert [word for word in installed[0] if word.startswith("nvidia-cuda-nvcc")]
    assert len(installed) == 1


def test_an_nvcc_of_the_machine_is_left_to_cmake(tool, zig, tmp_path, monkeypatch):
    for variable in ("PYNST_NVCC", "CUDACXX", "CUDAFLAGS"):
        monkeypatch.delenv(variable, raising=False)
    there = tool["environment"](given("x86_64", "on"), tmp_path)
    assert {"CUDACXX", "CUDAFLAGS"}.isdisjoint(there)


@pytest.fixture
def auditwheel(monkeypatch):
    """Tags a wheel as the real one would, whose glibc is the one that is set here."""
    found = {"glibc": "manylinux_2_17"}

    def run(command, *, env, check):
        assert check
        assert command[-3] == "--wheel-dir"
        folder, wheel = Path(command[-2]), Path(command[-1])
        folder.mkdir()
        tags = [found["glibc"], *(["manylinux2014"] if found["glibc"] == "manylinux_2_17" else [])]
        name, machine = wheel.stem.split("-linux_")
        tag = ".".join(f"{each}_{machine}" for each in tags)
        (folder / f"{name}-{tag}.whl").write_bytes(wheel.read_bytes())

    monkeypatch.setattr("subprocess.run", run)
    return found


def plain_wheel(folder, machine):
    folder.mkdir()
    wheel = folder / f"pynst_stylize-0.1.0-cp311-cp311-linux_{machine}.whl"
    wheel.write_bytes(b"new")
    return wheel


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_wheel_of_every_machine_is_tagged_and_replaces_an_older_one(
    tool, auditwheel, tmp_path, machine
):
    wheel = plain_wheel(tmp_path / "plain", machine)
    name = f"pynst_stylize-0.1.0-cp311-cp311-manylinux_2_17_{machine}.manylinux2014_{machine}.whl"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"old")
    assert tool["tagged"](wheel, machine, tmp_path / "out") == tmp_path / "out" / name
    assert (tmp_path / "out" / name).read_bytes() == b"new"


def test_a_wheel_that_needs_a_newer_glibc_is_not_delivered(tool, auditwheel, tmp_path):
    auditwheel["glibc"] = "manylinux_2_28"
    wheel = plain_wheel(tmp_path / "plain", "aarch64")
    with pytest.raises(SystemExit, match="should be tagged manylinux2014_aarch64"):
        tool["tagged"](wheel, "aarch64", tmp_path / "out")
    assert not (tmp_path / "out").exists()
