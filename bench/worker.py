"""One measurement in a process of its own: a request in JSON on stdin, the answer on stdout.

Called by `bench.measure.Worker`; by hand:
``echo '{"task": "closure", "name": "pynst", "size": 64, "threads": 1, "calls": 3}' | python -m
bench.worker``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.measure import peak_mb, sample

__all__ = ["TASKS"]


def closure(
    name: str, size: int, threads: int, calls: int, started: float | None = None, save: str = ""
) -> dict[str, Any]:
    """Times of one closure, its memory, and the seconds from the cold process to its first result.

    `save` names a file for value and gradient, which the caller compares.
    """
    import numpy as np

    from bench.closures import CLOSURES
    from bench.problem import Problem

    if name == "jax" and hasattr(os, "sched_setaffinity"):  # it has no other limit of its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    problem = Problem(size, "max" if name.endswith("-max") else "average")
    evaluate = CLOSURES[name](problem, threads)
    value, gradient = evaluate()
    first = time.monotonic()
    if save:
        np.savez(save, value=value, gradient=np.asarray(gradient, np.float32))
    cpu, wall = time.process_time(), time.perf_counter()
    seconds = sample(evaluate, calls=calls, warm_up=0)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "seconds": seconds,
        "peak_mb": peak_mb(),
        "first_s": None if started is None else round(first - started, 2),
        "cores_used": round(cpu / wall, 2),
    }


def breakdown(
    size: int, threads: int, rounds: int, peaks: dict[str, float], started: float | None = None
) -> dict[str, Any]:
    """PyNST's closure, op by op."""
    del started
    from bench import breakdown
    from bench.closures import PyNST
    from bench.problem import Problem
    from pynst.backends import open_backend

    tape = breakdown.Tape(open_backend("cpu", threads=threads))
    calls = breakdown.record(PyNST(Problem(size), threads, tape), tape)
    return breakdown.measure(calls, rounds, peaks)


def peaks(threads: int, started: float | None = None) -> dict[str, Any]:
    """The machine's measured peaks."""
    del started
    from bench.machine import peaks as measure

    return dict(measure(threads))


def stylized(
    size: int,
    quality: str,
    threads: int,
    started: float,
    network: str = "builtin",
    backend: str = "cpu",
    precision: str = "fast",
) -> dict[str, Any]:
    """Seconds from the cold process to the first picture and the last, and the peak memory."""
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


def descent(**request: Any) -> Any:
    """A curve of loss against seconds."""
    from bench.convergence import descend

    request.pop("started")
    return descend(**request)


def memory(**request: Any) -> Any:
    """One `stylize` of so many evaluations."""
    from bench.scaling import iterate

    request.pop("started")
    return iterate(**request)


def layers(
    size: int, device: str, forms: list[str], threads: int, started: float | None = None
) -> Any:
    """The convolutions of PyTorch's library."""
    del started
    from bench.library import layers as measure

    return measure(size, device, tuple(forms), threads)


def formulas(backends: list[str], started: float | None = None) -> Any:
    """The formulas against an independent implementation."""
    del started
    from bench.quality import formulas as measure

    return measure(backends)


def drivers(**request: Any) -> Any:
    """The loss that each driver reaches."""
    from bench.quality import drivers as measure

    request.pop("started")
    return measure(**request)


def device_peaks(started: float | None = None) -> Any:
    """What the CUDA device can do at most."""
    del started
    from bench.device import peaks as measure

    return measure()


def device_closures(
    name: str, precision: str, sizes: list[int], calls: int, folder: str, started: float
) -> list[dict[str, Any]]:
    """One row of the closure's table on a CUDA device, at all sizes; a step ends with its value."""
    import gc

    import numpy as np

    from bench.closures import on_device
    from bench.problem import Problem

    answers = []
    for size in sizes:
        made = time.monotonic()
        free_device_memory()
        evaluate = on_device(name, Problem(size), precision)
        value = evaluate.step()
        first = time.monotonic() - (made if answers else started)
        if folder:
            np.savez(f"{folder}/{name}-{size}.npz", value=value, gradient=evaluate.gradient())
        cpu, wall = time.process_time(), time.perf_counter()
        seconds = sample(evaluate.step, calls=calls, seconds=0.3, warm_up=4)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        answers.append(
            {
                "size": size, "seconds": seconds[-10 * calls :], "peak_mb": evaluate.peak_mb(),
                "first_s": round(first, 2), "cores_used": round(cpu / wall, 2),
                "form": getattr(evaluate, "form", precision),
            }
        )  # fmt: skip
        del evaluate
        gc.collect()
    return answers


def free_device_memory() -> None:
    """Empty the pools of the packages that are loaded, so that the next peak is its own."""
    if "cupy" in sys.modules:
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()
        sys.modules["torch"].cuda.reset_peak_memory_stats()


def device_breakdown(
    size: int, precision: str, peaks: dict[str, float], started: float | None = None
) -> dict[str, Any]:
    """PyNST's closure on a CUDA device, op by op, each timed by itself."""
    del started
    from bench import breakdown
    from bench.closures import PyNST
    from bench.device import sample as device_sample
    from bench.problem import Problem
    from pynst.backends import open_backend

    tape = breakdown.Tape(open_backend("cuda", precision=precision))
    calls = breakdown.record(PyNST(Problem(size), 1, tape), tape)
    on_device = [call for call in calls if call.op not in ("upload", "download")]
    return breakdown.measure(on_device, 1, peaks, device_sample)


TASKS: dict[str, Callable[..., Any]] = {
    "closure": closure, "breakdown": breakdown, "peaks": peaks, "stylized": stylized,
    "descent": descent, "iterations": memory, "layers": layers, "formulas": formulas,
    "drivers": drivers, "device_peaks": device_peaks, "device_closures": device_closures,
    "device_breakdown": device_breakdown,
}  # fmt: skip


def main() -> None:
    request = json.load(sys.stdin)
    answer = TASKS[request.pop("task")](**request)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
