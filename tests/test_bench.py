"""The benchmark suite itself: it covers every op, notices wrong results, and its tables agree."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from bench_results import ROOT
from op_cases import OP_CASES, OpCase

from bench import device, machine, ops, quality, report, scaling, sets, sets_cuda, users, worker
from bench.__main__ import main, to_json
from bench.peers.table import CLOSURES
from bench.sections import TITLES
from pynst.backends import open_backend
from pynst.backends.base import Backend


@pytest.fixture(scope="module")
def cpu() -> Backend:
    return open_backend("cpu", threads=1)


def small_case(op: str):
    """The op's first case at a picture of 32 pixels."""
    return next(case for case in ops.layer_cases(32) if case.op == op)


# ---- ops -----------------------------------------------------------------------------------------


def test_every_op_of_the_case_table_has_a_benchmark_and_its_cost():
    """`test_backends.py` compares the case table with the contract."""
    contract = {case.op for case in OP_CASES}
    assert {case.op for case in ops.layer_cases(256)} == contract
    assert set(ops.COSTS) == contract


def test_costs_are_those_of_the_case_table():
    for case in OP_CASES:
        assert ops.COSTS[case.op](**case.sizes) == (case.flops, case.nbytes), case


def test_every_convolution_of_vgg19_is_timed_in_both_directions():
    names = {str(case) for case in ops.layer_cases(256)}
    for C, N, side in [
        (64, 64, 256), (64, 128, 128), (128, 128, 128), (128, 256, 64), (256, 256, 64),
        (256, 512, 32), (512, 512, 32), (512, 512, 16),
    ]:  # fmt: skip
        for op in ("conv3x3_relu", "conv3x3_relu_backward"):
            assert f"{op}-C{C}-N{N}-H{side}-W{side}" in names


@pytest.mark.parametrize("op", sorted(ops.COSTS))
def test_a_right_op_is_timed(op, cpu):
    peaks = {"fma_gflops": 100.0, "sgemm_gflops": 90.0, "copy_gbs": 10.0}
    row = ops.measure(small_case(op), cpu, 1, peaks, seconds=0.0)
    assert row["ms"]["median"] > 0
    assert row["ms"]["count"] == 5
    assert row["of_peak_flops"] == pytest.approx(row["gflops"] / 100, abs=1e-3)


def test_a_large_case_is_checked_on_a_smaller_picture_and_timed_on_its_own():
    large = next(case for case in ops.layer_cases(1024) if case.op == "conv3x3_relu")
    small = ops.checked(large)
    assert small.sizes == {**large.sizes, "H": 256, "W": 256}
    assert (small.flops, small.run) == (large.flops / 16, large.run)
    assert ops.checked(small) is small


@pytest.mark.parametrize("op", sorted(ops.COSTS))
def test_a_wrong_op_fails_before_it_is_timed(op, monkeypatch):
    backend = open_backend("cpu", threads=1)
    right = getattr(backend, op)

    def wrong(*arguments):
        right(*arguments)
        floating = [
            a for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "f" and a.size
        ]
        result = 1 if op == "style_ahead" else -1  # it writes G, its second array
        floating[result][...] *= 1.001

    monkeypatch.setattr(backend, op, wrong)
    with pytest.raises(AssertionError):
        ops.checked_call(small_case(op), backend)


# ---- tables that name each other -----------------------------------------------------------------


def test_every_row_has_a_title_for_readers():
    assert set(TITLES) == set(CLOSURES) | set(sets_cuda.ROWS)


@pytest.mark.parametrize("extent", sets.SETS)
def test_a_set_plans_rows_that_there_are(extent):
    planned = {name for _, _, names, _, _ in sets.SETS[extent].closure(2) for name in names}
    assert planned <= set(CLOSURES)


def test_the_full_set_measures_every_row():
    planned = {name for _, _, names, _, _ in sets.SETS["full"].closure(2) for name in names}
    assert planned == set(CLOSURES)


def test_the_sets_of_cpu_and_device_have_the_same_names():
    assert list(sets.SETS) == list(sets_cuda.EXTENTS)


def test_every_row_needs_a_package_that_the_report_can_call_absent():
    assert {row.needs for row in CLOSURES.values() if row.needs} <= set(machine.PEERS)


@pytest.mark.parametrize("task", worker.TASKS)
def test_a_task_of_the_worker_is_a_function(task):
    module, function = worker.TASKS[task].split(":")
    if "torch" in module:
        pytest.importorskip("torch")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_readme_names_every_file_and_no_other():
    text = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| file |") :].split("\n\n")[0]
    files = [path for path in (ROOT / "bench").rglob("*") if path.suffix in (".py", ".c")]
    names = {path.relative_to(ROOT / "bench").as_posix() for path in files}
    named = set(re.findall(r"`([^`]+\.(?:py|c))`", table))
    assert named == {name for name in names if not name.endswith("__init__.py")}


# ---- on a CUDA device, as far as it goes without one ---------------------------------------------


