"""``pynst info``: what it shows, its help, and that it works without a home."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import pytest

import pynst
from pynst.cli import main
from pynst.info import system_info
from pynst.options.environment import VARIABLES
from pynst.weights import cache_directory


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


def test_info_shows_an_absurd_number_of_threads_by_its_variable(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", str(10**12))
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "cpu: not available: cpu: OMP_NUM_THREADS must be a whole number from 1 to 1024" in text
    assert "constructor" not in text


def test_the_help_of_info_lists_the_environment_variables(capsys):
    with pytest.raises(SystemExit):
        main(["info", "--help"])
    text = capsys.readouterr().out
    for name, meaning in VARIABLES.items():
        assert re.search(rf"^  {name} +{re.escape(meaning)}$", text, re.M)


# ---- no home -------------------------------------------------------------------------------------


@pytest.fixture(params=["refused", "tilde"])
def no_home(request, tmp_path, monkeypatch):
    """HOME is not set and nobody knows the user; returns the folder of temporary files."""

    def no_cache(name):
        if request.param == "tilde":  # older versions of platformdirs
            return Path("~/.cache") / name
        raise RuntimeError("could not determine the home directory")

    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PYNST_CACHE_DIR")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", no_cache)
    monkeypatch.setattr(Path, "home", none)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


@pytest.mark.parametrize("words", [["info"], ["weights", "list"]])
def test_commands_work_without_a_home(words, no_home, capsys):
    assert main(words) == 0
    assert str(no_home / f"pynst-{os.getuid()}") in capsys.readouterr().out or words != ["info"]


def test_the_default_run_works_without_a_home(no_home, pictures, tmp_path, capsys):
    output = tmp_path / "r.png"
    words = ["--image-size", "72", "--iterations", "2"]
    assert main([*pictures, "-o", str(output), *words]) == 0
    assert "using the built-in filters" in capsys.readouterr().err
    assert pynst.load_image(output).shape == (54, 72, 3)


@pytest.mark.parametrize("kind", ["link", "file", "another user's"])
def test_a_cache_that_somebody_else_could_fill_is_refused(kind, no_home, tmp_path, monkeypatch):
    place = no_home / f"pynst-{os.getuid()}"
    if kind == "link":
        (tmp_path / "theirs").mkdir()
        place.symlink_to(tmp_path / "theirs")
    elif kind == "file":
        place.write_bytes(b"")
    else:
        place.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        place.rename(no_home / "pynst-12345")
    with pytest.raises(pynst.WeightsError, match="belongs to somebody else; name another one with"):
        cache_directory()
    assert "belongs to somebody else" in system_info()["cache"]
    assert "belongs to somebody else" in system_info()["weights"]["state"]


def test_no_place_for_a_cache_at_all_is_a_sentence(no_home, monkeypatch):
    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(pynst.WeightsError, match="there is no place for a cache"):
        cache_directory()
    assert "there is no place for a cache" in system_info()["cache"]
