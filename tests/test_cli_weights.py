"""``pynst weights``, and the download that ``network="auto"`` makes on its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import weights_files as files
from conftest import picture
from weights_files import tiny_table  # noqa: F401

import pynst
import pynst.networks.open
from pynst import WeightsError, stylize
from pynst.cli import main
from pynst.weights import VGG19Weights, cache_directory, load_weights

CONTENT, STYLE = picture(0, 40, 50), picture(1, 40, 50)
FAST = {"image_size": 48, "iterations": 2, "levels": 1}


@pytest.fixture
def caffe_file(tmp_path, tiny_table):  # noqa: F811
    """A sound file of another program's."""
    path = tmp_path / "caffe.npz"
    path.write_bytes(files.npz(files.caffe_arrays()))
    return path


def test_list_names_every_source_and_what_is_in_use(capsys):
    assert main(["weights", "list"]) == 0
    text = capsys.readouterr().out
    for source in pynst.weights.vgg19_file.list_sources():
        assert f"{source.name}: {source.title}" in text
        assert source.licence in text
        assert all(url in text for url in source.urls)
        assert source.package in text
        assert source.file in text
    assert "in use: none; the built-in filters stand in" in text


def test_import_keeps_a_file_in_the_cache_and_verify_says_what_it_is(caffe_file, capsys):
    assert main(["weights", "import", str(caffe_file)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(cache_directory() / "vgg19.npz")
    assert "VGG-19 with 16 convolutions" in captured.err
    files.assert_tiny(load_weights(captured.out.strip()).convolutions)
    assert main(["weights", "verify"]) == 0
    assert str(cache_directory()) in capsys.readouterr().out
    assert main(["weights", "verify", str(caffe_file)]) == 0
    assert "training: oxford" in capsys.readouterr().out
    assert main(["weights", "list"]) == 0
    assert f"in use: {cache_directory()}" in capsys.readouterr().out


def test_import_writes_where_it_is_told(caffe_file, tmp_path, capsys):
    output = tmp_path / "mine.npz"
    assert main(["weights", "import", str(caffe_file), "-o", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert not cache_directory().exists()


def test_what_is_imported_is_used(caffe_file, capsys):
    assert main(["weights", "import", str(caffe_file)]) == 0
    result = stylize(CONTENT, STYLE, **FAST)
    assert result.network == "vgg19"
    assert result.weights_sha256 == load_weights(caffe_file).sha256


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import", "missing.npz"], "cannot be read: No such file"),
        (["import", "{bad}"], "weights file {bad}: "),
        (["import", "{good}", "-o", "/no/such/folder/x.npz"], "cannot be written"),
        (["verify", "{bad}"], "weights file {bad}: "),
        (["verify"], "there are no weights"),
        (["normalise"], "there are no weights"),
        (["normalise", "{good}", "--calibration", "/no/such"], "calibration: cannot read /no"),
        (["normalise", "{good}", "--calibration", "{empty}"], "there is no picture in"),
        (["fetch"], "PYNST_OFFLINE is set"),
        (["fetch", "--source", "nonsense"], "source must be one of keras"),
    ],
)
def test_what_fails_is_one_sentence(words, message, caffe_file, tmp_path, capsys):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"nonsense")
    empty = tmp_path / "empty"
    empty.mkdir()
    words = [word.format(bad=bad, good=caffe_file, empty=empty) for word in words]
    assert main(["weights", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pynst: error: ")
    assert message.format(bad=bad) in error
    assert len(error.splitlines()) == 1


def test_normalise_measures_over_the_package_or_a_folder(caffe_file, tmp_path, capsys):
    assert main(["weights", "normalise", str(caffe_file)]) == 0
    built_in = capsys.readouterr().out.splitlines()
    assert built_in[0].endswith("photographs: 10")
    assert len(built_in) == 1 + 2 * 6
    folder = tmp_path / "photographs"
    folder.mkdir()
    pynst.save_image(picture(3, 400, 300), folder / "one.png")
    (folder / "notes.txt").write_text("not a picture")
    assert main(["weights", "normalise", str(caffe_file), "--calibration", str(folder)]) == 0
    own = capsys.readouterr().out.splitlines()
    assert own[0].endswith("photographs: 1")
    assert own[1:] != built_in[1:]
    pynst.save_image(picture(4, 9, 300), folder / "strip.png")
    assert main(["weights", "normalise", str(caffe_file), "--calibration", str(folder)]) == 1
    assert "strip.png must have at least 16 pixels" in capsys.readouterr().err


def test_a_normalised_run_takes_the_photographs_it_is_given(caffe_file, tmp_path):
    options = {"weights": str(caffe_file), "formula": "paper", **FAST}
    folder = tmp_path / "photographs"
    folder.mkdir()
    pynst.save_image(picture(3, 64, 64), folder / "one.png")
    built_in = stylize(CONTENT, STYLE, **options)
    own = stylize(CONTENT, STYLE, calibration=str(folder), **options)
    assert np.any(own.pixels != built_in.pixels)
    with pytest.raises(pynst.OptionError, match="calibration belongs to VGG-19"):
        stylize(CONTENT, STYLE, network="builtin", calibration=str(folder), **FAST)


def test_a_cache_that_cannot_be_made_is_named(caffe_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PYNST_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert main(["weights", "import", str(caffe_file)]) == 1
    assert "PYNST_CACHE_DIR" in capsys.readouterr().err


def test_fetch_shows_its_progress_and_the_path(caffe_file, tmp_path, monkeypatch, capsys):
    target = tmp_path / "cache" / "vgg19.npz"

    def fetch(*, source, progress):
        assert source == "keras"
        for done in range(0, 101, 2):
            progress("Keras VGG-19", done * 800_000, 80_000_000)
        return caffe_file

    monkeypatch.setattr(pynst.weights, "fetch_weights", fetch)
    assert main(["weights", "fetch", "--source", "keras"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(caffe_file)
    told = [line for line in captured.err.splitlines() if "Keras VGG-19: " in line]
    assert len(told) == 11, "a line per tenth where stderr is no terminal"
    assert "40.0 of 80 MB" in told[5]
    assert not target.exists()


# ---- network="auto" ------------------------------------------------------------------------------


@pytest.fixture
def online(monkeypatch):
    """A network, as far as PYNST_OFFLINE knows; returns the downloads that were tried."""
    monkeypatch.delenv("PYNST_OFFLINE")
    tried = []

    def fetch(*, progress):
        tried.append(progress)
        raise WeightsError("VGG-19 could not be downloaded (example.org: no answer)")

    monkeypatch.setattr(pynst.weights.cache, "fetch_weights", fetch)
    return tried


def test_auto_downloads_and_says_so(monkeypatch, caplog, caffe_file):
    monkeypatch.delenv("PYNST_OFFLINE")

    def fetch(*, progress):
        progress("Keras VGG-19", 40_000_000, 80_000_000)
        return caffe_file

    monkeypatch.setattr(pynst.weights.cache, "fetch_weights", fetch)
    with caplog.at_level(logging.INFO, "pynst"):
        assert stylize(CONTENT, STYLE, **FAST).network == "vgg19"
    assert [record.getMessage() for record in caplog.records] == [
        f"downloading VGG-19 once, to {cache_directory()}",
        "Keras VGG-19: 40 of 80 MB",
    ]


def test_a_download_that_fails_is_told_and_not_tried_again_for_a_day(online, caplog):
    cache_directory().mkdir()
    for _ in range(2):
        assert stylize(CONTENT, STYLE, **FAST).network == "builtin"
    assert len(online) == 1
    said = [record.getMessage() for record in caplog.records]
    assert said[1].startswith("using the built-in filters")
    assert "example.org: no answer" in said[1]
    assert len(said) == 3
    assert 'try it again with "pynst weights fetch"' in said[2]
    yesterday = time.time() - 25 * 3600
    os.utime(cache_directory() / "download-failed", (yesterday, yesterday))
    stylize(CONTENT, STYLE, **FAST)
    assert len(online) == 2


@pytest.mark.parametrize("options", [{"network": "vgg19"}, {"formula": "gatys"}], ids=str)
def test_vgg19_by_name_is_tried_every_time_and_fails_with_the_reason(online, options):
    cache_directory().mkdir()
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"needs the VGG-19 weights: .*example\.org"):
            stylize(CONTENT, STYLE, **FAST, **options)
    assert len(online) == 2


def test_the_builtin_network_never_downloads(online):
    stylize(CONTENT, STYLE, network="builtin", **FAST)
    assert not online


def test_without_a_network_the_fallback_comes_within_seconds(tmp_path):
    """The real thing: no host can be reached, since the proxy of the environment is not there."""
    script = (
        "import numpy, pynst; a = numpy.random.default_rng(0).random((40, 50, 3));"
        "print(pynst.stylize(a, a, image_size=48, iterations=1).network)"
    )
    dead = "http://127.0.0.1:9"
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("PYNST_OFFLINE", "NO_PROXY",
                                                            "no_proxy")},
        "HTTPS_PROXY": dead, "https_proxy": dead, "HTTP_PROXY": dead, "http_proxy": dead,
        "PYNST_CACHE_DIR": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "UV_OFFLINE": "1",
    }  # fmt: skip
    begin = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert time.monotonic() - begin < 30
    assert run.stdout.strip() == "builtin"
    assert "downloading VGG-19 once" in run.stderr
    assert "using the built-in filters" in run.stderr
    assert Path(tmp_path / "cache" / "download-failed").exists()


def test_weights_of_the_user_are_recorded_with_their_source(tmp_path, tiny_table):  # noqa: F811
    convolutions = {
        name: (np.ascontiguousarray(pair[0]), pair[1])
        for name, pair in files.tiny_convolutions().items()
    }
    weights = VGG19Weights(
        convolutions, (123.68, 116.779, 103.939), source="mine", training="torchvision"
    )
    path = tmp_path / "mine.npz"
    pynst.weights.vgg19_file.save_weights(weights, path)
    result = stylize(CONTENT, STYLE, weights=str(path), **FAST)
    assert result.weights_source == "mine, training: torchvision"
    assert result.record.options.weights == str(path)
