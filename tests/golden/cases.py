"""The inputs of the golden values, from NumPy alone: pictures, a tiny VGG-19, its constants.

All randomness is ``numpy.random.PCG64(seed).random_raw()``: NumPy promises the raw stream of a bit
generator (and the seeding by SeedSequence) for all versions and machines, which it does not for
the distributions. The upper 53 bits of a word make a float in [0, 1). Pictures are multiples of
1/256 and weights are rounded to float32: a float32 copy of them on the way loses nothing.

Values and gradients are taken away from the kinks of the loss: x and the weights are random, which
makes a ReLU at exactly zero, or two equal positive maxima in a pooling window, improbable in
float64. (Equal zeros are common after a ReLU, but its closed mask stops the gradient whichever of
them is chosen. A flat or black picture is there for the guards of the denominators; it is only a
target, which no gradient reaches.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CASES",
    "FORMULAS",
    "REAL_CASES",
    "Case",
    "Weights",
    "channel_scales",
    "digest",
    "uniform",
]

Weights = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]

FORMULAS = ("balanced", "paper", "gatys-normalised", "gatys", "johnson")
LARGE = (133, 150)  # five halvings leave 8 x 9 pixels
CHANNELS = (4, 8, 16, 32, 32)  # VGG-19 has 64, 128, 256, 512, 512
CONVOLUTIONS = (2, 2, 4, 4, 4)


@dataclass(frozen=True)
class Case:
    """One loss. None means: as the formula prescribes; the defaults are part of what is checked."""

    name: str
    formula: str = "balanced"
    network: str = "vgg19"
    pooling: str | None = None
    padding: str | None = None
    normalised: bool | None = None
    content_weight: float | None = None
    style_weight: float | None = None
    tv_weight: float | None = None
    content_layers: tuple[tuple[str, float], ...] | None = None
    style_layers: tuple[tuple[str, float], ...] | None = None
    style_blend: tuple[float, ...] | None = None
    content_shape: tuple[int, int] = (37, 50)
    style_shapes: tuple[tuple[int, int], ...] = ((41, 33),)
    content_kind: str = "random"
    style_kind: str = "random"
    positive_conv1_1: bool = False
    seed: int = 0

    def content(self) -> NDArray[np.float64]:
        """The content image (H, W, 3) in [0, 1]."""
        return picture(self.content_shape, [self.seed, 0], self.content_kind)

    def styles(self) -> list[NDArray[np.float64]]:
        """The style images, each (H, W, 3) in [0, 1]."""
        return [
            picture(shape, [self.seed, 1 + i], self.style_kind)
            for i, shape in enumerate(self.style_shapes)
        ]

    def x(self) -> NDArray[np.float64]:
        """The generated image (H, W, 3) in [0, 1], where value and gradient are taken."""
        return uniform((*self.content_shape, 3), [self.seed, 100])

    def direction(self) -> NDArray[np.float64]:
        """A direction (H, W, 3) in [-1, 1], for a directional derivative."""
        return 2 * uniform((*self.content_shape, 3), [self.seed, 101]) - 1

    def weights(self) -> Weights:
        """Weights and biases of the tiny VGG-19, conv1_1 to conv5_4."""
        weights = tiny_vgg19(self.seed)
        if self.positive_conv1_1:  # a black picture then gives relu1_1 = 0 exactly
            weight, bias = weights["conv1_1"]
            weights["conv1_1"] = abs(weight), -abs(bias)
        return weights


def uniform(shape: tuple[int, ...], seed: int | list[int]) -> NDArray[np.float64]:
    """Uniform random numbers in [0, 1) in C order."""
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return np.reshape((raw >> np.uint64(11)) * 2.0**-53, shape)


def picture(shape: tuple[int, int], seed: int | list[int], kind: str) -> NDArray[np.float64]:
    """An image (H, W, 3) of multiples of 1/256 in [0, 1): blocks of colour under fine noise."""
    H, W = shape
    if kind == "black":
        return np.zeros((H, W, 3))
    blocks = np.floor(192 * uniform((-(-H // 6), -(-W // 6), 3), seed))
    if kind == "flat":
        return np.tile(blocks[:1, :1] / 256, (H, W, 1))
    fine = np.floor(64 * uniform((H, W, 3), [*np.atleast_1d(seed), 1]))
    return (np.repeat(np.repeat(blocks, 6, axis=0), 6, axis=1)[:H, :W] + fine) / 256


def tiny_vgg19(seed: int) -> Weights:
    """VGG-19 with a sixteenth of its channels: uniform of He's variance; biases in [-2, 2]."""
    weights: Weights = {}
    C = 3
    for block, (N, count) in enumerate(zip(CHANNELS, CONVOLUTIONS, strict=True), 1):
        for i in range(1, count + 1):
            bound = np.sqrt(6 / (9 * C))
            weight = bound * (2 * uniform((N, C, 3, 3), [seed, 200, block, i]) - 1)
            bias = 4 * uniform((N,), [seed, 201, block, i]) - 2
            weights[f"conv{block}_{i}"] = weight.astype(np.float32), bias.astype(np.float32)
            C = N
    return weights


