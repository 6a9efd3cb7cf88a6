"""The C++ backend: float32 with AVX-512, AVX2 or NEON, on every processor core.

Features lie in blocks of 16 channels, (ceil(C / 16), H, W, 16); the lanes beyond C always hold
zeros. One bit per ReLU and two per maximum are packed likewise. Images are planar, Grams float64.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from math import prod
from threading import Lock
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import (
    Array,
    EagerEvaluation,
    Evaluation,
    Kind,
    Padding,
    Pooling,
    Shape,
    Walk,
)
from pynst.backends.circular import wrap
from pynst.backends.device import DeviceImages
from pynst.backends.host import HostMemory
from pynst.backends.reference import ReferenceBackend
from pynst.errors import BackendError
from pynst.machine import default_threads

__all__ = ["CpuBackend"]

LANES = 16  # asserted to be the core's by tests/test_cpu_core.py
_ALIGNMENT = 64

_DTYPES: dict[Kind, type] = {
    "image": np.float32,
    "features": np.float32,
    "bits": np.uint16,
    "choices": np.uint32,
}


class Convolution(NamedTuple):
    """Weights (blocks of N, blocks of C, 16, 9, 16), or (blocks, 3, 9, 16) for an image; bias."""

    packed: NDArray[np.float32]
    bias: NDArray[np.float32]


class FilterBank(NamedTuple):
    """Filters (groups, 3, 49, 16), and for each group a bit for every plane that it reads."""

    packed: NDArray[np.float32]
    planes: NDArray[np.int32]


class Scale(NamedTuple):
    """Per-channel factors: (N,) for `style_loss`, and in blocks of 16 for `content_loss`."""

    values: NDArray[np.float64]
    blocks: NDArray[np.float32]


class PixelWeights(NamedTuple):
    """Factors (H, W) of the pixels of a layer, and their sum."""

    values: NDArray[np.float32]
    total: float


class CpuBackend:
    """Implements `pynst.backends.base.Backend` with the compiled module ``pynst._cpu``.

    Parameters
    ----------
    threads : int, optional
        Threads to compute with, at least 1. Default: ``OMP_NUM_THREADS`` where it is a positive
        number, else the processors that this process may use.

    Raises
    ------
    BackendError
        The compiled module is missing, or ``PYNST_CPU_ISA`` names an instruction set that this
        processor does not have.

    Notes
    -----
    Ops of one backend that are called from several Python threads run one after another. They
    release the interpreter lock.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._cpu = _load_module()
        try:
            isa = self._cpu.isa()
            self._threads = self._cpu.Threads(default_threads() if threads is None else threads)
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"cpu: {error}") from error
        count = self._threads.count
        self.narrow = False
        self.tuned: Mapping[str, str] = {}
        self.name = f"cpu ({isa}, {count} thread{'s' if count > 1 else ''})"
        self._scratch = self.allocate(0)
        self._lock = Lock()

    def choose_as(self, tuned: Mapping[str, str], *, measure: bool) -> None:
        """Nothing is measured here."""

    # ---- memory ------------------------------------------------------------------------------

    def nbytes(self, kind: Kind, shape: Shape) -> int:
        return prod(_layout(kind, shape)) * np.dtype(_DTYPES[kind]).itemsize

    def scratch_nbytes(self, op: str, C: int, N: int, H: int, W: int) -> int:
        cpu, threads, M = self._cpu, self._threads, H * W
        if op.startswith("conv3x3"):
            return int(cpu.conv3x3_relu_scratch(threads, C, N, H, W))
        if op.startswith("image_conv3x3"):
            return int(cpu.image_conv3x3_relu_scratch(threads, N, H, W))
        if op.startswith("filter7x7"):
            return int(cpu.filter7x7_scratch(threads, N, H, W))
        if op == "gram":
            return int(cpu.gram_scratch(threads, N, M))
        if op == "style_loss":
            return int(cpu.style_loss_scratch(threads, N, M))
        if op == "content_loss":
            return int(cpu.content_loss_scratch(N, M))
        if op == "total_variation":
            return int(cpu.total_variation_scratch(H))
        return 0

    def allocate(self, nbytes: int) -> Array:
        # NumPy asks the system for huge pages where a block is large.
        raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
        offset = -raw.ctypes.data % _ALIGNMENT
        return raw[offset : offset + nbytes]

    def view(self, block: Array, offset: int, kind: Kind, shape: Shape) -> Array:
        return np.ndarray(_layout(kind, shape), _DTYPES[kind], block, offset)

    def shape_of(self, array: Array, kind: Kind) -> Shape:
        blocks, H, W = array.shape[:3]
        return blocks * (1 if kind == "image" else LANES), H, W

    def free_memory(self) -> int | None:
        return None

    def upload(self, values: NDArray[Any], kind: Kind, out: Array) -> None:
        if kind == "image":
            out[...] = values
            return
        C, H, W = values.shape
        blocked = np.zeros((out.shape[0] * LANES, H, W), _DTYPES[kind])
        blocked[:C] = values
        lanes = blocked.reshape(-1, LANES, H, W)
        if kind == "features":
            out[...] = lanes.transpose(0, 2, 3, 1)
        else:  # the fields of a word do not overlap, so that their sum is their union
            width = 1 if kind == "bits" else 2
            shifts = (width * np.arange(LANES, dtype=lanes.dtype)).reshape(LANES, 1, 1)
            out[...] = (lanes << shifts).sum(axis=1, dtype=lanes.dtype)

    def download(self, array: Array, kind: Kind, shape: Shape) -> NDArray[Any]:
        if kind == "image":
            return np.array(array)
        C, H, W = shape
        if kind == "features":
            lanes = array.transpose(0, 3, 1, 2)
        else:
            width, dtype = (1, np.bool_) if kind == "bits" else (2, np.uint8)
            shifts = (width * np.arange(LANES, dtype=array.dtype)).reshape(LANES, 1, 1)
            lanes = (array[:, np.newaxis] >> shifts & (1 << width) - 1).astype(dtype)
        return np.ascontiguousarray(lanes.reshape(-1, H, W)[:C])

    def empty_gram(self, N: int) -> Array:
        return np.empty((N, N))

    def upload_gram(self, values: NDArray[np.float64]) -> Array:
        return np.array(values, np.float64, order="C")

    def download_gram(self, G: Array) -> NDArray[np.float64]:
        return np.array(G)

    def upload_scale(self, scale: NDArray[np.float64]) -> Array:
        values = np.array(scale, np.float64)
        return Scale(values, _in_blocks(values.astype(np.float32)))

    def upload_pixel_weights(self, m: NDArray[np.float64]) -> Array:
        values = np.array(m, np.float32, order="C")
        return PixelWeights(values, float(values.sum(dtype=np.float64)))

    def empty_losses(self, count: int) -> Array:
        return np.zeros(count)

    def download_losses(self, losses: Array) -> NDArray[np.float64]:
        return np.array(losses)

    def zero(self, array: Array) -> None:
        array[...] = 0

    def repeated(self, losses: Array, *, captured: bool = True) -> Evaluation:  # noqa: ARG002
        return EagerEvaluation()

    def beside(self, work: Walk) -> Walk:
        return work

    def device_images(self, shape: Shape) -> DeviceImages | None:
        host = HostMemory(self._cpu)

        def launch(op: str, *arguments: Any) -> None:
            getattr(self._cpu, op)(self._threads, *arguments)

        return DeviceImages(host, launch, host.empty(shape), host.empty(shape))

    # ---- the image ---------------------------------------------------------------------------

    def image_input(
        self, image: Array, axes: NDArray[np.float64], mean: NDArray[np.float64], x: Array
    ) -> None:
        self._cpu.image_input(self._threads, image, axes, mean, x)

    def image_input_backward(self, dx: Array, axes: NDArray[np.float64], gradient: Array) -> None:
        self._cpu.image_input_backward(self._threads, dx, axes, gradient)

    # ---- VGG-19 --------------------------------------------------------------------------------

    def conv3x3_weights_nbytes(self, C: int, N: int) -> int:
        packed = 3 * 9 * LANES if C == 3 else _blocks(C) * 9 * LANES * LANES
        return 4 * _blocks(N) * (packed + LANES)

    def conv3x3_weights(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Any:
        weight = np.ascontiguousarray(weight, np.float32)
        N, C = weight.shape[:2]
        if C == 3:
            packed = np.empty((_blocks(N), 3, 9, LANES), np.float32)
            self._cpu.image_conv3x3_pack(weight, packed)
        else:
            packed = np.empty((_blocks(N), _blocks(C), LANES, 9, LANES), np.float32)
            self._cpu.conv3x3_pack(weight, packed)
        return Convolution(packed, _in_blocks(np.asarray(bias, np.float32)))

    def image_conv3x3_relu(
        self, x: Array, weights: Any, padding: Padding, y: Array, bits: Array | None
    ) -> None:
        with self._lock:
            scratch = self._grow("image_conv3x3_relu", 3, *_sizes(y))
            self._cpu.image_conv3x3_relu(self._threads, x, *weights, padding, y, bits, scratch)

    def image_conv3x3_relu_backward(
        self, dy: Array, bits: Array, weights: Any, padding: Padding, dx: Array
    ) -> None:
        with self._lock:
            scratch = self._grow("image_conv3x3_relu_backward", 3, *_sizes(dy))
            self._cpu.image_conv3x3_relu_backward(
                self._threads, dy, bits, weights.packed, padding, dx, scratch
            )

    def conv3x3_relu(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        with self._lock:
            scratch = self._grow("conv3x3_relu", _channels(x), *_sizes(y))
            self._cpu.conv3x3_relu(self._threads, x, *weights, y, bits, scratch)

    def conv3x3_relu_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        with self._lock:
            scratch = self._grow("conv3x3_relu_backward", _channels(dx), *_sizes(dy))
            self._cpu.conv3x3_relu_backward(self._threads, dy, bits, weights.packed, dx, scratch)

    def conv3x3_relu_pool(
        self,
        x: Array,
        weights: Any,
        mode: Pooling,
        y: Array,
        bits: Array | None,
        choices: Array | None,
    ) -> None:
        with self._lock:
            C, H, W = _sizes(x)
            scratch = self._grow("conv3x3_relu_pool", C, _channels(y), H, W)
            self._cpu.conv3x3_relu_pool(self._threads, x, *weights, mode, y, bits, choices, scratch)

    def conv3x3_relu_pool_backward(
        self, dy: Array, bits: Array, mode: Pooling, choices: Array | None, weights: Any, dx: Array
    ) -> None:
        with self._lock:
            C, H, W = _sizes(dx)
            scratch = self._grow("conv3x3_relu_pool_backward", C, _channels(dy), H, W)
            self._cpu.conv3x3_relu_pool_backward(
                self._threads, dy, bits, mode, choices, weights.packed, dx, scratch
            )

    def pool2x2(self, x: Array, mode: Pooling, y: Array, choices: Array | None) -> None:
        self._cpu.pool2x2(self._threads, x, mode, y, choices)

    def pool2x2_backward(self, dy: Array, mode: Pooling, choices: Array | None, dx: Array) -> None:
        self._cpu.pool2x2_backward(self._threads, dy, mode, choices, dx)

    def wrap(self, x: Array, kind: Kind, y: Array) -> None:  # noqa: ARG002
        wrap(x, y)

    # ---- the built-in filters ------------------------------------------------------------------

    def filter7x7_weights(self, weight: NDArray[np.float32], plane: NDArray[np.int32]) -> Any:
        groups = _blocks(len(weight))
        packed = np.empty((groups, 3, 49, LANES), np.float32)
        planes = np.empty(groups, np.int32)
        weight = np.ascontiguousarray(weight, np.float32)
        self._cpu.filter7x7_pack(weight, np.ascontiguousarray(plane, np.int32), packed, planes)
        return FilterBank(packed, planes)

    def filter7x7(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        with self._lock:
            scratch = self._grow("filter7x7", 3, *_sizes(y))
            self._cpu.filter7x7(self._threads, x, *weights, y, bits, scratch)

    def filter7x7_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        with self._lock:
            scratch = self._grow("filter7x7_backward", 3, *_sizes(dy))
            self._cpu.filter7x7_backward(self._threads, dy, bits, *weights, dx, scratch)

    def binomial_down(self, x: Array, y: Array) -> None:
        self._cpu.binomial_down(self._threads, x, y)

    def binomial_down_backward(self, dy: Array, dx: Array) -> None:
        self._cpu.binomial_down_backward(self._threads, dy, dx)

    # ---- losses --------------------------------------------------------------------------------

    def gram(self, F: Array, G: Array, pixel_weights: Array | None = None) -> None:
        with self._lock:
            scratch = self._grow("gram", *_loss_sizes(F, len(G)))
            self._cpu.gram(self._threads, F, *_of_pixels(F, pixel_weights), G, scratch)

    def content_loss(
        self,
        F: Array,
        P: Array,
        k: float,
        scale: Array | None,
        dF: Array,
        loss: Array,
        pixel_weights: Array | None = None,
    ) -> None:
        with self._lock:
            scratch = self._grow("content_loss", *_loss_sizes(F, _channels(F)))
            factors = None if scale is None else scale.blocks
            m, _ = _of_pixels(F, pixel_weights)
            self._cpu.content_loss(self._threads, F, P, k, factors, m, dF, loss, scratch)

    def style_ahead(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        pixel_weights: Array | None = None,
    ) -> None:
        del A, k, scale  # knowing them early would save nothing
        self.gram(F, G, pixel_weights)

    def style_loss(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        dF: Array,
        loss: Array,
        pixel_weights: Array | None = None,
    ) -> None:
        with self._lock:
            scratch = self._grow("style_loss", *_loss_sizes(F, len(G)))
            factors = None if scale is None else scale.values
            m = _of_pixels(F, pixel_weights)
            self._cpu.style_loss(self._threads, F, G, A, k, factors, *m, dF, loss, scratch)

    def total_variation(
        self, x: Array, k: float, dx: Array, loss: Array, circular: bool = False
    ) -> None:
        if circular:  # seldom asked for, and little beside the convolutions
            ReferenceBackend().total_variation(x.astype(np.float64), k, dx, loss, circular)
            return
        with self._lock:
            scratch = self._grow("total_variation", 3, 3, *x.shape[1:])
            self._cpu.total_variation(self._threads, x, k, dx, loss, scratch)

    # ---- scratch -------------------------------------------------------------------------------

    def _grow(self, op: str, C: int, N: int, H: int, W: int) -> NDArray[np.uint8]:
        """Return the scratch buffer, made larger if `op` needs more. The caller holds the lock."""
        needed = self.scratch_nbytes(op, C, N, H, W)
        if needed > self._scratch.nbytes:
            self._scratch = None  # let go of the old one first
            self._scratch = self.allocate(needed)
        return cast("NDArray[np.uint8]", self._scratch)


def _load_module() -> Any:
    """Import the compiled module; a plain import statement would fail where it was not built."""
    try:
        return importlib.import_module("pynst._cpu")
    except ImportError as error:
        raise BackendError(
            "backend 'cpu' is not available: the compiled module pynst._cpu cannot be imported "
            f"({error}); install PyNST with `pip install .` or `pip install -e .`, which needs a "
            "C++17 compiler"
        ) from error


def _blocks(channels: int) -> int:
    """Blocks of 16 lanes for so many channels."""
    return -(-channels // LANES)


def _layout(kind: Kind, shape: Shape) -> tuple[int, ...]:
    """Shape in memory of an array of logical shape (C, H, W)."""
    C, H, W = shape
    if kind == "image":
        return C, H, W
    if kind == "features":
        return _blocks(C), H, W, LANES
    return _blocks(C), H, W


def _in_blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (N,) as (blocks, 16), with zeros beyond N."""
    blocks = np.zeros((_blocks(len(values)), LANES), np.float32)
    blocks.reshape(-1)[: len(values)] = values
    return blocks


def _channels(features: Array) -> int:
    """Channels of an array of features, rounded up to whole blocks, as scratch sizes want them."""
    return cast("int", features.shape[0] * LANES)


def _sizes(features: Array) -> tuple[int, int, int]:
    """Channels, rounded up, height and width of an array of features."""
    return _channels(features), features.shape[1], features.shape[2]


def _loss_sizes(F: Array, N: int) -> tuple[int, int, int, int]:
    """C, N, H and W for the scratch of a loss over N feature maps."""
    return N, N, F.shape[1], F.shape[2]


def _of_pixels(
    features: Array, pixel_weights: PixelWeights | None
) -> tuple[NDArray[np.float32] | None, float]:
    """Factors of the pixels, None for ones, and their sum."""
    if pixel_weights is None:
        return None, float(features.shape[1] * features.shape[2])
    return pixel_weights
