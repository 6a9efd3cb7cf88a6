"""Measuring: samples with their spread, ratios that may be ties, and work in fresh processes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Display", "Ratio", "Worker", "peak_mb", "quartiles", "ratio", "sample", "summary"]

ROOT = Path(__file__).resolve().parent.parent


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile; of one value three times that value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """A sample as it is stored, in milliseconds: median, quartiles, extremes, and the runs."""
    ms = [1e3 * value for value in seconds]
    low, middle, high = quartiles(ms)
    found = {"median": middle, "q1": low, "q3": high, "min": min(ms), "max": max(ms)}
    return {**{k: _rounded(v) for k, v in found.items()}, "runs": [_rounded(v) for v in ms]}


def _rounded(value: float) -> float:
    """Round to five significant digits: more would be noise, and the stored file larger."""
    return float(f"{value:.5g}")


@dataclass(frozen=True)
class Ratio:
    """How many times faster one thing is than another.

    Attributes
    ----------
    value : float
        Ratio of the medians.
    low, high : float
        The least and the largest ratio of their quartiles.
    tie : bool
        Whether these enclose 1.
    """

    value: float
    low: float
    high: float

    @property
    def tie(self) -> bool:
        return self.low <= 1 <= self.high

    def __str__(self) -> str:
        spread = f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"
        return f"tie, {spread}" if self.tie else spread


def ratio(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> Ratio:
    """How many times faster `fast` is; both are a `summary`."""
    return Ratio(slow["median"] / fast["median"], slow["q1"] / fast["q3"], slow["q3"] / fast["q1"])


def sample(
    call: Callable[[], Any], *, calls: int, seconds: float = 0.0, warm_up: int = 1
) -> list[float]:
    """Seconds of each call: of `calls` calls, and of further ones until `seconds` have passed."""
    for _ in range(warm_up):
        call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < calls or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def peak_mb() -> float | None:
    """Largest resident memory of this process so far, in MB of 10^6 bytes; None if unknown."""
    from pynst.machine import peak_memory  # only now: a peer's process does not hold PyNST earlier

    peak = peak_memory()
    return None if peak is None else round(peak / 1e6, 1)


class Worker:
    """Runs tasks of `bench.worker`, each in a fresh process: nothing is warm there, and all memory
    is the task's own.

    Parameters
    ----------
    threads : int
        For the thread pools of OpenMP, OpenBLAS and MKL.
    environment : mapping of str to str, optional
        Further variables of the process.
    limit : float, optional
        Seconds after which the process is ended.
    """

    def __init__(
        self,
        threads: int,
        environment: Mapping[str, str] | None = None,
        limit: float | None = None,
    ) -> None:
        self._limit = limit
        count = str(threads)
        pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.environment = {
            **os.environ, **dict.fromkeys(pools, count), **(environment or {}),
        }  # fmt: skip

    def __call__(self, task: str, **arguments: Any) -> Any:
        """Return what the task returns; raises `RuntimeError` with the message of its exception."""
        request = json.dumps({"task": task, "started": time.monotonic(), **arguments})
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.worker"], input=request, cwd=ROOT,
                env=self.environment, capture_output=True, text=True, check=False,
                timeout=self._limit,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{task} {arguments}: not done after {self._limit} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{task} {arguments}: {last}")
        return json.loads(done.stdout.splitlines()[-1])


class Display:
    """Says on stderr what is being measured now: one updating line, or plain lines in a log."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.monotonic()

    def __call__(self, what: str) -> None:
        """Begin the next step."""
        self.done += 1
        elapsed = time.monotonic() - self.started
        line = f"[{self.done:3d}/{self.total}] {elapsed:5.0f} s  {what}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line[:110]}")
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if sys.stderr.isatty():
            sys.stderr.write("\n")
