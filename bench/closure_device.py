"""The closure on a CUDA device: PyNST's, and PyTorch's as usual and in its best forms.

All keep x and the gradient on the device. A step is one evaluation, and reads the value, which a
line search needs on the host; so it ends with a synchronisation.

usual
    Eager, NCHW, PyTorch's own settings (convolutions may use TF32), Gram matrices through autograd.
best
    Channels last, halves, cuDNN's own search for algorithms, both losses in closed form.
graph
    The same, recorded as a CUDA graph and replayed.
compile
    The same through `torch.compile`, then recorded where that works.
float32
    As `graph`, in float32 without TF32: the peer of the precision "accurate".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.problem import CHANNELS, CONTENT_LAYER, POOLED, STYLE_LAYERS, Problem, planes

__all__ = ["FORMS", "TorchOnDevice"]

FORMS = ("usual", "best", "graph", "compile", "float32")
# Halves end at 65504; the largest gradient at the start is scaled to this, so that others may be
# a hundred times larger. Those smaller by 2^23 vanish.
_LARGEST_GRADIENT = 2.0**9
_GRAM_SHARE = 16.0


class GramLoss(torch.autograd.Function):
    """k sum (G - A)^2 with G = F F^T / M, and its gradient (4 k / M) (G - A) F: two products."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, A: torch.Tensor, k: float) -> torch.Tensor:
        F = y[0].permute(1, 2, 0).flatten(0, 1)  # (M, N), a view of a channels-last tensor
        D = _gram(F) - A
        ctx.save_for_backward(F, D)
        ctx.k, ctx.size = k, y.shape[2:]
        return k * D.square().sum()

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> Any:
        F, D = ctx.saved_tensors
        dF = F @ (D * (4 * ctx.k / F.shape[0] * outputs[0])).to(F.dtype)
        return dF.view(*ctx.size, -1).permute(2, 0, 1)[None], None, None


