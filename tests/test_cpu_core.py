"""The compiled CPU core by itself: instruction sets, sizes, threads and the end of the program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pynst import _cpu
from pynst.backends.cpu import LANES

HUGE = 10**12
FLAGS = {  # what /proc/cpuinfo has to tell of a processor that can run the kernels
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"},
    "amx": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "fma", "amx_tile", "amx_bf16"},
}


# ---- instruction sets ----------------------------------------------------------------------------


def test_the_instruction_sets_are_those_that_the_processor_offers():
    told = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*: (.*)$", told.read_text(), re.M) if told.exists() else None
    if found is None:
        pytest.skip("/proc/cpuinfo tells no x86 flags here")
    offered = [isa for isa in ("amx", "avx512", "avx2") if FLAGS[isa] <= set(found[1].split())]
    names = _cpu.isas()
    if "amx" in offered and "amx" not in names:  # the compiler or the system may lack it
        offered.remove("amx")
    assert names == [*offered, "generic"]


def test_the_core_takes_the_best_instruction_set_unless_told_otherwise():
    environment = {k: v for k, v in os.environ.items() if k != "PYNST_CPU_ISA"}
    script = "from pynst import _cpu; print(_cpu.isa())"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == _cpu.isas()[:1]


def test_python_and_the_core_agree_about_the_lanes_of_a_block():
    assert _cpu.lanes == LANES
    packed = np.empty((1, 1, LANES, 9, LANES), np.float32)
    _cpu.conv3x3_pack(np.ones((3, 2, 3, 3), np.float32), packed)
    assert packed.sum() == 3 * 2 * 9


# ---- sizes ---------------------------------------------------------------------------------------

SCRATCH = {
    "conv3x3_relu_scratch": ("C", "N", "H", "W"),
    "image_conv3x3_relu_scratch": ("N", "H", "W"),
    "filter7x7_scratch": ("N", "H", "W"),
    "gram_scratch": ("N", "M"),
    "style_loss_scratch": ("N", "M"),
    "content_loss_scratch": ("N", "M"),
    "total_variation_scratch": ("H",),
    "lbfgs_arrive_scratch": ("rows", "n"),
}
WITHOUT_THREADS = {
    "content_loss_scratch", "total_variation_scratch", "lbfgs_arrive_scratch",
}  # fmt: skip


def scratch(op: str, **sizes: object) -> int:
    threads = () if op in WITHOUT_THREADS else (_cpu.Threads(2),)
    return getattr(_cpu, op)(*threads, *(sizes.get(name, 40) for name in SCRATCH[op]))


def test_every_function_of_sizes_is_tried():
    assert set(SCRATCH) == {name for name in dir(_cpu) if name.endswith("_scratch")}


@pytest.mark.parametrize("op", SCRATCH)
@pytest.mark.parametrize("wrong", [0, -1, -(2**31), 2**31, 2**32 + 5, HUGE, 2**64, -(10**30)])
def test_a_size_of_nothing_or_of_too_much_is_refused(op, wrong):
    for name in SCRATCH[op]:
        with pytest.raises(ValueError, match=rf"^{op}: {name} must be .* got {wrong}$"):
            scratch(op, **{name: wrong})


@pytest.mark.parametrize("op", [op for op, names in SCRATCH.items() if {"H", "W"} <= set(names)])
def test_more_pixels_than_the_core_counts_are_refused(op):
    with pytest.raises(ValueError, match=rf"^{op}: H times W must be at most 2\^30, got 65536 x"):
        scratch(op, H=65536, W=32768)


@pytest.mark.parametrize("op", SCRATCH)
def test_the_largest_sizes_need_a_plausible_amount_of_scratch(op):
    """No size overflows on the way: more pixels or channels never need less."""
    most = {"C": 65536, "N": 65536, "H": 2**15, "W": 2**15, "M": 2**30, "rows": 65536, "n": 2**30}
    if "W" not in SCRATCH[op]:
        most["H"] = 2**30
    all_of_them = scratch(op, **most)
    for name in SCRATCH[op]:
        assert 0 < scratch(op, **{**most, name: 40}) <= all_of_them < 2**62


def test_a_size_may_be_any_integer_and_nothing_else():
    assert scratch("gram_scratch", M=np.int64(77)) == scratch("gram_scratch", M=77)
    for wrong in (1.5, "5", None):
        with pytest.raises(TypeError, match="integer"):
            scratch("gram_scratch", M=wrong)


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 1025, 2000, HUGE, 10**30])
def test_an_absurd_number_of_threads_is_refused(wrong):
    message = rf"^Threads: count must be an integer in 1\.\.1024, got {wrong}$"
    with pytest.raises(ValueError, match=message):
        _cpu.Threads(wrong)
    assert _cpu.Threads(count=3).count == 3


ENDLESS = """
import threading, time
import numpy as np
from pynst import _cpu

threads = _cpu.Threads({threads})
F = np.zeros((4, 64, 64, 16), np.float32)
G = np.zeros((64, 64))
scratch = np.empty(_cpu.gram_scratch(threads, 64, 64 * 64), np.uint8)
started = threading.Event()


def work():
    while True:
        _cpu.gram(threads, F, None, 64.0 * 64.0, G, scratch)
        started.set()


for _ in range({workers}):
    threading.Thread(target=work, daemon=True).start()
started.wait()
"""


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (1, 3), (2, 2)])
def test_a_program_ends_in_order_while_a_daemon_thread_is_inside_the_core(threads, workers):
    script = ENDLESS.format(threads=threads, workers=workers)
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
