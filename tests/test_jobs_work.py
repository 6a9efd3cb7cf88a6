"""What is done in the process of a job, here in the process of the test."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from batches import SMALL, make_pictures

import pynst
from pynst import transfer
from pynst.jobs import work
from pynst.jobs.plan import Plan
from pynst.jobs.work import Workplace, checkpoint_of
from pynst.replay import read_record


@pytest.fixture
def jobs(tmp_path):
    make_pictures(tmp_path, 2, 1)
    (tmp_path / "out" / ".pynst").mkdir(parents=True)
    options = pynst.TransferOptions(**SMALL)
    return Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out", options=options).jobs()


def ignore(progress):
    pass


def interrupt_at(iteration):
    def callback(progress):
        if progress.iteration == iteration:
            raise KeyboardInterrupt

    return callback


def test_a_job_is_done_and_then_kept(jobs):
    outcome = Workplace().do(jobs[0], ignore)
    assert (outcome.state, outcome.evaluations, outcome.error) == ("done", 4, "")
    assert outcome.seconds > 0
    assert Workplace().do(jobs[0], ignore).state == "kept"


def test_a_picture_of_other_bits_is_not_kept(jobs):
    assert Workplace().do(jobs[0], ignore).state == "done"
    deep = replace(jobs[0], bits=16)
    assert Workplace().do(deep, ignore).state == "done"
    assert Workplace().do(deep, ignore).state == "kept"
    assert Workplace().do(jobs[0], ignore).state == "done"


def test_an_interrupted_job_goes_on_to_the_same_bits(jobs):
    whole = pynst.stylize(jobs[0].content, jobs[0].styles[0], **SMALL)
    outcome = Workplace().do(jobs[0], interrupt_at(3))
    assert (outcome.state, outcome.evaluations) == ("interrupted", 3)
    assert checkpoint_of(jobs[0]).exists()
    outcome = Workplace().do(jobs[0], ignore)
    assert (outcome.state, outcome.evaluations) == ("done", 4)
    assert outcome.resumed_at in (2, 3)
    np.testing.assert_array_equal(pynst.load_image(jobs[0].output), whole.image / 255)
    assert not checkpoint_of(jobs[0]).exists()


def test_a_job_that_goes_on_records_the_picture_it_started_from_once(jobs):
    job = replace(jobs[0], options=replace(jobs[0].options, init=str(jobs[0].styles[0])))
    for iteration in (2, 3, 99):
        outcome = Workplace().do(job, interrupt_at(iteration))
    assert (outcome.state, outcome.resumed_at > 0) == ("done", True)
    names = [used.name for used in read_record(job.output).pictures]
    assert sorted(names) == ["content", "init", "style"]
    assert Workplace().do(job, ignore).state == "kept"


def test_a_job_that_was_made_to_fit_into_memory_goes_on_as_it_was(jobs, monkeypatch):
    """It has fewer pairs in its checkpoint than it would take where there is more memory now."""
    job = replace(jobs[0], options=replace(jobs[0].options, iterations=16, levels=1))
    whole = pynst.stylize(job.content, job.styles[0], job.options, pairs=3)
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "fit_memory", lambda _, options, __: replace(options, pairs=3))
        assert Workplace().do(job, interrupt_at(9)).state == "interrupted"
    outcome = Workplace().do(job, ignore)
    assert (outcome.state, outcome.error) == ("done", "")
    assert outcome.resumed_at > 0
    np.testing.assert_array_equal(pynst.load_image(job.output), whole.image / 255)
    assert Workplace().do(job, ignore).state == "kept"


@pytest.mark.parametrize("damage", ["torn", "of another job"])
def test_a_checkpoint_that_is_unfit_is_not_gone_on_with(damage, jobs):
    Workplace().do(jobs[0], interrupt_at(3))
    data = checkpoint_of(jobs[0]).read_bytes()
    wrong = jobs[0] if damage == "torn" else jobs[1]
    checkpoint_of(wrong).write_bytes(data[:500] if damage == "torn" else data)
    outcome = Workplace().do(wrong, ignore)
    assert (outcome.state, outcome.resumed_at, outcome.evaluations) == ("done", 0, 4)


def test_the_network_is_opened_once_for_jobs_that_share_it(jobs, monkeypatch):
    opened, real = [], work.open_network

    def counted(options):
        opened.append(options)
        return real(options)

    monkeypatch.setattr(work, "open_network", counted)
    workplace = Workplace()
    for job in jobs:
        assert workplace.do(job, ignore).state == "done"
    assert len(opened) == 1
    reference = pynst.TransferOptions(**SMALL, backend="reference")
    other = replace(jobs[0], options=reference, name="reference.png")
    assert workplace.do(other, ignore).state == "done"
    assert len(opened) == 2


def test_settings_of_the_network_are_not_among_those_that_may_differ():
    """A new setting makes another network until it is known that it does not."""
    known = {each.name for each in fields(pynst.TransferOptions)}
    assert set(work._NOT_OF_THE_NETWORK) < known
    assert not {"network", "weights", "backend", "precision", "pooling", "padding", "formula",
                "normalised", "calibration", "style_layers", "content_layers", "threads",
                } & set(work._NOT_OF_THE_NETWORK)  # fmt: skip


@pytest.mark.parametrize(
    ("error", "again"),
    [(pynst.ImageError("x"), False), (pynst.OptionError("x"), False),
     (pynst.BackendError("x"), True), (ZeroDivisionError("x"), True)],
)  # fmt: skip
def test_whatever_goes_wrong_is_the_outcome_of_the_job_alone(error, again, jobs, monkeypatch):
    def fail(run, terms):
        raise error

    workplace = Workplace()
    with monkeypatch.context() as patch:
        patch.setattr(work, "minimise_levels", fail)
        outcome = workplace.do(jobs[0], ignore)
    assert (outcome.state, outcome.again) == ("failed", again)
    assert outcome.error.endswith("x")
    assert not workplace.interruptible
    assert workplace.do(jobs[0], ignore).state == "done"


def test_an_output_that_cannot_be_written_is_said_before_the_work(jobs):
    seen = []
    jobs[0].output.mkdir()
    outcome = Workplace().do(jobs[0], seen.append)
    assert (outcome.state, outcome.again, seen) == ("failed", False, [])
    assert "output: is a directory" in outcome.error


def test_a_job_that_another_process_does_is_waited_for(jobs, monkeypatch):
    from pynst.locks import try_lock

    monkeypatch.setattr(work, "_LONGEST_WAIT", 0.2)
    with checkpoint_of(jobs[0]).with_suffix(".lock").open("a+b") as file:
        assert try_lock(file)
        outcome = Workplace().do(jobs[0], ignore)
    assert (outcome.state, outcome.again) == ("failed", True)
    assert "is being made by another process" in outcome.error
    assert Workplace().do(jobs[0], ignore).state == "done"
