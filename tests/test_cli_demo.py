"""``pynst demo``, as a user meets it."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import weights_files as files
from conftest import picture
from weights_files import tiny_table  # noqa: F401

import pynst
from pynst.cli import main


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


def test_without_vgg19_the_filters_paint_alone_and_it_is_said_in_a_line(tmp_path, capsys):
    output = tmp_path / "demo.png"
    assert main(["demo", "-o", str(output), "--image-size", "64"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [text for text in said if "using the built-in filters" in text] == said[:1]
    assert said[-1].endswith("what came out with the built-in filters")
    assert pynst.load_image(output).shape == (48, 3 * 64 + 2 * 2, 3)


@pytest.fixture
def vgg19_to_be_had(tmp_path, tiny_table, monkeypatch):  # noqa: F811
    """A download that succeeds, and gives weights of a sixteenth of the channels."""
    file = tmp_path / "caffe.npz"
    file.write_bytes(files.npz(files.caffe_arrays()))
    tried = []

    def fetch(**settings):
        tried.append(settings)
        return file

    monkeypatch.delenv("PYNST_OFFLINE")
    monkeypatch.setattr(pynst.weights.cache, "fetch_weights", fetch)
    return tried


def test_vgg19_paints_where_it_can_be_downloaded_with_the_filters_beside_it(
    vgg19_to_be_had, tmp_path, capsys
):
    output = tmp_path / "demo.png"
    assert main(["demo", "-o", str(output), "--image-size", "64"]) == 0
    assert len(vgg19_to_be_had) == 1
    captured = capsys.readouterr()
    assert captured.out.strip() == str(output)
    assert captured.err.count("downloading VGG-19 once") == 1
    assert "what came out with VGG-19 and with the built-in filters" in captured.err
    sheet = pynst.load_image(output)
    assert sheet.shape == (2 * 48 + 2, 2 * 64 + 2, 3)
    pictures = [sheet[y : y + 48, x : x + 64] for y in (0, 50) for x in (0, 66)]
    for one in range(4):
        for other in range(one):
            assert np.abs(pictures[one] - pictures[other]).mean() > 0.01


def test_ctrl_c_after_the_first_picture_keeps_it(vgg19_to_be_had, tmp_path, capsys, monkeypatch):
    import pynst.transfer

    real, calls = pynst.transfer.stylize, []

    def interrupted(*arguments, **settings):
        calls.append(settings)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return real(*arguments, **settings)

    monkeypatch.setattr(pynst.transfer, "stylize", interrupted)
    output = tmp_path / "demo.png"
    assert main(["demo", "-o", str(output), "--image-size", "64"]) == 130
    assert pynst.load_image(output).shape == (48, 3 * 64 + 2 * 2, 3)
    assert capsys.readouterr().err.strip().endswith("what came out with VGG-19")
