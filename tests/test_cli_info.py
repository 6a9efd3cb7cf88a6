"""``pynst info``: what it finds, and that nothing which is wrong ends it."""

from __future__ import annotations

import json
import os

import pytest

import pynst
from pynst.cli import main
from pynst.info import system_info


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


def test_info_survives_everything_that_is_wrong(monkeypatch):
    monkeypatch.setenv("PYNST_WEIGHTS", "/no/such/file")
    monkeypatch.setenv("PYNST_MEMORY", "much")
    found = system_info()
    assert "there is no file /no/such/file" in found["weights"]["state"]
    assert "PYNST_MEMORY must be" in found["memory available"]
