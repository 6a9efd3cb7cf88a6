"""The CUDA backend: PyNST's own kernels, in halves ("fast") or float32 ("accurate").

Features lie pixel by pixel, (H, W, padded C): the channels of a pixel side by side, rounded up to a
multiple of eight, with zeros beyond C. One bit per ReLU and two per maximum are packed likewise.
Images are planar float32, Gram matrices and losses float64.

Feature gradients are stored multiplied by a power of two (`pynst.backends.evaluation`); in an op
that is called by itself the factor is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from pathlib import Path
from threading import RLock
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Evaluation, Kind, Padding, Pooling, Precision, Shape, Walk
from pynst.backends.cupy_device import CupyDevice
from pynst.backends.device import Device, DeviceArray, DeviceImages
from pynst.backends.divisions import Division, Divisions, Product
from pynst.backends.eights import EIGHT, from_device, in_eights, padded, to_device
from pynst.backends.evaluation import GraphEvaluation, Report
from pynst.backends.planes import from_planes, to_planes
from pynst.backends.tuning import Tuning

__all__ = ["CudaBackend"]

_SPLIT = np.float32(2048)  # csrc/cuda/inner/split.cuh

Products = Literal["tensor", "simt"]
_TILES = {"fast": ("large", "narrow", "flat"), "tensor": ("split",), "simt": ("simt",)}


class Packed(NamedTuple):
    """Weights (9, outputs, inputs) as one array, or as the high and low halves of float32."""

    weights: DeviceArray
    low: DeviceArray | None


class Convolution(NamedTuple):
    """A layer's true channels, its weights for both ways, and its bias (padded N,)."""

    C: int
    N: int
    forward: Packed
    backward: Packed
    bias: DeviceArray


class ImageConvolution(NamedTuple):
    """The first layer: weights (27, padded N), row 3 * tap + plane, and bias (padded N,)."""

    N: int
    weights: DeviceArray
    bias: DeviceArray


class FilterBank(NamedTuple):
    """Filters (K, 49) and the image plane (K,) that each of them reads."""

    weights: DeviceArray
    plane: DeviceArray


class Scale(NamedTuple):
    """Per-channel factors: (N,) for `style_loss`, (padded N,) for `content_loss`."""

    values: DeviceArray
    padded: DeviceArray


class PixelWeights(NamedTuple):
    """Factors (H, W) of the pixels of a layer, and their sum."""

    values: DeviceArray
    total: float


class GramMatrix(DeviceArray):
    """A Gram matrix G, float64, and what `CudaBackend.style_ahead` has made of it."""

    __slots__ = ("difference", "made_of")

    def __init__(self, array: DeviceArray) -> None:
        super().__init__(array.owner, array.pointer, array.dtype, array.shape)
        self.difference: DeviceArray | None = None  # memory for it, which a graph may refer to
        self.made_of: Any = None  # from what it was made, if a `style_loss` has still to use it


