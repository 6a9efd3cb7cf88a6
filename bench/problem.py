"""The one problem that PyNST and all its peers are timed on: seeded weights, pictures, constants.

VGG-19 up to conv5_1 with average pooling and zero padding, content loss at relu4_2, style losses
at five layers, in the form of the first author's notebook (`formula="gatys"`):

    L = mean((F - P)^2) + sum_l 1e3 / N_l^4 sum_ij (G - A)^2_ij,    G = F F^T / M

The weights are random (He et al. 2015): the time of a dense network does not depend on them, and
nobody has to download anything. Only NumPy is imported here, so that a process that measures
memory holds nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CHANNELS", "CONTENT_LAYER", "FLOPS_PER_PIXEL", "MEAN", "POOLED", "STYLE_LAYERS",
    "Closure", "Problem", "Result", "convolutions", "picture", "planes", "save_random_weights",
]  # fmt: skip

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weight (N, C, 3, 3) and bias (N,) of a convolution."""

Result = tuple[float, NDArray[np.floating[Any]]]
"""Value of the loss, and its gradient (3, H, W) with respect to the network's input."""


class Closure(Protocol):
    """Computes value and gradient at the problem's x.

    It is made for a problem and a number of threads. Making it computes the targets, so that a call
    does one evaluation and nothing else.
    """

    def __call__(self) -> Result: ...


CHANNELS = {
    "1_1": (3, 64), "1_2": (64, 64),
    "2_1": (64, 128), "2_2": (128, 128),
    "3_1": (128, 256), "3_2": (256, 256), "3_3": (256, 256), "3_4": (256, 256),
    "4_1": (256, 512), "4_2": (512, 512), "4_3": (512, 512), "4_4": (512, 512),
    "5_1": (512, 512),
}  # fmt: skip
"""Input and output channels of each convolution up to conv5_1."""

POOLED = ("1_2", "2_2", "3_4", "4_4")
"""Convolutions that a pooling follows."""

CONTENT_LAYER = "4_2"
STYLE_LAYERS = ("1_1", "2_1", "3_1", "4_1", "5_1")
STYLE_WEIGHT = 1e3
MEAN = (123.68, 116.779, 103.939)
"""What the network subtracts from R, G, B on the scale 0..255."""


def _flops_per_pixel() -> int:
    """Count the FLOP of a direct evaluation: convolutions and full Gram matrices, both ways."""
    macs = 0  # multiply-adds of a picture of 128 x 128 pixels: a layer's share is a whole number
    for layer, (C, N) in CHANNELS.items():
        area = 4 ** (int(layer[0]) - 1)
        macs += 2 * 9 * C * N * 16384 // area
        macs += 2 * N * N * 16384 // area if layer in STYLE_LAYERS else 0
    return 2 * macs // 16384


FLOPS_PER_PIXEL = _flops_per_pixel()
"""FLOP of one closure per pixel of the picture: 1 514 240.

That makes 99.24, 396.95 and 1587.8 GFLOP at 256, 512 and 1024 pixels squared.

This is the work of direct convolutions. An algorithm that needs fewer operations (Winograd) shows
more GFLOP/s than the processor can do: the figure compares times, not the use of the hardware.
"""


def convolutions(seed: int = 0) -> dict[str, Pair]:
    """Weight (N, C, 3, 3) and bias (N,) of conv1_1 to conv5_1: ``{"conv1_1": ...}``, float32."""
    rng = np.random.default_rng(seed)
    made = {}
    for layer, (C, N) in CHANNELS.items():
        weight = rng.standard_normal((N, C, 3, 3), np.float32)
        weight *= np.float32(np.sqrt(2 / (9 * C)))
        made[f"conv{layer}"] = weight, 0.1 * rng.standard_normal(N, np.float32)
    return made


def save_random_weights(folder: str) -> str:
    """Write `convolutions` as a weights file into a folder; returns its path."""
    from pynst.weights import VGG19Weights, save_weights

    path = f"{folder}/random.npz"
    save_weights(VGG19Weights(convolutions(), MEAN), path)
    return path


def picture(seed: int, size: int) -> NDArray[np.float64]:
    """A square picture (size, size, 3) in [0, 1]: soft blocks of colour under fine noise."""
    rng = np.random.default_rng([seed, size])
    blocks = rng.random((-(-size // 8), -(-size // 8), 3))
    soft = np.repeat(np.repeat(blocks, 8, axis=0), 8, axis=1)[:size, :size]
    soft = (soft + np.roll(soft, 3, axis=0) + np.roll(soft, 3, axis=1)) / 3
    return np.clip(soft + 0.03 * rng.standard_normal(soft.shape), 0, 1)


@dataclass(frozen=True)
class Problem:
    """The closure at one size: what goes in, and the constants of its terms.

    Attributes
    ----------
    size : int
        Side of the square pictures, in pixels.
    pooling : {"average", "max"}
    weights_file : str or None
        Where the weights are read; None for random ones.
    """

    size: int
    pooling: Literal["average", "max"] = "average"
    weights_file: str | None = None

    def weights(self) -> dict[str, Pair]:
        """Weights and biases of conv1_1 to conv5_1: those of the file, else random ones."""
        if self.weights_file is None:
            return convolutions()
        from pynst import load_weights

        stored = load_weights(self.weights_file).convolutions
        return {f"conv{layer}": stored[f"conv{layer}"] for layer in CHANNELS}

    def content(self) -> NDArray[np.float64]:
        """The content picture (size, size, 3) in [0, 1]."""
        return picture(1, self.size)

    def style(self) -> NDArray[np.float64]:
        """The style picture, of the same shape."""
        return picture(2, self.size)

    def x(self) -> NDArray[np.float64]:
        """The image at which the loss is evaluated: not content or style, so that no term is 0."""
        return picture(3, self.size)

    def flops(self) -> float:
        """FLOP of one evaluation with direct convolutions."""
        return float(FLOPS_PER_PIXEL) * self.size**2

    def k_content(self) -> float:
        """Factor of the content term's sum of squares."""
        return 1 / (CHANNELS[CONTENT_LAYER][1] * (self.size // 8) ** 2)

    @staticmethod
    def k_style(layer: str) -> float:
        """Factor of the sum of squares of G - A at a style layer, such as "4_1"."""
        return STYLE_WEIGHT / float(CHANNELS[layer][1]) ** 4


def planes(image: NDArray[np.float64]) -> NDArray[np.float32]:
    """The network's input (3, H, W) of an image (H, W, 3) in [0, 1]."""
    centred = 255 * image - np.array(MEAN)
    return np.ascontiguousarray(centred.transpose(2, 0, 1), np.float32)
