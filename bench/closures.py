"""The closure, value and gradient of `bench.problem`, once by PyNST and once by each peer.

A closure is made for a problem and a number of threads, targets included, and then called: it
returns the value and the gradient (3, H, W) with respect to the network's input. Each class
imports what it needs when it is made, so that a process holds no more than its own stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.problem import CHANNELS, CONTENT_LAYER, MEAN, POOLED, STYLE_LAYERS, Problem, planes

__all__ = [
    "CLOSURES", "ENVIRONMENT", "NEEDS", "Closure", "PyNST", "PyNSTOnDevice", "forces_a_lesser_isa",
    "on_device",
]  # fmt: skip

Result = tuple[float, NDArray[np.floating[Any]]]


class Closure(Protocol):
    """Value and gradient (3, H, W) at the problem's x."""

    def __call__(self) -> Result: ...


class PyNST:
    """The networks' walk over the ops of a backend, without image conversion.

    `backend` replaces the CPU's.
    """

    def __init__(self, problem: Problem, threads: int, backend: Any = None) -> None:
        from pynst.networks.vgg19 import VGG19

        self.backend = backend = backend or _backend(threads)
        self.problem = problem
        self.network = network = VGG19(
            backend, problem.weights(), MEAN, pooling=problem.pooling, padding="zero"
        )
        size, content = problem.size, f"relu{CONTENT_LAYER}"
        self.styles = [f"relu{layer}" for layer in STYLE_LAYERS]
        self.layers = {content, *self.styles}
        self.A = self._style_grams()
        self.G = {layer: backend.empty_gram(len(self.A[layer])) for layer in self.styles}
        self.workspace = network.workspace(size, size, self.layers, gradient=True)
        backend.upload(planes(problem.content()), "image", self.workspace["x"])
        network.forward(self.workspace, self.layers)
        shape = network.shape(content, size, size)
        self.P = backend.view(
            backend.allocate(backend.nbytes("features", shape)), 0, "features", shape
        )
        features = backend.download(self.workspace[content], "features", shape)
        backend.upload(features, "features", self.P)
        self.losses = backend.empty_losses(1 + len(self.styles))
        self.x = planes(problem.x())

    def _style_grams(self) -> dict[str, Any]:
        backend, size = self.backend, self.problem.size
        workspace = self.network.workspace(size, size, self.styles, gradient=False)
        backend.upload(planes(self.problem.style()), "image", workspace["x"])
        self.network.forward(workspace, self.styles)
        grams = {}
        for layer in self.styles:
            grams[layer] = backend.empty_gram(self.network.shape(layer, size, size)[0])
            backend.gram(workspace[layer], grams[layer])
        return grams

    def __call__(self) -> Result:
        backend, size = self.backend, self.problem.size
        backend.upload(self.x, "image", self.workspace["x"])
        self.network.forward(self.workspace, self.layers)
        dx = self.network.backward(self.workspace, self.layers, self._add_loss)
        gradient = backend.download(dx, "image", (3, size, size))
        return float(backend.download_losses(self.losses).sum()), gradient

    def _add_loss(self, layer: str, F: Any, dF: Any) -> None:
        if layer in self.G:
            slot = 1 + self.styles.index(layer)
            k = self.problem.k_style(layer.removeprefix("relu"))
            self.backend.gram(F, self.G[layer])
            self.backend.style_loss(
                F, self.G[layer], self.A[layer], k, None, dF, self.losses[slot : slot + 1]
            )
        else:
            k = self.problem.k_content()
            self.backend.content_loss(F, self.P, k, None, dF, self.losses[:1])


class PyNSTOnDevice(PyNST):
    """The same with x and gradient on the device, recorded and replayed as `Objective` does it."""

    def __init__(self, problem: Problem, threads: int, backend: Any = None) -> None:
        super().__init__(problem, threads, backend)
        self.backend.upload(self.x, "image", self.workspace["x"])
        self._evaluate = self.backend.record(self.losses)

    def step(self) -> float:
        """Value at x; the gradient is on the device."""
        self._evaluate(self._walk)
        return float(self.backend.download_losses(self.losses).sum())

    def gradient(self) -> NDArray[np.float32]:
        """The gradient (3, H, W) of the last step."""
        size = self.problem.size
        gradient: NDArray[np.float32] = self.backend.download(self.dx, "image", (3, size, size))
        return gradient

    @staticmethod
    def peak_mb() -> float:
        """Most bytes that CuPy's pool held, in 10^6: it gives nothing back by itself."""
        import cupy

        return round(cupy.get_default_memory_pool().total_bytes() / 1e6, 1)

    def _walk(self) -> None:
        self.network.forward(self.workspace, self.layers)
        self.dx = self.network.backward(self.workspace, self.layers, self._add_loss)


