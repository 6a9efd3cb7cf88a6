"""The benchmark suite itself: it covers every op, notices wrong results, reports what is stored."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from op_cases import OP_CASES, OpCase
from test_backends import NOT_OPS

from pynst.backends import open_backend
from pynst.backends.base import Backend

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # an installed PyNST comes first
    sys.path.append(str(ROOT))

from bench import breakdown, closure, cuda, ops, quality, report, scaling, sets, users  # noqa: E402
from bench.__main__ import main, to_json  # noqa: E402
from bench.closures import CLOSURES, NEEDS, PyNSTOnDevice  # noqa: E402
from bench.measure import Ratio, Worker, quartiles, ratio, summary  # noqa: E402
from bench.problem import CHANNELS, FLOPS_PER_PIXEL, STYLE_LAYERS, Problem  # noqa: E402

STORED = sorted((ROOT / "bench" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def cpu() -> Backend:
    return open_backend("cpu", threads=1)


def small_case(op: str):
    """The op's first case at a picture of 32 pixels."""
    return next(case for case in ops.layer_cases(32) if case.op == op)


# ---- ops -----------------------------------------------------------------------------------------


def test_every_op_of_the_contract_has_a_benchmark_and_its_cost():
    contract = {
        name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if name[0] != "_"
    } - NOT_OPS
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
        floating[-1][...] *= 1.001

    monkeypatch.setattr(backend, op, wrong)
    with pytest.raises(AssertionError):
        ops.checked_call(small_case(op), backend)


# ---- the closure ---------------------------------------------------------------------------------


def test_work_of_a_closure_is_what_the_tables_state():
    assert FLOPS_PER_PIXEL == 1_514_240
    assert Problem(512).flops() == pytest.approx(396.95e9, rel=1e-4)


def test_pynst_and_numpy_compute_the_same_closure(cpu):
    del cpu  # it is there
    value, gradient = CLOSURES["numpy"](Problem(32), 1)()
    for name in ("pynst", "pynst-objective"):
        other, found = CLOSURES[name](Problem(32), 1)()
        assert other == pytest.approx(value, rel=closure.VALUE_TOLERANCE)
        assert np.linalg.norm(found - gradient) <= 1e-4 * np.linalg.norm(gradient)


def test_a_row_that_computes_something_else_stops_the_run(tmp_path):
    paths = {}
    for name, factor in (("pynst", 1.0), ("numpy", 1.001)):
        paths[name] = tmp_path / f"{name}.npz"
        np.savez(paths[name], value=factor, gradient=np.ones((3, 4, 4)))
    with pytest.raises(AssertionError, match="numpy and pynst must agree"):
        closure.check_agreement(paths)


def test_a_peer_that_is_absent_is_left_out_and_numpy_takes_its_place(monkeypatch):
    absent = {package: {"version": None} for package in NEEDS.values()}
    monkeypatch.setattr(closure, "peers", lambda: absent)
    assert closure.present(["pynst", "torch-best"]) == ["pynst", "numpy"]


def test_an_instruction_set_is_forced_only_below_the_one_that_is_taken_anyway(monkeypatch):
    names = ["pynst", "pynst-avx512", "pynst-avx2", "numpy"]
    for isas, left in (
        (["amx", "avx512", "avx2", "generic"], names),
        (["avx512", "avx2", "generic"], ["pynst", "pynst-avx2", "numpy"]),
        (["neon"], ["pynst", "numpy"]),
    ):
        monkeypatch.setattr("pynst._cpu.isas", lambda isas=isas: isas)
        assert closure.present(names) == left


def test_pytorch_without_avx512_is_measured_where_pynst_is_too(monkeypatch):
    there = {package: {"version": "1"} for package in NEEDS.values()}
    monkeypatch.setattr(closure, "peers", lambda: there)
    for isas, left in (
        (["avx512", "avx2", "generic"], ["pynst", "pynst-avx2", "torch-avx2"]),
        (["avx2", "generic"], ["pynst", "numpy"]),
    ):
        monkeypatch.setattr("pynst._cpu.isas", lambda isas=isas: isas)
        assert closure.present(["pynst", "pynst-avx2", "torch-avx2"]) == left


