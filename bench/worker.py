"""One measurement in a process of its own: a request in JSON on stdin, the answer on stdout.

`bench.measure.Worker` starts it. By hand::

    echo '{"task": "closure", "name": "pynst", "size": 64, "threads": 1, "calls": 3}' |
        python -m bench.worker

Each task imports what it needs when it runs, so that the process holds nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from bench.measure import peak_mb, sample

__all__ = ["TASKS"]

TASKS = {
    "closure": "bench.worker:closure",
    "breakdown": "bench.worker:breakdown",
    "stylized": "bench.worker:stylized",
    "peaks": "bench.machine:peaks",
    "layers": "bench.peers.torch_layers:layers",
    "descent": "bench.convergence:descend",
    "iterations": "bench.scaling:iterate",
    "formulas": "bench.quality:formulas",
    "drivers": "bench.quality:drivers",
    "program": "bench.gallery.programs:run",
    "device_peaks": "bench.device:peaks",
    "device_closures": "bench.worker:device_closures",
    "device_breakdown": "bench.worker:device_breakdown",
}
"""By name: module and function. The rest of the request are the function's keyword arguments."""

_TIMED_FROM_START = ("closure", "stylized", "device_closures")
"""Tasks that are also told when the process was started, by `time.monotonic`."""


def closure(
    name: str, size: int, threads: int, calls: int, started: float, save: str = ""
) -> dict[str, Any]:
    """Time one row of the closure's table.

    `save` names a file for value and gradient, which the caller compares. Returns the seconds of
    each call, the peak memory, and the seconds from the cold process to the first result.
    """
    import numpy as np

    from bench.peers.table import CLOSURES
    from bench.problem import Problem

    if name == "jax" and hasattr(os, "sched_setaffinity"):
        # The CPU client of XLA has no other limit on its threads.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    problem = Problem(size, "max" if name.endswith("-max") else "average")
    evaluate = CLOSURES[name](problem, threads)
    value, gradient = evaluate()
    first = time.monotonic()
    if save:
        np.savez(save, value=value, gradient=np.asarray(gradient, np.float32))
    seconds, cores = _timed(lambda: sample(evaluate, calls=calls, warm_up=0))
    return {
        "seconds": seconds,
        "peak_mb": peak_mb(),
        "first_s": round(first - started, 2),
        "cores_used": cores,
    }


def _timed(measure: Callable[[], list[float]]) -> tuple[list[float], float]:
    """Run a measurement; returns what it does, and how many processors were busy meanwhile."""
    cpu, wall = time.process_time(), time.perf_counter()
    seconds = measure()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return seconds, round(cpu / wall, 2)


def breakdown(size: int, threads: int, rounds: int, peaks: dict[str, float]) -> dict[str, Any]:
    """Time PyNST's closure op by op."""
    from bench import breakdown
    from pynst.backends import open_backend

    calls = breakdown.calls_of_closure(size, threads, open_backend("cpu", threads=threads))
    return breakdown.measure(calls, rounds, peaks)


def stylized(
    size: int,
    quality: str,
    threads: int,
    started: float,
    network: str = "builtin",
    backend: str = "cpu",
    precision: str = "fast",
) -> dict[str, Any]:
    """Make a picture; returns the seconds from the cold process to its first state and its last."""
    import pynst
    from bench.problem import picture

    first: list[float] = []

    def keep_first(progress: Any) -> None:
        if not first:
            progress.image()
            first.append(time.monotonic())

    result = pynst.stylize(
        picture(1, size), picture(2, size), network=network, image_size=size, quality=quality,
        threads=threads, callback=keep_first, backend=backend, precision=precision,
    )  # fmt: skip
    return {
        "first_s": round(first[0] - started, 3),
        "final_s": round(time.monotonic() - started, 3),
        "evaluations": sum(len(level) for level in result.history),
        "peak_mb": peak_mb(),
    }


def device_closures(
    name: str, precision: str, sizes: list[int], calls: int, folder: str, started: float
) -> list[dict[str, Any]]:
    """Time one row of the closure's table on a CUDA device, at all sizes.

    `folder`, unless empty, is where value and gradient are saved for the caller to compare.
    """
    import gc

    import numpy as np

    from bench.peers.table import on_device
    from bench.problem import Problem

    answers: list[dict[str, Any]] = []
    for size in sizes:
        made = time.monotonic()
        _free_device_memory()
        evaluate = on_device(name, Problem(size), precision)
        value = evaluate.step()
        first = time.monotonic() - (made if answers else started)
        if folder:
            np.savez(f"{folder}/{name}-{size}.npz", value=value, gradient=evaluate.gradient())
        seconds, cores = _timed(
            lambda e=evaluate: sample(e.step, calls=calls, seconds=0.3, warm_up=4)
        )
        answers.append(
            {
                "size": size, "seconds": seconds[-10 * calls :], "peak_mb": evaluate.peak_mb(),
                "first_s": round(first, 2), "cores_used": cores,
                "form": getattr(evaluate, "form", precision),
            }
        )  # fmt: skip
        del evaluate
        gc.collect()
    return answers


def _free_device_memory() -> None:
    """Empty the memory pools of the packages that are loaded, so that the next peak is its own."""
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()
        sys.modules["torch"].cuda.reset_peak_memory_stats()


def device_breakdown(size: int, precision: Any, peaks: dict[str, float]) -> dict[str, Any]:
    """Time PyNST's closure on a CUDA device op by op, each call by itself."""
    from bench import breakdown, device
    from pynst.backends import open_backend

    backend = open_backend("cuda", precision=precision)
    calls = breakdown.calls_of_closure(size, 1, backend)
    on_device = [call for call in calls if call.op not in ("upload", "download")]
    return breakdown.measure(on_device, 1, peaks, device.sample)


def main() -> None:
    """Do the task that stdin asks for."""
    request = json.load(sys.stdin)
    name, started = request.pop("task"), request.pop("started", time.monotonic())
    if name in _TIMED_FROM_START:
        request["started"] = started
    module, function = TASKS[name].split(":")
    print(json.dumps(getattr(import_module(module), function)(**request)))


if __name__ == "__main__":
    main()
