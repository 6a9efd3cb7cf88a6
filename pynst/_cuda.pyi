"""The compiled CUDA core: every function as csrc/cuda/bindings*.cpp define it.

An array is anything with ``__cuda_array_interface__``, C-contiguous, in the layout that
csrc/cuda/inner/common.cuh describes; ``None`` stands for a null pointer. Ops run on the stream
whose handle is given last. A wrong argument raises ValueError, what CUDA refuses raises CudaError.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_Array = Any
_Pooling = Literal["average", "max"]
_Padding = Literal["zero", "replicate"]
_Products = Literal["simt", "tensor"]
_ConvTile = Literal["large", "narrow", "flat", "split", "simt"]

architectures: str
lanes: int
split_scale: float
scratch_alignment: int
gradient_scale_bytes: int
most_pair_rows: int
conv3x3_tiles: dict[_ConvTile, tuple[int, int, int, int]]
"""Rows, output channels, warps and blocks on a multiprocessor."""
conv3x3_most_parts: int

class CudaError(RuntimeError): ...
class Described: ...

class EvaluationEnd:
    """What the last kernel of an evaluation has to do besides: see csrc/cuda/kernels.h."""

    def __init__(self, gradient_scale: _Array | None) -> None: ...

class PairCoefficients:
    """A direction as factors of some rows of the pairs, and of h."""

    def __init__(
        self, rows: Sequence[int], factors: Sequence[float], factor_of_h: float
    ) -> None: ...
    @property
    def rows(self) -> list[int]: ...
    @property
    def factors(self) -> list[float]: ...
    @property
    def factor_of_h(self) -> float: ...

def driver_version() -> int: ...
def runtime_version() -> int: ...
def device_count() -> int: ...
def device(index: int) -> dict[str, Any]: ...
def evaluation_end(end: EvaluationEnd, stream: int) -> None: ...
def conv3x3_most_clustered() -> int: ...
def conv3x3_scratch(
    C: int, N: int, H: int, W: int, tile: _ConvTile, parts: int, clustered: bool
) -> int: ...
def conv3x3_relu(
    x: _Array,
    weights: _Array,
    low: _Array | None,
    bias: _Array,
    C: int,
    N: int,
    tile: _ConvTile,
    parts: int,
    clustered: bool,
    y: _Array,
    bits: _Array | None,
    scratch: _Array,
    stream: int,
) -> None: ...
def conv3x3_relu_backward(
    dy: _Array,
    bits: _Array,
    weights: _Array,
    low: _Array | None,
    C: int,
    N: int,
    tile: _ConvTile,
    parts: int,
    clustered: bool,
    gradient_scale: _Array | None,
    dx: _Array,
    scratch: _Array,
    stream: int,
) -> None: ...
def conv3x3_relu_pool(
    x: _Array,
    weights: _Array,
    low: _Array | None,
    bias: _Array,
    C: int,
    N: int,
    tile: _ConvTile,
    parts: int,
    clustered: bool,
    mode: _Pooling,
    y: _Array,
    bits: _Array | None,
    choices: _Array | None,
    scratch: _Array,
    stream: int,
) -> None: ...
def conv3x3_relu_pool_backward(
    dy: _Array,
    bits: _Array,
    mode: _Pooling,
    choices: _Array | None,
    weights: _Array,
    low: _Array | None,
    C: int,
    N: int,
    tile: _ConvTile,
    parts: int,
    clustered: bool,
    gradient_scale: _Array | None,
    dx: _Array,
    scratch: _Array,
    stream: int,
) -> None: ...
def image_conv3x3_relu(
    x: _Array,
    weights: _Array,
    bias: _Array,
    N: int,
    padding: _Padding,
    y: _Array,
    bits: _Array | None,
    stream: int,
) -> None: ...
def image_conv3x3_relu_backward(
    dy: _Array,
    bits: _Array,
    weights: _Array,
    N: int,
    padding: _Padding,
    gradient_scale: _Array | None,
    dx: _Array,
    stream: int,
) -> None: ...
def pool2x2(x: _Array, mode: _Pooling, y: _Array, choices: _Array | None, stream: int) -> None: ...
def pool2x2_backward(
    dy: _Array, mode: _Pooling, choices: _Array | None, dx: _Array, stream: int
) -> None: ...
def wrap(x: _Array, y: _Array, stream: int) -> None: ...
def filter7x7_scratch(K: int, H: int, W: int) -> int: ...
def filter7x7(
    x: _Array, weights: _Array, plane: _Array, y: _Array, bits: _Array | None, stream: int
) -> None: ...
def filter7x7_backward(
    dy: _Array,
    bits: _Array,
    weights: _Array,
    plane: _Array,
    gradient_scale: _Array | None,
    dx: _Array,
    scratch: _Array,
    stream: int,
) -> None: ...
def binomial_down(x: _Array, y: _Array, interleaved: bool, stream: int) -> None: ...
def binomial_down_backward(
    dy: _Array, dx: _Array, interleaved: bool, keep: float, x: _Array | None, stream: int
) -> None: ...
def gram_scratch(N: int, M: int) -> int: ...
def gram_weighted_scratch(N: int, M: int) -> int: ...
def gram(
    F: _Array,
    pixel_weights: _Array | None,
    total: float,
    products: _Products,
    G: _Array,
    scratch: _Array,
    stream: int,
) -> None: ...
def content_loss_scratch(N: int, M: int) -> int: ...
def content_loss(
    F: _Array,
    P: _Array,
    k: float,
    scale: _Array | None,
    pixel_weights: _Array | None,
    gradient_scale: _Array | None,
    dF: _Array,
    loss: _Array,
    scratch: _Array,
    end: EvaluationEnd | None,
    stream: int,
) -> None: ...
def style_difference_scratch(N: int) -> int: ...
def style_difference(
    F: _Array,
    G: _Array,
    A: _Array,
    k: float,
    scale: _Array | None,
    total: float,
    products: _Products,
    gradient_scale: _Array | None,
    difference: _Array,
    stream: int,
) -> None: ...
def gram_difference(
    F: _Array,
    pixel_weights: _Array | None,
    total: float,
    A: _Array,
    k: float,
    scale: _Array | None,
    products: _Products,
    gradient_scale: _Array | None,
    G: _Array,
    scratch: _Array,
    difference: _Array,
    stream: int,
) -> None: ...
def style_loss(
    F: _Array,
    difference: _Array,
    N: int,
    k: float,
    pixel_weights: _Array | None,
    products: _Products,
    gradient_scale: _Array | None,
    dF: _Array,
    loss: _Array,
    stream: int,
) -> None: ...
def total_variation_scratch(H: int, W: int) -> int: ...
def total_variation(
    x: _Array,
    k: float,
    circular: bool,
    dx: _Array,
    loss: _Array,
    scratch: _Array,
    end: EvaluationEnd | None,
    stream: int,
) -> None: ...
def image_input(
    image: _Array, axes: Sequence[float], mean: Sequence[float], x: _Array, stream: int
) -> None: ...
def image_input_backward(
    dx: _Array, axes: Sequence[float], gradient: _Array, end: EvaluationEnd | None, stream: int
) -> None: ...
def destripe(x: _Array, y: _Array, stream: int) -> None: ...
def lbfgs_coefficients(
    products: NDArray[np.float64], order: Sequence[int], with_g: NDArray[np.float64], g_h: float
) -> tuple[PairCoefficients, float]: ...
def lbfgs_direction(
    pairs: _Array, coefficients: PairCoefficients, h: _Array, d: _Array, stream: int
) -> None: ...
def lbfgs_step(x: _Array, d: _Array, t: float, next: _Array, seen: _Array, stream: int) -> None: ...
def lbfgs_gradient(
    next: _Array, gradient: _Array, pull: float, next_g: _Array, stream: int
) -> None: ...
def lbfgs_arrive_sums(rows: int) -> int: ...
def lbfgs_arrive_scratch(rows: int, n: int) -> int: ...
def lbfgs_arrive(
    x: _Array,
    g: _Array,
    h: _Array,
    d: _Array,
    next: _Array,
    next_g: _Array,
    next_h: _Array,
    pairs: _Array,
    spare: int,
    sums: _Array,
    scratch: _Array,
    stream: int,
) -> None: ...
