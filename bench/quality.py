"""Are the results as good as they are fast? The formulas, and the loss that each driver reaches.

The formulas are compared with `tests/golden/independent.py`: the same loss in PyTorch with
autograd, in float64, which shares no code with PyNST.
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np

from bench.machine import has
from bench.measure import ROOT, Display, Worker
from bench.problem import save_random_weights

__all__ = ["drivers", "formulas", "measure", "steps"]


def steps() -> int:
    """Count the steps that `measure` shows."""
    return 2 if has("torch") else 1


def measure(size: int, evaluations: int, threads: int, display: Display) -> dict[str, Any]:
    """Make both tables, each in a process of its own; the first one needs PyTorch."""
    found: dict[str, Any] = {"formulas": []}
    if has("torch"):
        display("quality: five formulas")
        found["formulas"] = Worker(threads)("formulas", backends=["cpu"])
    display(f"quality: the drivers at {size} pixels")
    found["drivers"] = Worker(threads)(
        "drivers", size=size, evaluations=evaluations, threads=threads
    )
    return found


def formulas(backends: list[str]) -> list[dict[str, Any]]:
    """Compare value and gradient of the five formulas on the backends; relative differences."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    from golden import cases, make
    from golden.ours import make_objective

    rows = []
    for formula in cases.FORMULAS:
        case = cases.Case(formula, formula=formula)
        terms, wanted = make.evaluate(case)
        for backend in backends:
            value, gradient = make_objective(case, backend)(case.x())
            difference = float(np.linalg.norm(gradient - wanted) / np.linalg.norm(wanted))
            rows.append(
                {
                    "formula": formula,
                    "backend": backend,
                    "value_error": float(f"{abs(value / terms['total'] - 1):.1e}"),
                    "gradient_error": float(f"{difference:.1e}"),
                }
            )
    return rows


def drivers(size: int, evaluations: int, threads: int, backend: str = "cpu") -> dict[str, Any]:
    """Find the lowest loss that each driver reaches in equal numbers of evaluations.

    Loss, start and size are the same for all, on random weights: what differs is the path. Time
    plays no part.
    """
    from bench.convergence import DRIVERS, descend

    after = [max(1, evaluations // part) for part in (4, 2, 1)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = save_random_weights(folder)
        for name in DRIVERS:
            if "torch" in name and not has("torch"):
                continue
            curve = descend(name, size, evaluations, threads, path, backend)
            loss = curve["loss"]
            rows.append(
                {"driver": name, "start": loss[0], "lowest": [min(loss[:count]) for count in after]}
            )
    return {"size": size, "after": after, "rows": rows}
