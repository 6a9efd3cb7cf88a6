"""Loss against seconds: PyNST's optimisers and its peers', on one objective.

All start from the content picture, weights on disk and pictures in memory, at one size, with the
same number of evaluations. A clock runs from the start of the call, so that reading the weights
and computing the targets count; imports do not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.problem import MEAN, Problem

__all__ = ["DRIVERS", "descend"]


class Enough(Exception):
    """The evaluations are used up."""


class Curve:
    """Seconds and loss of each evaluation."""

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.started = time.perf_counter()

    def add(self, loss: float) -> None:
        """Note one evaluation; raises `Enough` after the last."""
        self.seconds.append(round(time.perf_counter() - self.started, 4))
        self.losses.append(float(f"{loss:.7g}"))
        if len(self.losses) >= self.evaluations:
            raise Enough


def descend(
    driver: str, size: int, evaluations: int, threads: int, weights_file: str
) -> dict[str, Any]:
    """One run of one driver: ``{"seconds": [...], "loss": [...]}``."""
    problem = Problem(size, weights_file=weights_file)
    minimise = DRIVERS[driver](threads)  # imports
    curve, processor = Curve(evaluations), time.process_time()
    with contextlib.suppress(Enough):
        minimise(problem, curve)
    used = (time.process_time() - processor) / (time.perf_counter() - curve.started)
    return {"seconds": curve.seconds, "loss": curve.losses, "cores_used": round(used, 2)}


def _pynst(optimizer: str) -> Callable[[int], Callable[[Problem, Curve], None]]:
    def prepare(threads: int) -> Callable[[Problem, Curve], None]:
        from pynst import stylize

        def minimise(problem: Problem, curve: Curve) -> None:
            def note(progress: Any) -> None:
                try:
                    curve.add(progress.terms.total)
                except Enough:
                    raise StopIteration from None

            stylize(
                problem.content(), problem.style(), network="vgg19",
                weights=problem.weights_file, formula="gatys", pooling=problem.pooling,
                image_size=problem.size, levels=1, iterations=curve.evaluations,
                optimizer=optimizer, threads=threads, callback=note,
            )  # fmt: skip

        return minimise

    return prepare


def _torch_closure(problem: Problem, threads: int, curve: Curve) -> tuple[Any, Any]:
    """The image in [0, 1] as a parameter, and its closure with the gradient in closed form."""
    import torch

    from bench.closure_torch import Torch

    peer = Torch(problem, threads, "best")
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    pixels = problem.content().transpose(2, 0, 1)[None].astype(np.float32)
    x = torch.from_numpy(pixels).contiguous().requires_grad_()  # torch.optim.LBFGS wants it so

    def closure() -> Any:
        x.grad = None
        loss = peer.loss((255 * x - mean).contiguous(memory_format=torch.channels_last))
        loss.backward()  # type: ignore[no-untyped-call]
        curve.add(loss.item())
        return loss

    return x, closure


def _torch_lbfgs(line_search: str | None) -> Callable[[int], Callable[[Problem, Curve], None]]:
    def prepare(threads: int) -> Callable[[Problem, Curve], None]:
        import torch

        def minimise(problem: Problem, curve: Curve) -> None:
            x, closure = _torch_closure(problem, threads, curve)
            optimizer = torch.optim.LBFGS(
                [x], max_iter=curve.evaluations, max_eval=2 * curve.evaluations,
                tolerance_grad=0, tolerance_change=0, line_search_fn=line_search,
            )  # fmt: skip
            while True:
                before = len(curve.losses)
                optimizer.step(closure)  # type: ignore[no-untyped-call]
                if len(curve.losses) <= before + 1:  # it does not move any more
                    return

        return minimise

    return prepare


def _scipy(threads: int) -> Callable[[Problem, Curve], None]:
    import torch
    from scipy.optimize import fmin_l_bfgs_b

    def minimise(problem: Problem, curve: Curve) -> None:
        x, closure = _torch_closure(problem, threads, curve)

        def evaluate(flat: Any) -> tuple[float, Any]:
            with torch.no_grad():
                x.copy_(torch.from_numpy(flat.reshape(x.shape)))
            loss = closure().item()
            return loss, x.grad.numpy().astype(np.float64).ravel()

        start = x.detach().numpy().astype(np.float64).ravel()
        limit = curve.evaluations
        fmin_l_bfgs_b(evaluate, start, m=10, factr=0, pgtol=0, maxfun=2 * limit, maxiter=2 * limit)

    return minimise


DRIVERS: dict[str, Callable[[int], Callable[[Problem, Curve], None]]] = {
    "pynst lbfgs": _pynst("lbfgs"),
    "pynst adam": _pynst("adam"),
    "torch closure, SciPy L-BFGS-B": _scipy,
    "torch.optim.LBFGS": _torch_lbfgs(None),
    "torch.optim.LBFGS, strong Wolfe": _torch_lbfgs("strong_wolfe"),
}
"""Name to a function of the threads that imports what it needs and returns the run itself."""
