"""Ctrl-C, SIGTERM and SIGHUP: what there is is saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from cli_runs import FAST, run_until, start

import pynst
from pynst.cli import main
from pynst.replay import read_record


@pytest.fixture(autouse=True)
def hangup_ends_programs():
    """These tests may be run under nohup, and a program inherits that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_saves_the_best_image_and_the_run_can_go_on(number, code, pictures, tmp_path):
    output, checkpoint = tmp_path / "r.png", tmp_path / "run.npz"
    process = start(*pictures, "-o", str(output), "--network", "builtin", "--image-size", "96",
                    "--iterations", "100000", "--optimizer", "lbfgs",
                    "--checkpoint", str(checkpoint))  # fmt: skip
    run_until(checkpoint.exists, process)
    time.sleep(1)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert f"the best image so far is saved in {output}" in error
    assert f"pynst --resume {checkpoint} goes on from here" in error
    assert "Traceback" not in error
    assert out.strip() == str(output)
    assert pynst.load_image(output).shape == (72, 96, 3)
    before = len(pynst.checkpoint.read_checkpoint(checkpoint).snapshot.history)
    assert before > 1, "the work since the first checkpoint is kept"

    second = tmp_path / "second.png"
    words = ["--resume", str(checkpoint), "-o", str(second), "--minutes", "0", "--quiet"]
    assert main(words) == 0
    assert sum(read_record(second).evaluations) == before, "its pictures and settings are known"


def test_a_signal_before_there_is_an_image_leaves_nothing(pictures, tmp_path, monkeypatch, capsys):
    import pynst.transfer

    def interrupted(options):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(pynst.transfer, "open_network", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    assert main([*pictures, "-o", str(tmp_path / "r.png"), *FAST]) == 143
    assert capsys.readouterr().err == "pynst: interrupted\n"
    assert not (tmp_path / "r.png").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_does_not_disturb_the_saving(pictures, tmp_path, monkeypatch):
    import pynst.result

    real = pynst.result.save_image

    def slow(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return real(*arguments, **settings)

    monkeypatch.setattr(pynst.result, "save_image", slow)
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), *FAST]) == 0
    assert pynst.load_image(output).shape == (54, 72, 3)


def test_under_nohup_the_end_of_the_terminal_does_not_end_the_run(pictures, tmp_path):
    output, checkpoint = tmp_path / "r.png", tmp_path / "run.npz"
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "pynst", *pictures, "-o", str(output), "--network",
         "builtin", "--image-size", "96", "--iterations", "60", "--checkpoint", str(checkpoint)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    run_until(checkpoint.exists, process)
    process.send_signal(signal.SIGHUP)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert out.strip() == str(output)
    assert sum(read_record(output).evaluations) == 60


def test_a_terminal_that_has_gone_costs_no_picture(pictures, tmp_path):
    """SIGHUP comes when a terminal is closed: from then on, what is written to it fails."""
    import pty

    output, checkpoint = tmp_path / "r.png", tmp_path / "run.npz"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pynst", *pictures, "-o", str(output), "--network", "builtin",
         "--image-size", "96", "--iterations", "100000", "--checkpoint", str(checkpoint)],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(theirs)
    run_until(checkpoint.exists, process)
    time.sleep(1)  # the first checkpoint is written before there is an image
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    assert pynst.load_image(output).shape == (72, 96, 3)
