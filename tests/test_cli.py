"""The command line, as a user meets it: output, exit codes, messages, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.cli import main
from pynst.options import TransferOptions

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


def test_save_every_writes_the_image_on_the_way(pictures, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        pynst, "save_image", lambda image, path: saved.append((image.shape, str(path)))
    )
    output = str(tmp_path / "r.png")
    main([*pictures, "-o", output, "--save-every", "2", "--network", "builtin", "--image-size",
          "72", "--iterations", "5"])  # fmt: skip
    assert saved == [((54, 72, 3), output)] * 2


def test_ctrl_c_saves_the_best_image_and_exits_130(pictures, tmp_path):
    output = tmp_path / "r.png"
    process = subprocess.Popen(
        [sys.executable, "-m", "pynst", *pictures, "-o", str(output), "--network", "builtin",
         "--image-size", "96", "--iterations", "100000"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "the best image so far is saved" in error
    assert "Traceback" not in error
    assert out.strip() == str(output)
    assert pynst.load_image(output).shape == (72, 96, 3)


def test_demo_paints_its_own_pictures(tmp_path, capsys):
    output = tmp_path / "demo.png"
    assert main(["demo", "-o", str(output), "--image-size", "96", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    H, W, _ = pynst.load_image(output).shape
    assert W > 3 * 96 - 1
    assert H >= 72
