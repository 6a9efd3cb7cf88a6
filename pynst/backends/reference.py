"""The oracle: every op of the contract in plain NumPy float64, written to be read, not to be fast.

Arrays are laid out as the contract names them: image and features (C, H, W) float64, bits (C, H, W)
bool, choices (C, h, w) uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import (
    Array,
    EagerEvaluation,
    Evaluation,
    Kind,
    Padding,
    Pooling,
    Shape,
    Walk,
)
from pynst.backends.circular import wrap
from pynst.backends.device import DeviceImages

__all__ = ["ReferenceBackend"]

_DTYPES: dict[Kind, type] = {
    "image": np.float64,
    "features": np.float64,
    "bits": np.bool_,
    "choices": np.uint8,
}


class Convolution(NamedTuple):
    """A convolution's weight (N, C, 3, 3) and bias (N,), float64."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


class FilterBank(NamedTuple):
    """Filters (K, 7, 7), float64, and the image plane (K,) that each of them reads."""

    weight: NDArray[np.float64]
    plane: NDArray[np.int32]


class ReferenceBackend:
    """Implements `pynst.backends.base.Backend`."""

    name = "reference"
    narrow = False
    tuned: Mapping[str, str] = MappingProxyType({})

    def choose_as(self, tuned: Mapping[str, str], *, measure: bool) -> None:
        """Nothing is measured here."""

    # ---- memory ------------------------------------------------------------------------------

    def nbytes(self, kind: Kind, shape: Shape) -> int:
        return prod(shape) * np.dtype(_DTYPES[kind]).itemsize

    def scratch_nbytes(self, op: str, C: int, N: int, H: int, W: int) -> int:  # noqa: ARG002
        return 0

    def allocate(self, nbytes: int) -> Array:
        return np.empty(nbytes, np.uint8)

    def view(self, block: Array, offset: int, kind: Kind, shape: Shape) -> Array:
        return block[offset : offset + self.nbytes(kind, shape)].view(_DTYPES[kind]).reshape(shape)

    def shape_of(self, array: Array, kind: Kind) -> Shape:  # noqa: ARG002
        C, H, W = array.shape
        return C, H, W

    def free_memory(self) -> int | None:
        return None

    def upload(self, values: NDArray[Any], kind: Kind, out: Array) -> None:  # noqa: ARG002
        out[...] = values

    def download(self, array: Array, kind: Kind, shape: Shape) -> NDArray[Any]:  # noqa: ARG002
        return np.array(array)

    def empty_gram(self, N: int) -> Array:
        return np.empty((N, N))

    def upload_gram(self, values: NDArray[np.float64]) -> Array:
        return np.array(values, np.float64)

    def download_gram(self, G: Array) -> NDArray[np.float64]:
        return np.array(G)

    def upload_scale(self, scale: NDArray[np.float64]) -> Array:
        return np.array(scale, np.float64)

    def upload_pixel_weights(self, m: NDArray[np.float64]) -> Array:
        return np.array(m, np.float64)

    def empty_losses(self, count: int) -> Array:
        return np.zeros(count)

    def download_losses(self, losses: Array) -> NDArray[np.float64]:
        return np.array(losses)

    def zero(self, array: Array) -> None:
        array[...] = 0

    def repeated(self, losses: Array, *, captured: bool = True) -> Evaluation:  # noqa: ARG002
        return EagerEvaluation()

    def beside(self, work: Walk) -> Walk:
        return work

    def device_images(self, shape: Shape) -> DeviceImages | None:  # noqa: ARG002
        return None

    # ---- the image ---------------------------------------------------------------------------

    def image_input(
        self, image: Array, axes: NDArray[np.float64], mean: NDArray[np.float64], x: Array
    ) -> None:
        x[...] = np.einsum("pc,hwc->phw", axes, 255.0 * image.astype(np.float64) - mean)

    def image_input_backward(self, dx: Array, axes: NDArray[np.float64], gradient: Array) -> None:
        gradient[...] = 255.0 * np.einsum("pc,phw->hwc", axes, dx)

    # ---- VGG-19 --------------------------------------------------------------------------------

    def conv3x3_weights_nbytes(self, C: int, N: int) -> int:
        return 8 * N * (9 * C + 1)

    def conv3x3_weights(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> Convolution:
        return Convolution(weight.astype(np.float64), bias.astype(np.float64))

    def image_conv3x3_relu(
        self, x: Array, weights: Convolution, padding: Padding, y: Array, bits: Array | None
    ) -> None:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), "constant" if padding == "zero" else "edge")
        _relu(_correlate(padded, weights), y, bits)

    def image_conv3x3_relu_backward(
        self, dy: Array, bits: Array, weights: Convolution, padding: Padding, dx: Array
    ) -> None:
        padded = _correlate_backward(dy * bits, weights)
        dx[...] = _unmirror(padded, 1) if padding == "replicate" else padded[:, 1:-1, 1:-1]

    def conv3x3_relu(self, x: Array, weights: Convolution, y: Array, bits: Array | None) -> None:
        _relu(_correlate(np.pad(x, ((0, 0), (1, 1), (1, 1))), weights), y, bits)

    def conv3x3_relu_backward(
        self, dy: Array, bits: Array, weights: Convolution, dx: Array
    ) -> None:
        dx[...] = _correlate_backward(dy * bits, weights)[:, 1:-1, 1:-1]

    def conv3x3_relu_pool(
        self,
        x: Array,
        weights: Convolution,
        mode: Pooling,
        y: Array,
        bits: Array | None,
        choices: Array | None,
    ) -> None:
        full = np.empty((len(weights.bias), *x.shape[1:]))
        self.conv3x3_relu(x, weights, full, bits)
        self.pool2x2(full, mode, y, choices)

    def conv3x3_relu_pool_backward(
        self,
        dy: Array,
        bits: Array,
        mode: Pooling,
        choices: Array | None,
        weights: Convolution,
        dx: Array,
    ) -> None:
        dfull = np.empty(bits.shape)
        self.pool2x2_backward(dy, mode, choices, dfull)
        self.conv3x3_relu_backward(dfull, bits, weights, dx)

    def pool2x2(self, x: Array, mode: Pooling, y: Array, choices: Array | None) -> None:
        quads = _quads(x)
        if mode == "average":
            y[...] = quads.mean(0)
            return
        y[...] = quads.max(0)
        if choices is not None:
            choices[...] = quads.argmax(0)

    def pool2x2_backward(self, dy: Array, mode: Pooling, choices: Array | None, dx: Array) -> None:
        dx[...] = 0
        h, w = dy.shape[1:]
        for corner in range(4):
            rows, columns = slice(corner // 2, 2 * h, 2), slice(corner % 2, 2 * w, 2)
            dx[:, rows, columns] = dy / 4 if mode == "average" else dy * (choices == corner)

    def wrap(self, x: Array, kind: Kind, y: Array) -> None:  # noqa: ARG002
        wrap(x, y)

    # ---- the built-in filters ------------------------------------------------------------------

    def filter7x7_weights(
        self, weight: NDArray[np.float32], plane: NDArray[np.int32]
    ) -> FilterBank:
        return FilterBank(weight.astype(np.float64), plane)

    def filter7x7(self, x: Array, weights: FilterBank, y: Array, bits: Array | None) -> None:
        H, W = x.shape[1:]
        padded = np.pad(x, ((0, 0), (3, 3), (3, 3)), "symmetric")[weights.plane]
        z = np.zeros((len(weights.plane), H, W))
        for i in range(7):
            for j in range(7):
                z += weights.weight[:, i, j, None, None] * padded[:, i : i + H, j : j + W]
        y[0::2], y[1::2] = np.maximum(z, 0), np.maximum(-z, 0)
        if bits is not None:
            bits[...] = y > 0

    def filter7x7_backward(self, dy: Array, bits: Array, weights: FilterBank, dx: Array) -> None:
        H, W = dx.shape[1:]
        masked = dy * bits
        dz = masked[0::2] - masked[1::2]
        padded = np.zeros((3, H + 6, W + 6))
        for i in range(7):
            for j in range(7):
                tap = weights.weight[:, i, j, None, None] * dz
                np.add.at(padded[:, i : i + H, j : j + W], weights.plane, tap)
        dx += _unmirror(padded, 3)

    def binomial_down(self, x: Array, y: Array) -> None:
        y[...] = _binomial(x.shape[1]) @ x @ _binomial(x.shape[2]).T

    def binomial_down_backward(self, dy: Array, dx: Array) -> None:
        dx[...] = _binomial(dx.shape[1]).T @ dy @ _binomial(dx.shape[2])

    # ---- losses --------------------------------------------------------------------------------

    def gram(self, F: Array, G: Array, pixel_weights: Array | None = None) -> None:
        F = F.reshape(len(F), -1)
        if pixel_weights is None:
            product = F @ F.T / F.shape[1]
        else:
            m = pixel_weights.reshape(-1)
            product = (m * F) @ F.T / m.sum()
        G[...] = (product + product.T) / 2

    def content_loss(
        self,
        F: Array,
        P: Array,
        k: float,
        scale: Array | None,
        dF: Array,
        loss: Array,
        pixel_weights: Array | None = None,
    ) -> None:
        s = np.ones(len(F)) if scale is None else scale
        m = np.ones(F.shape[1:]) if pixel_weights is None else pixel_weights
        difference = s[:, None, None] * (F - P)
        loss[0] = k * np.sum(m * difference**2)
        dF += 2 * k * s[:, None, None] * m * difference

    def style_ahead(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        pixel_weights: Array | None = None,
    ) -> None:
        del A, k, scale  # knowing them early would save nothing
        self.gram(F, G, pixel_weights)

    def style_loss(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        dF: Array,
        loss: Array,
        pixel_weights: Array | None = None,
    ) -> None:
        s = np.ones(len(F)) if scale is None else scale
        S = np.outer(s, s)
        loss[0] = k * np.sum((S * (G - A)) ** 2)
        D = S**2 * (G - A)
        m = np.ones(F.shape[1:]) if pixel_weights is None else pixel_weights
        dF += m * (4 * k / m.sum() * D @ F.reshape(len(F), -1)).reshape(F.shape)

    def total_variation(
        self, x: Array, k: float, dx: Array, loss: Array, circular: bool = False
    ) -> None:
        padded = np.pad(x, ((0, 0), (0, 1), (0, 1)), "wrap" if circular else "edge")
        gradient = np.zeros_like(padded)
        here, right = (
            (slice(None), slice(None, -1), slice(None, -1)),
            (slice(None), slice(None, -1), slice(1, None)),
        )
        below, diagonal = (
            (slice(None), slice(1, None), slice(None, -1)),
            (slice(None), slice(1, None), slice(1, None)),
        )
        loss[0] = 0.0
        for first, second, part in (
            (here, right, 3), (here, below, 3), (here, diagonal, 12), (right, below, 12)
        ):  # fmt: skip
            factor = 2 * k / (part * x.size)
            difference = padded[second] - padded[first]
            loss[0] += factor * np.sum(difference**2)
            gradient[second] += 2 * factor * difference
            gradient[first] -= 2 * factor * difference
        repeated = 0 if circular else -2  # the row, and the column, of which the last is a copy
        gradient[:, repeated] += gradient[:, -1]
        gradient[:, :, repeated] += gradient[:, :, -1]
        dx += gradient[:, :-1, :-1]


def _correlate(padded: NDArray[np.float64], weights: Convolution) -> NDArray[np.float64]:
    """Correlate (C, H + 2, W + 2) with the weight and add the bias: (N, H, W)."""
    H, W = padded.shape[1] - 2, padded.shape[2] - 2
    z = np.zeros((len(weights.bias), H, W)) + weights.bias[:, None, None]
    for i in range(3):
        for j in range(3):
            z += np.tensordot(weights.weight[:, :, i, j], padded[:, i : i + H, j : j + W], 1)
    return z


def _correlate_backward(dz: NDArray[np.float64], weights: Convolution) -> NDArray[np.float64]:
    """Transpose of `_correlate`: (N, H, W) to (C, H + 2, W + 2)."""
    H, W = dz.shape[1:]
    padded = np.zeros((weights.weight.shape[1], H + 2, W + 2))
    for i in range(3):
        for j in range(3):
            padded[:, i : i + H, j : j + W] += np.tensordot(weights.weight[:, :, i, j].T, dz, 1)
    return padded


def _relu(z: NDArray[np.float64], y: NDArray[np.float64], bits: Array | None) -> None:
    """Write y = max(0, z) and, if asked, which of them passed."""
    np.maximum(z, 0, out=y)
    if bits is not None:
        bits[...] = z > 0


def _quads(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gather the four inputs of each 2 x 2 square: (C, H, W) to (4, C, H // 2, W // 2)."""
    h, w = x.shape[1] // 2, x.shape[2] // 2
    return np.stack([x[:, i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)])


def _unmirror(padded: NDArray[np.float64], border: int) -> NDArray[np.float64]:
    """Transpose of mirroring `border` pixels at each side; of one pixel, the edge is repeated.

    What fell on the border is added to the pixel that it is a copy of.
    """
    for axis in (1, 2):
        rows = np.moveaxis(padded, axis, 0)
        for k in range(border):
            rows[border + k] += rows[border - 1 - k]
            rows[-1 - border - k] += rows[-border + k]
        padded = np.moveaxis(rows[border:-border], 0, axis)
    return padded


def _binomial(n: int) -> NDArray[np.float64]:
    """Matrix (ceil(n / 2), n) that halves a line of n pixels by [1 3 3 1] / 8, ends repeated."""
    matrix = np.zeros((-(-n // 2), n))
    for row, weights in enumerate(matrix):
        np.add.at(
            weights, np.clip(2 * row + np.arange(-1, 3), 0, n - 1), (0.125, 0.375, 0.375, 0.125)
        )
    return matrix
