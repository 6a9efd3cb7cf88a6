"""The log of a batch: every line whole, whatever a crash has left."""

from __future__ import annotations

import json
import os

import pytest
from batches import make_pictures

from pynst import PyNSTError
from pynst.jobs.manifest import Manifest, read_manifest
from pynst.jobs.messages import Outcome
from pynst.jobs.plan import Plan


@pytest.fixture
def job(tmp_path):
    make_pictures(tmp_path, 1, 1)
    return Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out").jobs()[0]


def test_the_last_line_of_a_job_counts(job):
    with Manifest(job.folder) as manifest:
        assert manifest.state(job) == ""
        assert manifest.failure(job) is None
        manifest.append(job, Outcome("failed", error="why", attempts=2))
        assert manifest.failure(job) == "why"
    with Manifest(job.folder) as manifest:
        assert manifest.failure(job) == "why"
        manifest.append(job, Outcome("done", seconds=1.5, evaluations=20))
        assert (manifest.state(job), manifest.failure(job)) == ("done", None)
    line = read_manifest(job.folder)[job.key]
    assert (line["output"], line["seconds"], line["evaluations"]) == ("p0--a0.png", 1.5, 20)


def test_a_failure_does_not_count_for_a_picture_that_has_changed(job):
    with Manifest(job.folder) as manifest:
        manifest.append(job, Outcome("failed", error="why"))
        os.utime(job.content, ns=(1, 1))
        assert manifest.failure(job) is None


def test_a_torn_or_foreign_line_is_passed_over_and_the_next_one_is_whole(job):
    with Manifest(job.folder) as manifest:
        manifest.append(job, Outcome("failed", error="why"))
    file = job.output.parent / "manifest.jsonl"
    torn = b'[1]\n{"job": 3}\n"x"\n' + b"[" * 70000 + b'\n\xff\n{"job": "abc", "sta'
    file.write_bytes(file.read_bytes() + torn)
    with Manifest(job.folder) as manifest:
        assert manifest.failure(job) == "why"
        manifest.append(job, Outcome("done"))
    assert json.loads(file.read_text(errors="replace").splitlines()[-1])["state"] == "done"
    assert read_manifest(job.folder)[job.key]["state"] == "done"


def test_a_line_of_a_job_that_is_no_mapping_is_passed_over(job):
    with Manifest(job.folder) as manifest:
        manifest.append(job, Outcome("done"))
    file = job.output.parent / "manifest.jsonl"
    file.write_text(file.read_text() + json.dumps({"job": job.key, "state": ["x"]}) + "\n")
    with Manifest(job.folder) as manifest:
        assert manifest.state(job) == "['x']"


def test_the_second_batch_in_a_folder_refuses_until_the_first_has_left(job):
    refusal = pytest.raises(PyNSTError, match=r"another batch is at work in .*out: wait for it")
    with Manifest(job.folder), refusal:
        Manifest(job.folder).__enter__()
    with Manifest(job.folder):
        pass


def test_a_disk_without_locks_is_said(job, monkeypatch, caplog):
    monkeypatch.setattr("pynst.jobs.manifest.try_lock", lambda file: None)
    with Manifest(job.folder):
        assert "knows no locks: start no second batch" in caplog.text


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PyNSTError, match=r"output: cannot write to .*: Not a directory"):
        Manifest(tmp_path / "file" / "out").__enter__()


def test_reading_touches_nothing(tmp_path):
    assert read_manifest(tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()
