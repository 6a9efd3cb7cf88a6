"""The vectors of L-BFGS where a compiled core computes: `vectors.Vectors` in float32, by its ops.

On a GPU nothing of the size of the image comes to the host but for a checkpoint, a preview or the
end. An evaluation is one recorded walk and a few kernels, and one copy of about 60 numbers that
tells the losses and all scalar products; the host does no more than decide. On the CPU the ops run
on all threads.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.backends.device import DeviceImages, Memory
from pynst.backends.host import HostMemory
from pynst.losses.terms import InPlace
from pynst.optimizers.descent import Descent, Image, State
from pynst.optimizers.kept_vectors import HalfVectors
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.pyramid import Pyramid
from pynst.optimizers.vectors import PULL, Point, Vector, overwrite_pairs, state_of_pairs

__all__ = ["DeviceVectors", "sums_of"]

_OWN = 4  # b.b, g.d, g.h, h.h: see csrc/cpu/lbfgs_arrive.cpp


def sums_of(rows: int) -> int:
    """How many numbers an evaluation tells of the pairs, besides the losses."""
    return _OWN + 2 * 2 * rows


class DeviceVectors:
    """`Vectors` in the memory of a core: each an image (H, W, 3) in float32, sums in float64.

    Parameters
    ----------
    place : InPlace
        The loss, with image and gradient on the device.
    rows : int
        Rows for steps s, and as many for changes z of the preconditioned gradient.
    pyramid : float, optional
        M is that of a `Pyramid` with this factor of the finest variables; the identity by default.
    half : bool
        Whether the kept vectors are in half precision, which the host alone has.
    """

    def __init__(
        self, place: InPlace, rows: int, *, pyramid: float | None = None, half: bool = False
    ) -> None:
        self._place = place
        images = place.images
        self._device, self._launch = images.device, images.launch
        self._shape = place.shape
        self._n = math.prod(self._shape)
        self._image, self._gradient = images.image, images.gradient
        # Where memory matters so much that the vectors serve as images, images are as narrow.
        self._dtype: type = np.float64 if images.image is not None else np.float32
        self._rows = rows
        # The gradient of the loss is not needed any more when the pyramid begins.
        scratch = images.gradient
        self._pyramid = (
            None if pyramid is None else Pyramid(CoreOps(images), self._shape, pyramid, scratch)
        )
        self.pairs: Any = _no_pairs(self._device, 2 * rows, self._n, half=half)
        self._kept = self.pairs.arrays if half else self.pairs  # as the core takes them
        core = self._device.core
        self._scratch = self._device.allocate(core.lbfgs_arrive_scratch(rows, self._n))

    def upload(self, image: Image) -> Vector:
        """A vector from an image (H, W, 3)."""
        values = np.ascontiguousarray(image, np.float32)
        if isinstance(self._device, HostMemory):
            return values  # no vector is ever written to again, so this one may be the image's
        vector = self._device.empty(self._shape)
        self._device.copy_in(values, vector)
        return vector

    def download(self, vector: Vector) -> Image:
        """An image (H, W, 3) from a vector."""
        return _image(self._device, vector, self._dtype)

    def upload_pairs(self, state: State) -> None:
        """Overwrite the kept vectors."""
        if isinstance(self.pairs, HalfVectors):
            overwrite_pairs(self.pairs, state)
        else:
            self._device.copy_in(np.ascontiguousarray(state["pairs"], np.float32), self.pairs)

    def download_pairs(self) -> State:
        """The kept vectors; those of the host are not copied."""
        if isinstance(self.pairs, HalfVectors | np.ndarray):
            return state_of_pairs(self.pairs)
        return {"pairs": _fetch(self._device, self.pairs)}

    def precondition(self, g: Vector) -> Vector:
        """M g."""
        if self._pyramid is None:
            return g
        h = self._device.empty(self._shape)
        self._pyramid(g, h)
        return h

    def start(self, descent: Descent, x: Vector) -> Point:
        """Evaluate at the first point."""
        nothing = self._device.empty(self._shape)
        self._device.zero(nothing)
        none = np.zeros(2 * self._rows)
        start = Point(x, nothing, nothing, 0.0, 0.0, 0.0, 0.0, none, none)
        return self.evaluate(descent, start, nothing, 0.0, 0)

    def direction(self, pairs: Pairs, here: Point) -> tuple[Vector, float]:
        """-H g at a point, as `Pairs.direction` has it, and its product with g."""
        # The core does the recursion, too: in NumPy it takes longer than the kernel of a GPU.
        coefficients, slope = self._device.core.lbfgs_coefficients(
            pairs.products, pairs.order, here.with_g, here.g_h
        )
        d = self._device.empty(self._shape)
        self._launch("lbfgs_direction", self._kept, coefficients, here.h, d)
        return d, slope

    def evaluate(self, descent: Descent, origin: Point, d: Vector, t: float, spare: int) -> Point:
        """Evaluate at x + t d; the pair of this step is written into the row `spare`."""
        descent.check()
        history = descent.history
        # The start lies in [0, 1], so that no penalty is missed at the first evaluation.
        pull = PULL * history[0].total / self._n if history else 0.0
        x, g = self._device.empty(self._shape), self._device.empty(self._shape)
        # Where the loss is evaluated at the vectors themselves, g holds what nobody reads, and then
        # the gradient of the loss, before it becomes g.
        seen = g if self._image is None else self._image
        gradient = g if self._gradient is None else self._gradient
        self._launch("lbfgs_step", origin.x, d, t, x, seen)
        h = g

        def arrive() -> None:
            nonlocal h
            self._launch("lbfgs_gradient", x, gradient, pull, g)
            h = self.precondition(g)
            self._launch(
                "lbfgs_arrive",
                origin.x, origin.g, origin.h, d, x, g, h, self._kept, spare,
                self._place.sums, self._scratch,
            )  # fmt: skip

        terms, sums = self._place.evaluate(x, g, arrive)
        penalty, slope, g_h, h_h = sums[:_OWN].tolist()
        with_g, with_y = sums[_OWN : -2 * self._rows], sums[-2 * self._rows :]
        finite = math.isfinite(terms.total) and math.isfinite(h_h)
        # Not a method: whoever keeps a preview must not keep all pairs with it.
        descent.note(terms, finite, partial(_seen, self._device, x, self._dtype))
        value = terms.total + pull * penalty
        return Point(x, g, h, value, slope, g_h, h_h, with_g, with_y)


class CoreOps:
    """`PyramidOps` by a core's own ops.

    It is no part of `DeviceVectors`, which would then refer to itself: the memory of a level would
    stay until Python's cycle collector runs.
    """

    def __init__(self, images: DeviceImages) -> None:
        self.empty, self._launch = images.device.empty, images.launch
        self.repeated = images.device.repeated

    def destripe(self, x: Vector, y: Vector) -> None:
        """Set y to D x."""
        self._launch("destripe", x, y)

    def down(self, x: Vector, y: Vector) -> None:
        """Set y to B x."""
        self._launch("binomial_down", x, y, True)

    def up(self, dy: Vector, keep: float, x: Vector, dx: Vector) -> None:
        """Set dx, which may be x, to keep x + B^T dy."""
        self._launch("binomial_down_backward", dy, dx, True, keep, x)


def _no_pairs(device: Memory, rows: int, n: int, *, half: bool) -> Any:
    """Kept vectors that are zeros.

    On the host the system gives zeros for nothing, and each page where the thread runs that writes
    to it first.
    """
    if half:
        return HalfVectors(rows, n)
    if isinstance(device, HostMemory):
        return np.zeros((rows, n), np.float32)
    pairs = device.empty((rows, n))
    device.zero(pairs)
    return pairs


def _fetch(device: Memory, array: Vector) -> NDArray[np.float32]:
    """The numbers of a vector; those of the host where they lie, since no vector ever changes."""
    if isinstance(array, np.ndarray):
        return array
    values = np.empty(array.shape, np.float32)
    device.copy_out(array, values)
    return values


def _image(device: Memory, vector: Vector, dtype: type) -> Image:
    return _fetch(device, vector).astype(dtype, copy=False)


def _seen(device: Memory, vector: Vector, dtype: type) -> Image:
    """The image that the objective saw where the optimiser stood."""
    return np.clip(_image(device, vector, dtype), 0, 1)
