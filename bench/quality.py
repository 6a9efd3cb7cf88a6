"""Are the results as good as they are fast? The formulas against an independent implementation.

`tests/golden/independent.py` is the same loss in PyTorch with autograd, in float64, with no code
in common. (Which loss each driver reaches is in `bench.convergence`.)
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bench.machine import peers
from bench.measure import ROOT, Display

__all__ = ["formulas"]


def formulas(display: Display) -> list[dict[str, Any]]:
    """Relative differences in value and gradient of the five formula presets, float32 backend."""
    if peers()["torch"]["version"] is None:
        return []
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    from golden import cases, make
    from test_golden import make_objective

    rows = []
    for formula in cases.FORMULAS:
        display(f"quality: formula {formula}")
        case = cases.Case(formula, formula=formula)
        terms, wanted = make.evaluate(case)
        value, gradient = make_objective(case, "cpu")(case.x())
        difference = float(np.linalg.norm(gradient - wanted) / np.linalg.norm(wanted))
        rows.append(
            {
                "formula": formula,
                "value_error": float(f"{abs(value / terms['total'] - 1):.1e}"),
                "gradient_error": float(f"{difference:.1e}"),
            }
        )
    return rows
