"""PyNST's closure against its peers, alternating: A B A B, each turn in a fresh process.

Alternating spreads what else the machine does over all rows; a fresh process gives each its own
peak memory and nothing that another left warm. Before a time counts, value and gradient are
compared: a row that computes something else stops the run.

A turn is quiet if the process had at least 90 % of the processor time that its threads could use.
Only quiet turns count; a row that has none is given one more turn, in the full set two, and is then
called disturbed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.closures import ENVIRONMENT, NEEDS, forces_a_lesser_isa
from bench.machine import peers
from bench.measure import Display, Worker, summary
from bench.problem import Problem

__all__ = ["VALUE_TOLERANCE", "Plan", "check_agreement", "measure", "present", "quiet", "row"]

VALUE_TOLERANCE = 1e-4
QUIET = 0.9
GRADIENT_TOLERANCE = 1e-2  # one ReLU that float32 decides otherwise moves the gradient by 1e-4

Plan = Sequence[tuple[int, int, Collection[str], int, int]]
"""(size, threads, rows, rounds, calls in each round)."""


def present(names: Collection[str]) -> list[str]:
    """Those of the rows that can run here; NumPy's where else no peer would be left.

    A row may need a package, or force an instruction set.
    """
    packages = peers()
    found = [
        name
        for name in names
        if (name not in NEEDS or packages[NEEDS[name]]["version"] is not None)
        and ("PYNST_CPU_ISA" not in ENVIRONMENT.get(name, {}) or forces_a_lesser_isa(name))
    ]
    if not any(not name.startswith("pynst") for name in found):
        found.append("numpy")
    return found


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
                worker = Worker(threads, ENVIRONMENT.get(name))
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
    """Refuse rows whose value or gradient is not that of the others with the same pooling."""
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
    """The turns in which nothing else took the processors."""
    return [answer for answer in answers if answer["cores_used"] >= QUIET * threads]


def row(size: int, threads: int, name: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table, from the answers of its turns."""
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
