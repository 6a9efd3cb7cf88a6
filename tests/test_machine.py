"""What the machine offers: memory, processors, GPUs."""

from __future__ import annotations

import pytest

from pynst import BackendError, OptionError, machine
from pynst.backends import available_backends, open_backend
from pynst.machine import (
    MOST_THREADS,
    _group_rooms,
    _quota,
    available_memory,
    default_threads,
    resident_memory,
)


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


# ---- control groups ------------------------------------------------------------------------------


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


def group(folder, **files):
    """A control group's folder with its files; ``cpu_max`` is the file cpu.max."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("line", "folders", "wanted"),
    [
        ("0::/", {"": {"cpu_max": "150000 100000"}}, 2),
        ("0::/", {"": {"cpu_max": "max 100000"}}, MOST_THREADS),
        ("0::/a/b", {"a/b": {"cpu_max": "300000 100000"}}, 3),
        ("0::/a/b", {"a": {"cpu_max": "200000 100000"}, "a/b": {"cpu_max": "max 100000"}}, 2),
        ("0::/a/b", {"a": {"cpu_max": "400000 100000"}, "a/b": {"cpu_max": "50000 100000"}}, 1),
        ("4:cpu,cpuacct:/", {"cpu": {"cpu_cfs_quota_us": "350000",
                                     "cpu_cfs_period_us": "100000"}}, 4),
        ("4:cpu,cpuacct:/x", {"cpu,cpuacct/x": {"cpu_cfs_quota_us": "200000",
                                                "cpu_cfs_period_us": "100000"}}, 2),
        ("1:cpu:/x/y", {"cpu/x": {"cpu_cfs_quota_us": "100000", "cpu_cfs_period_us": "50000"},
                        "cpu/x/y": {"cpu_cfs_quota_us": "-1",
                                    "cpu_cfs_period_us": "100000"}}, 2),
        ("1:cpu:/hidden/by/docker", {"cpu": {"cpu_cfs_quota_us": "100000",
                                             "cpu_cfs_period_us": "100000"}}, 1),
        ("2:cpuset,cpuacct:/x", {"cpuset/x": {"cpu_cfs_quota_us": "100000",
                                              "cpu_cfs_period_us": "100000"}}, MOST_THREADS),
        ("1:cpu:/", {"cpu": {"cpu_cfs_quota_us": "100000", "cpu_cfs_period_us": "0"}},
         MOST_THREADS),
        ("nonsense", {"": {"cpu_max": "200000 0"}}, MOST_THREADS),
    ],
)  # fmt: skip
def test_processor_quotas_of_both_versions_and_of_outer_groups_are_seen(
    line, folders, wanted, tmp_path
):
    root, own = tmp_path / "cgroup", tmp_path / "own"
    for name, files in folders.items():
        group(root / name, **files)
    own.write_text(f"{line}\n3:cpuset:/elsewhere\n")
    assert _quota(root, own) == wanted


def test_a_machine_without_control_groups_grants_all_its_processors(tmp_path):
    assert _quota(tmp_path / "none", tmp_path / "neither") == MOST_THREADS


# ---- OMP_NUM_THREADS -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "threads"), [("3", 3), ("1024", 1024), (" 2 ", 2), ("2,1", 2), ("007", 7), ("+5", 5)]
)
def test_the_variable_sets_the_threads(monkeypatch, text, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert default_threads() == threads


@pytest.mark.parametrize("text", ["", "0", "-3", "many", "1.5", "²", "٣", ",4", "1e3", "+"])
def test_a_text_that_is_no_number_of_threads_is_ignored(monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    monkeypatch.setattr(machine, "usable_processors", lambda: 5)
    monkeypatch.setattr(machine, "_quota", lambda: 4)
    assert default_threads() == 4


def test_no_machine_gets_more_threads_than_the_core_starts(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "usable_processors", lambda: 4096)
    monkeypatch.setattr(machine, "_quota", lambda: 2000)
    assert default_threads() == MOST_THREADS


@pytest.mark.parametrize("text", ["1025", "2000", str(10**12), "9" * 5000, "2000,1"])
def test_too_many_threads_are_refused_by_the_name_of_the_variable(monkeypatch, text):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    wanted = r"OMP_NUM_THREADS must be a whole number from 1 to 1024, got \d+(\.\.\.)?$"
    with pytest.raises(OptionError, match=wanted) as caught:
        default_threads()
    assert len(str(caught.value)) < 120
    with pytest.raises(BackendError, match=wanted):
        open_backend("cpu")
    assert "OMP_NUM_THREADS must be" in available_backends()["cpu"]
    assert open_backend("cpu", threads=1).name.endswith("1 thread)"), "the setting goes first"
