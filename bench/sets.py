"""What a run measures, and in which order: the quick set, the full set, and a tiny one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench import closure, convergence, machine, ops, quality, scaling, users
from bench.machine import has
from bench.measure import Display, Worker
from bench.problem import save_random_weights

__all__ = ["PARTS", "SETS", "Extent", "begin", "run", "weights_file"]

PARTS = (
    "closure", "breakdown", "ops", "layers", "users", "convergence", "scaling", "quality"
)  # fmt: skip
"""In the order of measuring: what matters most comes first, and outlives an interruption."""

FORMAT = 1
"""Version of the stored form of a result."""

_PEERS = ("pynst", "torch-best", "torch-usual")
_FULL = (*_PEERS, "torch-compile", "pynst-avx512", "pynst-avx2", "torch-avx2")
_MORE = ("pynst-objective", "numpy", "jax")
_MAX = ("pynst-max", "torch-max")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much a set measures on the CPU. Sizes are sides of square pictures, in pixels.

    Attributes
    ----------
    closure : callable
        Number of all threads to the plan of the closures.
    further_turns : int
        Turns at most that are given to a row of the closure without a quiet turn.
    breakdown_sizes : tuple of int
        Sizes of the closures that are told op by op.
    breakdown_rounds : int
        How often the calls of each are made.
    ops_size : int
        Size of the picture whose ops are timed.
    ops_seconds : float
        Seconds for each op.
    ops_every_count : bool
        Whether the ops are timed with one thread as well as with all.
    layers_size : int
        Size of the picture whose convolutions the peer's library computes.
    starts : int
        How often each process is started.
    picture_size : int
        Size of the picture of the part "users".
    descent_size, descent_evaluations, descent_turns : int
        Size and evaluations of the part "convergence", and turns at most until one is quiet.
    scaling_sizes, scaling_evaluations : tuple of int
        Points of the part "scaling".
    drivers_size, drivers_evaluations : int
        Size and evaluations of the drivers of the part "quality".
    """

    closure: Callable[[int], closure.Plan]
    further_turns: int
    breakdown_sizes: tuple[int, ...]
    breakdown_rounds: int
    ops_size: int
    ops_seconds: float
    ops_every_count: bool
    layers_size: int
    starts: int
    picture_size: int
    descent_size: int
    descent_evaluations: int
    descent_turns: int
    scaling_sizes: tuple[int, ...]
    scaling_evaluations: tuple[int, ...]
    drivers_size: int
    drivers_evaluations: int


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
        closure=_tiny,
        further_turns=0,
        breakdown_sizes=(32,),
        breakdown_rounds=2,
        ops_size=32,
        ops_seconds=0.0,
        ops_every_count=False,
        layers_size=32,
        starts=1,
        picture_size=64,
        descent_size=32,
        descent_evaluations=4,
        descent_turns=1,
        scaling_sizes=(32, 64),
        scaling_evaluations=(2, 3),
        drivers_size=32,
        drivers_evaluations=6,
    ),
    "quick": Extent(
        closure=_quick,
        further_turns=1,
        breakdown_sizes=(256, 512),
        breakdown_rounds=5,
        ops_size=256,
        ops_seconds=0.1,
        ops_every_count=False,
        layers_size=256,
        starts=3,
        picture_size=256,
        descent_size=128,
        descent_evaluations=30,
        descent_turns=1,
        scaling_sizes=(128, 256, 384, 512),
        scaling_evaluations=(10, 20, 40),
        drivers_size=32,
        drivers_evaluations=40,
    ),
    "full": Extent(
        closure=_full,
        further_turns=2,
        breakdown_sizes=(256, 512),
        breakdown_rounds=15,
        ops_size=512,
        ops_seconds=0.3,
        ops_every_count=True,
        layers_size=512,
        starts=9,
        picture_size=256,
        descent_size=256,
        descent_evaluations=150,
        descent_turns=2,
        scaling_sizes=(128, 192, 256, 384, 512, 768, 1024),
        scaling_evaluations=(10, 20, 40, 80, 160),
        drivers_size=128,
        drivers_evaluations=200,
    ),
}
"""``tiny`` goes through every line in a minute and measures nothing: it is for tests."""

