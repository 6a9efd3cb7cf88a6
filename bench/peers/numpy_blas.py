"""The closure in NumPy alone: im2col and one matrix product per band of rows, channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problem import CHANNELS, CONTENT_LAYER, POOLED, STYLE_LAYERS, Problem, Result, planes

__all__ = ["NumPyBlas"]


class NumPyBlas:
    """The loss of `bench.problem` in float32, with a gradient that is written out by hand."""

    BAND_BYTES = 8 << 20
    """Largest size of the im2col matrix of one band of rows."""

    def __init__(self, problem: Problem, threads: int) -> None:
        del threads  # BLAS reads the number of threads from the environment
        assert problem.pooling == "average"
        self.problem = problem
        self.weights = {
            layer: self._matrices(*problem.weights()[f"conv{layer}"]) for layer in CHANNELS
        }
        self.A = {
            layer: self._gram(F)
            for layer, F in self._forward(problem.style()).items()
            if layer in STYLE_LAYERS
        }
        self.P = self._forward(problem.content())[CONTENT_LAYER]
        self.x = problem.x()

    @staticmethod
    def _matrices(weight: NDArray[Any], bias: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Weights as matrices, forward (9 C, N) and backward (9 N, C), and the bias (N,)."""
        forward = weight.transpose(2, 3, 1, 0).reshape(-1, len(bias))
        backward = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1).reshape(-1, weight.shape[1])
        return np.ascontiguousarray(forward), np.ascontiguousarray(backward), bias

    def _convolve(self, x: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
        """Convolve x (H, W, C) with zero padding; returns (H, W, N)."""
        H, W, C = x.shape
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
        y = np.empty((H, W, matrix.shape[1]), np.float32)
        rows = max(1, self.BAND_BYTES // (36 * C * W))
        for top in range(0, H, rows):
            band = windows[top : top + rows].transpose(0, 1, 3, 4, 2).reshape(-1, 9 * C)
            y[top : top + rows] = (band @ matrix).reshape(-1, W, matrix.shape[1])
        return y

    @staticmethod
    def _gram(F: NDArray[Any]) -> NDArray[Any]:
        """Compute G = F F^T / M, (N, N), of features (H, W, N)."""
        flat = F.reshape(-1, F.shape[-1])
        G: NDArray[Any] = flat.T @ flat
        return G / np.float32(len(flat))

    def _forward(self, image: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Compute the rectified responses (h, w, N) of all layers."""
        y = np.ascontiguousarray(planes(image).transpose(1, 2, 0))
        found = {}
        for layer, (forward, _, bias) in self.weights.items():
            y = self._convolve(y, forward)
            y += bias
            np.maximum(y, 0, out=y)
            found[layer] = y
            if layer in POOLED:
                H, W, N = y.shape
                y = y[: H & ~1, : W & ~1].reshape(H // 2, 2, W // 2, 2, N).mean((1, 3))
        return found

    def __call__(self) -> Result:
        F = self._forward(self.x)
        value, dy = 0.0, np.zeros_like(F["5_1"])
        for layer in reversed(CHANNELS):
            if layer in POOLED:
                spread = np.repeat(np.repeat(dy, 2, axis=0), 2, axis=1) / np.float32(4)
                dy = np.zeros_like(F[layer])
                dy[: spread.shape[0], : spread.shape[1]] = spread
            if layer == CONTENT_LAYER:
                D, k = F[layer] - self.P, self.problem.k_content()
                value += k * float(np.square(D, dtype=np.float64).sum())
                dy += np.float32(2 * k) * D
            if layer in STYLE_LAYERS:
                D, k = self._gram(F[layer]) - self.A[layer], self.problem.k_style(layer)
                value += k * float(np.square(D, dtype=np.float64).sum())
                M = F[layer].shape[0] * F[layer].shape[1]
                dy += F[layer] @ (np.float32(4 * k / M) * D)
            dy *= F[layer] > 0
            dy = self._convolve(dy, self.weights[layer][1])
        return value, dy.transpose(2, 0, 1)
