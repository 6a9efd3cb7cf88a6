"""The compiled CPU core: every function as csrc/cpu/bindings_*.cpp define it.

Arrays are C-contiguous. Features are float32 (blocks, H, W, 16), bits uint16 (blocks, H, W),
choices uint32 (blocks, H // 2, W // 2), input planes float32 (3, H, W), Grams and losses float64,
scratch uint8 of at least as many bytes as ``<op>_scratch`` returns. A wrong argument raises
ValueError.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]
_Bits = NDArray[np.uint16]
_Choices = NDArray[np.uint32]
_I32 = NDArray[np.int32]
_Bytes = NDArray[np.uint8]
_Pairs = _F32 | tuple[NDArray[np.int16], _F32]
_Pooling = Literal["average", "max"]
_Padding = Literal["zero", "replicate"]

lanes: int

class Threads:
    def __init__(self, count: int) -> None: ...
    @property
    def count(self) -> int: ...

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

def isa() -> str: ...
def isas() -> list[str]: ...
def image_input(threads: Threads, image: _F32 | _F64, axes: _F64, mean: _F64, x: _F32) -> None: ...
def image_input_backward(threads: Threads, dx: _F32, axes: _F64, gradient: _F64) -> None: ...
def conv3x3_pack(weight: _F32, packed: _F32) -> None: ...
def conv3x3_relu_scratch(threads: Threads, C: int, N: int, H: int, W: int) -> int: ...
def conv3x3_relu(
    threads: Threads,
    x: _F32,
    weights: _F32,
    bias: _F32,
    y: _F32,
    bits: _Bits | None,
    scratch: _Bytes,
) -> None: ...
def conv3x3_relu_backward(
    threads: Threads, dy: _F32, bits: _Bits, weights: _F32, dx: _F32, scratch: _Bytes
) -> None: ...
def conv3x3_relu_pool(
    threads: Threads,
    x: _F32,
    weights: _F32,
    bias: _F32,
    mode: _Pooling,
    y: _F32,
    bits: _Bits | None,
    choices: _Choices | None,
    scratch: _Bytes,
) -> None: ...
def conv3x3_relu_pool_backward(
    threads: Threads,
    dy: _F32,
    bits: _Bits,
    mode: _Pooling,
    choices: _Choices | None,
    weights: _F32,
    dx: _F32,
    scratch: _Bytes,
) -> None: ...
def image_conv3x3_pack(weight: _F32, packed: _F32) -> None: ...
def image_conv3x3_relu_scratch(threads: Threads, N: int, H: int, W: int) -> int: ...
def image_conv3x3_relu(
    threads: Threads,
    x: _F32,
    weights: _F32,
    bias: _F32,
    padding: _Padding,
    y: _F32,
    bits: _Bits | None,
    scratch: _Bytes,
) -> None: ...
def image_conv3x3_relu_backward(
    threads: Threads,
    dy: _F32,
    bits: _Bits,
    weights: _F32,
    padding: _Padding,
    dx: _F32,
    scratch: _Bytes,
) -> None: ...
def pool2x2(
    threads: Threads, x: _F32, mode: _Pooling, y: _F32, choices: _Choices | None
) -> None: ...
def pool2x2_backward(
    threads: Threads, dy: _F32, mode: _Pooling, choices: _Choices | None, dx: _F32
) -> None: ...
def filter7x7_pack(weight: _F32, plane: _I32, packed: _F32, planes: _I32) -> None: ...
def filter7x7_scratch(threads: Threads, N: int, H: int, W: int) -> int: ...
def filter7x7(
    threads: Threads,
    x: _F32,
    weights: _F32,
    planes: _I32,
    y: _F32,
    bits: _Bits | None,
    scratch: _Bytes,
) -> None: ...
def filter7x7_backward(
    threads: Threads, dy: _F32, bits: _Bits, weights: _F32, planes: _I32, dx: _F32, scratch: _Bytes
) -> None: ...
def binomial_down(threads: Threads, x: _F32, y: _F32, interleaved: bool = False) -> None: ...
def binomial_down_backward(
    threads: Threads,
    dy: _F32,
    dx: _F32,
    interleaved: bool = False,
    keep: float = 0.0,
    x: _F32 | None = None,
) -> None: ...
def gram_scratch(threads: Threads, N: int, M: int) -> int: ...
def gram(
    threads: Threads,
    F: _F32,
    pixel_weights: _F32 | None,
    total: float,
    G: _F64,
    scratch: _Bytes,
) -> None: ...
def content_loss_scratch(N: int, M: int) -> int: ...
def content_loss(
    threads: Threads,
    F: _F32,
    P: _F32,
    k: float,
    scale: _F32 | None,
    pixel_weights: _F32 | None,
    dF: _F32,
    loss: _F64,
    scratch: _Bytes,
) -> None: ...
def style_loss_scratch(threads: Threads, N: int, M: int) -> int: ...
def style_loss(
    threads: Threads,
    F: _F32,
    G: _F64,
    A: _F64,
    k: float,
    scale: _F64 | None,
    pixel_weights: _F32 | None,
    total: float,
    dF: _F32,
    loss: _F64,
    scratch: _Bytes,
) -> None: ...
def total_variation_scratch(H: int) -> int: ...
def total_variation(
    threads: Threads, x: _F32, k: float, dx: _F32, loss: _F64, scratch: _Bytes
) -> None: ...
def destripe(threads: Threads, x: _F32, y: _F32) -> None: ...
def lbfgs_coefficients(
    products: _F64, order: Sequence[int], with_g: _F64, g_h: float
) -> tuple[PairCoefficients, float]: ...
def lbfgs_direction(
    threads: Threads, pairs: _Pairs, coefficients: PairCoefficients, h: _F32, d: _F32
) -> None: ...
def lbfgs_step(threads: Threads, x: _F32, d: _F32, t: float, next: _F32, seen: _F32) -> None: ...
def lbfgs_gradient(
    threads: Threads, next: _F32, gradient: _F32, pull: float, next_g: _F32
) -> None: ...
def lbfgs_arrive_scratch(rows: int, n: int) -> int: ...
def lbfgs_arrive(
    threads: Threads,
    x: _F32,
    g: _F32,
    h: _F32,
    d: _F32,
    next: _F32,
    next_g: _F32,
    next_h: _F32,
    pairs: _Pairs,
    spare: int,
    sums: _F64,
    scratch: _Bytes,
) -> None: ...
