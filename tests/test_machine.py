"""What the machine offers: memory, processors, GPUs."""

from __future__ import annotations

import pytest

from pynst import OptionError
from pynst.machine import _group_rooms, available_memory, resident_memory


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("4G", 4e9), ("500M", 5e8), ("1.5 GB", 1.5e9), ("2GiB", 2e9), ("123456789", 123456789)],
)
def test_the_limit_is_read_with_its_unit(monkeypatch, text, nbytes):
    monkeypatch.setenv("PYNST_MEMORY", text)
    assert available_memory() == pytest.approx(nbytes - resident_memory(), abs=2e6)


@pytest.mark.parametrize("text", ["much", "-4G", "4X", "nan", "1e9", "4GG"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("PYNST_MEMORY", text)
    with pytest.raises(OptionError, match="PYNST_MEMORY must be like 4G or 500M, got"):
        available_memory()


def test_there_is_some_memory_here():
    room = available_memory()
    assert room is None or 0 < room < 2**50


def test_the_limits_of_control_groups_are_found(tmp_path):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    old = tmp_path / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("5000000\n")
    (old / "memory.usage_in_bytes").write_text("1000000\n")
    assert sorted(_group_rooms(tmp_path)) == [2200000, 4000000]
    (tmp_path / "memory.max").write_text("max\n")
    assert _group_rooms(tmp_path) == [4000000]
