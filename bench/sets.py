"""What the quick set and the full set measure, and in which order."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from bench import closure, convergence, machine, ops, quality, scaling, users
from bench.measure import Display, Worker

__all__ = ["PARTS", "run"]

PARTS = ("ops", "closure", "users", "convergence", "scaling", "quality")
FORMAT = 1

_PEERS = ("pynst", "torch-best", "torch-usual")
_FULL = (*_PEERS, "torch-compile", "pynst-avx2")
_MORE = ("pynst-objective", "numpy", "jax")
_MAX = ("pynst-max", "torch-max")


def run(
    parts: Collection[str],
    *,
    full: bool,
    name: str,
    command: str,
    sizes: Collection[int] = (),
    counts: Collection[int] = (),
) -> dict[str, Any]:
    """Measure the parts and return the result as it is stored.

    Parameters
    ----------
    parts : of `PARTS`
    full : bool
        The full set instead of the quick one.
    name : str
        Of the run, for the heading of its results.
    command : str
        What reproduces it.
    sizes, counts : of int
        If given, the closure is measured at these of its sizes and numbers of threads only.
    """
    started, before = time.monotonic(), machine.load()
    threads = machine.all_threads()
    plan = [
        entry
        for entry in _closure_plan(full, threads)
        if entry[0] in (sizes or [entry[0]]) and entry[1] in (counts or [entry[1]])
    ]
    display = Display(_steps(parts, threads, full, plan))
    display("peaks")
    both = sorted({1, threads})
    peaks = {str(count): Worker(count)("peaks", threads=count) for count in both}
    result: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "command": command,
        "set": "full" if full else "quick",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "packages": machine.peers(),
        "peaks": peaks,
    }
    measures: dict[str, Callable[[], Any]] = {
        "ops": lambda: _ops(full, both, peaks, display),
        "closure": lambda: closure.measure(plan, display),
        "users": lambda: users.measure(threads, 9 if full else 5, display),
        "convergence": lambda: _convergence(full, threads, display),
        "scaling": lambda: _scaling(full, threads, display),
        "quality": lambda: quality.formulas(display),
    }
    # the closure first: it is what matters, and the machine is as quiet as it will be
    for part in sorted(parts, key=lambda part: part != "closure"):
        result[part] = measures[part]()
    display.close()
    result["load"] = {"before": before, "after": machine.load()}
    result["minutes"] = round((time.monotonic() - started) / 60, 1)
    return result


def _closure_plan(full: bool, threads: int) -> closure.Plan:
    counts = sorted({1, threads}, reverse=True)
    if not full:
        plan: list[tuple[int, int, Collection[str], int, int]] = [
            (256, count, _PEERS, 3, 3) for count in counts
        ]
        return [*plan, (512, threads, ("pynst", "torch-best"), 2, 2)]
    plan = []
    for count in counts:
        more, most = (_MORE, _MAX) if count == threads else ((), ())
        plan.append((256, count, (*_FULL, *more), 3, 4))
        plan.append((512, count, (*_FULL, *most), 3, 3))
        plan.append((1024, count, (*_PEERS, "torch-compile"), 2, 2))
    return plan


def _ops(
    full: bool, counts: list[int], peaks: dict[str, Any], display: Display
) -> list[dict[str, Any]]:
    from pynst.backends import open_backend

    rows = []
    for case in ops.layer_cases(512 if full else 256):
        for count in counts if full else counts[-1:]:
            display(f"ops: {case}, threads {count}")
            backend = open_backend("cpu", threads=count)
            rows.append(ops.measure(case, backend, count, peaks[str(count)]))
    return rows


def _convergence(full: bool, threads: int, display: Display) -> dict[str, Any]:
    """Every driver whose package is there, on the real weights where they are, else on random."""
    from bench.problem import MEAN, convolutions
    from pynst import load_weights
    from pynst.weights import VGG19Weights, save_weights

    size, evaluations = (256, 150) if full else (128, 40)
    torch = machine.peers()["torch"]["version"] is not None
    names = [name for name in convergence.DRIVERS if torch or "torch" not in name]
    with tempfile.TemporaryDirectory() as folder:
        path, weights = os.environ.get("PYNST_WEIGHTS", ""), "VGG-19"
        if path:
            weights += f" (training: {load_weights(path).training})"
        else:
            path, weights = str(Path(folder) / "random.npz"), "random"
            save_weights(VGG19Weights(convolutions(), MEAN), path)
        curves = {}
        for name in names:
            display(f"convergence: {name}")
            turns: list[dict[str, Any]] = []
            while len(turns) < 2 and not closure.quiet(turns, threads):
                turns.append(
                    Worker(threads)(
                        "descent", driver=name, size=size, evaluations=evaluations,
                        threads=threads, weights_file=path,
                    )
                )  # fmt: skip
            curves[name] = max(turns, key=lambda turn: turn["cores_used"])
    return {
        "size": size, "threads": threads, "evaluations": evaluations, "weights": weights,
        "curves": curves,
    }  # fmt: skip


def _scaling(full: bool, threads: int, display: Display) -> dict[str, Any]:
    if full:
        return scaling.measure((128, 192, 256, 384, 512, 768, 1024), threads,
                               (10, 20, 40, 80, 160), display)  # fmt: skip
    return scaling.measure((128, 256, 384, 512), threads, (10, 20, 40), display)


def _steps(parts: Collection[str], threads: int, full: bool, plan: closure.Plan) -> int:
    """How many steps the display will count."""
    torch = machine.peers()["torch"]["version"] is not None
    counts = len({1, threads})
    steps = {
        "ops": len(ops.layer_cases(64)) * (counts if full else 1),
        "closure": sum(
            len(closure.present(names)) * rounds
            for _, _, names, rounds, _ in plan
        ),
        "users": 7 + sum(machine.peers()[name]["version"] is not None for name in ("torch", "jax"))
        + bool(os.environ.get("PYNST_WEIGHTS")),
        "convergence": len(convergence.DRIVERS) if torch else 2,
        "scaling": (12 if full else 7) + threads.bit_length(),
        "quality": 5 if torch else 0,
    }  # fmt: skip
    return 1 + sum(steps[part] for part in parts)
