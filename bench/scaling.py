"""How time and memory grow: with the pixels, with the threads, with the evaluations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.closure import quiet
from bench.measure import Display, Worker, quartiles

__all__ = ["exponent", "iterate", "line", "measure", "thread_counts"]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Fit y = c x^e and return e: the slope of the line through (log x, log y)."""
    return float(f"{np.polyfit(np.log(x), np.log(y), 1)[0]:.3g}")


def iterate(evaluations: int, size: int, threads: int, backend: str = "cpu") -> dict[str, float]:
    """Time one `stylize` with the built-in filters on one level, with so many evaluations."""
    import pynst
    from bench.problem import picture

    content, style = picture(1, size), picture(2, size)
    start = time.perf_counter()
    pynst.stylize(
        content, style, network="builtin", image_size=size, levels=1, iterations=evaluations,
        threads=threads, backend=backend,
    )  # fmt: skip
    return {"seconds": time.perf_counter() - start}


def measure(
    sizes: Sequence[int], threads: int, evaluations: Sequence[int], display: Display
) -> dict[str, Any]:
    """Measure the three series, and fit a line to each."""
    return {
        "pixels": _pixels(sizes, threads, display),
        "threads": _threads(threads, min(256, max(sizes)), display),
        "evaluations": _evaluations(evaluations, threads, display),
    }


def _closure(size: int, threads: int, calls: int = 5) -> dict[str, Any]:
    """Time PyNST's closure: the first of three turns that is quiet counts, else the quietest."""
    answers: list[dict[str, Any]] = []
    while len(answers) < 3 and not quiet(answers, threads):
        answers.append(
            Worker(threads)("closure", name="pynst", size=size, threads=threads, calls=calls)
        )
    answer = max(answers, key=lambda answer: answer["cores_used"])
    ms = 1e3 * quartiles(answer["seconds"])[1]
    return {
        "size": size, "threads": threads, "ms": round(ms, 2), "peak_mb": answer["peak_mb"],
        "cores_used": answer["cores_used"],
    }  # fmt: skip


def _pixels(sizes: Sequence[int], threads: int, display: Display) -> dict[str, Any]:
    rows = []
    for size in sizes:
        display(f"scaling: closure {size}, threads {threads}")
        rows.append(_closure(size, threads))
    return line(rows)


def line(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add to rows of several sizes the exponents of time and memory, and memory as a line."""
    pixels = [row["size"] ** 2 for row in rows]
    found: dict[str, Any] = {
        "rows": rows,
        "time_exponent": exponent(pixels, [row["ms"] for row in rows]),
    }
    if all(row["peak_mb"] for row in rows):
        slope, constant = np.polyfit(pixels, [row["peak_mb"] for row in rows], 1)
        found["mb_per_megapixel"] = round(float(slope) * 1e6)
        found["mb_constant"] = round(float(constant))
        found["memory_exponent"] = exponent(pixels, [row["peak_mb"] for row in rows])
    return found


def thread_counts(most: int) -> list[int]:
    """1, 2, 4, ... threads, and all of them."""
    return [n for n in sorted({1, *(2**i for i in range(1, most.bit_length())), most}) if n <= most]


def _threads(most: int, size: int, display: Display) -> list[dict[str, Any]]:
    rows = []
    for threads in thread_counts(most):
        display(f"scaling: closure {size}, threads {threads}")
        rows.append(_closure(size, threads))
    for row in rows:
        row["speedup"] = round(rows[0]["ms"] / row["ms"], 2)
    return rows


def _evaluations(counts: Sequence[int], threads: int, display: Display) -> dict[str, Any]:
    rows = []
    for count in counts:
        display(f"scaling: {count} evaluations")
        answer = Worker(threads)("iterations", evaluations=count, size=128, threads=threads)
        rows.append({"evaluations": count, "seconds": round(answer["seconds"], 3)})
    slope, constant = np.polyfit(counts, [row["seconds"] for row in rows], 1)
    return {
        "rows": rows,
        "ms_per_evaluation": round(1e3 * float(slope), 2),
        "ms_constant": round(1e3 * float(constant), 1),
    }
