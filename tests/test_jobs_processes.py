"""Processes of jobs: their shares of the machine, and their ends."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import replace

import pytest
from batches import SMALL, make_pictures

import pynst
from pynst.jobs import processes
from pynst.jobs.plan import Plan
from pynst.jobs.processes import JobProcess, gpu_names, run_job, shares, workers_that_fit

EVALUATIONS = 100000


@pytest.fixture
def job(tmp_path):
    make_pictures(tmp_path, 1, 1)
    (tmp_path / "out" / ".pynst").mkdir(parents=True)
    options = pynst.TransferOptions(**SMALL | {"iterations": EVALUATIONS})
    return Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out", options=options).jobs()[0]


@pytest.fixture
def process():
    process = JobProcess({"OMP_NUM_THREADS": "1"})
    yield process
    process.close()


def when_it_runs(act, evaluations=10):
    """A listener that acts once, after so many evaluations or soon after."""
    done = []

    def tell(step):
        if not done and step.fraction >= evaluations / EVALUATIONS:
            done.append(step)
            act()

    return tell


def pid(process):
    return process._process.pid


def test_a_process_that_is_stopped_writes_a_checkpoint_and_is_started_anew(job, process):
    stop = []
    outcome = process.run(job, when_it_runs(lambda: stop.append(1)), lambda: bool(stop))
    assert outcome.state == "interrupted"
    assert outcome.evaluations > 0
    assert len(list((job.output.parent / ".pynst").glob("*.npz"))) == 1
    assert process.run(job, lambda step: None, lambda: True).state == "interrupted"
    stop.clear()
    later = outcome.evaluations + 10
    again = process.run(job, when_it_runs(lambda: stop.append(1), later), lambda: bool(stop))
    assert again.evaluations >= later


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "was killed by SIGKILL, as a system does that runs out of memory"),
     (signal.SIGSEGV, "was killed by SIGSEGV"),
     (signal.SIGTERM, "was told to end")],
)  # fmt: skip
def test_a_process_that_is_killed_is_a_failure_that_may_be_tried_again(number, words, job, process):
    outcome = process.run(job, when_it_runs(lambda: os.kill(pid(process), number)), lambda: False)
    assert (outcome.state, outcome.again) == ("failed", True)
    assert outcome.error.startswith(f"its process {words}")


def test_a_job_is_tried_twice_and_what_went_wrong_is_logged(job, process, caplog):
    def kill(step):
        os.kill(pid(process), signal.SIGKILL)

    with caplog.at_level(logging.WARNING, "pynst"):
        outcome = run_job(job, process, kill, lambda: False)
    assert (outcome.state, outcome.attempts) == ("failed", 2)
    assert sum("was killed by SIGKILL" in text for text in caplog.messages) == 2


def test_a_process_that_has_died_between_two_jobs_costs_nothing(job, process):
    small = replace(job, options=pynst.TransferOptions(**SMALL))
    assert process.run(small, lambda step: None, lambda: False).state == "done"
    before = pid(process)
    os.kill(before, signal.SIGKILL)
    time.sleep(0.3)
    assert process.run(small, lambda step: None, lambda: False).state == "kept"
    assert pid(process) != before


def test_what_a_job_logs_is_logged_here_and_what_it_prints_is_no_message(
    job, process, caplog, monkeypatch, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text(
        "import logging, pynst.jobs.work as work\n"
        "do = work.Workplace.do\n"
        "def noisy(self, job, callback):\n"
        "    print('hello', flush=True)\n"
        "    logging.getLogger('pynst').warning('the log')\n"
        "    return do(self, job, callback)\n"
        "work.Workplace.do = noisy\n"
    )
    path = os.pathsep.join([str(tmp_path), os.path.dirname(pynst.__path__[0])])  # noqa: PTH120
    noisy = JobProcess({"PYTHONPATH": path})
    small = replace(job, options=pynst.TransferOptions(**SMALL))
    with caplog.at_level(logging.WARNING, "pynst"):
        assert noisy.run(small, lambda step: None, lambda: False).state == "done"
    noisy.close()
    assert "the log" in caplog.messages


def test_a_folder_called_pynst_where_the_batch_starts_is_not_the_package(
    job, process, monkeypatch, tmp_path
):
    (tmp_path / "pynst").mkdir()
    (tmp_path / "pynst" / "__init__.py").write_text("raise SystemError")
    monkeypatch.chdir(tmp_path)
    small = replace(job, options=pynst.TransferOptions(**SMALL))
    assert process.run(small, lambda step: None, lambda: False).state == "done"


def test_threads_and_memory_are_shared_out(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(processes, "available_memory", lambda: 1000)
    assert shares(1, []) == [{"OMP_NUM_THREADS": "7"}]
    assert shares(3, []) == [{"OMP_NUM_THREADS": "2", "PYNST_MEMORY": "333"}] * 3
    assert shares(9, [])[0]["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(processes, "available_memory", lambda: None)
    assert "PYNST_MEMORY" not in shares(2, [])[0]


def test_each_gpu_has_a_worker_of_its_own(monkeypatch):
    given = [share["CUDA_VISIBLE_DEVICES"] for share in shares(3, ["0", "2"])]
    assert given == ["0", "2", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,1")
    with monkeypatch.context() as patch:
        patch.setattr(processes, "find_spec", lambda name: None)
        assert gpu_names() == [], "neither CuPy nor the CUDA core is here"
    monkeypatch.setattr(processes, "find_spec", lambda name: name)
    assert gpu_names() == ["GPU-a", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_names() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(processes, "query_gpus", lambda fields: [["0"], ["1"]])
    assert gpu_names() == ["0", "1"]

    def none(fields):
        raise pynst.BackendError("nvidia-smi is not installed")

    monkeypatch.setattr(processes, "query_gpus", none)
    assert gpu_names() == []


def test_a_job_that_does_not_fit_into_its_share_fails_with_the_reason(job, monkeypatch):
    poor = JobProcess({"PYNST_MEMORY": "1M"})
    outcome = poor.run(job, lambda step: None, lambda: False)
    poor.close()
    assert outcome.state == "failed"
    assert "memory" in outcome.error


def test_as_many_workers_are_started_as_fit_into_memory(job, monkeypatch, caplog):
    small = replace(job, options=pynst.TransferOptions(**SMALL))
    large = replace(job, options=pynst.TransferOptions(**SMALL | {"image_size": 2048}))
    assert workers_that_fit([], 8, []) == 8
    assert workers_that_fit([small, large], 2, []) == 2
    monkeypatch.setattr(processes, "available_memory", lambda: 1_500_000_000)
    with caplog.at_level(logging.WARNING, "pynst"):
        fitting = workers_that_fit([small, large], 64, [])
    assert 1 <= fitting < 64
    assert f"{fitting} workers instead of 64: each needs about" in caplog.text
    assert workers_that_fit([small], 2, []) == 2
    assert workers_that_fit([large], 64, ["0"]) == 64, "memory of GPUs is not shared"
    monkeypatch.setattr(processes, "available_memory", lambda: 0)
    assert workers_that_fit([large], 64, []) == 1, "it says itself that it does not fit"


def test_without_weights_no_job_is_begun(job):
    options = pynst.TransferOptions(network="vgg19", weights="/none.npz")
    with pytest.raises(pynst.WeightsError, match=r"none\.npz"):
        workers_that_fit([replace(job, options=options)], 1, [])
    small = replace(job, options=pynst.TransferOptions(**SMALL))
    large = replace(job, options=replace(options, image_size=1024))
    assert workers_that_fit([large, small], 3, []) == 3, "another job can be done"
    wrong = pynst.TransferOptions(network="builtin", pooling="max")
    assert workers_that_fit([replace(job, options=wrong)], 3, []) == 3
