"""The benchmark of the closure: all rows compute the same thing, and only quiet turns count."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from bench_results import ROOT

from bench import breakdown, closure, machine
from bench.measure import Display, Worker, peak_mb
from bench.peers.ours import PyNST, PyNSTOnDevice
from bench.peers.table import CLOSURES
from bench.problem import CHANNELS, FLOPS_PER_PIXEL, STYLE_LAYERS, Problem
from pynst.backends import open_backend
from pynst.backends.base import Backend


@pytest.fixture(scope="module")
def cpu() -> Backend:
    return open_backend("cpu", threads=1)


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


def packages(version: str | None) -> dict:
    """Every optional package in one version, or absent."""
    return {name: {"version": version, "install": ""} for name in machine.PEERS}


def test_a_peer_that_is_absent_is_left_out_and_numpy_takes_its_place(monkeypatch):
    monkeypatch.setattr(machine, "peers", lambda: packages(None))
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
    monkeypatch.setattr(machine, "peers", lambda: packages("1"))
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
    display = Display(4)
    ours, peer = closure._alternate(64, 2, ["pynst", "numpy"], 2, 2, 2, display)
    assert (ours["ms"]["median"], ours["quiet_turns"]) == (10, 1)
    assert (peer["ms"]["median"], peer["quiet_turns"]) == (40, 1)
    assert display.done == display.total == 5


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


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_pynst_on_a_device_computes_the_same_closure(pooling, cpu):
    """Without a device, that of the CPU; x and the gradient stay in the backend's memory."""
    problem = Problem(32, pooling)
    value, gradient = PyNST(problem, 1)()
    on_device = PyNSTOnDevice(problem, 1, cpu)
    assert [on_device.step(), on_device.step()] == [value, value]
    assert np.array_equal(on_device.gradient(), gradient)


def test_every_form_of_pytorch_on_the_cpu_computes_the_same_closure():
    pytest.importorskip("torch")
    for pooling in ("average", "max"):
        value, gradient = PyNST(Problem(32, pooling), 1)()
        for name in ("torch-usual", "torch-best"):
            found, other = CLOSURES[name](Problem(32, pooling), 1)()
            assert found == pytest.approx(value, rel=1e-5)
            assert np.linalg.norm(other - gradient) <= 1e-4 * np.linalg.norm(gradient)


def test_every_form_on_a_device_computes_the_same_closure(cpu):
    torch = pytest.importorskip("torch")
    from bench.peers.torch_cuda import TorchOnDevice

    torch.set_num_threads(1)
    ours = PyNSTOnDevice(Problem(32), 1, cpu)
    value = ours.step()
    for form, close in (("usual", 1e-5), ("float32", 1e-5), ("best", 2e-2)):
        peer = TorchOnDevice(Problem(32), form, "cpu")
        assert peer.step() == pytest.approx(value, rel=max(close / 10, 1e-6))
        difference = np.linalg.norm(peer.gradient() - ours.gradient())
        assert difference <= close * np.linalg.norm(ours.gradient())


def test_the_librarys_convolutions_are_each_timed_both_ways():
    pytest.importorskip("torch")
    from bench.peers.torch_layers import layers

    rows = layers(32, "cpu", ("float32",), 1)
    assert len(rows) == 2 * 9
    assert all(row["gflops"] > 0 for row in rows)


# ---- the closure, op by op ----------------------------------------------------------------------


def test_the_ops_of_a_closure_are_all_there_with_their_sizes(cpu):
    calls = breakdown.calls_of_closure(32, 1, cpu)
    counted = [call for call in calls if call.sizes]
    work = sum(call.cost[0] for call in counted if call.op != "content_loss")
    # Grams are symmetric: half of the products of a full one
    assert work == pytest.approx(Problem(32).flops(), rel=0.02)
    assert [call.op for call in calls].count("style_ahead") == len(STYLE_LAYERS)
    assert sum("conv3x3" in call.op for call in calls) == 2 * len(CHANNELS)


def test_a_closure_is_told_op_by_op(cpu):
    calls = breakdown.calls_of_closure(32, 1, cpu)
    found = breakdown.measure(calls, 2, {"flops": 1e11, "bytes": 1e10})
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1, abs=0.01)
    assert sum(row["calls"] for row in found["rows"]) == len(calls)
    gram = next(row for row in found["rows"] if row["call"] == "style_ahead, 64 channels, 32 x 32")
    assert gram["floor_ms"] == pytest.approx(1e3 * max(gram["gflop"] / 100, gram["mb"] / 1e4))


def test_a_device_times_each_call_by_itself():
    calls = [breakdown.Call("gram", {"N": 64, "H": 8, "W": 8}, lambda: None)] * 3
    found = breakdown.measure(calls, 1, {"flops": 1e9, "bytes": 1e9}, lambda call: [0.001, 0.002])
    assert (found["ms"], found["rows"][0]["calls"]) == (4.5, 3)


# ---- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "own", "foreign"),
    [("pynst", "pynst", "torch"), ("numpy", "numpy", "pynst"), ("numpy", "numpy", "torch")],
)
def test_the_process_of_a_row_holds_no_other_stack(row, own, foreign):
    code = (
        "import sys; import bench.worker; from bench.peers.table import CLOSURES;"
        f" from bench.problem import Problem; CLOSURES[{row!r}](Problem(16), 1)();"
        f" print({own!r} in sys.modules, {foreign!r} in sys.modules)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems may not tell")
def test_the_peak_memory_grows_by_what_was_held():
    before = peak_mb()
    held = np.ones(300_000_000, np.uint8)
    assert peak_mb() >= before
    assert peak_mb() >= held.nbytes / 1e6
