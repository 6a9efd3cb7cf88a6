"""What a run measures, and in which order: the quick set, the full set, and a tiny one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import closure, convergence, machine, ops, quality, scaling, users
from bench.measure import Display, Worker

__all__ = ["PARTS", "SETS", "Extent", "begin", "run", "weights_file"]

PARTS = (
    "closure", "breakdown", "ops", "layers", "users", "convergence", "scaling", "quality"
)  # fmt: skip
"""In the order of measuring: what matters most comes first, and outlives an interruption."""

FORMAT = 1

_PEERS = ("pynst", "torch-best", "torch-usual")
_FULL = (*_PEERS, "torch-compile", "pynst-avx512", "pynst-avx2", "torch-avx2")
_MORE = ("pynst-objective", "numpy", "jax")
_MAX = ("pynst-max", "torch-max")


@dataclass(frozen=True)
class Extent:
    """How much a set measures on the CPU. Sizes are sides of square pictures, in pixels."""

    closure: Callable[[int], closure.Plan]
    further_turns: int
    breakdown: tuple[int, ...]
    breakdown_rounds: int
    ops: int
    ops_seconds: float
    every_count: bool
    layers: int
    starts: int
    picture: int
    descent: tuple[int, int, int]  # size, evaluations, turns at most
    sizes: tuple[int, ...]
    evaluations: tuple[int, ...]
    drivers: tuple[int, int]  # size, evaluations


def _tiny(threads: int) -> closure.Plan:
    return [(32, threads, ("pynst", "torch-best", "numpy"), 1, 2)]


def _quick(threads: int) -> closure.Plan:
    one = [(256, 1, _PEERS, 2, 3)] if threads > 1 else []
    return [
        (256, threads, _PEERS, 3, 3), *one, (512, threads, ("pynst", "torch-best"), 2, 2)
    ]  # fmt: skip


def _full(threads: int) -> closure.Plan:
    plan: list[Any] = []
    for count in sorted({1, threads}, reverse=True):
        more, most = (_MORE, _MAX) if count == threads else ((), ())
        plan.append((256, count, (*_FULL, *more), 3, 4))
        plan.append((512, count, (*_FULL, *most), 3, 3))
        plan.append((1024, count, _FULL, 2, 2))
    return plan


SETS = {
    "tiny": Extent(
        _tiny, 0, (32,), 2, 32, 0.0, False, 32, 1, 64, (32, 4, 1), (32, 64), (2, 3), (32, 6)
    ),
    "quick": Extent(
        _quick, 1, (256, 512), 5, 256, 0.1, False, 256, 3, 256, (128, 30, 1), (128, 256, 384, 512),
        (10, 20, 40), (32, 40),
    ),
    "full": Extent(
        _full, 2, (256, 512), 15, 512, 0.3, True, 512, 9, 256, (256, 150, 2),
        (128, 192, 256, 384, 512, 768, 1024), (10, 20, 40, 80, 160), (128, 200),
    ),
}  # fmt: skip
"""``tiny`` goes through every line in a minute and measures nothing: for tests."""

Keep = Callable[[dict[str, Any]], Any]


def begin(extent: str, name: str, command: str, backend: str) -> dict[str, Any]:
    """A result before anything is measured."""
    return {
        "format": FORMAT,
        "name": name,
        "command": command,
        "set": extent,
        "backend": backend,
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "minutes": 0.0,
        "machine": machine.describe(),
        "packages": machine.peers(),
        "peaks": {},
        "load": {"before": machine.load(), "after": None},
    }


def run(
    parts: Collection[str],
    *,
    extent: str,
    name: str,
    command: str,
    sizes: Collection[int] = (),
    counts: Collection[int] = (),
    keep: Keep = bool,
) -> dict[str, Any]:
    """Measure the parts on the CPU and return the result as it is stored.

    Parameters
    ----------
    parts : of `PARTS`
    extent : {"tiny", "quick", "full"}
    name : str
        Of the run, for the heading of its results.
    command : str
        What reproduces it.
    sizes, counts : of int
        If given, the closure is measured at these of its sizes and numbers of threads only.
    keep : callable
        Called with the result after each part, so that what was measured outlives an interruption.
    """
    started, result = time.monotonic(), begin(extent, name, command, "cpu")
    threads, chosen = machine.all_threads(), SETS[extent]
    plan = [
        entry
        for entry in chosen.closure(threads)
        if entry[0] in (sizes or [entry[0]]) and entry[1] in (counts or [entry[1]])
    ]
    display = Display(_steps(parts, threads, chosen, plan))
    display("peaks")
    both = sorted({1, threads})
    peaks = {str(count): Worker(count)("peaks", threads=count) for count in both}
    result["peaks"] = peaks
    measures: dict[str, Callable[[], Any]] = {
        "closure": lambda: closure.measure(plan, display, chosen.further_turns),
        "breakdown": lambda: _breakdown(chosen, both, peaks, display),
        "ops": lambda: _ops(chosen, both, peaks, display),
        "layers": lambda: _layers(chosen.layers, threads, display),
        "users": lambda: users.measure(threads, chosen.starts, chosen.picture, display),
        "convergence": lambda: _convergence(*chosen.descent, threads, display),
        "scaling": lambda: scaling.measure(chosen.sizes, threads, chosen.evaluations, display),
        "quality": lambda: quality.measure(*chosen.drivers, threads, display),
    }
    for part in PARTS:
        if part in parts:
            result[part] = measures[part]()
            result["load"]["after"] = machine.load()
            result["minutes"] = round((time.monotonic() - started) / 60, 1)
            keep(result)
    display.close()
    return result


def _breakdown(
    chosen: Extent, counts: list[int], peaks: dict[str, Any], display: Display
) -> list[dict[str, Any]]:
    rows = []
    for size in chosen.breakdown:
        for count in counts:
            display(f"breakdown: closure {size}, threads {count}")
            peak = peaks[str(count)]
            limits = {
                "flops": 1e9 * (peak["fma_gflops"] or peak["sgemm_gflops"]),
                "bytes": 1e9 * peak["copy_gbs"],
            }
            answer = Worker(count)(
                "breakdown", size=size, threads=count, rounds=chosen.breakdown_rounds, peaks=limits
            )
            rows.append({"size": size, "threads": count, "name": "pynst", **answer})
    return rows


def _ops(
    chosen: Extent, counts: list[int], peaks: dict[str, Any], display: Display
) -> list[dict[str, Any]]:
    from pynst.backends import open_backend
    from pynst.backends.reference import ReferenceBackend

    rows = []
    for case in ops.layer_cases(chosen.ops):
        wanted = ops.checked(case).outputs(ReferenceBackend())
        for count in counts if chosen.every_count else counts[-1:]:
            display(f"ops: {case}, threads {count}")
            backend = open_backend("cpu", threads=count)
            limits = peaks[str(count)]
            rows.append(ops.measure(case, backend, count, limits, chosen.ops_seconds, wanted))
    return rows


def _layers(size: int, threads: int, display: Display) -> list[dict[str, Any]]:
    """The peer's library, where it is there."""
    if not _torch():
        return []
    display(f"layers: PyTorch's convolutions, {size} pixels, threads {threads}")
    rows: list[dict[str, Any]] = Worker(threads)(
        "layers", size=size, device="cpu", forms=["float32"], threads=threads
    )
    return rows