class ContentLoss(torch.autograd.Function):
    """k sum (F - P)^2 in float32, and its gradient 2 k (F - P)."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, P: torch.Tensor, k: float) -> torch.Tensor:
        D = y.float() - P.float()
        ctx.save_for_backward(D)
        ctx.k, ctx.dtype = k, y.dtype
        return k * D.square().sum()

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> Any:
        (D,) = ctx.saved_tensors
        return (D * (2 * ctx.k * outputs[0])).to(ctx.dtype), None, None


def _gram(F: torch.Tensor) -> torch.Tensor:
    """G = F^T F / M of F (M, N), float32; halves are multiplied as such where that is exact."""
    if F.dtype == torch.float32:
        return F.T @ F / F.shape[0]
    if F.is_cuda:
        with suppress(TypeError, RuntimeError):  # PyTorch before 2.8 has no out_dtype
            return torch.mm(F.T, F, out_dtype=torch.float32) / F.shape[0]
    small = F * (F.shape[0] ** -0.5 / _GRAM_SHARE)  # G itself would leave the range of a half
    return (small.T @ small).float() * _GRAM_SHARE**2


class TorchOnDevice:
    """One of `FORMS`. `device` "cpu" is for tests of this file."""

    def __init__(self, problem: Problem, form: str, device: str = "cuda") -> None:
        self.problem, self.form = problem, form
        self.device = torch.device(device)
        self.tuned = form != "usual"
        self.dtype = torch.float32 if form in ("usual", "float32") else torch.float16
        torch.backends.cudnn.benchmark = self.tuned
        if form == "float32":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        average = problem.pooling == "average"
        self.pool: Any = functional.avg_pool2d if average else functional.max_pool2d
        self.format = torch.channels_last if self.tuned else torch.contiguous_format
        self.weights = {
            layer: (self._tensor(weight), torch.from_numpy(bias).to(self.device, self.dtype))
            for layer, (weight, bias) in zip(CHANNELS, problem.weights().values(), strict=True)
        }
        with torch.no_grad():
            self.P = self.features(self.image(problem.content()))[CONTENT_LAYER].clone()
            style = self.features(self.image(problem.style()))
            self.A = {layer: self.gram(style[layer]) for layer in STYLE_LAYERS}
        del style
        self.x = self.image(problem.x()).requires_grad_()
        self.scale = self._gradient_scale() if self.dtype == torch.float16 else 1.0
        self.value: torch.Tensor | None = None
        self._evaluate = self._prepare()

    def step(self) -> float:
        """Value at x; the gradient is on the device."""
        self._evaluate()
        assert self.value is not None
        return float(self.value.item()) / self.scale

    def gradient(self) -> NDArray[np.float32]:
        """The gradient (3, H, W) of the last step."""
        found: Any = self.x.grad
        return np.ascontiguousarray(found[0].float().cpu().numpy() / np.float32(self.scale))

    def peak_mb(self) -> float:
        """Most bytes that PyTorch's tensors had at a time, in 10^6."""
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        tensor = torch.from_numpy(array).to(self.device, self.dtype)
        return tensor.contiguous(memory_format=self.format)

    def image(self, picture: NDArray[np.float64]) -> torch.Tensor:
        """The network's input (1, 3, H, W), float32."""
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

    def gram(self, y: torch.Tensor) -> torch.Tensor:
        """G = F F^T / M, (N, N)."""
        F = y.flatten(2)[0]
        return _gram(F.T) if self.tuned else F @ F.T / F.shape[1]

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """The loss at the network's input x, times the gradient scale."""
        features, k = self.features(x), self.problem.k_content()
        if not self.tuned:
            loss = functional.mse_loss(features[CONTENT_LAYER], self.P)
            for layer in STYLE_LAYERS:
                D = self.gram(features[layer]) - self.A[layer]
                loss = loss + self.problem.k_style(layer) * D.square().sum()
            return loss
        scale = self.scale
        loss = ContentLoss.apply(features[CONTENT_LAYER], self.P, k * scale)  # type: ignore[no-untyped-call]
        for layer in STYLE_LAYERS:
            k = self.problem.k_style(layer) * scale
            loss = loss + GramLoss.apply(features[layer], self.A[layer], k)  # type: ignore[no-untyped-call]
        return loss

    def _gradient_scale(self) -> float:
        """The power of two that brings the largest gradient of a feature near 2^9."""
        largest = [0.0]
        kept = self.dtype, self.weights, self.P
        self.dtype, self.scale = torch.float32, 1.0
        self.weights = {layer: (w.float(), b.float()) for layer, (w, b) in self.weights.items()}
        features = self.features(self.x)
        for y in features.values():
            y.register_hook(lambda dy: largest.append(float(dy.abs().max())))
        loss = ContentLoss.apply(features[CONTENT_LAYER], self.P, self.problem.k_content())  # type: ignore[no-untyped-call]
        for layer in STYLE_LAYERS:
            k = self.problem.k_style(layer)
            loss = loss + GramLoss.apply(features[layer], self.A[layer], k)  # type: ignore[no-untyped-call]
        loss.backward()
        self.dtype, self.weights, self.P = kept
        self.x.grad = None
        return 2.0 ** math.floor(math.log2(_LARGEST_GRADIENT / max(largest)))

    def _prepare(self) -> Callable[[], None]:
        """The evaluation, compiled and recorded as far as the form asks for it."""
        total = torch.compile(self.total) if self.form == "compile" else self.total

        def eager() -> None:
            self.x.grad = None
            self.value = total(self.x)
            self.value.backward()  # type: ignore[no-untyped-call]

        if self.form in ("usual", "best") or self.device.type != "cuda":
            return eager
        try:
            return self._recorded(eager)
        except RuntimeError as error:
            if self.form != "compile":
                raise
            self.form = f"compile, not recorded: {str(error).splitlines()[0]}"
            return eager

    def _recorded(self, eager: Callable[[], None]) -> Callable[[], None]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                eager()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.x.grad = None
        with torch.cuda.graph(graph):
            eager()
        return graph.replay