def answer(milliseconds: float, cores: float) -> dict:
    return {"seconds": [milliseconds / 1e3] * 2, "cores_used": cores, "peak_mb": 9, "first_s": 1}


def test_only_quiet_turns_count_and_a_row_without_one_is_given_more(monkeypatch):
    turns = {
        "pynst": iter([answer(10, 2.0), answer(30, 1.0)]),
        "numpy": iter([answer(50, 1.1), answer(60, 1.2), answer(40, 1.9)]),
    }
    monkeypatch.setattr(closure, "Worker", lambda *_: lambda _, name, **__: next(turns[name]))
    monkeypatch.setattr(closure, "check_agreement", lambda _: None)
    display = Steps(4)
    ours, peer = closure._alternate(64, 2, ["pynst", "numpy"], 2, 2, 2, display)
    assert (ours["ms"]["median"], ours["quiet_turns"]) == (10, 1)
    assert (peer["ms"]["median"], peer["quiet_turns"]) == (40, 1)
    assert display.done == display.total == 5


def test_a_row_that_stays_disturbed_is_said_to_be_and_left_out_of_the_readme():
    result = copy.deepcopy(RESULT)
    result["closure"][1]["quiet_turns"] = result["closure"][2]["quiet_turns"] = 0
    assert "2.90 (2.79-3.02), disturbed" in report.report(result)
    assert "256 x 256" not in report.readme([result])


def test_a_worker_measures_in_its_own_process(cpu):
    del cpu
    answer = Worker(1)("closure", name="pynst", size=32, threads=1, calls=2)
    assert len(answer["seconds"]) == 2
    assert answer["peak_mb"] is None or 50 < answer["peak_mb"] < 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux passes it on to children")
def test_the_memory_of_a_worker_is_not_that_of_its_parent(cpu):
    del cpu
    large = np.ones(500_000_000, np.uint8)
    assert Worker(1)("closure", name="pynst", size=32, threads=1, calls=2)["peak_mb"] < 400
    assert large[-1] == 1  # it was there all the time


def test_a_worker_that_takes_too_long_is_ended():
    with pytest.raises(RuntimeError, match=r"not done after 0\.01 s"):
        Worker(1, limit=0.01)("closure", name="pynst", size=32, threads=1, calls=2)


def test_a_worker_tells_what_went_wrong():
    with pytest.raises(RuntimeError, match="nonsense"):
        Worker(1)("closure", name="nonsense", size=32, threads=1, calls=2)


# ---- the closure, op by op ----------------------------------------------------------------------


def test_the_ops_of_a_closure_are_all_there_with_their_sizes(cpu):
    tape = breakdown.Tape(cpu)
    calls = breakdown.record(CLOSURES["pynst"](Problem(32), 1, tape), tape)
    counted = [call for call in calls if call.sizes]
    work = sum(call.cost[0] for call in counted if call.op != "content_loss")
    # Grams are symmetric: half of the products of a full one
    assert work == pytest.approx(Problem(32).flops(), rel=0.02)
    assert [call.op for call in calls].count("gram") == len(STYLE_LAYERS)
    assert sum("conv3x3" in call.op for call in calls) == 2 * len(CHANNELS)


def test_a_closure_is_told_op_by_op(cpu):
    tape = breakdown.Tape(cpu)
    calls = breakdown.record(CLOSURES["pynst"](Problem(32), 1, tape), tape)
    found = breakdown.measure(calls, 2, {"flops": 1e11, "bytes": 1e10})
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1, abs=0.01)
    assert sum(row["calls"] for row in found["rows"]) == len(calls)
    gram = next(row for row in found["rows"] if row["call"] == "gram, 64 channels, 32 x 32")
    assert gram["floor_ms"] == pytest.approx(1e3 * max(gram["gflop"] / 100, gram["mb"] / 1e4))


