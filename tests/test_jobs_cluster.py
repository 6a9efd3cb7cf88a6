"""A real Dask scheduler with two workers on this machine, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from batches import SMALL_WORDS, Counter, make_pictures
from cli_runs import start

import pynst
from pynst.jobs import cluster
from pynst.jobs.plan import Plan


@pytest.fixture
def dask(tmp_path):
    """A scheduler and two workers; gives its address, the three processes, and a counter."""
    pytest.importorskip("distributed", reason="the package distributed (extra batch) is missing")
    processes, file = [], tmp_path / "scheduler.json"
    counter = Counter(tmp_path, sleep=0.02)
    environment = {**os.environ, **counter.environment}

    def dask_program(*words):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *words, "--no-dashboard"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
            )
        )  # fmt: skip
        return processes[-1]

    dask_program("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    workers = [
        dask_program("worker", address, "--nthreads", "1", "--no-nanny",
                     "--local-directory", str(tmp_path / f"worker{number}"))
        for number in range(2)
    ]  # fmt: skip
    yield address, [processes[0], *workers], counter
    for process in processes:
        process.kill()
        process.wait()


def words(tmp_path, address):
    return ["batch", str(tmp_path / "photos"), str(tmp_path / "art"), "-o", str(tmp_path / "out"),
            "--scheduler", address, *SMALL_WORDS, "--iterations", "20"]  # fmt: skip


def test_a_killed_dask_worker_costs_no_picture_and_no_bit(dask, tmp_path):
    address, programs, counter = dask
    make_pictures(tmp_path)
    master = start(*words(tmp_path, address))
    counter.wait_for(60, lambda: master.poll() is not None)
    programs[2].kill()
    out, error = master.communicate(timeout=120)
    assert master.returncode == 0, error
    assert len(out.splitlines()) == 9
    settings = {"network": "builtin", "image_size": 48, "iterations": 20}
    evaluations = 0
    for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines():
        job = json.loads(line)
        single = pynst.stylize(job["content"], job["style"][0], **settings)
        made = pynst.load_image(tmp_path / "out" / job["output"])
        np.testing.assert_array_equal(made, single.image / 255)
        evaluations += job["evaluations"]
    assert counter.count <= 1.1 * evaluations, "the job goes on from the killed worker's checkpoint"


def test_ctrl_c_stops_the_jobs_on_the_cluster(dask, tmp_path):
    address, _, counter = dask
    make_pictures(tmp_path)
    master = start(*words(tmp_path, address), "--iterations", "100000")
    counter.wait_for(60, lambda: master.poll() is not None)
    master.send_signal(signal.SIGINT)
    _, error = master.communicate(timeout=60)
    assert master.returncode == 130, error
    assert "Traceback" not in error
    assert len(list((tmp_path / "out" / ".pynst").glob("*.npz"))) == 2
    before = counter.count
    time.sleep(1)
    assert counter.count == before


def test_a_scheduler_that_is_lost_is_one_line_and_its_workers_keep_checkpoints(dask, tmp_path):
    address, programs, counter = dask
    make_pictures(tmp_path)
    master = start(*words(tmp_path, address), "--iterations", "100000")
    counter.wait_for(60, lambda: master.poll() is not None)
    programs[0].kill()
    _, error = master.communicate(timeout=60)
    assert master.returncode == 1
    assert "pynst: error: the scheduler is lost; the same batch goes on" in error
    assert "Traceback" not in error
    end = time.monotonic() + 30
    while len(list((tmp_path / "out" / ".pynst").glob("*.npz"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_scheduler_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the package distributed (extra batch) is missing")
    make_pictures(tmp_path, 1, 1)
    process = start(*words(tmp_path, "tcp://127.0.0.1:9"))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: scheduler: tcp://127.0.0.1:9 does not answer" in error
    assert "Traceback" not in error


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    make_pictures(tmp_path, 1, 1)
    jobs = pynst.batch(
        tmp_path / "photos", tmp_path / "art", tmp_path / "out", scheduler="tcp://127.0.0.1:9"
    )
    with pytest.raises(pynst.BackendError, match=r"pip install 'pynst-stylize\[batch\]'"):
        next(jobs)


def test_jobs_leave_with_absolute_paths(tmp_path, monkeypatch):
    make_pictures(tmp_path, 1, 1)
    monkeypatch.chdir(tmp_path)
    options = pynst.TransferOptions(
        weights="w.npz", init="art/a0.png", style_masks=("m.png",), keep_mask="k.png"
    )
    (job,) = Plan("photos", "art", "out", options=options).jobs()
    sent = cluster.with_absolute_paths(job)
    assert sent.content == str(tmp_path / "photos" / "p0.png")
    assert sent.styles == (str(tmp_path / "art" / "a0.png"),)
    assert sent.output == tmp_path / "out" / "p0--a0.png"
    assert sent.options.weights == str(tmp_path / "w.npz")
    assert sent.options.init == str(tmp_path / "art" / "a0.png")
    assert sent.options.style_masks == (str(tmp_path / "m.png"),)
    assert sent.options.keep_mask == str(tmp_path / "k.png")
    (job,) = Plan("photos", "art", "out", options=pynst.TransferOptions(init="noise")).jobs()
    assert cluster.with_absolute_paths(job).options == job.options


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    make_pictures(tmp_path, 1, 1)
    (job,) = Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "elsewhere").jobs()
    outcome = cluster.run_remotely(job, "token")
    assert outcome.state == "failed"
    assert f"does not see {tmp_path / 'elsewhere'}" in outcome.error


def test_a_job_of_a_batch_that_was_stopped_is_not_begun(tmp_path):
    make_pictures(tmp_path, 1, 1)
    (job,) = Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out").jobs()
    (tmp_path / "out" / ".pynst").mkdir(parents=True)
    (tmp_path / "out" / ".pynst" / "token").write_text("stopped")
    assert cluster.run_remotely(job, "token").state == "interrupted"
