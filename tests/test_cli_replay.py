"""``pynst replay``, as a user meets it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from cli_runs import FAST
from conftest import picture

import pynst
from pynst.cli import main
from pynst.replay import read_record


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
    error = capsys.readouterr().err
    assert "content: no such file" in error
    assert error.endswith("; name the recorded picture with --content\n")
    assert error.splitlines()[-1].startswith("pynst: error: ")
    assert main(["replay", str(output), "--content", str(moved)]) == 0
    pynst.save_image(picture(7, 60, 80), pictures[0])
    assert main(["replay", str(output), "--force"]) == 1
    error = capsys.readouterr().err
    assert "is not the picture of the record" in error
    assert "--content" in error
    assert main(["replay", pictures[1]]) == 1
    assert "holds no record" in capsys.readouterr().err


def test_a_style_that_is_gone_is_named_with_its_option(pictures, tmp_path, capsys):
    output, moved = tmp_path / "r.png", tmp_path / "moved.jpg"
    assert main([pictures[0], pictures[1], pictures[1], "-o", str(output), *FAST]) == 0
    Path(pictures[1]).rename(moved)
    assert main(["replay", str(output)]) == 1
    assert capsys.readouterr().err.endswith("; name the recorded picture with --style\n")
    assert main(["replay", str(output), "--style", str(moved), str(moved)]) == 0


def test_an_error_that_no_option_mends_names_none(pictures, tmp_path, capsys):
    assert main(["replay", pictures[0]]) == 1
    assert "--" not in capsys.readouterr().err


HOSTILE = "evil\x1b[31m\x1b]0;title\x07\n\u202epynst: all is well" + "x" * 5000


def test_texts_of_a_record_reach_the_terminal_escaped_and_cut(pictures, tmp_path, capsys):
    output, hostile = tmp_path / "r.png", tmp_path / "hostile.png"
    assert main([*pictures, "-o", str(output), *FAST]) == 0
    record = read_record(output)
    versions = {**record.versions, "numpy": HOSTILE}
    versions |= {f"package {number}": HOSTILE for number in range(500)}
    record = replace(record, backend=HOSTILE, versions=versions, pixels_sha256=HOSTILE)
    pynst.save_image(np.zeros((54, 72, 3), np.uint8), hostile, metadata=record.to_metadata())
    capsys.readouterr()
    assert main(["replay", str(hostile), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert_tame(captured.err, lines=20)
    assert "pynst: backend: the record has evil\\x1b[31m" in captured.err
    assert "pynst: numpy: the record has evil" in captured.err
    assert "package" not in captured.err


def test_a_hostile_checksum_of_a_picture_is_escaped_and_cut(pictures, tmp_path, capsys):
    output, hostile = tmp_path / "r.png", tmp_path / "hostile.png"
    assert main([*pictures, "-o", str(output), *FAST]) == 0
    record = read_record(output)
    used = replace(record.pictures[0], sha256=HOSTILE, source=pictures[0])
    record = replace(record, pictures=(used, *record.pictures[1:]), network=HOSTILE[:40])
    pynst.save_image(np.zeros((54, 72, 3), np.uint8), hostile, metadata=record.to_metadata())
    capsys.readouterr()
    assert main(["replay", str(hostile), "--quiet"]) == 1
    assert_tame(capsys.readouterr().err, lines=1)


def assert_tame(text, lines):
    """No control character, no long line, no line that somebody else has made."""
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    found = text.splitlines()
    assert 0 < len(found) <= lines
    assert all(each.startswith("pynst: ") and len(each) <= 2100 for each in found)
    assert not any(each.startswith("pynst: all is well") for each in found)


def test_a_mask_that_is_gone_is_named_with_its_option(pictures, tmp_path, capsys):
    output, mask, moved = (tmp_path / name for name in ("r.png", "mask.png", "moved.png"))
    pynst.save_image(np.linspace(0, 1, 80)[None, :, None] * np.ones((60, 1, 3)), mask)
    words = ["--style-masks", str(mask), "rest", "--keep-mask", str(mask)]
    assert main([*pictures, pictures[0], "-o", str(output), *words, "--quiet", *FAST]) == 0
    assert main(["replay", str(output), "--quiet"]) == 0
    mask.rename(moved)
    assert main(["replay", str(output), "--force"]) == 1
    error = capsys.readouterr().err
    assert "mask of style 1: no such file" in error
    assert error.endswith("; name the recorded picture with --style-masks\n")
    words = ["--style-masks", str(moved), "rest"]
    assert main(["replay", str(output), "--force", *words]) == 1
    assert capsys.readouterr().err.endswith("; name the recorded picture with --keep-mask\n")
    assert main(["replay", str(output), "--force", *words, "--keep-mask", str(moved)]) == 0
