"""Joined borders: a backend whose convolutions and total variation wrap around the image.

What leaves at one side comes in at the opposite one, so that the image can tile. A convolution over
joined borders is the one over an array that is larger by a pixel of the opposite border on each
side, of which the middle is kept; so is its transpose. Hence any backend whose arrays are NumPy's,
with height and width as axes 1 and 2, does it exactly with the ops that it has.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend, Padding, Pooling

__all__ = ["circular"]

_MIDDLE = (slice(None), slice(1, -1), slice(1, -1))


def circular(backend: Backend) -> Backend:
    """The same backend over images whose borders are joined.

    Parameters
    ----------
    backend : Backend
        The reference or the CPU.
    """
    return cast("Backend", _Circular(backend))


class _Circular:
    """A backend in front of another one; the ops that see no border are the other one's."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def image_conv3x3_relu(
        self,
        x: Array,
        weights: Any,
        padding: Padding,  # noqa: ARG002
        y: Array,
        bits: Array | None,
    ) -> None:
        large, large_bits = self._larger(y), self._larger(bits)
        self._inner.image_conv3x3_relu(self._wrapped(x), weights, "zero", large, large_bits)
        _keep_middle(large, y)
        _keep_middle(large_bits, bits)

    def image_conv3x3_relu_backward(
        self,
        dy: Array,
        bits: Array,
        weights: Any,
        padding: Padding,  # noqa: ARG002
        dx: Array,
    ) -> None:
        large = self._larger(dx)
        self._inner.image_conv3x3_relu_backward(
            self._wrapped(dy), self._wrapped(bits), weights, "zero", large
        )
        _keep_middle(large, dx)

    def conv3x3_relu(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        large, large_bits = self._larger(y), self._larger(bits)
        self._inner.conv3x3_relu(self._wrapped(x), weights, large, large_bits)
        _keep_middle(large, y)
        _keep_middle(large_bits, bits)

    def conv3x3_relu_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        large = self._larger(dx)
        self._inner.conv3x3_relu_backward(self._wrapped(dy), self._wrapped(bits), weights, large)
        _keep_middle(large, dx)

    def conv3x3_relu_pool(
        self,
        x: Array,
        weights: Any,
        mode: Pooling,
        y: Array,
        bits: Array | None,
        choices: Array | None,
    ) -> None:
        full = self._empty((y.shape[0], *x.shape[1:3], *y.shape[3:]), y.dtype)
        self.conv3x3_relu(x, weights, full, bits)
        self._inner.pool2x2(full, mode, y, choices)

    def conv3x3_relu_pool_backward(
        self, dy: Array, bits: Array, mode: Pooling, choices: Array | None, weights: Any, dx: Array
    ) -> None:
        full = self._empty((*bits.shape, *dy.shape[3:]), dy.dtype)
        self._inner.pool2x2_backward(dy, mode, choices, full)
        self.conv3x3_relu_backward(full, bits, weights, dx)

    def total_variation(self, x: Array, k: float, dx: Array, loss: Array) -> None:
        loss[0] = 0.0
        values = x.astype(np.float64)
        for down, right, part in ((0, 1, 3), (1, 0, 3), (1, 1, 12), (1, -1, 12)):
            factor = 2 * k / (part * x.size)
            difference = np.roll(values, (-down, -right), (1, 2)) - values
            loss[0] += factor * np.sum(difference**2)
            gradient = 2 * factor * (np.roll(difference, (down, right), (1, 2)) - difference)
            dx += gradient.astype(dx.dtype)

    def _wrapped(self, array: Array) -> Array:
        """The array with a pixel of the opposite border on each side."""
        larger = self._larger(array)
        _, H, W = array.shape[:3]
        larger[_MIDDLE] = array
        larger[:, 1:-1, 0], larger[:, 1:-1, -1] = array[:, :, W - 1], array[:, :, 0]
        larger[:, 0], larger[:, -1] = larger[:, H], larger[:, 1]
        return larger

    def _larger(self, array: Array) -> Array:
        """Memory like an array's, with a pixel more on each side; None of None."""
        if array is None:
            return None
        C, H, W = array.shape[:3]
        return self._empty((C, H + 2, W + 2, *array.shape[3:]), array.dtype)

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Memory as the backend wants it aligned."""
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._inner.allocate(nbytes).view(dtype).reshape(shape)


def _keep_middle(larger: NDArray[Any] | None, out: NDArray[Any] | None) -> None:
    """Copy all but the border."""
    if out is not None and larger is not None:
        out[...] = larger[_MIDDLE]
