"""The closure in PyTorch on the CPU: as users write it, in its best honest form, and compiled.

usual
    What tutorials do: eager, contiguous NCHW, Gram matrices through autograd.
best
    Channels last for pictures and weights (oneDNN's own layout), the Gram loss as one function
    whose gradient is written in closed form, ReLU in place, huge pages for large tensors (which
    `bench.peers.table` sets in the environment of the process).
compile
    The best form through `torch.compile`.
"""

from __future__ import annotations

from typing import Any

import torch

from bench.peers.torch_loss import TorchLoss
from bench.problem import Problem, Result

__all__ = ["Torch"]


class Torch(TorchLoss):
    """The closure in one of the three forms."""

    def __init__(self, problem: Problem, threads: int, form: str) -> None:
        torch.set_num_threads(threads)
        super().__init__(problem, tuned=form != "usual")
        self.evaluate = torch.compile(self.total) if form == "compile" else self.total

    def __call__(self) -> Result:
        self.x.grad = None
        loss = self.evaluate(self.x)
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        gradient: Any = self.x.grad
        return loss.item(), gradient[0].numpy()
