"""The network and the loss in PyTorch, which both of its closures share.

The plain form is what tutorials write: contiguous NCHW, Gram matrices through autograd. The tuned
form is channels last (the layout of oneDNN, and of cuDNN on tensor cores), with ReLU in place and
a Gram loss whose gradient is written in closed form.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.problem import CHANNELS, CONTENT_LAYER, POOLED, STYLE_LAYERS, Problem, planes

__all__ = ["TorchLoss"]

_GRAM_DIVISOR = 16.0
"""Float16 ends at 65504. The entries of a Gram matrix that is computed in it are divided by the
square of this number, which keeps those of the benchmark's pictures well below that."""


def gram(F: torch.Tensor) -> torch.Tensor:
    """Compute G = F F^T / M in float32, (N, N), of F (N, M) in float32 or float16.

    Where PyTorch can, the product of float16 values is accumulated and returned in float32.
    """
    M = F.shape[1]
    if F.dtype == torch.float32:
        return F @ F.T / M
    if F.is_cuda:
        with suppress(TypeError, RuntimeError):  # PyTorch before 2.8 has no out_dtype
            return torch.mm(F, F.T, out_dtype=torch.float32) / M
    small = F * (M**-0.5 / _GRAM_DIVISOR)
    return (small @ small.T).float() * _GRAM_DIVISOR**2


def _matrix(y: torch.Tensor) -> torch.Tensor:
    """F (N, M) of features y (1, N, h, w): a view, if y is channels last."""
    return y[0].permute(1, 2, 0).flatten(0, 1).T


class GramLoss(torch.autograd.Function):
    """k sum (G - A)^2 with G = F F^T / M, and its gradient (4 k / M) (G - A) F: two products."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, A: torch.Tensor, k: float) -> torch.Tensor:
        D = gram(_matrix(y)) - A
        ctx.save_for_backward(y, D)
        ctx.k = k
        return k * D.square().sum()

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> Any:
        y, D = ctx.saved_tensors
        F = _matrix(y)
        dF = F.T @ (D * (4 * ctx.k / F.shape[1] * outputs[0])).to(F.dtype)
        return dF.view(y.shape[2], y.shape[3], -1).permute(2, 0, 1)[None], None, None


class TorchLoss:
    """The loss of `bench.problem` as a function of the network's input.

    Parameters
    ----------
    problem : Problem
    tuned : bool
        Whether to compute it in the tuned form rather than the plain one.
    dtype : torch.dtype
        Type of weights and features; the network's input is float32 always.
    device : str
        Where all tensors are.

    Attributes
    ----------
    x : Tensor (1, 3, H, W)
        The network's input; it collects the gradient.
    scale : float
        Factor of the value and the gradient (the loss scale of mixed precision).
    """

    def __init__(
        self,
        problem: Problem,
        *,
        tuned: bool,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        self.problem, self.tuned, self.dtype = problem, tuned, dtype
        self.device, self.scale = torch.device(device), 1.0
        average = problem.pooling == "average"
        self.pool: Any = functional.avg_pool2d if average else functional.max_pool2d
        self.format = torch.channels_last if tuned else torch.contiguous_format
        self.weights = {
            layer: (
                torch.from_numpy(weight).to(self.device, dtype).contiguous(
                    memory_format=self.format
                ),
                torch.from_numpy(bias).to(self.device, dtype),
            )
            for layer, (weight, bias) in zip(CHANNELS, problem.weights().values(), strict=True)
        }  # fmt: skip
        with torch.no_grad():
            self.P = self.features(self.image(problem.content()))[CONTENT_LAYER].clone()
            style = self.features(self.image(problem.style()))
            self.A = {layer: gram(style[layer].flatten(2)[0]) for layer in STYLE_LAYERS}
        del style
        self.x = self.image(problem.x()).requires_grad_()

    def image(self, picture: NDArray[np.float64]) -> torch.Tensor:
        """The network's input (1, 3, H, W), float32, of a picture (H, W, 3) in [0, 1]."""
        tensor = torch.from_numpy(planes(picture)[None]).to(self.device)
        return tensor.contiguous(memory_format=self.format).clone()

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Rectified responses (1, N, h, w) of the layers that a loss reads."""
        found, y = {}, x.to(self.dtype)
        for layer, (weight, bias) in self.weights.items():
            y = functional.conv2d(y, weight, bias, padding=1)
            y = functional.relu(y, inplace=self.tuned)
            if layer == CONTENT_LAYER or layer in STYLE_LAYERS:
                found[layer] = y
            if layer in POOLED:
                y = self.pool(y, 2)
        return found

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """The loss at the network's input x, multiplied by `scale`."""
        return self.loss(self.features(x))

    def loss(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of features, multiplied by `scale`."""
        total = self.content_loss(features[CONTENT_LAYER])
        for layer in STYLE_LAYERS:
            k = self.problem.k_style(layer) * self.scale
            total = total + self.style_loss(features[layer], self.A[layer], k)
        return total

    def content_loss(self, y: torch.Tensor) -> torch.Tensor:
        """The content term of the features y (1, N, h, w) of its layer."""
        return functional.mse_loss(y, self.P)

    def style_loss(self, y: torch.Tensor, A: torch.Tensor, k: float) -> torch.Tensor:
        """The style term k sum (G - A)^2 of the features y (1, N, h, w) of one layer."""
        if self.tuned:
            return GramLoss.apply(y, A, k)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]
        return k * (gram(y.flatten(2)[0]) - A).square().sum()
