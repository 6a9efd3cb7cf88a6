"""The vectors of L-BFGS where a compiled core computes: `vectors.Vectors` in float32, by its ops.

On a GPU nothing of the size of the image comes to the host but for a checkpoint, a preview or the
end. An evaluation is one recorded walk and a few kernels, and one copy of about 60 numbers that
tells the losses and all scalar products; the host does no more than decide. On the CPU the ops run
on all threads.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pynst.backends.device import DeviceImages, Memory
from pynst.losses.terms import InPlace
from pynst.optimizers.descent import Descent, Image
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.pyramid import Pyramid
from pynst.optimizers.vectors import PULL, Point, Vector

__all__ = ["DeviceVectors", "sums_of"]

_OWN = 4  # b.b, g.d, g.h, h.h: see csrc/cpu/lbfgs_arrive.cpp


def sums_of(rows: int) -> int:
    """How many numbers an evaluation tells of the pairs, besides the losses."""
    return _OWN + 2 * 2 * rows


class DeviceVectors:
    """`Vectors` in the memory of a core: each of n float32 values, sums in float64.

    Parameters
    ----------
    place : InPlace
        The loss, with image and gradient on the device.
    rows : int
        Rows for steps s, and as many for changes z of the preconditioned gradient.
    pyramid : bool
        Whether M is that of a `Pyramid`, instead of the identity.
    """

    def __init__(self, place: InPlace, rows: int, *, pyramid: bool = False) -> None:
        self._place = place
        images = place.images
        self._device, self._launch = images.device, images.launch
        self._shape = images.image.shape
        self._n = math.prod(self._shape)
        self._image, self._gradient = (
            each.reshape(self._n) for each in (images.image, images.gradient)
        )
        self._rows = rows
        # The gradient of the loss is not needed any more when the pyramid begins.
        scratch = images.gradient
        self._pyramid = Pyramid(CoreOps(images), self._shape, scratch) if pyramid else None
        self.pairs = self._device.empty((2 * rows, self._n))
        self._device.zero(self.pairs)
        core = self._device.core
        self._scratch = self._device.allocate(core.lbfgs_arrive_scratch(rows, self._n))

    def upload(self, image: Image) -> Vector:
        """A vector from an image (H, W, 3)."""
        vector = self._device.empty((self._n,))
        self._device.copy_in(np.ascontiguousarray(image, np.float32).reshape(-1), vector)
        return vector

    def download(self, vector: Vector) -> Image:
        """An image (H, W, 3) from a vector."""
        return _image(self._device, vector, self._shape)

    def upload_pairs(self, pairs: NDArray[np.float32]) -> None:
        """Overwrite the kept vectors."""
        self._device.copy_in(np.ascontiguousarray(pairs, np.float32), self.pairs)

    def download_pairs(self) -> NDArray[np.float32]:
        """The kept vectors."""
        return _fetch(self._device, self.pairs)

    def precondition(self, g: Vector) -> Vector:
        """M g."""
        if self._pyramid is None:
            return g
        h = self._device.empty((self._n,))
        self._pyramid(g.reshape(self._shape), h.reshape(self._shape))
        return h

    def start(self, descent: Descent, x: Vector) -> Point:
        """Evaluate at the first point."""
        nothing = self._device.empty((self._n,))
        self._device.zero(nothing)
        none = np.zeros(2 * self._rows)
        start = Point(x, nothing, nothing, 0.0, 0.0, 0.0, 0.0, none, none)
        return self.evaluate(descent, start, nothing, 0.0, 0)

    def direction(self, pairs: Pairs, here: Point) -> tuple[Vector, float]:
        """-H g at a point, as `Pairs.direction` has it, and its product with g."""
        # The core does the recursion, too: in NumPy it takes longer than the kernel of a GPU.
        rows, factors, c_h, slope = self._device.core.lbfgs_coefficients(
            pairs.products, pairs.order, here.with_g, here.g_h
        )
        d = self._device.empty((self._n,))
        self._launch("lbfgs_direction", self.pairs, rows, factors, c_h, here.h, d)
        return d, slope

    def evaluate(self, descent: Descent, origin: Point, d: Vector, t: float, spare: int) -> Point:
        """Evaluate at x + t d; the pair of this step is written into the row `spare`."""
        descent.check()
        history = descent.history
        # The start lies in [0, 1], so that no penalty is missed at the first evaluation.
        pull = PULL * history[0].total / self._n if history else 0.0
        x, g = self._device.empty((self._n,)), self._device.empty((self._n,))
        self._launch("lbfgs_step", origin.x, d, t, x, self._image)
        h = g

        def arrive() -> None:
            nonlocal h
            self._launch("lbfgs_gradient", x, self._gradient, pull, g)
            h = self.precondition(g)
            self._launch(
                "lbfgs_arrive",
                origin.x, origin.g, origin.h, d, x, g, h, self.pairs, spare,
                self._place.sums, self._scratch,
            )  # fmt: skip

        terms, sums = self._place.evaluate(arrive)
        penalty, slope, g_h, h_h = sums[:_OWN].tolist()
        with_g, with_y = sums[_OWN:].reshape(2, -1)
        finite = math.isfinite(terms.total) and math.isfinite(h_h)
        # Not a method: whoever keeps a preview must not keep all pairs with it.
        descent.note(terms, finite, partial(_seen, self._device, x, self._shape))
        value = terms.total + pull * penalty
        return Point(x, g, h, value, slope, g_h, h_h, with_g, with_y)


class CoreOps:
    """`PyramidOps` by a core's own ops.

    It is no part of `DeviceVectors`, which would then refer to itself: the memory of a level would
    stay until Python's cycle collector runs.
    """

    def __init__(self, images: DeviceImages) -> None:
        self.empty, self._launch = images.device.empty, images.launch

    def destripe(self, x: Vector, y: Vector) -> None:
        """Set y to D x."""
        self._launch("destripe", x, y)

    def down(self, x: Vector, y: Vector) -> None:
        """Set y to B x."""
        self._launch("binomial_down", x, y, True)

    def up(self, dy: Vector, keep: float, x: Vector, dx: Vector) -> None:
        """Set dx, which may be x, to keep x + B^T dy."""
        self._launch("binomial_down_backward", dy, dx, True, keep, x)


def _fetch(device: Memory, array: Vector) -> NDArray[np.float32]:
    values = np.empty(array.shape, np.float32)
    device.copy_out(array, values)
    device.synchronize()
    return values


def _image(device: Memory, vector: Vector, shape: tuple[int, ...]) -> Image:
    return _fetch(device, vector).astype(np.float64).reshape(shape)


def _seen(device: Memory, vector: Vector, shape: tuple[int, ...]) -> Image:
    """The image that the objective saw where the optimiser stood."""
    return np.clip(_image(device, vector, shape), 0, 1)
