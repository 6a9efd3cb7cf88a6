"""The benchmark suite itself: it covers every op, notices wrong results, reports what is stored."""

from __future__ import annotations

import copy
import inspect
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from op_cases import OP_CASES
from test_backends import NOT_OPS

from pynst import BackendError
from pynst.backends import open_backend
from pynst.backends.base import Backend

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # an installed PyNST comes first
    sys.path.append(str(ROOT))

from bench import closure, ops, report, scaling, sets  # noqa: E402
from bench.__main__ import main, to_json  # noqa: E402
from bench.closures import CLOSURES, NEEDS  # noqa: E402
from bench.measure import Ratio, Worker, quartiles, ratio, summary  # noqa: E402
from bench.problem import FLOPS_PER_PIXEL, Problem  # noqa: E402

STORED = sorted((ROOT / "bench" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def cpu() -> Backend:
    try:
        return open_backend("cpu", threads=1)
    except BackendError as error:
        pytest.skip(str(error))


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


@pytest.mark.parametrize("op", sorted(ops.COSTS))
def test_a_wrong_op_fails_before_it_is_timed(op, monkeypatch):
    try:
        backend = open_backend("cpu", threads=1)
    except BackendError as error:
        pytest.skip(str(error))
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
    ours, peer = closure._alternate(64, 2, ["pynst", "numpy"], 2, 2, display)
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


def test_a_worker_tells_what_went_wrong():
    with pytest.raises(RuntimeError, match="nonsense"):
        Worker(1)("closure", name="nonsense", size=32, threads=1, calls=2)


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
    "quality": [{"formula": "paper", "value_error": 1e-7, "gradient_error": 2e-6}],
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
    assert "| paper | 1.0e-07 | 2.0e-06 |" in text


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


def test_results_page_is_what_the_stored_results_say():
    page = ROOT / "bench" / "RESULTS.md"
    results = [json.loads(path.read_text(encoding="utf-8")) for path in STORED]
    assert results, "bench/results/ holds no run"
    assert page.read_text(encoding="utf-8") == report.results_page(results)


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
    """Ops and closure with a stand-in for each measurement: as many steps as were announced."""
    monkeypatch.setattr(sets.ops, "measure", lambda *_: None)
    monkeypatch.setattr(sets.closure, "_alternate", _count_only)
    monkeypatch.setattr(sets, "Worker", lambda *_: lambda *_, **__: {})
    monkeypatch.setattr(sets, "Display", Steps)
    for full in (False, True):
        sets.run(("ops", "closure"), full=full, name="x", command="x")
        assert Steps.last.done == Steps.last.total


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


def _count_only(size, threads, names, rounds, calls, display):
    for _ in range(rounds * len(names)):
        display("")
    return []
