"""What the package finds on this computer, and that nothing which is wrong ends it."""

from __future__ import annotations

import os

import pytest

from pynst.info import system_info


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
