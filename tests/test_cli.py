"""The command line, as a user meets it: output, exit codes, messages, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.cli import main
from pynst.info import system_info
from pynst.options import TransferOptions
from pynst.replay import read_record

FAST = ["--network", "builtin", "--image-size", "72", "--iterations", "3"]


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / "content.png", tmp_path / "style.jpg"]
    for seed, path in enumerate(paths):
        pynst.save_image(picture(seed, 60, 80), path)
    return [str(path) for path in paths]


def test_a_picture_is_painted_and_its_path_is_the_only_output(pictures, tmp_path, capsys):
    output = tmp_path / "result.png"
    assert main([*pictures, "-o", str(output), *FAST]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(output)]
    assert "level 1/1  iter 3/3  loss" in captured.err
    assert pynst.load_image(output).shape == (54, 72, 3)


def test_quiet_says_nothing_but_the_path(pictures, tmp_path, capsys):
    assert main([*pictures, "-o", str(tmp_path / "r.jpg"), "--quiet", *FAST]) == 0
    assert capsys.readouterr().err == ""


def test_every_option_of_the_dataclass_is_an_option_of_the_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for each in fields(TransferOptions):
        assert "--" + each.name.replace("_", "-") in text


def test_options_reach_the_run(pictures, tmp_path):
    output = tmp_path / "r.png"
    words = ["--style-layers", "level1=2", "level2", "--content-layers", "level2", "--style-weight",
             "3", "--init", "noise", "--seed", "4", "--preserve-color",
             "--optimizer", "adam"]  # fmt: skip
    assert (
        main([*pictures, pictures[0], "--style-blend", "1", "2", "-o", str(output), *FAST, *words])
        == 0
    )
    wanted = pynst.stylize(
        pictures[0], [pictures[1], pictures[0]], style_blend=(1, 2), network="builtin",
        image_size=72, iterations=3, style_layers={"level1": 2, "level2": 1},
        content_layers="level2", style_weight=3, init="noise", seed=4, preserve_color=True,
        optimizer="adam",
    )  # fmt: skip
    np.testing.assert_array_equal(np.rint(255 * pynst.load_image(output)), wanted.image)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.jpg", "{1}", "-o", "{out}"], "content: no such file"),
        (["{0}", "missing.jpg", "-o", "{out}"], "style: no such file"),
        (["{0}", "{1}", "-o", "{out}", "--style-weight", "-2"], "style_weight must be"),
        (["{0}", "{1}", "-o", "{out}", "--style-layers", "level9"], "unknown layer 'level9'"),
        (["{0}", "{1}", "-o", "{out}", "--init", "missing.png"], "init: no such file"),
        (["{0}", "{1}", "-o", "/no/such/folder/r.png"], "/no/such/folder"),
        (["{0}", "{1}", "-o", "result.xyz"], "xyz"),
        (["{0}", "{1}", "-o", "{out}", "--network", "vgg19"], "VGG-19"),
        (["{0}", "{1}", "-o", "{out}", "--paper"], "network"),
    ],
)
def test_an_error_is_one_line_before_the_work(words, message, pictures, tmp_path, capsys):
    out = tmp_path / "r.png"
    words = [word.format(*pictures, out=out) for word in words]
    assert main([*words, *(FAST if "vgg19" not in words else FAST[2:])]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pynst: error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["only-one.jpg"])
    assert stop.value.code == 2
    assert "STYLE" in capsys.readouterr().err


def test_the_default_output_is_not_overwritten_unasked(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*pictures, *FAST]) == 0
    first = (tmp_path / "out.png").read_bytes()
    assert main([*pictures, *FAST]) == 1
    assert "out.png exists" in capsys.readouterr().err
    assert main([*pictures, *FAST, "--init", "style", "--force"]) == 0
    assert (tmp_path / "out.png").read_bytes() != first


def test_of_two_runs_in_one_folder_neither_is_lost(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import pynst.transfer

    real = pynst.transfer.stylize

    def another_finishes_first(*arguments, **settings):
        result = real(*arguments, **settings)
        (tmp_path / "out.png").write_bytes(b"of the other run")
        return result

    monkeypatch.setattr(pynst.transfer, "stylize", another_finishes_first)
    assert main([*pictures, *FAST]) == 1
    assert (tmp_path / "out.png").read_bytes() == b"of the other run"
    captured = capsys.readouterr()
    assert "output: exists already" in captured.err
    assert pynst.load_image(captured.out.strip()).shape == (54, 72, 3)


def test_save_every_writes_the_image_on_the_way(pictures, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        pynst, "save_image", lambda image, path: saved.append((image.shape, str(path)))
    )
    output = str(tmp_path / "r.png")
    main([*pictures, "-o", output, "--save-every", "2", "--network", "builtin", "--image-size",
          "72", "--iterations", "5"])  # fmt: skip
    assert saved == [((54, 72, 3), output)] * 2


# ---- nothing is lost -----------------------------------------------------------------------------


def start(*words, **environment):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pynst", *words],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def run_until(ready, process):
    """Wait until a run is under way."""
    end = time.monotonic() + 60
    while not ready() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
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


def rescued(captured):
    """The picture whose path is on stdout."""
    assert "-rescued-" in captured.out
    path = captured.out.strip().splitlines()[-1]
    assert f"is saved in {path} instead" in captured.err
    pixels = pynst.load_image(path)
    Path(path).unlink()
    return pixels


def test_a_folder_that_goes_away_costs_no_image(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    import pynst.cli.stylize

    real = pynst.cli.stylize.save

    def gone(*arguments, **settings):
        folder.rmdir()
        return real(*arguments, **settings)

    monkeypatch.setattr(pynst.cli.stylize, "save", gone)
    assert main([*pictures, "-o", str(folder / "r.png"), "--quiet", *FAST]) == 1
    captured = capsys.readouterr()
    assert "output: no such directory" in captured.err
    assert rescued(captured).shape == (54, 72, 3)


def test_an_error_in_save_every_ends_the_run_and_saves_the_image(
    pictures, tmp_path, capsys, monkeypatch
):
    def full(image, path):
        raise pynst.ImageError(f"output: cannot write {path}: No space left on device")

    monkeypatch.setattr(pynst, "save_image", full)
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), "--save-every", "2", *FAST]) == 1
    captured = capsys.readouterr()
    assert "No space left on device" in captured.err
    assert f"the best image so far is saved in {output}" in captured.err
    assert pynst.load_image(output).shape == (54, 72, 3)


def test_a_defect_saves_the_image_and_shows_itself(pictures, tmp_path, monkeypatch):
    def broken(image, path):
        raise ZeroDivisionError

    monkeypatch.setattr(pynst, "save_image", broken)
    output = tmp_path / "r.png"
    with pytest.raises(ZeroDivisionError):
        main([*pictures, "-o", str(output), "--save-every", "2", *FAST])
    assert output.exists()


def test_a_diverged_run_saves_the_image_before(pictures, tmp_path, capsys, monkeypatch):
    real, calls = pynst.objective.Objective.__call__, []

    def poisoned(self, x):
        calls.append(x)
        value, gradient = real(self, x)
        return (float("nan") if len(calls) == 3 else value), gradient

    monkeypatch.setattr(pynst.objective.TotalLoss, "__call__", poisoned)
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), *FAST]) == 1
    assert "not finite at evaluation 3" in capsys.readouterr().err
    assert output.exists()
    monkeypatch.setattr(pynst.objective.TotalLoss, "__call__", real)
    assert main(["replay", str(output), "--quiet"]) == 0


# ---- pictures and records ------------------------------------------------------------------------


def test_sixteen_bits_and_transparency_reach_the_file(tmp_path):
    content, style = tmp_path / "c.png", tmp_path / "s.png"
    alpha = np.tile(np.linspace(0, 1, 80), (60, 1))
    pynst.save_image(picture(0, 60, 80), content, alpha=alpha)
    pynst.save_image(picture(1, 60, 80), style)
    output = tmp_path / "r.png"
    assert main([str(content), str(style), "-o", str(output), "--bits", "16", *FAST]) == 0
    data = output.read_bytes()
    assert data[24:26] == bytes([16, 6]), "16 bits, RGB with alpha"
    assert pynst.images.pictures.read_picture(output, "image").alpha is not None


def test_what_was_done_to_a_picture_is_said_once(pictures, tmp_path, capsys):
    import PIL.Image

    style = tmp_path / "cmyk.jpg"
    PIL.Image.new("CMYK", (60, 50), (10, 80, 20, 0)).save(style)
    assert main([pictures[0], str(style), "-o", str(tmp_path / "r.png"), *FAST]) == 0
    assert capsys.readouterr().err.count("pynst: style: converted from CMYK") == 1


def test_replay_makes_the_picture_again(pictures, tmp_path, capsys):
    output = tmp_path / "r.jpg"
    assert main([*pictures, "-o", str(output), "--init", "noise", "--seed", "5", *FAST]) == 0
    assert main(["replay", str(output)]) == 0
    captured = capsys.readouterr()
    assert "the pixels are the same to the last bit" in captured.err
    again = tmp_path / "r-replay.jpg"
    assert captured.out.splitlines()[-1] == str(again)
    assert again.read_bytes() == output.read_bytes()
    assert main(["replay", str(output)]) == 1, "the default output exists"
    assert "r-replay.jpg exists" in capsys.readouterr().err


def test_replay_says_what_is_not_as_it_was(pictures, tmp_path, capsys):
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), *FAST]) == 0
    moved = tmp_path / "moved.png"
    Path(pictures[0]).rename(moved)
    assert main(["replay", str(output)]) == 1
    assert "content: no such file" in capsys.readouterr().err
    assert main(["replay", str(output), "--content", str(moved)]) == 0
    pynst.save_image(picture(7, 60, 80), pictures[0])
    assert main(["replay", str(output), "--force"]) == 1
    assert "is not the picture of the record" in capsys.readouterr().err
    assert main(["replay", pictures[1]]) == 1
    assert "holds no record" in capsys.readouterr().err


def test_a_result_without_record_holds_no_paths(pictures, tmp_path):
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), "--no-record", *FAST]) == 0
    assert b"content.png" not in output.read_bytes()


# ---- other commands ------------------------------------------------------------------------------


def test_demo_paints_its_own_pictures(tmp_path, capsys):
    output = tmp_path / "demo.png"
    assert main(["demo", "-o", str(output), "--image-size", "96", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    H, W, _ = pynst.load_image(output).shape
    assert W > 3 * 96 - 1
    assert H >= 72


def test_demo_overwrites_only_a_demo_unasked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["demo", "--image-size", "64", "--quiet"]) == 0
    assert capsys.readouterr().out.split() == ["pynst-demo.png"] * 2
    pynst.save_image(picture(0, 20, 20), "pynst-demo.png")
    assert main(["demo", "--image-size", "64", "--quiet"]) == 1
    assert "pynst-demo.png exists and is no demo" in capsys.readouterr().err
    assert main(["demo", "--image-size", "64", "--quiet", "-o", "pynst-demo.png"]) == 0


def test_demo_downloads_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PYNST_OFFLINE")

    def download(**settings):
        raise AssertionError("the demo downloads")

    monkeypatch.setattr(pynst.weights.cache, "fetch_weights", download)
    assert main(["demo", "-o", str(tmp_path / "demo.png"), "--image-size", "64"]) == 0
    assert "pynst weights fetch" in capsys.readouterr().err


def test_info_says_what_there_is_as_text_and_json(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["pynst"] == pynst.__version__
    assert found["backends"]["reference"] == "reference"
    assert set(found["backends"]) == {"cpu", "cuda", "reference"}
    assert found["processor"]["usable"] >= 1
    assert found["weights"]["path"] is None
    assert found["environment"]["PYNST_OFFLINE"] == "1"
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for words in ("versions:", "  numpy: ", "gpu: ", "backends:", "  cuda: ", "cache: "):
        assert words in text


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo 'NVIDIA H200, 580.1, 143771 MiB, 140000 MiB, 9.0'", "NVIDIA H200, 580.1"),
        ("echo broken; exit 9", "nvidia-smi fails: broken"),
    ],
)
def test_info_asks_nvidia_smi(script, wanted, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert system_info()["gpu"].startswith(wanted)


def test_info_without_a_driver_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nvidia-smi is not installed" in system_info()["gpu"]


# Buffered output fails when Python ends, unbuffered output at once.
each_buffering = pytest.mark.parametrize("unbuffered", ["", "1"])


@each_buffering
def test_a_reader_that_goes_away_ends_a_command_quietly(unbuffered):
    listing = start("weights", "list", PYTHONUNBUFFERED=unbuffered)
    listing.stdout.close()
    assert listing.wait(timeout=60) == 1
    assert listing.stderr.read() == ""
    listing.stderr.close()


@each_buffering
def test_a_run_whose_progress_nobody_reads_goes_on(unbuffered, pictures, tmp_path):
    output = tmp_path / "r.png"
    painting = start(*pictures, "-o", str(output), *FAST, PYTHONUNBUFFERED=unbuffered)
    painting.stderr.close()
    assert painting.stdout.read().strip() == str(output)
    painting.stdout.close()
    assert painting.wait(timeout=60) == 0
    assert pynst.load_image(output).shape == (54, 72, 3)


def test_info_survives_everything_that_is_wrong(monkeypatch):
    monkeypatch.setenv("PYNST_WEIGHTS", "/no/such/file")
    monkeypatch.setenv("PYNST_MEMORY", "much")
    found = system_info()
    assert "there is no file /no/such/file" in found["weights"]["state"]
    assert "PYNST_MEMORY must be" in found["memory available"]
