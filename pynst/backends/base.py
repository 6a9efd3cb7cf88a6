"""The contract between the networks and a backend: memory of a plan, and about twenty ops over it.

Notation, as in the README: F, P are feature maps of N channels x M pixels, G, A Gram matrices (N,
N), d in front of a name is the gradient of the total loss with respect to it. Shapes below are
logical: (C, H, W), no batch axis. How a backend lays an array out in memory, and in which
precision, is its own business; `upload` and `download` convert.

Rules that every op keeps:

* all arrays are given by the caller, outputs last; an op allocates nothing that outlives the call;
* an output is overwritten, except where "added to" is written below;
* no output may overlap an input;
* equal inputs give equal bits, for any number of threads;
* any size from 1 x 1 up is right, not only multiples of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.backends.device import DeviceImages
from pynst.options.keywords import Padding, Pooling, Precision

__all__ = [
    "AddLoss",
    "Array",
    "Backend",
    "EagerEvaluation",
    "Evaluation",
    "Kind",
    "OpSize",
    "Padding",
    "Pooling",
    "Precision",
    "ReadFeatures",
    "Shape",
]

Array: TypeAlias = Any
"""A backend's own array: a NumPy array on the CPU, a `DeviceArray` on CUDA."""

AddLoss: TypeAlias = Callable[[str, Array, Array], None]
"""(layer, F, dF): called by a network's walk back at a layer; adds the losses' gradient to dF."""

ReadFeatures: TypeAlias = Callable[[str, Array], None]
"""(layer, F): called by a network's walk forward as soon as the features of a layer are there."""

Walk: TypeAlias = Callable[[], None]
"""The ops of one evaluation, forward, backward and losses, in order."""

Shape: TypeAlias = tuple[int, int, int]
"""Logical shape (C, H, W)."""

Kind: TypeAlias = Literal["image", "features", "bits", "choices"]
"""What a piece of memory holds.

``image``
    (3, H, W) real numbers: the network's input, or the gradient with respect to it.
``features``
    (C, H, W) real numbers: feature maps, or the gradient with respect to them.
``bits``
    (C, H, W) one bit each: did this ReLU let its input through (output > 0)?
``choices``
    (C, H, W) of the pooled size, two bits each: which of the 2 x 2 inputs was the maximum
    (0 top left, 1 top right, 2 bottom left, 3 bottom right; the first of equals).
"""


class OpSize(NamedTuple):
    """One call of an op: its name, and the sizes by which `Backend.scratch_nbytes` asks."""

    op: str
    C: int
    N: int
    H: int
    W: int


class Evaluation(Protocol):
    """Does the evaluations of one loss; see `Backend.repeated`."""

    gradient_scale: float
    """The power of two by which the feature gradients of the next evaluation are multiplied while
    they are stored (the loss scale of mixed precision), chosen from the gradients of the earlier
    ones. With the same scale, equal images give equal bits."""

    def __call__(self, walk: Walk, after: Walk | None = None) -> None:
        """Do the walk, then what `after` does, which may be another thing each time."""


class EagerEvaluation:
    """An `Evaluation` that does what it is given, every time anew."""

    gradient_scale = 1.0

    def __call__(self, walk: Walk, after: Walk | None = None) -> None:
        """Do the walk, then what `after` does."""
        walk()
        if after is not None:
            after()