@contextmanager
def weights_file() -> Iterator[tuple[str, str]]:
    """A weights file and what it holds: that of PYNST_WEIGHTS, else random weights."""
    from bench.problem import MEAN, convolutions
    from pynst import load_weights
    from pynst.weights import VGG19Weights, save_weights

    path = os.environ.get("PYNST_WEIGHTS")
    if path:
        yield path, f"VGG-19 (training: {load_weights(path).training})"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.npz")
        save_weights(VGG19Weights(convolutions(), MEAN), path)
        yield path, "random"


def _convergence(
    size: int, evaluations: int, most_turns: int, threads: int, display: Display
) -> dict[str, Any]:
    """Every driver whose package is there; of two turns the quieter."""
    with weights_file() as (path, weights):
        curves = {}
        for name in _drivers():
            display(f"convergence: {name}")
            turns: list[dict[str, Any]] = []
            while len(turns) < most_turns and not closure.quiet(turns, threads):
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


def _drivers() -> list[str]:
    return [name for name in convergence.DRIVERS if _torch() or "torch" not in name]


def _torch() -> bool:
    return machine.peers()["torch"]["version"] is not None


def _steps(parts: Collection[str], threads: int, chosen: Extent, plan: closure.Plan) -> int:
    """How many steps the display will count."""
    counts = len({1, threads})
    steps: dict[str, Callable[[], int]] = {
        "closure": lambda: sum(
            len(closure.present(names)) * rounds for _, _, names, rounds, _ in plan
        ),
        "breakdown": lambda: len(chosen.breakdown) * counts,
        "ops": lambda: len(ops.layer_cases(64)) * (counts if chosen.every_count else 1),
        "layers": lambda: int(_torch()),
        "users": users.steps,
        "convergence": lambda: len(_drivers()),
        "scaling": lambda: len(
            [*chosen.sizes, *chosen.evaluations, *scaling.thread_counts(threads)]
        ),
        "quality": quality.steps,
    }  # fmt: skip
    return 1 + sum(steps[part]() for part in parts)