Keep = Callable[[dict[str, Any]], Any]


def begin(extent: str, name: str, command: str, backend: str) -> dict[str, Any]:
    """Make a result in which nothing is measured yet; arguments as for `run`."""
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
    parts : collection of str
        Some of `PARTS`.
    extent : {"tiny", "quick", "full"}
    name : str
        Name of the run, for the heading of its results.
    command : str
        The command that reproduces the run.
    sizes, counts : collection of int
        If given, the closure is measured only at those of its sizes and numbers of threads.
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
        "layers": lambda: _layers(chosen.layers_size, threads, display),
        "users": lambda: users.measure(threads, chosen.starts, chosen.picture_size, display),
        "convergence": lambda: _convergence(chosen, threads, display),
        "scaling": lambda: scaling.measure(
            chosen.scaling_sizes, threads, chosen.scaling_evaluations, display
        ),
        "quality": lambda: quality.measure(
            chosen.drivers_size, chosen.drivers_evaluations, threads, display
        ),
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
    for size in chosen.breakdown_sizes:
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
    for case in ops.layer_cases(chosen.ops_size):
        wanted = ops.checked(case).outputs(ReferenceBackend())
        for count in counts if chosen.ops_every_count else counts[-1:]:
            display(f"ops: {case}, threads {count}")
            backend = open_backend("cpu", threads=count)
            limits = peaks[str(count)]
            rows.append(ops.measure(case, backend, count, limits, chosen.ops_seconds, wanted))
    return rows


def _layers(size: int, threads: int, display: Display) -> list[dict[str, Any]]:
    """Time the convolutions of PyTorch's library, where PyTorch is installed."""
    if not has("torch"):
        return []
    display(f"layers: PyTorch's convolutions, {size} pixels, threads {threads}")
    rows: list[dict[str, Any]] = Worker(threads)(
        "layers", size=size, device="cpu", forms=["float32"], threads=threads
    )
    return rows


@contextmanager
def weights_file() -> Iterator[tuple[str, str]]:
    """Path of a weights file and what it holds: the file of PYNST_WEIGHTS, else random weights."""
    from pynst import load_weights

    path = os.environ.get("PYNST_WEIGHTS")
    if path:
        yield path, f"VGG-19 (training: {load_weights(path).training})"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield save_random_weights(folder), "random"


def _convergence(chosen: Extent, threads: int, display: Display) -> dict[str, Any]:
    """Run every driver whose package is installed; of several turns the quietest counts."""
    size, evaluations = chosen.descent_size, chosen.descent_evaluations
    with weights_file() as (path, weights):
        curves = {}
        for name in _drivers():
            display(f"convergence: {name}")
            turns: list[dict[str, Any]] = []
            while len(turns) < chosen.descent_turns and not closure.quiet(turns, threads):
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
    return [name for name in convergence.DRIVERS if has("torch") or "torch" not in name]


def _steps(parts: Collection[str], threads: int, chosen: Extent, plan: closure.Plan) -> int:
    """Count the steps that the display will show."""
    counts = len({1, threads})
    steps: dict[str, Callable[[], int]] = {
        "closure": lambda: sum(
            len(closure.present(names)) * rounds for _, _, names, rounds, _ in plan
        ),
        "breakdown": lambda: len(chosen.breakdown_sizes) * counts,
        "ops": lambda: len(ops.layer_cases(64)) * (counts if chosen.ops_every_count else 1),
        "layers": lambda: int(has("torch")),
        "users": users.steps,
        "convergence": lambda: len(_drivers()),
        "scaling": lambda: len(
            [*chosen.scaling_sizes, *chosen.scaling_evaluations,
             *scaling.thread_counts(threads)]
        ),
        "quality": quality.steps,
    }  # fmt: skip
    return 1 + sum(steps[part]() for part in parts)