def test_a_run_on_a_device_keeps_what_it_has_and_says_what_failed(monkeypatch):
    def answer(task, **request):
        if task == "device_closures" and request["name"] == "torch-graph":
            raise RuntimeError("no graphs today")
        if task == "device_closures":
            return [
                {"size": size, "seconds": [0.001], "peak_mb": size, "first_s": 1.0,
                 "cores_used": 1.0}
                for size in request["sizes"]
            ]  # fmt: skip
        peaks = ("half_tflops", "tf32_tflops", "float32_tflops", "copy_gbs")
        return dict.fromkeys(peaks, 700.0)

    kept = []
    present = {name: {"version": "1", "install": ""} for name in ("torch", "matplotlib")}
    monkeypatch.setattr(sets_cuda, "Worker", lambda *_, **__: answer)
    monkeypatch.setattr(machine, "peers", lambda: present)
    result = sets_cuda.run(
        ("closure", "scaling"), extent="tiny", name="x", command="x",
        keep=lambda found: kept.append(len(found.get("closure", []))),
    )  # fmt: skip
    assert kept[:2] == [2, 4]
    assert result["failed"] == {"closure torch-graph": "no graphs today"}
    text = report.report(json.loads(to_json(result)))
    assert "- failed: closure torch-graph: no graphs today" in text
    assert "| 64 | device | PyNST, accurate | 1 [1, 1] |" in text
    assert "power of 0" in text


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo 'a GPU, 580.1, 9.0, 1 MiB, 2 W'; echo 'another, 580.1, 9.0, 1 MiB, 2 W'", "a GPU"),
        ("echo 'No devices were found'", None),
        ("echo 'it is broken'; exit 9", None),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the program")
def test_the_facts_of_a_device_are_those_of_the_first_one(script, wanted, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert device.facts().get("name") == wanted


def test_a_part_that_fails_does_not_take_the_closure_with_it(monkeypatch):
    def answer(task, **request):
        if task == "device_closures":
            return [{"size": 32, "seconds": [0.001], "peak_mb": 1, "first_s": 1.0,
                     "cores_used": 1.0}]  # fmt: skip
        if task == "device_peaks":
            return {"half_tflops": None, "copy_gbs": None}
        raise RuntimeError("not today")

    monkeypatch.setattr(sets_cuda, "Worker", lambda *_, **__: answer)
    result = sets_cuda.run(("breakdown", "closure"), extent="tiny", name="x", command="x")
    assert result["failed"] == {"breakdown": "not today"}
    assert "breakdown" not in result
    assert {"pynst", "pynst-accurate"} <= {row["name"] for row in result["closure"]}


def test_without_a_device_the_reason_is_told(monkeypatch, capsys):
    reason = "not available: nobody plugged one in"
    monkeypatch.setattr("pynst.backends.available_backends", lambda: {"cuda": reason})
    assert main(["--backend", "cuda"]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a script for Linux")
def test_a_visit_to_a_device_can_be_rehearsed(tmp_path):
    """Steps that need no device and no compiler; the last line counts what failed."""
    environment = {
        **os.environ, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable,
        "PYNST_GPU_BUILD": str(tmp_path / "build"), "PATH": f"{tmp_path}:/usr/bin:/bin",
    }  # fmt: skip
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho a compiler\n")
    nvcc.chmod(0o755)
    script = str(ROOT / "tests" / "gpu.sh")
    done = subprocess.run(
        [script, "--dry-run", "device"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"device +ok ", done.stdout)
    assert "0 failed" in done.stdout
    assert "a compiler" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    wrong = subprocess.run([script, "nonsense"], env=environment, capture_output=True, check=False)
    assert wrong.returncode == 2


def test_nothing_can_take_the_time_of_the_measurement_that_a_visit_is_for():
    script = (ROOT / "tests" / "gpu.sh").read_text(encoding="utf-8")
    steps = re.search(r'^STEPS="(.*)"', script, re.MULTILINE)[1].split()
    limits = {name: int(limit) for name, limit in (step.split(":") for step in steps)}
    budget = int(re.search(r"PYNST_GPU_SECONDS:-(\d+)", script)[1])
    until = list(limits)[: list(limits).index("closure") + 1]
    assert sum(limits[name] for name in until) <= budget
    assert set(until) <= {"device", "build", "conformance", "closure"}
    for name in limits:
        assert os.access(ROOT / "tests" / "gpu" / name, os.X_OK), name


def test_an_unknown_part_is_refused():
    with pytest.raises(SystemExit) as stopped:
        main(["nonsense"])
    assert stopped.value.code == 2


def test_the_display_counts_the_steps_of_the_plan(monkeypatch):
    """All parts with a stand-in for each measurement: as many steps as were announced."""
    monkeypatch.setattr(sets.ops, "measure", lambda *_: None)
    monkeypatch.setattr(OpCase, "outputs", lambda *_: {})  # float64 at full size takes a minute
    monkeypatch.setattr(sets.closure, "_alternate", _count_only)
    monkeypatch.setattr(sets, "Worker", lambda *_: lambda *_, **__: {})
    monkeypatch.setattr(sets, "Display", Steps)
    for module in (sets, scaling, users, quality):
        monkeypatch.setattr(module, "Worker", lambda *_: stand_in)
    monkeypatch.setattr(users, "_run", lambda _: 0.1)
    for extent in sets.SETS:
        sets.run(sets.PARTS, extent=extent, name="x", command="x")
        assert Steps.last.done == Steps.last.total


def stand_in(task, **request):
    """In place of a worker: an answer that every caller can go on with."""
    if task == "layers":
        return []
    rates = {"fma_gflops": 9.0, "sgemm_gflops": 9.0, "copy_gbs": 9.0}
    return {
        "seconds": [0.01 * request.get("size", 64)] * 3 if task != "iterations" else 1.0,
        "cores_used": 9.0, "peak_mb": request.get("size", 64) + 1.0, **rates,
    }  # fmt: skip


class Steps:
    """A display that only counts."""

    last: Steps

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        Steps.last = self

    def __call__(self, what: str) -> None:
        self.done += 1

    def close(self) -> None:
        pass


def _count_only(size, threads, names, rounds, calls, further_turns, display):
    for _ in range(rounds * len(names)):
        display("")
    return []