def test_a_device_times_each_call_by_itself():
    calls = [breakdown.Call("gram", {"N": 64, "H": 8, "W": 8}, lambda: None)] * 3
    found = breakdown.measure(calls, 1, {"flops": 1e9, "bytes": 1e9}, lambda call: [0.001, 0.002])
    assert (found["ms"], found["rows"][0]["calls"]) == (4.5, 3)


# ---- on a CUDA device, as far as it goes without one ---------------------------------------------


def test_every_form_on_a_device_computes_the_same_closure(cpu):
    torch = pytest.importorskip("torch")
    from bench.closure_device import TorchOnDevice

    torch.set_num_threads(1)
    ours = PyNSTOnDevice(Problem(32), 1, cpu)
    value = ours.step()
    assert value == pytest.approx(CLOSURES["pynst"](Problem(32), 1)()[0], rel=1e-12)
    for form, close in (("usual", 1e-5), ("float32", 1e-5), ("best", 2e-2)):
        peer = TorchOnDevice(Problem(32), form, "cpu")
        assert peer.step() == pytest.approx(value, rel=max(close / 10, 1e-6))
        difference = np.linalg.norm(peer.gradient() - ours.gradient())
        assert difference <= close * np.linalg.norm(ours.gradient())


def test_the_librarys_convolutions_are_each_timed_both_ways():
    pytest.importorskip("torch")
    from bench.library import layers

    rows = layers(32, "cpu", ("float32",), 1)
    assert len(rows) == 2 * 9
    assert all(row["gflops"] > 0 for row in rows)


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
    monkeypatch.setattr(cuda, "Worker", lambda *_, **__: answer)
    monkeypatch.setattr(cuda.machine, "peers", lambda: present)
    result = cuda.run(
        ("closure", "scaling"), extent="tiny", name="x", command="x",
        keep=lambda found: kept.append(len(found.get("closure", []))),
    )  # fmt: skip
    assert kept[:2] == [2, 4]
    assert result["failed"] == {"closure torch-graph": "no graphs today"}
    text = report.report(json.loads(to_json(result)))
    assert "- failed: closure torch-graph: no graphs today" in text
    assert "| 64 | device | PyNST, accurate | 1 [1, 1] |" in text
    assert "power of 0" in text


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


# ---- figures -------------------------------------------------------------------------------------


def test_a_summary_has_the_quartiles_of_its_runs():
    found = summary([0.003, 0.001, 0.002])
    assert (found["q1"], found["median"], found["q3"]) == (1.5, 2.0, 2.5)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_a_ratio_whose_spread_encloses_one_is_a_tie():
    fast = {"median": 10.0, "q1": 9.0, "q3": 12.0}
    assert ratio({"median": 11.0, "q1": 10.0, "q3": 13.0}, fast).tie
    clear = ratio({"median": 30.0, "q1": 29.0, "q3": 31.0}, fast)
    assert clear == Ratio(3.0, 29 / 12, 31 / 9)
    assert not clear.tie
    assert str(clear) == "3.00 (2.42-3.44)"


def test_an_exponent_is_the_slope_between_logarithms():
    assert scaling.exponent([1, 10, 100], [5, 50 * 10**0.5, 5000]) == pytest.approx(1.5)


# ---- reports -------------------------------------------------------------------------------------


def ms(median: float) -> dict:
    return {"median": median, "q1": 0.98 * median, "q3": 1.02 * median, "min": 0.9 * median,
            "runs": [median] * 3}  # fmt: skip