def channel_scales(seed: int) -> dict[str, NDArray[np.float64]]:
    """Per layer, what a normalised tiny VGG-19 divides each channel by: 5 to 50."""
    return {
        f"relu{block}_{i}": 5 + 45 * uniform((N,), [seed, 300, block, i])
        for block, (N, count) in enumerate(zip(CHANNELS, CONVOLUTIONS, strict=True), 1)
        for i in range(1, count + 1)
    }


def digest(case: Case) -> str:
    """A short hash of a case's inputs: other inputs shall not look like other results."""
    sha = hashlib.sha256()
    arrays = [case.content(), *case.styles(), case.x(), case.direction()]
    if case.network == "vgg19":
        arrays += [array.astype(np.float64) for pair in case.weights().values() for array in pair]
        arrays += list(channel_scales(case.seed).values())
    for array in arrays:
        sha.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return sha.hexdigest()[:16]


def _cases() -> list[Case]:
    layers: dict[str, Any] = {
        "content_layers": (("relu3_1", 1.0), ("relu4_2", 3.0)),
        "style_layers": (("relu1_2", 4.0), ("relu3_3", 2.0), ("relu5_4", 0.5)),
    }
    two: dict[str, Any] = {"style_shapes": ((41, 33), (29, 41)), "style_blend": (3.0, 1.0)}
    tv = {"tv_weight": 0.7}
    weights: dict[str, dict[str, Any]] = {  # they make the terms, hence their gradients, comparable
        "balanced": {"content_weight": 0.7, "style_weight": 0.1, **tv},
        "paper": {"content_weight": 1e-3, "style_weight": 1e-2, **tv},
        "gatys-normalised": {"content_weight": 2.0, "style_weight": 2e-3, **tv},
        "gatys": {"content_weight": 3e-5, "style_weight": 1e-7, **tv},
        "johnson": {"content_weight": 1e-5, "style_weight": 3e-8, **tv},
    }
    cases = []
    for seed, formula in enumerate(FORMULAS):
        other = "average" if formula in ("balanced", "gatys", "johnson") else "max"
        cases += [
            Case(formula, formula, seed=seed),
            Case(f"{formula}, {other} pooling", formula, pooling=other, seed=seed),
            Case(f"{formula}, other weights", formula, seed=seed, **weights[formula]),
            Case(f"{formula}, other layers", formula, seed=seed, **layers),
            Case(f"{formula}, two styles", formula, seed=seed, **two),
        ]
    one: dict[str, Any] = {
        "content_layers": (("relu1_1", 1.0),),
        "style_layers": (("relu1_1", 1.0),),
    }
    cases += [
        Case("everything", pooling="average", seed=10, **weights["balanced"], **layers, **two),
        Case("balanced, normalised", normalised=True, seed=0),
        Case("balanced, zero padding", padding="zero", seed=0),
        Case(
            "paper, replicate padding, original",
            "paper",
            padding="replicate",
            normalised=False,
            seed=1,
        ),
        Case("paper, content only", "paper", style_weight=0.0, seed=1),
        Case("gatys, style only", "gatys", content_weight=0.0, seed=3),
        Case(
            "layers of weight zero",
            seed=0,
            content_layers=(("relu3_2", 0.0), ("relu4_2", 2.0)),
            style_layers=(("relu1_1", 1.0), ("relu2_1", 0.0), ("relu3_1", 3.0)),
        ),
        Case("even sizes", content_shape=(48, 32), style_shapes=((48, 48),), seed=11),
        Case("one pixel at relu5_1", content_shape=(16, 17), style_shapes=((17, 16),), seed=12),
        Case("flat content", content_kind="flat", seed=13, **one),
        Case(
            "black content and style",
            content_kind="black",
            style_kind="black",
            seed=14,
            positive_conv1_1=True,
            **one,
        ),
    ]
    large: dict[str, Any] = {"network": "builtin", "content_shape": LARGE}
    cases += [
        Case("builtin", style_shapes=((139, 129),), seed=20, **large),
        Case(
            "builtin, other weights",
            style_shapes=((139, 129),),
            seed=21,
            **large,
            **weights["balanced"],
        ),
        Case(
            "builtin, other layers",
            style_shapes=((139, 129),),
            seed=22,
            **large,
            content_layers=(("level2", 3.0), ("level4", 1.0)),
            style_layers=(("level1", 1.0), ("level3", 5.0)),
        ),
        Case(
            "builtin, two styles",
            style_shapes=((139, 129), (128, 139)),
            style_blend=(1.0, 3.0),
            seed=23,
            **large,
        ),
        Case(
            "builtin, flat content",
            style_shapes=((139, 129),),
            content_kind="flat",
            seed=24,
            **large,
        ),
    ]
    return cases


CASES = {case.name: case for case in _cases()}


REAL_CASES = {
    formula: Case(formula, formula, content_shape=(67, 90), style_shapes=((75, 61),), seed=1005)
    for formula in ("balanced", "gatys")
}
"""Cases of the real network: formulas that need no constants measured over photographs."""
