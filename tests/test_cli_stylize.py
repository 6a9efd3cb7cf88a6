"""``pynst CONTENT STYLE``, as a user meets it: output, exit codes, messages."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from cli_runs import FAST, shell
from conftest import picture
from PIL import Image

import pynst
from pynst.cli import main
from pynst.options import TransferOptions
from pynst.replay import read_record


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


def test_save_every_that_fails_is_said_once_and_the_run_goes_on(
    pictures, tmp_path, capsys, monkeypatch
):
    tried = []

    def full(image, path):
        tried.append(path)
        raise pynst.ImageError(f"output: cannot write {path}: No space left on device")

    monkeypatch.setattr(pynst, "save_image", full)
    output = tmp_path / "r.png"
    words = [*pictures, "-o", str(output), "--network", "builtin", "--image-size", "72"]
    assert main([*words, "--save-every", "1", "--iterations", "5"]) == 0
    captured = capsys.readouterr()
    assert len(tried) == 5
    assert captured.err.count("No space left on device") == 1
    assert "pynst: warning: --save-every: output: cannot write" in captured.err
    assert captured.out.splitlines() == [str(output)]
    assert sum(read_record(output).evaluations) == 5


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


def test_tiles_a_limit_and_pixels_per_inch_reach_the_run_and_the_file(pictures, tmp_path):
    output = tmp_path / "out.tif"
    words = ["--memory", "100G", "--tile", "64", "--pairs", "4", "--dpi", "300", "--bits", "16"]
    layers = ["--style-layers", "level1", "--content-layers", "level1"]
    assert main([*pictures, "-o", str(output), *words, *layers, *FAST, "--image-size", "96"]) == 0
    options = read_record(output).options
    assert (options.memory, options.tile, options.pairs) == (10**11, 64, 4)
    with Image.open(output) as image:
        assert image.info["dpi"] == (300, 300)


def test_pixels_per_inch_that_cannot_be_are_refused_before_the_run(pictures, tmp_path, capsys):
    assert main([*pictures, "-o", str(tmp_path / "out.png"), "--dpi", "0", *FAST]) == 1
    assert "output: dpi must be a number from 1 to 10000, got 0.0" in capsys.readouterr().err


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


def test_a_result_without_record_holds_no_paths(pictures, tmp_path):
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), "--no-record", *FAST]) == 0
    assert b"content.png" not in output.read_bytes()


def test_a_run_goes_on_with_the_pictures_of_its_checkpoint(pictures, tmp_path, capsys):
    first, second, checkpoint = tmp_path / "1.png", tmp_path / "2.png", str(tmp_path / "run.npz")
    words = [*pictures, pictures[0], "-o", str(first), "--checkpoint", checkpoint, *FAST]
    assert main(words) == 0
    assert main(["--resume", checkpoint, "-o", str(second), "--quiet"]) == 0
    assert [used.path for used in read_record(second).pictures] == [*pictures, pictures[0]]


def test_a_checkpoint_of_pictures_that_were_no_files_asks_for_them(tmp_path, capsys):
    checkpoint = tmp_path / "run.npz"
    pynst.stylize(
        picture(0, 60, 80), picture(1, 60, 80), network="builtin", image_size=72, iterations=2,
        checkpoint=checkpoint,
    )  # fmt: skip
    assert main(["--resume", str(checkpoint), "-o", str(tmp_path / "r.png")]) == 1
    assert "names no file for content: give CONTENT and STYLE" in capsys.readouterr().err


def piped(words, data):
    """Run the command with bytes on standard input; standard output as bytes."""
    return subprocess.run(
        [sys.executable, "-m", "pynst", *words], input=data, capture_output=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_minus_is_standard_input_and_output(pictures):
    done = piped(["-", pictures[1], "-o", "-", *FAST], Path(pictures[0]).read_bytes())
    assert done.returncode == 0, done.stderr
    wanted = pynst.stylize(*pictures, network="builtin", image_size=72, iterations=3)
    out = io.BytesIO(done.stdout)
    np.testing.assert_array_equal(np.rint(255 * pynst.load_image(out)), wanted.image)
    assert done.stdout.startswith(b"\x89PNG")
    assert b"72 x 54 pixels" in done.stderr


def test_the_style_may_come_from_standard_input_too(pictures, tmp_path):
    done = piped(
        [pictures[0], "-", "-o", str(tmp_path / "r.png"), *FAST], Path(pictures[1]).read_bytes()
    )
    assert done.returncode == 0, done.stderr
    assert pynst.load_image(tmp_path / "r.png").shape == (54, 72, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", b"content: standard input must hold a picture, got nothing"),
     (b"no picture", b"content: ")],
)  # fmt: skip
def test_standard_input_without_a_picture_is_an_error(data, message, pictures):
    done = piped(["-", pictures[1], "-o", "-", *FAST], data)
    assert done.returncode == 1
    assert done.stdout == b""
    assert message in done.stderr
    assert b"Traceback" not in done.stderr


def test_standard_input_is_one_picture(pictures, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["-", "-", *FAST])
    assert "is one picture, and cannot be two" in capsys.readouterr().err


def test_a_picture_that_standard_output_does_not_take_is_rescued(pictures, tmp_path):
    done = shell('"$@" >&-', *pictures, "-o", "-", *FAST, cwd=tmp_path)
    assert done.returncode == 1
    (rescued,) = tmp_path.glob("out-rescued-*.png")
    assert f"saved in {rescued.name}" in done.stderr.decode()
    assert pynst.load_image(rescued).shape == (54, 72, 3)


@pytest.mark.parametrize("words", [["--json"], ["--save-every", "1"]])
def test_standard_output_holds_one_thing(words, pictures, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*pictures, "-o", "-", *words, *FAST])
    assert "-o - leaves standard output to the picture" in capsys.readouterr().err


def test_json_describes_the_result_in_one_line(pictures, tmp_path, capsys):
    output = tmp_path / "r.png"
    assert main([*pictures, "-o", str(output), "--json", "--quiet", *FAST]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    (line,) = captured.out.splitlines()
    found = json.loads(line)
    assert found["output"] == str(output)
    assert (found["width"], found["height"], found["evaluations"]) == (72, 54, 3)
    assert (found["network"], found["stopped_early"]) == ("builtin", "")
    wanted = pynst.stylize(*pictures, network="builtin", image_size=72, iterations=3)
    assert found["loss"] == min(terms.total for terms in wanted.history[-1])
    assert found["seconds"] > 0


def test_the_result_may_be_as_large_as_the_content(pictures, tmp_path, capsys):
    words = ["--network", "builtin", "--iterations", "2", "--image-size", "content"]
    assert main([*pictures, "-o", str(tmp_path / "r.png"), *words]) == 0
    assert pynst.load_image(tmp_path / "r.png").shape == pynst.load_image(pictures[0]).shape
    assert main([str(tmp_path / "none.png"), pictures[1], *words]) == 1
    assert "content: no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--resume", "r.npz", "-o", str(tmp_path / "r.png"), *words])
    assert "--image-size content needs the argument CONTENT" in capsys.readouterr().err
    assert main(["reconstruct", pictures[1], "-o", str(tmp_path / "t.png"), *words]) == 1
    assert "image_size must be a whole number from 16 to 32768, got 'content'" in (
        capsys.readouterr().err
    )
