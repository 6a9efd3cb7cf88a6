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


def peaks(threads: int, started: float | None = None) -> dict[str, Any]:
    """The machine's measured peaks."""
    del started
    from bench.machine import peaks as measure

    return dict(measure(threads))


def stylized(
    size: int, quality: str, threads: int, started: float, network: str = "builtin"
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
        threads=threads, callback=keep_first,
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


TASKS: dict[str, Callable[..., Any]] = {
    "closure": closure, "peaks": peaks, "stylized": stylized, "descent": descent,
    "iterations": memory,
}  # fmt: skip


def main() -> None:
    request = json.load(sys.stdin)
    answer = TASKS[request.pop("task")](**request)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
