"""PyNST's closure, with the network and the loss terms that `pynst.stylize` uses.

What is timed: the network's input is copied in, the network walks forward and back over the terms
of the loss, and the loss and the gradient with respect to the network's input are copied out. The
conversion from and to an image (H, W, 3) is left out, because the peers do not convert either;
`PyNSTObjective` includes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problem import MEAN, Problem, Result, planes
from pynst import Objective, TransferOptions
from pynst.backends import open_backend
from pynst.backends.base import Array, Backend
from pynst.inputs import read_inputs
from pynst.losses.table import loss_terms
from pynst.losses.terms import PreparedTargets
from pynst.networks.vgg19 import VGG19

__all__ = ["PyNST", "PyNSTObjective", "PyNSTOnDevice"]

_LOSS = TransferOptions(formula="gatys")  # it has the constants of `Problem`, and no variation


def _network(problem: Problem, backend: Backend) -> VGG19:
    return VGG19(backend, problem.weights(), MEAN, pooling=problem.pooling, padding="zero")


class PyNST:
    """The network and the loss terms, from and to the network's input planes (3, H, W).

    Parameters
    ----------
    problem : Problem
    threads : int
        Threads of the CPU backend.
    backend : Backend, optional
        Replaces the CPU backend.
    """

    def __init__(self, problem: Problem, threads: int, backend: Backend | None = None) -> None:
        backend = open_backend("cpu", threads=threads) if backend is None else backend
        network, H, W = _network(problem, backend), problem.size, problem.size
        inputs = read_inputs(problem.content(), problem.style(), _LOSS, start=False)
        # The targets come first, so that the pictures and the memory in which the targets are
        # computed are free again before the workspace is allocated.
        terms = [term.at(network, inputs, H, W) for term in loss_terms(_LOSS, network, inputs)]
        del inputs
        self._slots = [(targets, layer) for targets in terms for layer in targets.layers]
        self._layers = dict.fromkeys(layer for _, layer in self._slots)
        self._backend, self._network = backend, network
        self._losses = backend.empty_losses(len(self._slots))
        self._workspace = network.workspace(H, W, self._layers, gradient=True)
        self._x = planes(problem.x())

    def __call__(self) -> Result:
        self._upload()
        self._walk()
        return self._value(), self._gradient()

    def _upload(self) -> None:
        self._backend.upload(self._x, "image", self._workspace["x"])

    def _walk(self) -> None:
        """Compute all losses, and the gradient in the workspace's ``"d x"``."""
        self._network.forward(self._workspace, self._layers, self._prepare)
        self._network.backward(self._workspace, self._layers, self._add_losses)

    def _prepare(self, layer: str, F: Array) -> None:
        for targets, read in self._slots:
            if read == layer and isinstance(targets, PreparedTargets):
                targets.prepare(layer, F)

    def _add_losses(self, layer: str, F: Array, dF: Array) -> None:
        for slot, (targets, read) in enumerate(self._slots):
            if read == layer:
                targets.add(layer, F, dF, self._losses[slot : slot + 1])

    def _value(self) -> float:
        return float(self._backend.download_losses(self._losses).sum())

    def _gradient(self) -> NDArray[np.floating[Any]]:
        return self._backend.download(self._workspace["d x"], "image", self._x.shape)


class PyNSTOnDevice(PyNST):
    """The same with x and gradient on the device; the walk is captured once and then replayed."""

    def __init__(self, problem: Problem, threads: int, backend: Backend) -> None:
        super().__init__(problem, threads, backend)
        self._upload()
        self._evaluation = backend.repeated(self._losses)

    def step(self) -> float:
        """Evaluate, and return the value; the gradient stays on the device."""
        self._evaluation(self._walk)
        return self._value()

    def gradient(self) -> NDArray[np.floating[Any]]:
        """Download the gradient (3, H, W) of the last step."""
        return self._gradient()

    @staticmethod
    def peak_mb() -> float:
        """Most bytes that CuPy's memory pool held, in 10^6: it gives nothing back by itself."""
        import cupy

        return round(cupy.get_default_memory_pool().total_bytes() / 1e6, 1)


class PyNSTObjective:
    """`pynst.Objective` as users call it: from and to an image (H, W, 3) in [0, 1]."""

    def __init__(self, problem: Problem, threads: int) -> None:
        network = _network(problem, open_backend("cpu", threads=threads))
        self._objective = Objective(
            problem.content(), problem.style(), _LOSS, network=network, image_size=problem.size
        )
        self._x = problem.x()

    def __call__(self) -> Result:
        value, gradient = self._objective(self._x)
        return value, gradient.transpose(2, 0, 1) / 255
