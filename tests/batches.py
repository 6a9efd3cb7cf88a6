"""What the tests of batches share: small pictures, and runs whose evaluations are counted."""

from __future__ import annotations

import os
import time
from pathlib import Path

from conftest import picture

import pynst

SMALL = {"network": "builtin", "image_size": 48, "iterations": 4}
SMALL_WORDS = ["--network", "builtin", "--image-size", "48", "--iterations", "4"]

# Python runs this file when it starts, also in the processes of jobs.
_COUNTER = """
import os, time
from pynst.objective import TotalLoss
evaluate = TotalLoss.__call__

def counted(self, x):
    with open(os.environ["PYNST_TEST_COUNT"], "ab", buffering=0) as file:
        file.write(b".")
    time.sleep(float(os.environ["PYNST_TEST_SLEEP"]))
    return evaluate(self, x)

TotalLoss.__call__ = counted
"""


def make_pictures(folder: Path, contents: int = 3, styles: int = 3, side: int = 48) -> Path:
    """Folders ``photos`` and ``art`` with small pictures."""
    for name, count, H, W in (
        ("photos", contents, side * 3 // 4, side),
        ("art", styles, side, side),
    ):
        (folder / name).mkdir()
        for number in range(count):
            pixels = picture(100 * H + number, H, W)
            pynst.save_image(pixels, folder / name / f"{name[0]}{number}.png")
    return folder


class Counter:
    """Counts the evaluations of all processes that get its variables."""

    def __init__(self, folder: Path, sleep: float = 0.0) -> None:
        place = folder / "counter"
        place.mkdir()
        (place / "sitecustomize.py").write_text(_COUNTER)
        self._file = place / "count"
        self._file.touch()
        before = os.environ.get("PYTHONPATH")
        here = str(Path(pynst.__path__[0]).parent)
        self.environment = {
            "PYTHONPATH": os.pathsep.join([str(place), here, *([before] if before else [])]),
            "PYNST_TEST_COUNT": str(self._file),
            "PYNST_TEST_SLEEP": str(sleep),
        }

    @property
    def count(self) -> int:
        return self._file.stat().st_size

    def wait_for(self, count: int, ended, seconds: float = 60) -> None:
        """Wait until so many evaluations are made, or something has ended."""
        end = time.monotonic() + seconds
        while self.count < count and not ended():
            assert time.monotonic() < end, f"{self.count} evaluations, waiting for {count}"
            time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found
