"""Are the results as good as they are fast? The formulas, and the loss that each driver reaches.

`tests/golden/independent.py` is the same loss in PyTorch with autograd, in float64, with no code
in common.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bench.machine import peers
from bench.measure import ROOT, Display, Worker

__all__ = ["drivers", "formulas", "measure", "steps"]


def steps() -> int:
    """How many steps `measure` displays."""
    return 2 if peers()["torch"]["version"] is not None else 1


def measure(size: int, evaluations: int, threads: int, display: Display) -> dict[str, Any]:
    """Both tables, in processes of their own."""
    found: dict[str, Any] = {"formulas": []}
    if peers()["torch"]["version"] is not None:
        display("quality: five formulas")
        found["formulas"] = Worker(threads)("formulas", backends=["cpu"])
    display(f"quality: the drivers at {size} pixels")
    found["drivers"] = Worker(threads)(
        "drivers", size=size, evaluations=evaluations, threads=threads
    )
    return found


def formulas(backends: list[str]) -> list[dict[str, Any]]:
    """Relative differences in value and gradient of the five formula presets."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    from golden import cases, make
    from test_golden import make_objective

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
    """The lowest objective of each driver after equal numbers of evaluations, on random weights.

    One objective, one start, one size: what differs is the path. Time plays no part.
    """
    import tempfile
    from pathlib import Path

    from bench.convergence import DRIVERS, descend
    from bench.problem import MEAN, convolutions
    from pynst.weights import VGG19Weights, save_weights

    torch = peers()["torch"]["version"] is not None
    after = [max(1, evaluations // part) for part in (4, 2, 1)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.npz")
        save_weights(VGG19Weights(convolutions(), MEAN), path)
        for name in DRIVERS:
            if "torch" in name and not torch:
                continue
            curve = descend(name, size, evaluations, threads, path, backend)
            loss = curve["loss"]
            rows.append(
                {"driver": name, "start": loss[0], "lowest": [min(loss[:count]) for count in after]}
            )
    return {"size": size, "after": after, "rows": rows}
