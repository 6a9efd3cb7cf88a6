"""The cases of the golden values as PyNST computes them: `Objective` over a tiny network."""

from __future__ import annotations

from typing import Any

import numpy as np

import pynst.options.formulas
from golden.cases import Case, channel_scales
from pynst import Objective
from pynst.backends import open_backend
from pynst.networks import Network
from pynst.networks.gabor import Gabor
from pynst.networks.vgg19 import VGG19

__all__ = ["make_objective", "tiny_network"]

MEAN_RGB = (123.68, 116.779, 103.939)


def tiny_network(case: Case, backend: str) -> Network:
    """The case's network; its formula says how, as in `pynst.networks.open_network`."""
    opened = open_backend(backend, threads=1)
    if case.network == "builtin":
        return Gabor(opened)
    formula = pynst.options.formulas.FORMULAS[case.formula]
    normalised = formula.normalised if case.normalised is None else case.normalised
    scales = {layer: 1 / m for layer, m in channel_scales(case.seed).items()}
    pooling: Any = case.pooling or formula.pooling
    padding: Any = case.padding or formula.padding
    return VGG19(
        opened,
        case.weights(),
        MEAN_RGB,
        pooling=pooling,
        padding=padding,
        scales=scales if normalised else None,
    )


def make_objective(
    case: Case, backend: str = "reference", network: Network | None = None
) -> Objective:
    """The case as `Objective`; only what it says is passed, so that defaults are checked too."""
    names = ("content_weight", "style_weight", "tv_weight", "content_layers", "style_layers")
    changes = {name: getattr(case, name) for name in (*names, "style_blend")}
    objective = Objective(
        case.content(),
        case.styles(),
        network=network or tiny_network(case, backend),
        formula=case.formula,
        image_size=max(case.content_shape),
        style_scale=max(case.style_shapes[0]) / max(case.content_shape),
        **{name: value for name, value in changes.items() if value is not None},
    )
    assert objective.shape == (*case.content_shape, 3)
    assert np.array_equal(objective.content, case.content()), (
        "resizing to its own size changed the picture"
    )
    return objective
