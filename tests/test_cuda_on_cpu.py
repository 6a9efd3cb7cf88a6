"""Does the stand-in for CUDA (`cuda_on_cpu`) compute as a GPU does, and see what kernels do wrong?

Bugs are planted in small kernels (`planted.cu`), each beside a clean twin: every bug must be seen,
with its line where the line can be known, and no twin may be suspected.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cuda_on_cpu import build, conformance
from cuda_on_cpu.kernels_under import SANITIZER_SETTINGS, without_randomised_addresses

MODES = ("plain", "address", "thread")
SEEDS = (0, -1, 1, 2, 3)  # in order, in reverse, by chance


class Bug(NamedTuple):
    """Where a bug is seen; `{line}` is the one marked with its name in planted.cuh or .cu."""

    name: str
    plain: str | None = None  # in every order of threads
    address: str | None = None
    thread: str | None = None


WRONG = r"^wrong$"
HERE = r"planted\.cuh?:{line}"
RACE = rf"(?s)data race.*{HERE}"
BUGS = [
    Bug("global_overrun", address=rf"heap-buffer-overflow.*{HERE}"),
    Bug("shared_overrun", WRONG, address=rf"heap-buffer-overflow.*{HERE}"),
    Bug("unwritten_shared", WRONG),
    Bug("misaligned_vector", "not aligned as its type asks", "runtime error: .*misaligned address"),
    Bug("no_barrier_after_fill", WRONG, thread=RACE),
    Bug("no_barrier_before_refill", WRONG, thread=RACE),
    Bug("no_barrier_in_reduction", WRONG, thread=RACE),
    Bug("no_syncwarp", WRONG, thread=RACE),
    Bug("no_atomic_between_blocks", thread=RACE),
    Bug("early_cluster_read", WRONG, thread=RACE),
    Bug(
        "early_cluster_exit",
        rf"{HERE}: ld.shared::cluster: block \d of the cluster has exited",
    ),
    Bug("copy_without_barrier", WRONG, thread=RACE),
    Bug("wait_for_wrong_copy", WRONG),
    Bug("divergent_barrier", rf"{HERE}.*divergent barrier|divergent barrier.*{HERE}"),
    Bug(
        "divergent_shuffle",
        rf"(?s)deadlock.*threads 0, 2, 4,.* wait in __shfl_xor_sync at .*{HERE}",
    ),
    Bug("shuffle_from_outside", "lane 15 reads lane 16, which takes no part"),
    Bug("product_without_a_lane", rf"{HERE}: mma.sync needs all 32 lanes"),
    Bug("misaligned_ldmatrix", rf"{HERE}: ldmatrix: .* not aligned to 16 bytes"),
    Bug("misaligned_copy", rf"{HERE}: cp.async: .* not aligned to 16 bytes"),
    Bug("too_much_shared", rf"(?s)53248 bytes of dynamic shared memory, 49152 are allowed.*{HERE}"),
]


@pytest.fixture(scope="session")
def planted() -> dict[str, Path]:
    """The program of planted bugs, in each mode."""
    source = [build.HERE / "planted.cu"]
    sanitizers: tuple[build.Sanitizer | None, ...] = (None, "address", "thread")
    return {m: build.build("planted", source, s) for m, s in zip(MODES, sanitizers, strict=True)}


def run(program: Path, name: str, which: str, seed: int = 0) -> tuple[int, str]:
    prefix = without_randomised_addresses() if program.parent.name == "thread" else []
    done = subprocess.run(
        [*prefix, str(program), name, which],
        env={**os.environ, **SANITIZER_SETTINGS, "CUDA_ON_CPU_SEED": str(seed)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def line_of(name: str) -> int:
    for source in ("planted.cuh", "planted.cu"):
        for number, line in enumerate((build.HERE / source).read_text().splitlines(), 1):
            seen = line.partition("// SEEN: ")[2]
            if name in seen.split(", "):
                return number
    return 0


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_clean_twins_are_right_and_not_suspected(bug, planted):
    for mode in MODES:
        for seed in SEEDS if mode == "plain" else SEEDS[:1]:
            assert run(planted[mode], bug.name, "clean", seed) == (0, "right\n"), mode


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bugs_are_seen(bug, planted):
    assert bug.plain or bug.address or bug.thread
    for mode, pattern in zip(MODES, (bug.plain, bug.address, bug.thread), strict=True):
        if pattern is None:
            continue
        line = line_of(bug.name)
        assert line or "{line}" not in pattern
        pattern = pattern.replace("{line}", str(line))
        for seed in SEEDS if mode == "plain" else SEEDS[:1]:
            status, text = run(planted[mode], bug.name, "planted", seed)
            assert status != 0, f"{mode}: {text}"
            assert re.search(pattern, text, re.MULTILINE) is not None, f"{mode}: {text}"


def test_a_message_names_kernel_launch_block_and_thread(planted):
    _, text = run(planted["plain"], "shuffle_from_outside", "planted")
    assert re.search(
        r"in shuffle_half, launched at \S*planted\.cu:\d+, block \(0, 0, 0\), thread \(15, 0, 0\)",
        text,
    )


# ---- conformance ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def library() -> conformance.Library:
    return conformance.Library(conformance.build_for_cpu())


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("seed", [0, -1, 5])
def test_wrappers_conform(check, seed, library, monkeypatch):
    monkeypatch.setenv("CUDA_ON_CPU_SEED", str(seed))
    check(library, np.random.default_rng(abs(seed)))


@pytest.mark.gpu
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda c: c.__name__)
def test_wrappers_conform_on_a_device(check, device_library):
    check(device_library, np.random.default_rng(0))


@pytest.fixture(scope="session")
def device_library(tmp_path_factory) -> conformance.Library:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not on the path")
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no CUDA device")
    architecture = found[0].replace(".", "")
    folder = tmp_path_factory.mktemp("conformance")
    path = conformance.build_for_gpu(nvcc, architecture, folder)
    return conformance.Library(path)


def test_every_wrapper_has_a_twin_and_a_conformance_test():
    header = (build.CUDA / "inner" / "ptx.cuh").read_text()
    wrappers = re.findall(r"^__device__ __forceinline__ \w+ (\w+)\(", header, re.M)
    twins = (build.HERE / "ptx_on_cpu.h").read_text()
    tried = (build.HERE / "conformance.cu").read_text()
    assert len(wrappers) >= 6
    assert "mma_m16n8k16" in wrappers
    wrappers.remove("shared_address")  # for the other wrappers alone: kernels do not call it
    for wrapper in wrappers:
        assert re.search(rf"\b{wrapper}(<\w+>)?\(", twins), f"{wrapper} has no twin"
        assert re.search(rf"\b{wrapper}\b", tried), f"{wrapper} has no conformance test"


# ---- the build -----------------------------------------------------------------------------------


def test_only_what_changed_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("PYNST_CUDA_ON_CPU_BUILD", str(tmp_path / "objects"))
    monkeypatch.setattr(build, "ENGINE", ())
    header, first, second = (tmp_path / name for name in ("value.h", "first.cpp", "second.cpp"))
    header.write_text("int value();\n")
    first.write_text('#include "value.h"\nint value() { return 3; }\n')
    second.write_text("int value();\nint main() { return value(); }\n")
    compiled = []
    compile_with = build.run
    monkeypatch.setattr(build, "run", lambda c: (compiled.append(c[-3:]), compile_with(c)))

    def built() -> set[str]:
        compiled.clear()
        program = build.build("three", [first, second])
        assert subprocess.run([program], check=False).returncode == 3
        return {Path(command[0]).name for command in compiled if command[1] == "-o"} & {
            "first.cpp", "second.cpp",
        }  # fmt: skip

    assert built() == {"first.cpp", "second.cpp"}
    assert built() == set()
    header.write_text("int value();  // changed\n")
    assert built() == {"first.cpp"}


def test_a_compile_error_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PYNST_CUDA_ON_CPU_BUILD", str(tmp_path / "objects"))
    monkeypatch.setattr(build, "ENGINE", ())
    source = tmp_path / "wrong.cu"
    source.write_text('#include "cuda_on_cpu.h"\nhalf sum(half a, half b) { return a + b; }\n')
    with pytest.raises(build.BuildError, match=r"no match for .operator\+"):
        build.build("wrong", [source])
