"""The closure in PyTorch on a CUDA device, as usual and in its best forms.

All keep x and the gradient on the device. A step is one evaluation, and reads the value, which a
line search needs on the host; so it ends with a synchronisation.

usual
    Eager, NCHW, PyTorch's own settings (convolutions may use TF32), Gram matrices through autograd.
best
    Channels last, float16, cuDNN's own search for algorithms, both losses in closed form.
graph
    The same, captured as a CUDA graph and replayed.
compile
    The same through `torch.compile`, then captured where that works.
float32
    As `graph`, in float32 without TF32: the peer of the precision "accurate".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.peers.torch_loss import TorchLoss
from bench.problem import Problem

__all__ = ["FORMS", "TorchOnDevice"]

FORMS = ("usual", "best", "graph", "compile", "float32")

_LARGEST_GRADIENT = 2.0**9
"""What the largest feature gradient at the start is scaled to. Float16 ends at 65504, so later
gradients may be a hundred times larger. A gradient that is smaller by
2^23 loses precision, and one that is smaller by 2^33 vanishes."""


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


class TorchOnDevice(TorchLoss):
    """The closure in one of `FORMS`. The device "cpu" is for tests of this file."""

    def __init__(self, problem: Problem, form: str, device: str = "cuda") -> None:
        tuned, self.form = form != "usual", form
        dtype = torch.float32 if form in ("usual", "float32") else torch.float16
        torch.backends.cudnn.benchmark = tuned
        if form == "float32":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        super().__init__(problem, tuned=tuned, dtype=dtype, device=device)
        if dtype == torch.float16:
            self.scale = self._find_scale()
        self.value: torch.Tensor | None = None
        self._evaluate = self._prepare()

    def step(self) -> float:
        """Evaluate, and return the value; the gradient stays on the device."""
        self._evaluate()
        assert self.value is not None
        return float(self.value.item()) / self.scale

    def gradient(self) -> NDArray[np.float32]:
        """Download the gradient (3, H, W) of the last step."""
        found: Any = self.x.grad
        return np.ascontiguousarray(found[0].float().cpu().numpy() / np.float32(self.scale))

    def peak_mb(self) -> float:
        """Most bytes that PyTorch's tensors took at a time, in 10^6."""
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)

    def content_loss(self, y: torch.Tensor) -> torch.Tensor:
        """The content term, in the tuned forms in closed form."""
        if not self.tuned:
            return super().content_loss(y)
        k = self.problem.k_content() * self.scale
        return ContentLoss.apply(y, self.P, k)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]

    def _find_scale(self) -> float:
        """The power of two that brings the largest feature gradient, in float32, near 2^9."""
        largest = [0.0]
        kept = self.dtype, self.weights
        self.dtype = torch.float32
        self.weights = {layer: (w.float(), b.float()) for layer, (w, b) in self.weights.items()}
        features = self.features(self.x)
        for y in features.values():
            y.register_hook(lambda dy: largest.append(float(dy.abs().max())))
        self.loss(features).backward()  # type: ignore[no-untyped-call,unused-ignore]
        self.dtype, self.weights = kept
        self.x.grad = None
        return 2.0 ** math.floor(math.log2(_LARGEST_GRADIENT / max(largest)))

    def _prepare(self) -> Callable[[], None]:
        """The evaluation, compiled and captured as far as the form asks for it."""
        total = torch.compile(self.total) if self.form == "compile" else self.total

        def eager() -> None:
            self.x.grad = None
            self.value = total(self.x)
            self.value.backward()  # type: ignore[no-untyped-call,unused-ignore]

        if self.form in ("usual", "best") or self.device.type != "cuda":
            return eager
        try:
            return self._captured(eager)
        except RuntimeError as error:
            if self.form != "compile":
                raise
            self.form = f"compile, not captured: {str(error).splitlines()[0]}"
            return eager

    def _captured(self, eager: Callable[[], None]) -> Callable[[], None]:
        """Warm up on a stream of its own, as a capture wants it, and capture the evaluation."""
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
