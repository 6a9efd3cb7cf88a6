"""The closure in JAX: value and gradient under `jax.jit`, channels last."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bench.problem import CHANNELS, CONTENT_LAYER, POOLED, STYLE_LAYERS, Problem, Result, planes

__all__ = ["Jax"]


class Jax:
    """The loss of `bench.problem`, differentiated and compiled by JAX."""

    def __init__(self, problem: Problem, threads: int) -> None:
        del threads  # XLA's CPU client has no such setting: `bench.worker` pins the process instead
        assert problem.pooling == "average"
        self.problem = problem
        self.weights = {
            layer: (jnp.asarray(weight.transpose(2, 3, 1, 0)), jnp.asarray(bias))
            for layer, (weight, bias) in zip(CHANNELS, problem.weights().values(), strict=True)
        }
        features = jax.jit(self.features)
        self.P = features(self.image(problem.content()), self.weights)[CONTENT_LAYER]
        style = features(self.image(problem.style()), self.weights)
        self.A = {layer: self.gram(style[layer]) for layer in STYLE_LAYERS}
        self.x = self.image(problem.x())
        self.function = jax.jit(jax.value_and_grad(self.total))

    @staticmethod
    def image(picture: NDArray[np.float64]) -> Any:
        """The network's input (1, H, W, 3)."""
        return jnp.asarray(planes(picture).transpose(1, 2, 0)[None])

    @staticmethod
    def features(y: Any, weights: dict[str, Any]) -> dict[str, Any]:
        """Rectified responses (1, h, w, N) of all layers."""
        found = {}
        for layer, (weight, bias) in weights.items():
            y = jax.lax.conv_general_dilated(
                y, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            found[layer] = y = jax.nn.relu(y + bias)
            if layer in POOLED:
                window = (1, 2, 2, 1)
                y = jax.lax.reduce_window(y, 0.0, jax.lax.add, window, window, "VALID") / 4
        return found

    @staticmethod
    def gram(y: Any) -> Any:
        """G = F F^T / M."""
        F = y.reshape(-1, y.shape[-1])
        return F.T @ F / F.shape[0]

    def total(self, x: Any, weights: Any, P: Any, A: Any) -> Any:
        """The loss at the network's input x."""
        features = self.features(x, weights)
        loss = jnp.mean((features[CONTENT_LAYER] - P) ** 2)
        for layer in STYLE_LAYERS:
            D = self.gram(features[layer]) - A[layer]
            loss = loss + self.problem.k_style(layer) * jnp.sum(D**2)
        return loss

    def __call__(self) -> Result:
        value, gradient = self.function(self.x, self.weights, self.P, self.A)
        return float(value), np.asarray(gradient)[0].transpose(2, 0, 1)
