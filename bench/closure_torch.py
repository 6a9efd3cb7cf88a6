"""The closure in PyTorch: as users write it, in its best honest form, and compiled.

usual
    What tutorials do: eager, contiguous NCHW, Gram matrices through autograd.
best
    Channels last for pictures and weights (oneDNN's own layout), the Gram loss as one function
    whose gradient is written in closed form, ReLU in place, huge pages for large tensors (set in
    the environment before the start).
compile
    The same through `torch.compile`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.problem import CHANNELS, CONTENT_LAYER, POOLED, STYLE_LAYERS, Problem, planes

__all__ = ["Torch"]


class GramLoss(torch.autograd.Function):
    """k sum (G - A)^2 with G = F F^T / M, and its gradient (4 k / M) (G - A) F: two products."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, A: torch.Tensor, k: float) -> torch.Tensor:
        F = y[0].permute(1, 2, 0).flatten(0, 1)  # (M, N), a view of a channels-last tensor
        D = F.T @ F / F.shape[0] - A
        ctx.save_for_backward(y, D)
        ctx.k = k
        return k * D.square().sum()

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> Any:
        y, D = ctx.saved_tensors
        F = y[0].permute(1, 2, 0).flatten(0, 1)
        dF = F @ (D * (4 * ctx.k / F.shape[0] * outputs[0]))
        return dF.view(y.shape[2], y.shape[3], -1).permute(2, 0, 1)[None], None, None


class Torch:
    """One of the three forms."""

    def __init__(self, problem: Problem, threads: int, form: str) -> None:
        torch.set_num_threads(threads)
        self.problem, self.tuned = problem, form != "usual"
        average = problem.pooling == "average"
        self.pool: Any = functional.avg_pool2d if average else functional.max_pool2d
        self.format = torch.channels_last if self.tuned else torch.contiguous_format
        self.weights = {
            layer: (self._tensor(weight), torch.from_numpy(bias))
            for layer, (weight, bias) in zip(CHANNELS, problem.weights().values(), strict=True)
        }
        with torch.no_grad():
            content, style = (
                self.features(self.image(picture))
                for picture in (problem.content(), problem.style())
            )
            self.P = content[CONTENT_LAYER].clone()
            self.A = {layer: self.gram(style[layer]) for layer in STYLE_LAYERS}
        del content, style
        self.x = self.image(problem.x()).requires_grad_()
        self.loss = torch.compile(self.total) if form == "compile" else self.total

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(array).contiguous(memory_format=self.format)

    def image(self, picture: NDArray[np.float64]) -> torch.Tensor:
        """The network's input (1, 3, H, W)."""
        return self._tensor(planes(picture)[None]).clone()

    def features(self, y: torch.Tensor) -> dict[str, torch.Tensor]:
        """Rectified responses (1, N, h, w) of the layers that a loss reads."""
        found = {}
        for layer, (weight, bias) in self.weights.items():
            y = functional.conv2d(y, weight, bias, padding=1)
            y = functional.relu(y, inplace=self.tuned)
            if layer == CONTENT_LAYER or layer in STYLE_LAYERS:
                found[layer] = y
            if layer in POOLED:
                y = self.pool(y, 2)
        return found

    @staticmethod
    def gram(y: torch.Tensor) -> torch.Tensor:
        """G = F F^T / M."""
        F = y.flatten(2)[0]
        return F @ F.T / F.shape[1]

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """The loss at the network's input x."""
        features = self.features(x)
        loss = functional.mse_loss(features[CONTENT_LAYER], self.P)
        for layer in STYLE_LAYERS:
            y, A, k = features[layer], self.A[layer], self.problem.k_style(layer)
            if self.tuned:
                loss = loss + GramLoss.apply(y, A, k)  # type: ignore[no-untyped-call]
            else:
                loss = loss + k * (self.gram(y) - A).square().sum()
        return loss

    def __call__(self) -> tuple[float, NDArray[np.float32]]:
        self.x.grad = None
        loss = self.loss(self.x)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient: Any = self.x.grad
        return loss.item(), gradient[0].numpy()
