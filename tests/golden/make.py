"""Write values.json: ``python -m golden.make`` in ``tests/``, with PyTorch installed.

``python -m golden.make FILE`` writes real_values.json instead: the same of the real VGG-19, whose
weights are in FILE, PyNST's own file as `pynst weights fetch` leaves it in the cache.

The values come from `independent.py`, the inputs from `cases.py`. Stored per case: a hash of the
inputs, the value of every term, and of the float64 gradient with respect to x its norm, its dot
product with ``case.direction()``, and five entries at fixed, spread places.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from golden import cases, independent

VALUES = Path(__file__).with_name("values.json")
REAL_VALUES = Path(__file__).with_name("real_values.json")
DEFAULT_LAYERS = {
    "vgg19": (("relu4_2",), tuple(f"relu{i}_1" for i in range(1, 6))),
    "builtin": (("level3",), tuple(f"level{i}" for i in range(1, 6))),
}


def setting(
    case: cases.Case,
    weights: cases.Weights | None = None,
    scales: dict[str, NDArray[np.float64]] | None = None,
) -> independent.Setting:
    """The loss of a case, the formula's values filled in where the case gives none.

    `weights` and `scales` replace those of the tiny network.
    """
    formula = independent.FORMULAS[case.formula]
    content_layers, style_layers = (
        dict.fromkeys(names, 1.0) for names in DEFAULT_LAYERS[case.network]
    )
    if case.network == "builtin":
        network, tv_share = independent.builtin(), 0.05
    else:
        tv_share = 1.0
        pooling = case.pooling or formula.pooling
        padding = case.padding or formula.padding
        network = independent.vgg19(weights or case.weights(), pooling, padding)
    normalised = formula.normalised if case.normalised is None else case.normalised

    def given(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    return independent.Setting(
        formula=case.formula,
        network=network,
        alpha=given(case.content_weight, formula.alpha),
        beta=given(case.style_weight, formula.beta),
        tv_weight=given(case.tv_weight, formula.tv_weight * tv_share),
        content_layers=dict(case.content_layers or content_layers),
        style_layers=dict(case.style_layers or style_layers),
        scales=(scales or cases.channel_scales(case.seed)) if normalised else {},
    )


def evaluate(case: cases.Case, **replaced: Any) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Terms and gradient of a case."""
    blend = case.style_blend or (1.0,) * len(case.style_shapes)
    return independent.evaluate(
        setting(case, **replaced), case.content(), case.styles(), blend, case.x()
    )


def record(case: cases.Case, **replaced: Any) -> dict[str, Any]:
    """What values.json holds of one case."""
    terms, gradient = evaluate(case, **replaced)
    places = np.linspace(0, gradient.size - 1, 5).astype(int)
    return {
        "inputs": cases.digest(case),
        "terms": terms,
        "gradient": {
            "norm": float(np.linalg.norm(gradient)),
            "along direction": float(np.vdot(gradient, case.direction())),
            "entries": {str(i): float(gradient.flat[i]) for i in places},
        },
    }


def real(path: str) -> None:
    """Write the values of the cases of the real network."""
    with np.load(path) as stored:
        weights = {
            name.removesuffix(".weight"): (stored[name], stored[name.replace("weight", "bias")])
            for name in stored.files
            if name.endswith(".weight")
        }
        sha256 = json.loads(stored["pynst"].tobytes())["sha256"]
    document = {
        "made by": f"tests/golden/make.py, PyTorch {torch.__version__}, NumPy {np.__version__}",
        "weights sha256": sha256,
        "values": {name: record(case, weights=weights) for name, case in cases.REAL_CASES.items()},
    }
    REAL_VALUES.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    torch.set_num_threads(1)
    document = {
        "made by": f"tests/golden/make.py, PyTorch {torch.__version__}, NumPy {np.__version__}",
        "random numbers": "numpy.random.PCG64([seed, purpose, ...]).random_raw(), see cases.py",
        "seeds": {name: case.seed for name, case in cases.CASES.items()},
        "values": {name: record(case) for name, case in cases.CASES.items()},
    }
    VALUES.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    real(sys.argv[1]) if len(sys.argv) == 2 else main()
