"""PyNST's closure against its peers, alternating: A B A B, each turn in a fresh process.

Alternating spreads over all rows whatever else the machine does; a fresh process gives each turn a
peak memory of its own, and nothing that another turn left warm. Before any time counts, value and
gradient are compared: a row that computes something else stops the run.

A turn is quiet if its process had at least 90 % of the processor time that its threads could use.
Only quiet turns count. A row without a quiet turn is given one more turn (two in the full set), and
is then called disturbed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import has
from bench.measure import Display, Worker, summary
from bench.peers.table import CLOSURES
from bench.problem import Problem

__all__ = ["VALUE_TOLERANCE", "Plan", "check_agreement", "measure", "present", "quiet", "row"]

VALUE_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-2
"""Relative differences that are allowed between rows. A single ReLU that rounding decides otherwise
moves the gradient by 1e-4."""

QUIET = 0.9
"""Share of its threads' processor time that a process must have had for its turn to count."""

Plan = Sequence[tuple[int, int, Collection[str], int, int]]
"""(size in pixels, threads, rows, rounds, calls in each round)."""


def present(names: Collection[str]) -> list[str]:
    """Those of the rows that can run here, and NumPy's where no other peer would be left."""
    found = [name for name in names if _can_run(name)]
    if not any(not name.startswith("pynst") for name in found):
        found.append("numpy")
    return found


def _can_run(name: str) -> bool:
    """Whether the row's package is installed, and the instruction set that it forces a lesser one.

    To force the set that PyNST chooses anyway would only repeat the row "pynst".
    """
    row = CLOSURES[name]
    if row.needs and not has(row.needs):
        return False
    forced = row.environment.get("PYNST_CPU_ISA")
    if forced is None:
        return True
    from pynst import _cpu

    return forced in _cpu.isas()[1:]


def measure(plan: Plan, display: Display, further_turns: int = 2) -> list[dict[str, Any]]:
    """Rows of the table: size, threads, name, ms, GFLOP/s, memory, time to the first result."""
    rows = []
    for size, threads, names, rounds, calls in plan:
        rows += _alternate(size, threads, present(names), rounds, calls, further_turns, display)
    return rows


def _alternate(
    size: int,
    threads: int,
    names: Sequence[str],
    rounds: int,
    calls: int,
    further_turns: int,
    display: Display,
) -> list[dict[str, Any]]:
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + further_turns):
            noisy = [name for name in names if not quiet(answers[name], threads)]
            display.total += len(noisy) if turn >= rounds else 0
            for name in names if turn < rounds else noisy:
                display(f"closure {size}, threads {threads}, round {turn + 1}: {name}")
                save = "" if turn else str(Path(folder) / f"{name}.npz")
                worker = Worker(threads, CLOSURES[name].environment)
                answers[name].append(
                    worker("closure", name=name, size=size, threads=threads, calls=calls, save=save)
                )
            if turn == 0:
                check_agreement({name: Path(folder) / f"{name}.npz" for name in names})
    return [row(size, threads, name, answers[name]) for name in names]


def check_agreement(
    results: dict[str, Path],
    value: float = VALUE_TOLERANCE,
    gradient: float = GRADIENT_TOLERANCE,
) -> None:
    """Raise `AssertionError` unless all rows of the same pooling have the same value and gradient.

    `results` holds the files that the rows were saved to; `value` and `gradient` are the relative
    differences that are allowed.
    """
    for group in (False, True):
        names = [name for name in results if name.endswith("-max") is group]
        loaded = {name: np.load(results[name]) for name in names}
        for name in names[1:]:
            one, other = loaded[names[0]], loaded[name]
            in_value = abs(other["value"] / one["value"] - 1)
            difference = np.linalg.norm(other["gradient"] - one["gradient"])
            in_gradient = difference / np.linalg.norm(one["gradient"])
            if not (in_value <= value and in_gradient <= gradient):
                raise AssertionError(
                    f"closure: {name} and {names[0]} must agree, got a relative difference of"
                    f" {in_value:.1e} in the value and {in_gradient:.1e} in the gradient"
                )


def quiet(answers: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Those of the turns in which nothing else took the processors."""
    return [answer for answer in answers if answer["cores_used"] >= QUIET * threads]


def row(size: int, threads: int, name: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table, from the answers of its turns."""
    counted = quiet(answers, threads) or answers
    ms = summary([second for answer in counted for second in answer["seconds"]])
    peaks = [answer["peak_mb"] for answer in answers if answer["peak_mb"] is not None]
    return {
        "size": size,
        "threads": threads,
        "name": name,
        "ms": ms,
        "gflops": round(Problem(size).flops() / ms["median"] / 1e6, 1),
        "peak_mb": max(peaks, default=None),
        "first_s": min(answer["first_s"] for answer in answers),
        "cores_used": [answer["cores_used"] for answer in answers],
        "quiet_turns": len(quiet(answers, threads)),
        "all_runs": [summary(answer["seconds"])["runs"] for answer in answers],
    }
