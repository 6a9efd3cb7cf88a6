"""Batches: every crash costs a little time and no picture."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from batches import SMALL, SMALL_WORDS, Counter, children, make_pictures
from cli_runs import start
from conftest import picture

import pynst
from pynst.jobs import engine
from pynst.replay import read_record

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds children by /proc, which Linux alone has"
)


def states(jobs):
    return [(job.output.name, job.state) for job in jobs]


def lines(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def run_batch(folder, **settings):
    return list(pynst.batch(folder / "photos", folder / "art", folder / "out", **SMALL | settings))


def test_every_content_with_every_style_equals_the_single_runs(tmp_path):
    make_pictures(tmp_path, 2, 2)
    jobs = run_batch(tmp_path, workers=2)
    assert sorted(states(jobs)) == [(f"p{p}--a{a}.png", "done") for p in range(2) for a in range(2)]
    for job in jobs:
        single = pynst.stylize(job.content, job.styles[0], **SMALL)
        np.testing.assert_array_equal(pynst.load_image(job.output), single.image / 255)
        assert read_record(job.output).pixels_sha256 == single.record.pixels_sha256
        assert job.evaluations == sum(map(len, single.history))
    assert {line["state"] for line in lines(tmp_path / "out")} == {"done"}
    left = [path.name for path in (tmp_path / "out" / ".pynst").iterdir()]
    assert left == ["batch.lock"], "no checkpoint is left"


def test_finished_pictures_are_kept_and_those_of_other_settings_are_not(tmp_path):
    make_pictures(tmp_path, 1, 2)
    run_batch(tmp_path)
    before = (tmp_path / "out" / "p0--a0.png").stat().st_mtime_ns
    assert {job.state for job in run_batch(tmp_path, workers=2, threads=2)} == {"kept"}
    assert (tmp_path / "out" / "p0--a0.png").stat().st_mtime_ns == before
    assert len(lines(tmp_path / "out")) == 2, "the log has no more to tell"
    assert {job.state for job in run_batch(tmp_path, seed=1)} == {"done"}


def test_a_picture_that_has_changed_is_made_again(tmp_path):
    make_pictures(tmp_path, 1, 2)
    run_batch(tmp_path)
    pynst.save_image(picture(7, 48, 48), tmp_path / "art" / "a1.png")
    assert states(run_batch(tmp_path)) == [("p0--a0.png", "kept"), ("p0--a1.png", "done")]


def test_masks_of_a_table_are_those_of_single_runs_and_a_changed_one_is_another_job(
    tmp_path, monkeypatch
):
    make_pictures(tmp_path, 1, 2)
    left = np.zeros((36, 48, 3))
    left[:, :20] = 1
    pynst.save_image(left, tmp_path / "left.png")
    pynst.save_image(1 - left, tmp_path / "right.png")
    (tmp_path / "jobs.csv").write_text(
        "content,style,output,style_masks,content_mask,content_mask_weight,keep_mask\n"
        "photos/p0.png,art/a0.png|art/a1.png,two.png,left.png+rest,,,\n"
        "photos/p0.png,art/a0.png,kept.png,,,,right.png\n"
        "photos/p0.png,art/a0.png,face.png,,right.png,5,\n"
        "photos/p0.png,art/a0.png,plain.png,,,,\n"
    )
    monkeypatch.chdir(tmp_path / "art")  # no mask lies here
    settings = {
        "two.png": {"style_masks": ["../left.png", "rest"]},
        "kept.png": {"keep_mask": "../right.png"},
        "face.png": {"content_mask": "../right.png", "content_mask_weight": 5},
        "plain.png": {},
    }

    def made():
        jobs = pynst.batch(tmp_path / "jobs.csv", None, tmp_path / "out", workers=2, **SMALL)
        return {job.output.name: (job.state, job.error) for job in jobs}

    assert made() == dict.fromkeys(settings, ("done", ""))
    for name, masks in settings.items():
        styles = ["a0.png", "a1.png"] if name == "two.png" else "a0.png"
        single = pynst.stylize("../photos/p0.png", styles, **SMALL, **masks)
        image = pynst.load_image(tmp_path / "out" / name)
        np.testing.assert_array_equal(image, single.image / 255)
    assert made() == dict.fromkeys(settings, ("kept", ""))

    monkeypatch.chdir(tmp_path)
    again = pynst.batch("jobs.csv", None, "out", **SMALL)
    assert {job.state for job in again} == {"kept"}, "the spelling of a path is none of a mask"

    pynst.save_image(left, tmp_path / "right.png")
    changed = {name: state for name, (state, _) in made().items()}
    assert changed == {"two.png": "kept", "kept.png": "done", "face.png": "done",
                       "plain.png": "kept"}  # fmt: skip

    pynst.save_image(0 * left, tmp_path / "left.png")
    state, error = made()["two.png"]
    assert state == "failed"
    assert "mask of style 1: is black everywhere" in error


def test_a_picture_that_is_damaged_in_the_output_folder_is_made_again(tmp_path):
    make_pictures(tmp_path, 1, 1)
    run_batch(tmp_path)
    (tmp_path / "out" / "p0--a0.png").write_bytes(b"\x89PNG, or so")
    assert states(run_batch(tmp_path)) == [("p0--a0.png", "done")]


def test_an_unreadable_picture_is_told_first_and_leaves_the_rest(tmp_path):
    make_pictures(tmp_path)
    whole = (tmp_path / "photos" / "p1.png").read_bytes()
    (tmp_path / "photos" / "p1.png").write_bytes(whole[: len(whole) // 2])
    jobs = run_batch(tmp_path, workers=2)
    assert [job.state for job in jobs] == ["failed"] * 3 + ["done"] * 6
    assert all("content: cannot read" in job.error and "p1.png" in job.error for job in jobs[:3])
    assert sum(line["state"] == "failed" for line in lines(tmp_path / "out")) == 3

    (tmp_path / "photos" / "p1.png").write_bytes(whole)
    assert [job.state for job in run_batch(tmp_path)].count("done") == 3, "it is sound now"


def test_a_job_whose_process_dies_twice_is_marked_and_tried_again_only_when_asked(
    tmp_path, monkeypatch
):
    make_pictures(tmp_path, 1, 2)
    counter = Counter(tmp_path)
    script = Path(counter.environment["PYTHONPATH"].split(os.pathsep)[0], "sitecustomize.py")
    script.write_text(
        "import os, pynst.jobs.work as work\n"
        "do = work.Workplace.do\n"
        "work.Workplace.do = lambda self, job, callback: (\n"
        "    os.kill(os.getpid(), 9) if 'a0' in job.name else do(self, job, callback))\n"
    )
    for name, value in counter.environment.items():
        monkeypatch.setenv(name, value)
    jobs = run_batch(tmp_path)
    assert states(jobs) == [("p0--a0.png", "failed"), ("p0--a1.png", "done")]
    assert "was killed by SIGKILL" in jobs[0].error
    assert [line["attempts"] for line in lines(tmp_path / "out")] == [2, 1]

    script.write_text("")
    again = run_batch(tmp_path)
    assert states(again) == [("p0--a0.png", "failed"), ("p0--a1.png", "kept")]
    assert "has failed before" in again[0].error
    assert states(run_batch(tmp_path, retry_failed=True))[0] == ("p0--a0.png", "done")


def test_wrong_settings_of_one_job_fail_once_and_leave_the_rest(tmp_path):
    make_pictures(tmp_path, 2, 1)
    table = tmp_path / "jobs.csv"
    table.write_text(
        "content,style,style_layers\nphotos/p0.png,art/a0.png,relu9_9\nphotos/p1.png,art/a0.png,\n"
    )
    jobs = list(pynst.batch(table, None, tmp_path / "out", **SMALL))
    assert sorted(states(jobs)) == [("p0--a0.png", "failed"), ("p1--a0.png", "done")]
    assert lines(tmp_path / "out")[0]["attempts"] == 1
    assert "unknown layer 'relu9_9'" in lines(tmp_path / "out")[0]["error"]


def test_a_second_batch_in_the_same_folder_refuses(tmp_path):
    make_pictures(tmp_path, 1, 2)
    first = pynst.batch(tmp_path / "photos", tmp_path / "art", tmp_path / "out", **SMALL)
    next(first)
    with pytest.raises(pynst.PyNSTError, match="another batch is at work in"):
        run_batch(tmp_path)
    assert [job.state for job in first] == ["done"]
    assert {job.state for job in run_batch(tmp_path)} == {"kept"}


def test_closing_the_iterator_stops_the_jobs_with_checkpoints(tmp_path):
    make_pictures(tmp_path, 1, 2)
    seen = []

    def see(progress):
        seen.append(progress)
        if any(share > 0 for share in progress.running.values()):
            raise RuntimeError("enough")

    words = tmp_path / "photos", tmp_path / "art", tmp_path / "out"
    settings = SMALL | {"iterations": 1000}
    with pytest.raises(RuntimeError, match="enough"):
        list(pynst.batch(*words, **settings, callback=see))
    assert seen[-1].jobs == 2
    assert seen[-1].left > 0
    assert [line["state"] for line in lines(tmp_path / "out")] == ["interrupted"]
    assert len(list((tmp_path / "out" / ".pynst").glob("*.npz"))) == 1


def test_what_is_wrong_is_said_before_the_first_picture(tmp_path):
    make_pictures(tmp_path, 1, 1)
    words = tmp_path / "photos", tmp_path / "art"
    for settings, message in (
        ({"workers": 0}, "workers must be a whole number from 1 to 1024, got 0"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, "must not both be given"),
        ({"style_wieght": 1}, "did you mean style_weight"),
        ({"name": "{artist}.png"}, "must be made of {content}"),
    ):
        with pytest.raises(pynst.OptionError, match=message):
            pynst.batch(*words, tmp_path / "out", **settings)
    with pytest.raises(pynst.ImageError, match=r"no picture is found in .*\.tif"):
        pynst.batch(str(tmp_path / "photos" / "*.tif"), words[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_watched_may_be_empty_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_LOOK_SECONDS", 0.3)
    make_pictures(tmp_path, 0, 1)
    added = []

    def add(progress):
        if not added:
            added.append(pynst.save_image(picture(1, 36, 48), tmp_path / "photos" / "new.png"))

    words = tmp_path / "photos", tmp_path / "art", tmp_path / "out"
    watched = pynst.batch(*words, **SMALL, watch=True, callback=add)
    job = next(watched)
    assert (job.output.name, job.state) == ("new--a0.png", "done")
    watched.close()


@needs_proc
@pytest.mark.parametrize("seed", range(int(os.environ.get("PYNST_TEST_CRASHES", "1"))))
def test_killed_workers_and_masters_cost_little_work_and_no_bit(seed, tmp_path):
    """SIGKILL of a worker and then of the master, at random times; then the batch runs again."""
    make_pictures(tmp_path, side=96)
    rng, counter = np.random.default_rng(seed), Counter(tmp_path, sleep=0.004)
    settings = {"network": "builtin", "image_size": 96, "iterations": 12, "levels": 3}
    words = ["batch", str(tmp_path / "photos"), str(tmp_path / "art"), "-o", str(tmp_path / "out"),
             "--workers", "2", "--network", "builtin", "--image-size", "96", "--iterations", "12",
             "--levels", "3"]  # fmt: skip
    master = start(*words, **counter.environment)
    counter.wait_for(int(rng.integers(1, 150)), lambda: master.poll() is not None)
    victims = children(master.pid)
    os.kill(victims[rng.integers(len(victims))], signal.SIGKILL)
    counter.wait_for(counter.count + int(rng.integers(1, 120)), lambda: master.poll() is not None)
    master.kill()
    master.communicate(timeout=60)

    again = start(*words, **counter.environment)
    out, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert len(out.splitlines()) == 9
    evaluations = 0
    for content in sorted((tmp_path / "photos").iterdir()):
        for style in sorted((tmp_path / "art").iterdir()):
            single = pynst.stylize(content, style, **settings)
            output = tmp_path / "out" / f"{content.stem}--{style.stem}.png"
            np.testing.assert_array_equal(pynst.load_image(output), single.image / 255)
            assert read_record(output).pixels_sha256 == single.record.pixels_sha256
            evaluations += sum(map(len, single.history))
    assert evaluations <= counter.count <= 1.1 * evaluations


@needs_proc
def test_ctrl_c_writes_checkpoints_and_the_next_start_goes_on_inside_the_picture(tmp_path):
    make_pictures(tmp_path, 1, 1, side=96)
    counter = Counter(tmp_path, sleep=0.01)
    words = ["batch", str(tmp_path / "photos"), str(tmp_path / "art"), "-o", str(tmp_path / "out"),
             *SMALL_WORDS, "--levels", "1", "--iterations", "60"]  # fmt: skip
    master = start(*words, **counter.environment)
    counter.wait_for(20, lambda: master.poll() is not None)
    workers = children(master.pid)
    master.send_signal(signal.SIGINT)
    out, error = master.communicate(timeout=60)
    assert master.returncode == 130, error
    assert out == ""
    assert "interrupted; 0 made, 0 kept, 0 failed; the same command goes on from here" in error
    assert "Traceback" not in error
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "no process is left"
    before = lines(tmp_path / "out")[-1]
    assert before["state"] == "interrupted"
    assert 20 <= before["evaluations"] < 60
    assert counter.count < 60

    again = start(*words, **counter.environment)
    _, error = again.communicate(timeout=60)
    assert again.returncode == 0, error
    last = lines(tmp_path / "out")[-1]
    assert (last["state"], last["evaluations"]) == ("done", 60)
    assert before["evaluations"] - 3 <= last["resumed_at"] <= before["evaluations"]
    assert counter.count <= 63, "an evaluation in the midst of a step is made again"


@needs_proc
def test_a_worker_ends_with_its_checkpoint_when_its_master_is_killed(tmp_path):
    make_pictures(tmp_path, 1, 1)
    counter = Counter(tmp_path, sleep=0.01)
    words = ["batch", str(tmp_path / "photos"), str(tmp_path / "art"), "-o", str(tmp_path / "out"),
             *SMALL_WORDS, "--levels", "1", "--iterations", "1000"]  # fmt: skip
    master = start(*words, **counter.environment)
    counter.wait_for(20, lambda: master.poll() is not None)
    (worker,) = children(master.pid)
    master.kill()
    master.communicate(timeout=60)
    end = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    (checkpoint,) = (tmp_path / "out" / ".pynst").glob("*.npz")
    snapshot = pynst.checkpoint.read_checkpoint(checkpoint).snapshot
    assert counter.count - 3 <= len(snapshot.history) <= counter.count


def test_the_modules_of_a_cluster_are_not_needed_on_one_machine(tmp_path):
    make_pictures(tmp_path, 1, 1)
    run_batch(tmp_path)
    assert "distributed" not in sys.modules