class Backend(Protocol):
    """Memory and ops of one kind of processor."""

    name: str
    """For people: ``"cpu (avx512, 2 threads)"``, ``"cuda (NVIDIA H200, fast)"``."""

    narrow: bool
    """Whether features have to stay near one, as in 16-bit numbers, which end at 65504."""

    @property
    def tuned(self) -> Mapping[str, str]:
        """What was chosen by measurement on this device; empty where nothing is measured.

        A record keeps it, since bits depend on it.
        """

    def choose_as(self, tuned: Mapping[str, str], *, measure: bool) -> None:
        """Choose as the record of an earlier run says, and measure the rest or leave it as usual.

        Raises
        ------
        ValueError
            The record names a choice that there is not.
        """

    # ---- memory ------------------------------------------------------------------------------

    def nbytes(self, kind: Kind, shape: Shape) -> int:
        """Bytes that an array of this kind and shape takes."""

    def scratch_nbytes(self, op: str, C: int, N: int, H: int, W: int) -> int:
        """Bytes of scratch that `op` needs for C input and N output channels; 0 if none.

        The backend holds one scratch buffer, as large as the largest op so far has needed.
        """

    def allocate(self, nbytes: int) -> Array:
        """One block of uninitialised memory, of which `view` cuts arrays."""

    def view(self, block: Array, offset: int, kind: Kind, shape: Shape) -> Array:
        """The array of this kind and shape at `offset` bytes (a multiple of 256) into `block`."""

    def shape_of(self, array: Array, kind: Kind) -> Shape:
        """Logical shape (C, H, W) of an array; C with the channels that the layout adds, if any."""

    def free_memory(self) -> int | None:
        """Bytes that are free on the device; None where arrays lie in the memory of the host."""

    def upload(self, values: NDArray[Any], kind: Kind, out: Array) -> None:
        """Copy a logical NumPy array into `out` (bits: bool; choices: uint8; else floating)."""

    def download(self, array: Array, kind: Kind, shape: Shape) -> NDArray[Any]:
        """Copy to a logical NumPy array (float32 or wider; bits: bool; choices: uint8)."""

    def empty_gram(self, N: int) -> Array:
        """Memory for one Gram matrix (N, N), float64 or as wide as the backend's Gram is."""

    def upload_gram(self, values: NDArray[np.float64]) -> Array:
        """A Gram matrix (N, N) from NumPy."""

    def download_gram(self, G: Array) -> NDArray[np.float64]:
        """A Gram matrix (N, N) to NumPy."""

    def upload_scale(self, scale: NDArray[np.float64]) -> Array:
        """A vector (N,) of per-channel factors for the losses."""

    def upload_pixel_weights(self, m: NDArray[np.float64]) -> Array:
        """One factor m (H, W) for each pixel of a layer, at least 0 and not 0 everywhere."""

    def empty_losses(self, count: int) -> Array:
        """`count` float64 scalars; ``losses[i : i + 1]`` is the slot that a loss op writes to."""

    def download_losses(self, losses: Array) -> NDArray[np.float64]:
        """All loss scalars to NumPy: on a GPU the one synchronisation of an evaluation."""

    def zero(self, array: Array) -> None:
        """Set an array to zero."""

    def repeated(self, losses: Array, *, captured: bool = True) -> Evaluation:
        """Return what does the evaluations that set `losses`: the same walk again and again.

        If it is `captured`, a backend may do the walk itself once and then replay what it saw, on
        the same arrays. It may do the walk again where a gradient was lost to the range of its
        numbers. The losses are there for `download_losses` when it returns.
        """

    def beside(self, work: Walk) -> Walk:
        """Return a function after whose call `work` is done.

        It may be done at any time until then, and beside what is asked for meanwhile: neither what
        it reads nor what it writes may be touched before. Without a device to share out, the
        function is `work` itself.
        """

    def device_images(self, shape: Shape) -> DeviceImages | None:
        """Memory for an image (H, W, 3) and its gradient where the core computes, float32.

        An optimiser computes with them there. None where there is no compiled core.
        """

    # ---- the image ---------------------------------------------------------------------------

    def image_input(
        self, image: Array, axes: NDArray[np.float64], mean: NDArray[np.float64], x: Array
    ) -> None:
        """Image (H, W, 3), sRGB in [0, 1], to a network's input x (3, H, W).

        x = axes (255 image - mean) for each pixel, with axes (3, 3) from colours to planes and mean
        (3,) in 0..255. The image is a C-contiguous NumPy array, float32 or float64, and computed
        with in float64; or it is float32 on the backend's device. Values outside [0, 1] are
        allowed.
        """

    def image_input_backward(self, dx: Array, axes: NDArray[np.float64], gradient: Array) -> None:
        """Gradient (H, W, 3) with respect to the image: 255 axes^T dx.

        A C-contiguous NumPy array, float64; or float32 on the backend's device.
        """

    # ---- VGG-19 --------------------------------------------------------------------------------

    def conv3x3_weights_nbytes(self, C: int, N: int) -> int:
        """Bytes of the packed weights of a convolution with C input and N output channels."""

    def conv3x3_weights(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Any:
        """Pack a convolution's weight (N, C, 3, 3) and bias (N,) once, for both directions.

        C = 3 packs for `image_conv3x3_relu`, any other C for `conv3x3_relu`.
        """

    def image_conv3x3_relu(
        self, x: Array, weights: Any, padding: Padding, y: Array, bits: Array | None
    ) -> None:
        """First layer, image (3, H, W) to y (N, H, W): y = max(0, w * x + b), stride 1.

        The border is padded with zeros, or with the edge pixels (``"replicate"``). `bits` may be
        None where no backward pass follows.
        """

    def image_conv3x3_relu_backward(
        self, dy: Array, bits: Array, weights: Any, padding: Padding, dx: Array
    ) -> None:
        """Gradient with respect to the image: dx = w^T * (dy where bits else 0)."""

    def conv3x3_relu(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        """Features x (C, H, W) to y (N, H, W): y = max(0, w * x + b), stride 1, zero padding.

        Each VGG convolution is followed by its ReLU, so they are one op; the network's weights are
        fixed, so no weight gradient exists.
        """

    def conv3x3_relu_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        """Gradient of `conv3x3_relu`: dx = w^T * (dy where bits else 0).

        The mask is the "zero where F <= 0" of Gatys et al. 2016, Eq. 2 and 6.
        """

    def conv3x3_relu_pool(
        self,
        x: Array,
        weights: Any,
        mode: Pooling,
        y: Array,
        bits: Array | None,
        choices: Array | None,
    ) -> None:
        """`conv3x3_relu`, then `pool2x2`: x (C, H, W) to y (N, H // 2, W // 2).

        The rectified response itself is never stored, only its `bits` (N, H, W) and the `choices`
        (N, H // 2, W // 2): it would be the largest array of all.
        """

    def conv3x3_relu_pool_backward(
        self, dy: Array, bits: Array, mode: Pooling, choices: Array | None, weights: Any, dx: Array
    ) -> None:
        """`pool2x2_backward`, then `conv3x3_relu_backward`: dy (N, h, w) to dx (C, H, W)."""

    def pool2x2(self, x: Array, mode: Pooling, y: Array, choices: Array | None) -> None:
        """Mean or maximum of 2 x 2: (C, H, W) to (C, H // 2, W // 2); an odd last row is dropped.

        `choices` is written for the maximum; it is None for the mean, or without a backward pass.
        """

    def pool2x2_backward(self, dy: Array, mode: Pooling, choices: Array | None, dx: Array) -> None:
        """Spread dy over the 2 x 2 inputs (mean: a quarter each; maximum: to the chosen one)."""

    def wrap(self, x: Array, kind: Kind, y: Array) -> None:
        """Copy x (C, H, W) to a y that is larger or smaller by one pixel on each side.

        A larger y has x in its middle, and around it the opposite borders of x, as if copies of x
        lay side by side; a smaller one is the middle of x. Images, features or bits.
        """

    # ---- the built-in filters ------------------------------------------------------------------

    def filter7x7_weights(self, weight: NDArray[np.float32], plane: NDArray[np.int32]) -> Any:
        """Pack K filters (K, 7, 7), filter f reading image plane ``plane[f]``, for both ways."""

    def filter7x7(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        """Image (3, H, W) to (2 K, H, W): y[2f], y[2f + 1] = max(0, z_f), max(0, -z_f); z = w * x.

        Cross-correlation, stride 1, mirrored border (the edge pixel is repeated); H, W >= 3.
        """

    def filter7x7_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        """*Add to* dx: w^T * (dy[2f] where bits[2f]) - w^T * (dy[2f + 1] where bits[2f + 1])."""

    def binomial_down(self, x: Array, y: Array) -> None:
        """Image (3, H, W) to half its size, rounded up: [1 3 3 1] / 8 along both axes, stride 2.

        Output pixel i is centred on input pixels 2 i and 2 i + 1. The border repeats the edge.
        """

    def binomial_down_backward(self, dy: Array, dx: Array) -> None:
        """The transpose of `binomial_down`."""

    # ---- losses --------------------------------------------------------------------------------

    # `pixel_weights` are factors m of the pixels, as `upload_pixel_weights` returns them; None is
    # the same to the bit as ones, and costs less.

    def gram(self, F: Array, G: Array, pixel_weights: Array | None = None) -> None:
        """G_ij = sum_p m_p F_ip F_jp / sum_p m_p over the pixels p, exactly symmetric.

        Eq. 3, divided by the number of pixels M; with m it is the guided Gram matrix of Gatys et
        al. 2017, "Controlling Perceptual Factors in Neural Style Transfer", with m = T^2. Here m
        lies in [0, 1].
        """

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
        """Set loss = k sum_ip m_p (s_i (F - P)_ip)^2; *add* its gradient to dF.

        The gradient is 2 k m_p s_i^2 (F - P)_ip. Eq. 1 and 2 with k = 1/2. `scale` is the vector s,
        or None for ones. The sum is float64.
        """

    def style_ahead(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        pixel_weights: Array | None = None,
    ) -> None:
        """Set G as `gram` does, and do what the next `style_loss` with these arguments needs of it.

        That needs no dF yet, so that it can be done early and beside other ops. G and the loss have
        the same bits as after `gram`.
        """

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
        """Set loss = k sum_ij (s_i s_j (G - A)_ij)^2; *add* its gradient to dF; G as from `gram`.

        The gradient is (4 k / sum_p m_p) m_p (D F)_ip with D_ij = s_i^2 s_j^2 (G - A)_ij: Eq. 4 and
        6 up to the constants, which the objective puts into k. The value is summed in float64.
        """

    def total_variation(
        self, x: Array, k: float, dx: Array, loss: Array, circular: bool = False
    ) -> None:
        """Set loss = k TV9(x); *add* its gradient to dx.

        TV9 = 2 (mean a^2 / 3 + mean b^2 / 3 + mean c^2 / 12 + mean d^2 / 12) over all planes and
        pixels of an image with its last row and column repeated once, where a, b are the
        differences to the right and to the lower neighbour and c, d those along the two diagonals
        of each 2 x 2 square. With `circular` the row and the column that are added are the first
        ones instead.
        """
