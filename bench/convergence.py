"""Loss against seconds: PyNST's optimisers and its peers', on one loss.

All start from the content picture, with the weights on disk and the pictures in memory, at one
size, and do the same number of evaluations. The clock starts with the call, so that reading the
weights and computing the targets count; imports do not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.problem import MEAN, Problem

__all__ = ["DRIVERS", "descend"]


Prepare = Callable[[int, str], Callable[["Problem", "Curve"], None]]
"""(threads, backend) to the minimisation itself. To prepare imports what it needs."""


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
    driver: str, size: int, evaluations: int, threads: int, weights_file: str, backend: str = "cpu"
) -> dict[str, Any]:
    """Minimise the loss with one driver, and note every evaluation.

    Parameters
    ----------
    driver : str
        Key of `DRIVERS`.
    size : int
        Side of the pictures, in pixels.
    evaluations, threads : int
    weights_file : str
    backend : {"cpu", "cuda", "cuda accurate"}

    Returns
    -------
    dict
        ``"seconds"`` since the start and ``"loss"`` of each evaluation, and ``"cores_used"``:
        processor time over wall time.
    """
    problem = Problem(size, weights_file=weights_file)
    minimise = DRIVERS[driver](threads, backend)  # imports
    curve, processor = Curve(evaluations), time.process_time()
    with contextlib.suppress(Enough):
        minimise(problem, curve)
    used = (time.process_time() - processor) / (time.perf_counter() - curve.started)
    return {"seconds": curve.seconds, "loss": curve.losses, "cores_used": round(used, 2)}


def _pynst(optimizer: str) -> Prepare:
    def prepare(threads: int, backend: str) -> Callable[[Problem, Curve], None]:
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
                backend=backend.split()[0],
                precision="accurate" if backend.endswith("accurate") else "fast",
            )  # fmt: skip

        return minimise

    return prepare


def _torch_closure(problem: Problem, threads: int, backend: str, curve: Curve) -> tuple[Any, Any]:
    """The image in [0, 1] as a parameter, and its closure with the gradient in closed form."""
    import torch

    peer = _torch_peer(problem, threads, backend)
    mean = torch.tensor(MEAN, device=peer.x.device).view(1, 3, 1, 1)
    pixels = problem.content().transpose(2, 0, 1)[None].astype(np.float32)
    # torch.optim.LBFGS flattens its parameter, so this one is contiguous and not channels last.
    x = torch.from_numpy(pixels).contiguous().to(peer.x.device)
    x.requires_grad_()

    def closure() -> Any:
        x.grad = None
        loss = peer.total((255 * x - mean).contiguous(memory_format=torch.channels_last))
        loss.backward()
        gradient: Any = x.grad
        gradient /= peer.scale
        curve.add(loss.item() / peer.scale)
        return loss / peer.scale

    return x, closure


def _torch_peer(problem: Problem, threads: int, backend: str) -> Any:
    """PyTorch's best eager form; its loss is multiplied by its `scale`."""
    if backend == "cpu":
        from bench.peers.torch_cpu import Torch

        return Torch(problem, threads, "best")
    from bench.peers.torch_cuda import TorchOnDevice

    return TorchOnDevice(problem, "float32" if backend.endswith("accurate") else "best")


def _torch_lbfgs(line_search: str | None) -> Prepare:
    def prepare(threads: int, backend: str) -> Callable[[Problem, Curve], None]:
        import torch

        def minimise(problem: Problem, curve: Curve) -> None:
            x, closure = _torch_closure(problem, threads, backend, curve)
            optimizer = torch.optim.LBFGS(
                [x], max_iter=curve.evaluations, max_eval=2 * curve.evaluations,
                tolerance_grad=0, tolerance_change=0, line_search_fn=line_search,
            )  # fmt: skip
            while True:
                before = len(curve.losses)
                optimizer.step(closure)  # type: ignore[no-untyped-call,unused-ignore]
                if len(curve.losses) <= before + 1:  # the line search does not move any more
                    return

        return minimise

    return prepare


def _scipy(threads: int, backend: str) -> Callable[[Problem, Curve], None]:
    import torch
    from scipy.optimize import fmin_l_bfgs_b

    def minimise(problem: Problem, curve: Curve) -> None:
        x, closure = _torch_closure(problem, threads, backend, curve)

        def evaluate(flat: Any) -> tuple[float, Any]:
            with torch.no_grad():
                x.copy_(torch.from_numpy(flat.reshape(x.shape)))
            loss = closure().item()
            return loss, x.grad.cpu().numpy().astype(np.float64).ravel()

        start = x.detach().cpu().numpy().astype(np.float64).ravel()
        limit = curve.evaluations
        fmin_l_bfgs_b(evaluate, start, m=10, factr=0, pgtol=0, maxfun=2 * limit, maxiter=2 * limit)

    return minimise


DRIVERS: dict[str, Prepare] = {
    "pynst lbfgs": _pynst("lbfgs"),
    "pynst scipy": _pynst("scipy"),
    "pynst adam": _pynst("adam"),
    "torch closure, SciPy L-BFGS-B": _scipy,
    "torch.optim.LBFGS": _torch_lbfgs(None),
    "torch.optim.LBFGS, strong Wolfe": _torch_lbfgs("strong_wolfe"),
}
"""By name. On CUDA the driver "pynst lbfgs" keeps all its vectors on the device."""