RESULT = {
    "format": 1,
    "name": "a small run",
    "command": "python -m bench",
    "set": "quick",
    "date": "2026-01-02",
    "minutes": 1.0,
    "machine": {
        "processor": "a processor", "threads": 2, "memory_gb": 8.0, "system": "Linux x86_64",
        "huge_pages": "madvise", "python": "3.12.1", "versions": {"numpy": "2.0", "torch": "2.4"},
        "backends": {"cpu": "cpu (avx2, 2 threads)"}, "commit": "0123456789",
    },
    "packages": {"jax": {"version": None, "install": "pip install jax"}},
    "peaks": {"2": {"fma_gflops": None, "sgemm_gflops": 90.0, "copy_gbs": 10.0}},
    "load": {"before": 0.1, "after": 2.0},
    "closure": [
        {"size": 256, "threads": 2, "name": name, "ms": ms(time), "gflops": 10.0,
         "peak_mb": 100.0, "first_s": 1.0, "cores_used": [1.9, 2.0], "quiet_turns": 2}
        for name, time in (("pynst", 100.0), ("torch-best", 290.0), ("torch-usual", 101.0))
    ],
    "ops": [
        {"case": "gram-N4", "op": "gram", "threads": 2, "flops": 1e6, "bytes": 1e5, "ms": ms(1.0),
         "gflops": 1.0, "gbs": 0.1, "of_peak_flops": 0.01, "of_copy": None}
    ],
    "users": {
        "start": [{"what": "import pynst", "ms": ms(20.0)}],
        "picture": [{"network": "builtin", "size": 256, "quality": "normal", "evaluations": 50,
                     "first_s": 0.5, "final_s": 9.0, "peak_mb": None}],
        "installed_mb": {"pynst": 1.5},
    },
    "convergence": {
        "size": 64, "threads": 2, "evaluations": 2, "weights": "random",
        "curves": {"pynst lbfgs": {"seconds": [0.1, 0.2], "loss": [8.0, 4.0],
                                   "cores_used": 1.9},
                   "another": {"seconds": [0.3, 0.6], "loss": [8.0, 5.0],
                               "cores_used": 1.8}},
    },
    "scaling": {
        "pixels": {"rows": [{"size": 64, "threads": 2, "ms": 1.0, "peak_mb": 50.0,
                             "cores_used": 2.0}],
                   "time_exponent": 0.97},
        "threads": [{"size": 256, "threads": 1, "ms": 9.0, "peak_mb": 50.0, "speedup": 1.0,
                     "cores_used": 1.0}],
        "evaluations": {"rows": [], "ms_per_evaluation": 3.0, "ms_constant": 20.0},
    },
    "quality": {
        "formulas": [{"formula": "paper", "value_error": 1e-7, "gradient_error": 2e-6}],
        "drivers": {"size": 64, "after": [1, 2],
                    "rows": [{"driver": "pynst lbfgs", "start": 8.0, "lowest": [6.0, 2.0]}]},
    },
    "breakdown": [
        {"size": 256, "threads": 2, "name": "pynst", "ms": 5.0, "rows": [
            {"call": "gram, 64 channels, 256 x 256", "op": "gram", "sizes": {}, "calls": 1,
             "ms": 2.0, "share": 0.4, "gflop": 0.3, "mb": 17.0, "floor_ms": 0.6},
            {"call": "gram, 128 channels, 128 x 128", "op": "gram", "sizes": {}, "calls": 1,
             "ms": 1.0, "share": 0.2, "gflop": 0.3, "mb": 8.0, "floor_ms": 0.5},
            {"call": "conv3x3_relu, 64 to 128 channels, 128 x 128", "op": "conv3x3_relu",
             "sizes": {"C": 64, "N": 128, "H": 128, "W": 128}, "calls": 1, "ms": 2.0,
             "share": 0.4, "gflop": 2.4, "mb": 13.0, "floor_ms": 4.6}]},
    ],
    "layers": [
        {"C": 64, "N": 128, "size": 128, "way": "forward", "form": "float32", "threads": 2,
         "ms": ms(4.0), "gflops": 600.0}
    ],
}  # fmt: skip


