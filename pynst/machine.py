"""What this machine offers to this process: memory, processors, instruction sets, GPUs."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

from pynst.errors import BackendError, OptionError
from pynst.options.checks import memory

__all__ = [
    "MOST_THREADS",
    "available_memory",
    "default_threads",
    "give_back_memory",
    "gpus",
    "peak_memory",
    "processor",
    "query_gpus",
    "resident_memory",
    "usable_processors",
]

MOST_THREADS = 1024
"""The largest number of threads that the CPU core starts."""

_FEATURES = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "amx_bf16",
    "asimd",
)  # fmt: skip
_GPU_FIELDS = ("name", "driver_version", "memory.total", "memory.free", "compute_cap")


def available_memory(limit: int | None = None) -> int | None:
    """Bytes that this process may still take; None where the system does not tell.

    Where there is a `limit`, in bytes for the process as a whole, it counts; then PYNST_MEMORY,
    which means the same ("4G", "500M"); else the least of what the system has and what its control
    groups allow.
    """
    variable = os.environ.get("PYNST_MEMORY")
    if limit is None and variable:
        limit = memory.clean("PYNST_MEMORY", variable)
    if limit is not None:
        return limit - resident_memory()
    rooms = [room for room in (_system_room(), *_group_rooms()) if room is not None]
    return min(rooms, default=None)


def resident_memory() -> int:
    """Bytes that this process holds now; where the system does not tell, that it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_memory() or 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back_memory() -> None:
    """Hand freed memory back to the system, which glibc otherwise keeps for later allocations.

    Pictures that were read and reduced leave some ten megabytes of it; unless they are given back,
    they count as resident, and a forecast of what a run adds counts them twice.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library, or another system
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> int | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    try:  # what getrusage says begins, on Linux, with what the parent held when it forked
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def default_threads() -> int:
    """Threads of a `CpuBackend` by default: ``OMP_NUM_THREADS``, else what this process may use.

    Of a list such as "4,2", which OpenMP reads as threads per nesting level, the first number
    counts. As in OpenMP, a text that is no positive whole number is ignored.

    Raises
    ------
    OptionError
        ``OMP_NUM_THREADS`` is larger than `MOST_THREADS`.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    digits = wanted.removeprefix("+").lstrip("0")
    if digits.isascii() and digits.isdecimal():
        # Python reads no number of thousands of digits, so that their count is compared first.
        if len(digits) > len(str(MOST_THREADS)) or int(digits) > MOST_THREADS:
            shown = wanted if len(wanted) <= 20 else f"{wanted[:20]}..."
            raise OptionError(
                f"OMP_NUM_THREADS must be a whole number from 1 to {MOST_THREADS}, got {shown}"
            )
        return int(digits)
    return min(usable_processors(), _quota(), MOST_THREADS)


def usable_processors() -> int:
    """Count the processors that the system lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> dict[str, Any]:
    """Name, instruction sets that matter here, and processors that this process may use."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    except OSError:  # not Linux
        pass
    features = " ".join(feature for feature in _FEATURES if feature in flags)
    return {
        "name": name,
        "features": features or None,
        "usable": usable_processors(),
        "all": os.cpu_count(),
    }


def gpus() -> str:
    """Name, driver and memory of each GPU, as nvidia-smi says, or why it does not."""
    try:
        found = query_gpus(_GPU_FIELDS)
    except BackendError as error:
        return str(error)
    return "; ".join(", ".join(values) for values in found)


def query_gpus(fields: Sequence[str]) -> list[list[str]]:
    """Ask nvidia-smi about every GPU.

    Parameters
    ----------
    fields : sequence of str
        What to ask for, such as ``"memory.total"``; ``nvidia-smi --help-query-gpu`` lists them.

    Returns
    -------
    list of list of str
        For each GPU the values of the fields, with their units.

    Raises
    ------
    BackendError
        The program is not installed, or has no answer.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise BackendError("nvidia-smi is not installed: no NVIDIA driver")
    words = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(f"nvidia-smi fails: {error}") from error
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    found = [[value.strip() for value in line.split(",")] for line in lines]
    if answer.returncode or not found or any(len(values) != len(fields) for values in found):
        text = "; ".join((answer.stdout + answer.stderr).split("\n")).strip("; ")
        raise BackendError(f"nvidia-smi fails: {text[:300]}")
    return found


def _system_room() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - resident_memory()
    except (AttributeError, OSError, ValueError):
        return None


_GROUPS = Path("/sys/fs/cgroup")


def _group_folders(
    controller: str, root: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")
) -> set[Path]:
    """Folders of the control groups, of version 1 or 2, whose limits hold for this process.

    A limit holds for all groups inside the one that sets it, so that every folder from the
    process's own group up to `root` counts. Where a container hides the path of its group, the
    folder of the controller is already the container's own.

    Parameters
    ----------
    controller : str
        ``"memory"`` or ``"cpu"``: in version 1, the name of a hierarchy of its own.
    """
    folders = {root, root / controller}
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return folders
    for line in lines:
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # Version 1 mounts a hierarchy under all its controllers, and links it under each of them.
        for base in {root / controller, root / controllers} if controllers else {root}:
            group = base / path.strip("/")
            folders |= {group, *(up for up in group.parents if up.is_relative_to(root))}
    return folders


def _group_rooms(root: Path = _GROUPS) -> list[int]:
    """What is left of the memory limit of each control group that this process is in."""
    names = [("memory.max", "memory.current", "inactive_file")]
    names += [("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")]
    return [
        room
        for folder in _group_folders("memory", root)
        for limit, usage, cache in names
        if (room := _group_room(folder / limit, folder / usage, cache)) is not None
    ]


def _group_room(limit: Path, usage: Path, cache: str) -> int | None:
    """Limit minus usage; pages of files that the system would give back are no usage."""
    try:
        free = int(limit.read_text()) - int(usage.read_text())
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return None
    try:
        stat = (usage.parent / "memory.stat").read_text()
        free += next(int(line.split()[1]) for line in stat.splitlines() if line.startswith(cache))
    except (OSError, ValueError, StopIteration, IndexError):
        pass
    return free


def _quota(root: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Processors that the control groups of this process grant; very many if not limited."""
    quotas = [
        quota
        for folder in _group_folders("cpu", root, own)
        for quota in (_quota_of_version_2(folder), _quota_of_version_1(folder))
        if quota is not None
    ]
    return max(1, ceil(min(quotas, default=MOST_THREADS)))


def _quota_of_version_2(folder: Path) -> float | None:
    """Processors that one group grants, from ``cpu.max``: "quota period", or "max period"."""
    try:
        limit, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return int(limit) / int(period)
    except (OSError, ValueError, ArithmeticError):  # no such file; or "max": no limit
        return None


def _quota_of_version_1(folder: Path) -> float | None:
    """Processors that one group grants; a quota of -1 is no limit."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ArithmeticError):
        return None