class CudaBackend:
    """Implements `pynst.backends.base.Backend` with the compiled module ``pynst._cuda``.

    Parameters
    ----------
    precision : {"fast", "accurate"}
        Features and gradients in halves, or in float32; sums are float32 in both.
    products : {"tensor", "simt"}
        How ``"accurate"`` multiplies: each float32 as two halves on the tensor cores, or float32 as
        such, which is slower and depends on no tensor core.
    device : Device, optional
        Default: the current CUDA device, through CuPy.
    cache : callable, optional
        Returns the folder in which the divisions are kept that are measured on the device.

    Raises
    ------
    BackendError
        CUDA cannot be used; the message tells what is missing.

    Notes
    -----
    Ops run on CuPy's current stream and return at once. The scratch memory is shared, so that a
    backend serves one stream at a time; evaluations (`repeated`) wait for each other.
    """

    def __init__(
        self,
        precision: Precision = "fast",
        products: Products = "tensor",
        device: Device | None = None,
        cache: Callable[[], Path] | None = None,
    ) -> None:
        self.device: Device = CupyDevice() if device is None else device
        self._core = self.device.core
        self.launch = self.device.launch
        self._products = products
        self._split = precision == "accurate" and products == "tensor"
        self._real = np.dtype(np.float16 if precision == "fast" else np.float32)
        self.narrow = precision == "fast" or products == "tensor"
        how = precision if products == "tensor" else f"{precision}, {products}"
        self.name = f"cuda ({self.device.name}, {how})"
        self.scratch, self._scratch_beside = (self.device.allocate(1) for _ in range(2))
        self.gradient_scale: DeviceArray | None = None
        self._end: Any = None  # the core's `EvaluationEnd`, to which ops leave their sums
        self._lock = RLock()
        kind = "fast" if precision == "fast" else products
        tiles = {name: self._core.conv3x3_tiles[name] for name in _TILES[kind]}
        self.divisions = Divisions(tiles, self._core.conv3x3_most_parts)
        self._tuning = Tuning(
            self.divisions, kind, self.device.identity, self.device.seconds, cache
        )
        self._evaluating = False

    @property
    def tuned(self) -> Mapping[str, str]:
        return self._tuning.tuned

    def choose_as(self, tuned: Mapping[str, str], *, measure: bool) -> None:
        self._tuning.choose_as(tuned, measure=measure)

    # ---- memory ------------------------------------------------------------------------------

    def nbytes(self, kind: Kind, shape: Shape) -> int:
        dtype, layout = self._layout(kind, shape)
        return prod(layout) * dtype.itemsize

    def scratch_nbytes(self, op: str, C: int, N: int, H: int, W: int) -> int:
        core, M = self._core, H * W
        if op.startswith("conv3x3"):
            both = Product(C, N, H, W), Product(N, C, H, W)
            return max(self._sums_nbytes(way, self.divisions.usual(way)) for way in both)
        if op.startswith("filter7x7"):
            return int(core.filter7x7_scratch(N // 2, H, W))
        if op == "gram":
            return int(core.gram_scratch(N, M))
        if op == "gram_weighted":
            return int(core.gram_weighted_scratch(N, M))
        if op == "style_loss":
            return int(core.style_difference_scratch(N))
        if op == "content_loss":
            return int(core.content_loss_scratch(padded(N), M))
        if op == "total_variation":
            return int(core.total_variation_scratch(H, W))
        return 0

    def allocate(self, nbytes: int) -> Array:
        return self.device.allocate(nbytes)

    def view(self, block: Array, offset: int, kind: Kind, shape: Shape) -> Array:
        return DeviceArray(block.owner, block.pointer + offset, *self._layout(kind, shape))

    def shape_of(self, array: Array, kind: Kind) -> Shape:
        if kind == "image":
            return cast(Shape, array.shape)
        H, W, C = array.shape
        return C * (1 if kind == "features" else EIGHT), H, W

    def free_memory(self) -> int | None:
        return self.device.memory()[0]

    def upload(self, values: NDArray[Any], kind: Kind, out: Array) -> None:
        self.device.copy_in(to_device(values, kind, self._real), out)

    def download(self, array: Array, kind: Kind, shape: Shape) -> NDArray[Any]:
        # Features that were read in windows lie on the host already, in the device's layout.
        values = array if isinstance(array, np.ndarray) else self._fetch(array)
        return from_device(values, kind, shape)

    def empty_gram(self, N: int) -> Array:
        return GramMatrix(self.empty(np.float64, (N, N)))

    def upload_gram(self, values: NDArray[np.float64]) -> Array:
        return GramMatrix(self._put(values.astype(np.float64)))

    def download_gram(self, G: Array) -> NDArray[np.float64]:
        return self._fetch(G)

    def upload_scale(self, scale: NDArray[np.float64]) -> Array:
        return Scale(self._put(scale.astype(np.float64)), self._put(in_eights(scale, np.float32)))

    def upload_pixel_weights(self, m: NDArray[np.float64]) -> Array:
        values = m.astype(np.float32)
        return PixelWeights(self._put(values), float(values.sum(dtype=np.float64)))

    def empty_losses(self, count: int) -> Array:
        return Report(self.device, count).losses

    def download_losses(self, losses: Array) -> NDArray[np.float64]:
        report: Report = losses.owner
        if not report.arrived:
            report.fetch()
        return report.host_losses.copy()

    def zero(self, array: Array) -> None:
        self.device.zero(array)

    def repeated(self, losses: Array, *, captured: bool = True) -> Evaluation:
        report: Report = losses.owner
        scaled = partial(self._scaled, report, captured)
        count, scratch = len(losses), lambda: (self.scratch, self._scratch_beside)
        return GraphEvaluation(
            self.device, report, count, scaled, scratch, self._lock, captured=captured
        )

    def beside(self, work: Walk) -> Walk:
        def with_its_own_scratch() -> None:
            self.scratch, self._scratch_beside = self._scratch_beside, self.scratch
            try:
                work()
            finally:
                self.scratch, self._scratch_beside = self._scratch_beside, self.scratch

        return self.device.beside(with_its_own_scratch)

    def device_images(self, shape: Shape) -> DeviceImages | None:
        image, gradient = (self.empty(np.float32, shape) for _ in range(2))
        return DeviceImages(self.device, self.launch, image, gradient)

    # ---- the image: on the host, or float32 where an optimiser keeps it on the device ----------

    def image_input(
        self, image: Array, axes: NDArray[np.float64], mean: NDArray[np.float64], x: Array
    ) -> None:
        if isinstance(image, DeviceArray):
            self.launch("image_input", image, axes.reshape(9).tolist(), mean.tolist(), x)
        else:
            self.upload(to_planes(image, axes, mean, x.dtype), "image", x)

    def image_input_backward(self, dx: Array, axes: NDArray[np.float64], gradient: Array) -> None:
        if isinstance(gradient, DeviceArray):
            self.launch("image_input_backward", dx, axes.reshape(9).tolist(), gradient, self._end)
        else:
            gradient[...] = from_planes(self._fetch(dx), axes)

    # ---- VGG-19 --------------------------------------------------------------------------------

    def conv3x3_weights_nbytes(self, C: int, N: int) -> int:
        bias = 4 * padded(N)
        if C == 3:
            return 27 * 4 * padded(N) + bias
        values = 2 * 9 * padded(C) * padded(N)  # for the way forward and for the way back
        return values * (4 if self._split else self._real.itemsize) + bias

    def conv3x3_weights(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Any:
        N, C = weight.shape[:2]
        padded_bias = self._put(in_eights(bias, np.float32))
        if C == 3:
            rows = weight.transpose(2, 3, 1, 0).reshape(27, N)
            return ImageConvolution(N, self._put(in_eights(rows, np.float32)), padded_bias)
        forward = weight.transpose(2, 3, 0, 1).reshape(9, N, C)
        backward = weight[:, :, ::-1, ::-1].transpose(2, 3, 1, 0).reshape(9, C, N)
        return Convolution(C, N, self._pack(forward), self._pack(backward), padded_bias)

    def image_conv3x3_relu(
        self, x: Array, weights: Any, padding: Padding, y: Array, bits: Array | None
    ) -> None:
        N, w, bias = weights
        self.launch("image_conv3x3_relu", x, w, bias, N, padding, y, bits)

    def image_conv3x3_relu_backward(
        self, dy: Array, bits: Array, weights: Any, padding: Padding, dx: Array
    ) -> None:
        N, w, _ = weights
        scale = self.gradient_scale
        self.launch("image_conv3x3_relu_backward", dy, bits, w, N, padding, scale, dx)

    def conv3x3_relu(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        C, N, packed, _, bias = weights
        self._convolve(
            Product(C, N, *x.shape[:2]),
            lambda division, scratch: self.launch(
                "conv3x3_relu", x, *packed, bias, C, N, *division, y, bits, scratch
            ),
        )

    def conv3x3_relu_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        C, N, _, packed, _ = weights
        self._convolve(
            Product(N, C, *dx.shape[:2]),
            lambda division, scratch: self.launch(
                "conv3x3_relu_backward",
                dy, bits, *packed, C, N, *division, self.gradient_scale, dx, scratch,
            ),
        )  # fmt: skip

    def conv3x3_relu_pool(
        self,
        x: Array,
        weights: Any,
        mode: Pooling,
        y: Array,
        bits: Array | None,
        choices: Array | None,
    ) -> None:
        C, N, packed, _, bias = weights
        self._convolve(
            Product(C, N, *x.shape[:2]),
            lambda division, scratch: self.launch(
                "conv3x3_relu_pool",
                x, *packed, bias, C, N, *division, mode, y, bits, choices, scratch,
            ),
        )  # fmt: skip

    def conv3x3_relu_pool_backward(
        self, dy: Array, bits: Array, mode: Pooling, choices: Array | None, weights: Any, dx: Array
    ) -> None:
        C, N, _, packed, _ = weights
        self._convolve(
            Product(N, C, *dx.shape[:2]),
            lambda division, scratch: self.launch(
                "conv3x3_relu_pool_backward",
                dy, bits, mode, choices, *packed, C, N, *division, self.gradient_scale, dx, scratch,
            ),
        )  # fmt: skip

    def pool2x2(self, x: Array, mode: Pooling, y: Array, choices: Array | None) -> None:
        self.launch("pool2x2", x, mode, y, choices)

    def pool2x2_backward(self, dy: Array, mode: Pooling, choices: Array | None, dx: Array) -> None:
        self.launch("pool2x2_backward", dy, mode, choices, dx)

    def wrap(self, x: Array, kind: Kind, y: Array) -> None:
        self.launch("wrap", _as_words(x, kind), _as_words(y, kind))

    # ---- the built-in filters ------------------------------------------------------------------

    def filter7x7_weights(self, weight: NDArray[np.float32], plane: NDArray[np.int32]) -> Any:
        rows = weight.reshape(len(weight), 49).astype(np.float32)
        return FilterBank(self._put(rows), self._put(plane.astype(np.int32)))

    def filter7x7(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        self.launch("filter7x7", x, *weights, y, bits)

    def filter7x7_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        scratch = self._grow("filter7x7_backward", 3, 2 * len(weights.plane), *dx.shape[1:])
        scale = self.gradient_scale
        self.launch("filter7x7_backward", dy, bits, *weights, scale, dx, scratch)

    def binomial_down(self, x: Array, y: Array) -> None:
        self.launch("binomial_down", x, y, False)

    def binomial_down_backward(self, dy: Array, dx: Array) -> None:
        self.launch("binomial_down_backward", dy, dx, False, 0.0, None)

    # ---- losses --------------------------------------------------------------------------------

    def gram(self, F: Array, G: Array, pixel_weights: Array | None = None) -> None:
        G.made_of = None
        scratch = self._partial_sums(F, G, pixel_weights)
        self.launch("gram", F, *_of_pixels(F, pixel_weights), self._products, G, scratch)

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
        H, W, N = F.shape
        sums = self._sums("content_loss", loss, N, H, W)
        factors = None if scale is None else scale.padded
        m, _ = _of_pixels(F, pixel_weights)
        self.launch(
            "content_loss",
            F, P, k, factors, m, self.gradient_scale, dF, _slot(loss), sums, self._end,
        )  # fmt: skip

    def style_ahead(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        pixel_weights: Array | None = None,
    ) -> None:
        if G.difference is None:
            G.difference = self.allocate(self.scratch_nbytes("style_loss", 0, len(G), 0, 0))
        scratch = self._partial_sums(F, G, pixel_weights)
        factors = None if scale is None else scale.values
        self.launch(
            "gram_difference",
            F, *_of_pixels(F, pixel_weights), A, k, factors, self._products, self.gradient_scale,
            G, scratch, G.difference,
        )  # fmt: skip
        G.made_of = A, k, scale, pixel_weights, self.gradient_scale

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
        m, total = _of_pixels(F, pixel_weights)
        difference, made_of, G.made_of = G.difference, G.made_of, None
        if made_of != (A, k, scale, pixel_weights, self.gradient_scale):
            difference = self._grow("style_loss", 0, len(G), 0, 0)
            factors = None if scale is None else scale.values
            self.launch(
                "style_difference",
                F, G, A, k, factors, total, self._products, self.gradient_scale, difference,
            )  # fmt: skip
        self.launch(
            "style_loss",
            F, difference, len(G), k, m, self._products, self.gradient_scale, dF, _slot(loss),
        )  # fmt: skip

    def total_variation(
        self, x: Array, k: float, dx: Array, loss: Array, circular: bool = False
    ) -> None:
        sums = self._sums("total_variation", loss, *x.shape)
        self.launch("total_variation", x, k, circular, dx, _slot(loss), sums, self._end)

    # ---- inside --------------------------------------------------------------------------------

    def _scaled(self, report: Report, captured: bool, walk: Walk) -> None:
        """Do the walk, with gradients multiplied by the scale that the device has found if need be.

        The convolutions of a walk are done again and again, so that it pays to measure them. A walk
        that is not captured may read a loss before it ends, so that its ops leave no sums open.
        """
        self._evaluating = bool(self.device.identity)
        self.gradient_scale = report.gradient_scale if self.narrow else None
        end = self._core.EvaluationEnd(self.gradient_scale)
        self._end = end if captured else None
        try:
            walk()
            self.launch("evaluation_end", end)
        finally:
            self.gradient_scale, self._end, self._evaluating = None, None, False
            self._tuning.keep()

    def _convolve(
        self, product: Product, launch: Callable[[tuple[str, int, bool], DeviceArray], None]
    ) -> None:
        """Launch a convolution with its division among blocks, and scratch for partial sums."""

        def run(division: Division) -> None:
            scratch = self._at_least(self._sums_nbytes(product, division))
            launch(self._clustered(division), scratch)

        def measured(division: Division) -> None:
            scale, self.gradient_scale = self.gradient_scale, None  # which must not see these
            try:
                run(division)
            finally:
                self.gradient_scale = scale

        if self._evaluating:
            run(self._tuning.division(product, measured))
        else:
            run(self.divisions.usual(product))

    def _sums_nbytes(self, product: Product, division: Division) -> int:
        return int(self._core.conv3x3_scratch(*product, *self._clustered(division)))

    def _clustered(self, division: Division) -> tuple[str, int, bool]:
        """What the core is told: the division, and whether a cluster of blocks adds its parts."""
        return *division, division.parts <= self.device.most_clustered

    def _sums(self, op: str, loss: Array, N: int, H: int, W: int) -> DeviceArray:
        """Memory for the sums of a loss's blocks; in an evaluation they are added up at its end."""
        if self._end is None:
            return self._grow(op, N, N, H, W)
        return cast(Report, loss.owner).sums_of(loss, self.scratch_nbytes(op, N, N, H, W))

    def _partial_sums(self, F: Array, G: Array, pixel_weights: Array | None) -> DeviceArray:
        """Scratch memory for a Gram matrix."""
        op = "gram" if pixel_weights is None else "gram_weighted"
        return self._grow(op, len(G), len(G), *F.shape[:2])

    def _grow(self, op: str, C: int, N: int, H: int, W: int) -> DeviceArray:
        """Return the scratch memory, made larger if `op` needs more."""
        return self._at_least(self.scratch_nbytes(op, C, N, H, W))

    def _at_least(self, needed: int) -> DeviceArray:
        if needed > self.scratch.nbytes:
            self.scratch = self.device.allocate(1)  # let go of the old one first
            self.scratch = self.device.allocate(needed)
        return self.scratch

    def _layout(self, kind: Kind, shape: Shape) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Type and shape in memory of an array of logical shape (C, H, W)."""
        C, H, W = shape
        if kind == "image":
            return np.dtype(np.float32), shape
        if kind == "features":
            return self._real, (H, W, padded(C))
        return np.dtype(np.uint8 if kind == "bits" else np.uint16), (H, W, padded(C) // EIGHT)

    def _pack(self, weights: NDArray[np.float32]) -> Packed:
        """Weights (9, outputs, inputs) as the kernels take them: padded, and split if need be."""
        filled = np.moveaxis(in_eights(np.moveaxis(weights, 1, 2), np.float32), 1, 2)
        filled = in_eights(filled, np.float32)
        if not self._split:
            return Packed(self._put(filled.astype(self._real)), None)
        high = filled.astype(np.float16)
        low = ((filled - high.astype(np.float32)) * _SPLIT).astype(np.float16)
        return Packed(self._put(high), self._put(low))

    def empty(self, dtype: Any, shape: tuple[int, ...]) -> DeviceArray:
        """Memory of the device for an array."""
        block = self.device.allocate(prod(shape) * np.dtype(dtype).itemsize)
        return DeviceArray(block.owner, block.pointer, dtype, shape)

    def _put(self, values: NDArray[Any]) -> DeviceArray:
        """A NumPy array on the device, as it is."""
        array = self.empty(values.dtype, values.shape)
        self.device.copy_in(np.ascontiguousarray(values), array)
        return array

    def _fetch(self, array: DeviceArray) -> NDArray[Any]:
        """An array of the device as it lies there."""
        values = np.empty(array.shape, array.dtype)
        self.device.copy_out(array, values)
        return values


def _of_pixels(
    features: DeviceArray, pixel_weights: PixelWeights | None
) -> tuple[DeviceArray | None, float]:
    """Factors of the pixels, None for ones, and their sum."""
    if pixel_weights is None:
        return None, float(features.shape[0] * features.shape[1])
    return pixel_weights


def _as_words(array: DeviceArray, kind: Kind) -> DeviceArray:
    """The array as planes of pixels of 4-byte words, (planes, H, W, words); or of bytes."""
    planes, H, W, values = (*array.shape, 1) if kind == "image" else (1, *array.shape)
    nbytes = values * array.dtype.itemsize
    dtype = np.dtype(np.uint8 if nbytes % 4 else np.uint32)
    shape = planes, H, W, nbytes // dtype.itemsize
    return DeviceArray(array.owner, array.pointer, dtype, shape)


def _slot(loss: DeviceArray) -> DeviceArray:
    """The slot that a loss op will write to; what came from it before is out of date."""
    cast(Report, loss.owner).arrived = False
    return loss