class PyNSTObjective:
    """`pynst.Objective`, as users call it: from and to (H, W, 3) float64, total variation too."""

    def __init__(self, problem: Problem, threads: int) -> None:
        from pynst import Objective
        from pynst.networks.vgg19 import VGG19

        network = VGG19(
            _backend(threads), problem.weights(), MEAN, pooling=problem.pooling, padding="zero"
        )
        self.x = problem.x()
        self.objective = Objective(
            problem.content(), problem.style(), network=network, formula="gatys",
            image_size=problem.size,
        )  # fmt: skip

    def __call__(self) -> Result:
        value, gradient = self.objective(self.x)
        return value, gradient.transpose(2, 0, 1) / 255


def _backend(threads: int) -> Any:
    from pynst.backends import open_backend

    return open_backend("cpu", threads=threads)


class NumPyBlas:
    """NumPy alone: im2col in bands of rows, one float32 matrix product per band; channels last."""

    BAND_BYTES = 8 << 20

    def __init__(self, problem: Problem, threads: int) -> None:
        del threads  # BLAS reads its number from the environment
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
        """Weights of both ways as (9 C, N) and (9 N, C), and the bias."""
        forward = weight.transpose(2, 3, 1, 0).reshape(-1, len(bias))
        backward = weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1).reshape(-1, weight.shape[1])
        return np.ascontiguousarray(forward), np.ascontiguousarray(backward), bias

    def _convolve(self, x: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
        """(H, W, C) to (H, W, N), zero padding."""
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
        flat = F.reshape(-1, F.shape[-1])
        G: NDArray[Any] = flat.T @ flat
        return G / np.float32(len(flat))

    def _forward(self, image: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
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


def _torch(form: str) -> Callable[[Problem, int], Closure]:
    def make(problem: Problem, threads: int) -> Closure:
        from bench.closure_torch import Torch

        return Torch(problem, threads, form)

    return make


def _jax(problem: Problem, threads: int) -> Closure:
    from bench.closure_jax import Jax

    return Jax(problem, threads)


def on_device(name: str, problem: Problem, precision: str) -> Any:
    """A row of the CUDA device's table, with `step`, `gradient` and `peak_mb`."""
    if name.startswith("pynst"):
        from pynst.backends import open_backend

        return PyNSTOnDevice(problem, 1, open_backend("cuda", precision=precision))
    from bench.closure_device import TorchOnDevice

    return TorchOnDevice(problem, name.removeprefix("torch-"))


CLOSURES: dict[str, Callable[[Problem, int], Closure]] = {
    "pynst": PyNST,
    "pynst-objective": PyNSTObjective,
    "pynst-avx512": PyNST,
    "pynst-avx2": PyNST,
    "pynst-max": PyNST,
    "torch-usual": _torch("usual"),
    "torch-best": _torch("best"),
    "torch-compile": _torch("compile"),
    "torch-avx2": _torch("best"),
    "torch-max": _torch("best"),
    "jax": _jax,
    "numpy": NumPyBlas,
}
"""Every row of the closure's table; ``-max`` rows are given a problem with maximum pooling."""

_HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
_AVX2 = {"PYNST_CPU_ISA": "avx2"}
_TORCH_AVX2 = {  # its own kernels, oneDNN's, MKL's
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip
ENVIRONMENT: dict[str, dict[str, str]] = {
    "pynst-avx512": {"PYNST_CPU_ISA": "avx512"},
    "pynst-avx2": _AVX2,
    "torch-best": _HUGE_PAGES,
    "torch-compile": _HUGE_PAGES,
    "torch-avx2": {**_HUGE_PAGES, **_TORCH_AVX2, **_AVX2},
    "torch-max": _HUGE_PAGES,
}
"""What a row sets in the environment of its process, besides the number of threads."""

NEEDS = {
    "pynst-max": "torch",  # its result is asserted against torch-max
    "torch-usual": "torch", "torch-best": "torch", "torch-compile": "torch",
    "torch-avx2": "torch", "torch-max": "torch",
    "jax": "jax",
}  # fmt: skip
"""The optional package that a row needs."""


def forces_a_lesser_isa(name: str) -> bool:
    """Whether a row forces an instruction set that this processor has and does not take itself."""
    from pynst import _cpu

    return ENVIRONMENT[name]["PYNST_CPU_ISA"] in _cpu.isas()[1:]
