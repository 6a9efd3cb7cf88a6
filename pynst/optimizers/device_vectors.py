"""The vectors of L-BFGS on a GPU: `vectors.Vectors` in float32, with PyNST's own kernels.

Nothing of the size of the image comes to the host but for a checkpoint, a preview or the end. An
evaluation is one recorded walk and four kernels, and one copy of about 80 numbers that tells the
losses and all scalar products; the host does no more than decide.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pynst.backends.device import Device, DeviceArray
from pynst.losses.terms import InPlace
from pynst.optimizers.descent import Descent, Image
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.vectors import PULL, Point, Vector

__all__ = ["DeviceVectors", "sums_of"]

_FLOAT32 = np.dtype(np.float32)
_OWN = 3  # b.b, g.d, g.g: see csrc/cuda/lbfgs_arrive.cu


def sums_of(rows: int) -> int:
    """How many numbers an evaluation tells of the pairs, besides the losses."""
    return _OWN + 3 * 2 * rows


class DeviceVectors:
    """`Vectors` in the memory of a device: each of n float32 values, sums in float64.

    Parameters
    ----------
    place : InPlace
        The loss, with image and gradient on the device.
    rows : int
        Rows for steps s, and as many for changes of the gradient y.
    """

    def __init__(self, place: InPlace, rows: int) -> None:
        self._place = place
        images = place.images
        self._device, self._launch = images.device, images.launch
        self._shape = images.image.shape
        self._n = math.prod(self._shape)
        self._image, self._gradient = _flat(images.image), _flat(images.gradient)
        self._rows = rows
        self.pairs = self._empty((2 * rows, self._n))
        self._device.zero(self.pairs)
        core = self._device.core
        self._scratch = self._device.allocate(core.lbfgs_arrive_scratch(rows, self._n))

    def upload(self, image: Image) -> Vector:
        """A vector from an image (H, W, 3)."""
        vector = self._empty((self._n,))
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

    def start(self, descent: Descent, x: Vector) -> Point:
        """Evaluate at the first point."""
        nothing = self._empty((self._n,))
        self._device.zero(nothing)
        none = np.zeros(2 * self._rows)
        start = Point(x, nothing, 0.0, 0.0, 0.0, none, none, none)
        return self.evaluate(descent, start, nothing, 0.0, 0)

    def direction(self, pairs: Pairs, here: Point) -> tuple[Vector, float]:
        """-H g at a point, as `Pairs.direction` has it, and its product with g."""
        # The core does the recursion, too: in NumPy it takes longer than the kernel.
        rows, factors, c_g, slope = self._device.core.lbfgs_coefficients(
            pairs.products, pairs.order, here.with_g, here.g_g
        )
        d = self._empty((self._n,))
        self._launch("lbfgs_direction", self.pairs, rows, factors, c_g, here.g, d)
        return d, slope

    def evaluate(self, descent: Descent, origin: Point, d: Vector, t: float, spare: int) -> Point:
        """Evaluate at x + t d; the pair of this step is written into the row `spare`."""
        descent.check()
        history = descent.history
        # The start lies in [0, 1], so that no penalty is missed at the first evaluation.
        pull = PULL * history[0].total / self._n if history else 0.0
        x, g = self._empty((self._n,)), self._empty((self._n,))
        self._launch("lbfgs_step", origin.x, d, t, x, self._image)

        def arrive() -> None:
            self._launch(
                "lbfgs_arrive",
                origin.x, origin.g, d, x, self._gradient, pull, self.pairs, spare, g,
                self._place.sums, self._scratch,
            )  # fmt: skip

        terms, sums = self._place.evaluate(arrive)
        penalty, slope, g_g = sums[:_OWN].tolist()
        with_g, with_s, with_y = sums[_OWN:].reshape(3, -1)
        finite = math.isfinite(terms.total) and math.isfinite(g_g)
        # Not a method: whoever keeps a preview must not keep all pairs with it.
        descent.note(terms, finite, partial(_seen, self._device, x, self._shape))
        return Point(x, g, terms.total + pull * penalty, g_g, slope, with_g, with_s, with_y)

    def _empty(self, shape: tuple[int, ...]) -> DeviceArray:
        block = self._device.allocate(_FLOAT32.itemsize * math.prod(shape))
        return DeviceArray(block.owner, block.pointer, _FLOAT32, shape)


def _fetch(device: Device, array: DeviceArray) -> NDArray[np.float32]:
    values = np.empty(array.shape, np.float32)
    device.copy_out(array, values)
    device.synchronize()
    return values


def _image(device: Device, vector: DeviceArray, shape: tuple[int, ...]) -> Image:
    return _fetch(device, vector).astype(np.float64).reshape(shape)


def _seen(device: Device, vector: DeviceArray, shape: tuple[int, ...]) -> Image:
    """The image that the objective saw where the optimiser stood."""
    return np.clip(_image(device, vector, shape), 0, 1)


def _flat(array: DeviceArray) -> DeviceArray:
    """The values of an array one after another."""
    return DeviceArray(array.owner, array.pointer, array.dtype, math.prod(array.shape))