def test_a_report_is_built_from_a_stored_result():
    text = report.report(json.loads(to_json(RESULT)))
    assert "absent: jax (`pip install jax`)" in text
    closure_table = text[text.index("### The closure") : text.index("### What a user feels")]
    assert "| 256 | 2 | PyTorch, best form | 290 [284.2, 295.8] | 261 | 3 | 2.90 (2.79-3.02)" in (
        closure_table
    )
    assert "tie, 1.01" in closure_table
    assert "| another | 2 | 0.6 | 1.25 | 0.3 | not reached | not reached | 1.8 |" in text
    assert "power of 0.97" in text
    assert "| paper | cpu | 1.0e-07 | 2.0e-06 |" in text
    assert "| pynst lbfgs | 0.75 | 0.25 |" in text
    assert "| gram | 3 (60.0%; 0.6; 25; 1.1) |" in text
    assert "| 64 to 128 | 128 x 128 | forward | 1.2 (2) | 0.6 (4) |" in text


def test_every_table_of_a_report_has_as_many_cells_in_each_row():
    lines = report.report(RESULT).splitlines()
    tables = [line.count("|") if line.startswith("|") else 0 for line in lines]
    for before, after in itertools.pairwise(tables):
        assert not (before and after) or before == after


def test_the_readmes_table_is_against_pytorchs_fastest_form():
    text = report.readme([RESULT])
    assert "| 256 x 256 | 2 | 100 ms | 101 ms | tie" in text
    assert "a processor" in text
    assert "0123456789" in text


def test_a_later_quick_run_does_not_hide_the_fastest_form_in_the_readme():
    quick = copy.deepcopy(RESULT)
    quick["date"] = "9999-01-01 00:00"
    quick["machine"]["commit"] = "later"
    full = copy.deepcopy(RESULT)
    row = next(row for row in quick["closure"] if row["name"] == "torch-best")
    full["closure"].append({**row, "name": "torch-compile"})
    assert report.readme([quick, full]) == report.readme([full])
    assert "later" in report.readme([quick])


def test_results_page_is_what_the_stored_results_say():
    page = ROOT / "bench" / "RESULTS.md"
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in STORED}
    assert results, "bench/results/ holds no run"
    text = page.read_text(encoding="utf-8")
    assert text == report.results_page(results)
    shown = set(re.findall(r"\((results/[^)]*\.svg)\)", text))
    stored = (ROOT / "bench" / "results").glob("*.svg")
    assert shown == {f"results/{path.name}" for path in stored}


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_result_names_no_file_of_its_machine(path):
    text = path.read_text(encoding="utf-8")
    for word in ("/home", "/root", "/tmp", "/work", "://"):
        assert word not in text


def compared(tmp_path, after, *words) -> int:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, result in zip(paths, (RESULT, after), strict=True):
        path.write_text(to_json(result), encoding="utf-8")
    return main(["compare", *map(str, paths), *words])


def test_compare_finds_nothing_between_equal_results(tmp_path, capsys):
    assert compared(tmp_path, RESULT) == 0
    assert "4 figures in common, 4 of them the same" in capsys.readouterr().out


def test_compare_fails_on_a_slower_op(tmp_path, capsys):
    slower = copy.deepcopy(RESULT)
    slower["ops"][0]["ms"] = ms(1.3)
    assert compared(tmp_path, slower) == 1
    assert "| gram-N4, threads 2, ms | 1 | 1.3 | +30% | worse |" in capsys.readouterr().out
    assert compared(tmp_path, slower, "--threshold", "0.5") == 0


def test_compare_fails_on_more_memory(tmp_path):
    larger = copy.deepcopy(RESULT)
    larger["closure"][0]["peak_mb"] = 150.0
    assert compared(tmp_path, larger) == 1


def test_compare_takes_overlapping_quartiles_for_noise(tmp_path):
    noisy = copy.deepcopy(RESULT)
    noisy["ops"][0]["ms"] = {**ms(1.3), "q1": 0.9}
    assert compared(tmp_path, noisy) == 0


def test_compare_does_not_blame_pynst_for_a_peer(tmp_path):
    slower = copy.deepcopy(RESULT)
    slower["closure"][1]["ms"] = ms(900.0)
    assert compared(tmp_path, slower) == 0


def test_compare_refuses_what_is_no_result(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(path), str(path)])
    assert stopped.value.code == 2


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
