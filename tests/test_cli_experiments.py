"""``pynst reconstruct``, ``texture``, ``sweep`` and ``figure``."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.cli import main
from pynst.images import load_image
from pynst.replay import read_record

pytest_plugins = ("experiments",)

BUILTIN = ["--network", "builtin", "--image-size", "32", "--iterations", "2", "--quiet"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pynst.save_image(picture(0, 32, 40), "photo.png")
    pynst.save_image(picture(1, 40, 32), "art.png")
    return tmp_path


@pytest.mark.usefixtures("tiny_weights")
def test_reconstruct_writes_a_picture_with_its_record(place, capsys):
    words = ["reconstruct", "photo.png", "--layer", "pool1", "--image-size", "32"]
    assert main([*words, "--iterations", "2", "-o", "d.png"]) == 0
    assert capsys.readouterr().out.strip() == "d.png"
    record = read_record(place / "d.png")
    assert record.options.content_layers == (("pool1", 1.0),)
    assert main(["replay", "d.png", "--quiet"]) == 0


@pytest.mark.usefixtures("tiny_weights")
def test_texture_takes_a_size_and_tiles(place):
    words = ["texture", "photo.png", "--size", "48x32", "--tileable", "--seed", "3"]
    assert main([*words, "--iterations", "2", "-o", "t.png", "--quiet"]) == 0
    assert load_image("t.png").shape == (32, 48, 3)
    options = read_record(place / "t.png").options
    assert (options.padding, options.seed, options.aspect) == ("circular", 3, (48, 32))


@pytest.mark.usefixtures("tiny_weights")
def test_a_checkpoint_of_either_goes_on_with_resume(place):
    words = ["texture", "photo.png", "--size", "32x32", "--iterations", "3", "--quiet"]
    assert main([*words, "-o", "t.png", "--checkpoint", "run.npz"]) == 0
    assert main(["--resume", "run.npz", "-o", "again.png", "--quiet"]) == 0
    np.testing.assert_array_equal(load_image("again.png"), load_image("t.png"))


@pytest.mark.parametrize("size", ["x", "32x", "32*32", "-3x3", "999999x3"])
def test_a_size_that_is_none_is_wrong_usage(place, size, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["texture", "photo.png", f"--size={size}"])
    assert caught.value.code == 2
    assert "must be WxH" in capsys.readouterr().err


def test_sweep_makes_sheet_curves_and_table_and_goes_on(place, capsys):
    words = ["sweep", "photo.png", "art.png", "--over", "style-weight=1e0,10"]
    words += ["--over", "init=content,noise", *BUILTIN, "-o", "out"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == "out/sheet.png"
    with (place / "out" / "sheet.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["style_weight"], row["init"]) for row in rows] == [
        ("1", "content"), ("10", "content"), ("1", "noise"), ("10", "noise"),
    ]  # fmt: skip
    assert (place / "out" / "sheet.svg").read_text().count("<polyline") == 4
    cells = {path: path.stat().st_mtime_ns for path in (place / "out" / "cells").glob("*.png")}
    assert len(cells) == 4
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in cells} == cells


def test_a_value_may_have_several_parts(place):
    words = ["sweep", "photo.png", "art.png", "--over", "style-layers=level1,level1+level2=0.5"]
    assert main([*words, *BUILTIN, "-o", "out"]) == 0
    options = read_record(place / "out" / "cells" / "level1.png").options
    assert options.style_layers == (("level1", 1.0),)


def test_a_failed_cell_makes_the_exit_code_1_and_is_said(place, capsys):
    words = ["sweep", "photo.png", "art.png", "--over", "content-layers=level3,conv4_2"]
    assert main([*words, *BUILTIN, "-o", "out"]) == 1
    assert "error: relu4_2: unknown layer 'relu4_2'" in capsys.readouterr().err
    assert (place / "out" / "sheet.png").exists()


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (["seed"], "--over must be NAME=V1,V2,..., got 'seed'"),
        (["seed=a,b"], "seed must be int"),
        (["sead=1"], "unknown option 'sead'"),
        (["seed=1", "seed=2"], "seed twice"),
        (["preserve-color=maybe"], "preserve_color must be true or false"),
    ],
)
def test_a_wrong_axis_is_said_in_one_line(place, over, message, capsys):
    words = [word for each in over for word in ("--over", each)]
    assert main(["sweep", "photo.png", "art.png", *words, *BUILTIN, "-o", "out"]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("tiny_weights")
def test_figure_makes_a_sheet_of_the_users_pictures(place):
    words = ["figure", "6", "photo.png", "art.png", "--seeds", "1", "--image-size", "32"]
    assert main([*words, "--iterations", "2", "-o", "fig6", "--quiet"]) == 0
    found = {path.name for path in (place / "fig6" / "cells").glob("*.png")}
    assert len(found) == 3
    assert {path.name for path in (place / "fig6").iterdir()} == {
        "cells", "sheet.png", "sheet.svg", "sheet.csv",
    }  # fmt: skip


def test_an_unknown_figure_is_refused(place, capsys):
    assert main(["figure", "2"]) == 1
    assert "figure must be one of 1, 3, 4, 5, 6, 7, got 2" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["reconstruct", "texture", "sweep", "figure"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"pynst {command}" in capsys.readouterr().out
