"""Pieces of the features in a window: cut, copied and added up, on the host or beside a device.

Losses over windows (`pynst.backends.windows`) need of a window the part that counts, its core.
Where arrays are NumPy's, the core is cut out. A device has no op for that: there the pixels outside
the core have the weight zero, and what has to be added up is added up on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pynst.backends.base import Array, Backend

__all__ = ["Area", "Counted", "DevicePieces", "HostPieces", "Part", "Pieces", "PixelWeights"]

_STRIP = 8_000_000
"""Bytes of features that are copied at a time: they stay in the processor's last cache."""

Area = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Part:
    """Features of one layer in one window.

    Attributes
    ----------
    array : Array
        The features, halo included.
    core : Area
        Rows and columns of `array` that count: each pixel of the image is in one window's core.
    place : Area
        Rows and columns of the whole image's features that `array` covers.
    pixels : int
        M, pixels of the whole image at this layer.
    first : bool
        Whether this is the first window of its pass.
    values : bool
        Whether this is the first pass, in which values are added up; else the second one, in which
        gradients are computed.
    """

    array: Array
    core: Area
    place: Area
    pixels: int
    first: bool
    values: bool

    @property
    def core_place(self) -> Area:
        """Rows and columns of the whole image's features that the core covers."""
        rows, columns = (
            slice(place.start + core.start, place.start + core.stop)
            for core, place in zip(self.core, self.place, strict=True)
        )
        return rows, columns


class PixelWeights:
    """Factors of the pixels of a layer, of which each window takes its own.

    Parameters
    ----------
    inner : Backend
        Whose op will read them.
    m : ndarray (H, W)
        As for `Backend.upload_pixel_weights`.

    Attributes
    ----------
    values : ndarray (H, W)
        As precise as the images of the backend, since print sizes have many pixels.
    total : float
        Their sum.
    """

    def __init__(self, inner: Backend, m: NDArray[np.float64]) -> None:
        self._inner = inner
        self.values: NDArray[Any] = m.astype(f"f{inner.nbytes('image', (1, 1, 1))}")
        self.total = float(self.values.sum(dtype=np.float64))

    @cached_property
    def whole(self) -> Array:
        """All of them as the backend takes them."""
        return self._inner.upload_pixel_weights(self.values)

    def cut(self, area: Area) -> tuple[Array, float]:
        """Those of an area as the backend takes them, and their share of the sum of all."""
        values = self.values[area]
        share = float(values.sum(dtype=np.float64)) / self.total
        return self._inner.upload_pixel_weights(values), share


class Counted(NamedTuple):
    """Features that count, where they lie in the whole image, and the weights of their pixels.

    These are None for ones; `share` is their share of the sum of all weights of the image.
    """

    features: Array
    area: Area
    m: Array | None
    share: float


class Pieces(Protocol):
    """What losses over windows ask of the memory in which a window's features lie."""

    before: tuple[slice, ...]
    """The axes of features that stand before height and width."""

    def counted(self, F: Part, pixel_weights: PixelWeights | None) -> Iterator[Counted]:
        """What counts of a part; nothing where no cell of the layer is in the core."""

    def image(self, pixels: NDArray[Any]) -> Array:
        """An image (H, W, 3) where the backend reads it fastest."""

    def gradient(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Memory for its gradient, where the backend writes it fastest."""

    def numbers(self, array: Array) -> NDArray[Any]:
        """An array as it lies in memory, on the host."""

    def all_of(self, P: Array) -> NDArray[Any]:
        """The features of a whole image that never change, on the host."""

    def placed(self, numbers: NDArray[Any], dtype: DTypeLike | None = None) -> Array:
        """The same numbers in memory, and of the type, as the backend wants it."""

    def zeros_like(self, array: Array) -> Array:
        """Zeros in an array of the same type and shape."""

    def add(self, share: float, G: Array, total: Array) -> None:
        """Add a share of one Gram matrix to another one."""

    def slot(self) -> Array:
        """Memory for one loss."""


class HostPieces:
    """`Pieces` of arrays that are NumPy's, with height and width as axes 1 and 2."""

    before: tuple[slice, ...] = (slice(None),)

    def __init__(self, inner: Backend) -> None:
        self._inner = inner

    def counted(self, F: Part, pixel_weights: PixelWeights | None) -> Iterator[Counted]:
        """The core, in strips."""
        core, (rows, columns) = F.array[(slice(None), *F.core)], F.core_place
        height = core.shape[1]
        for strip in _strips(height, core.nbytes // height) if core.size else ():
            area = slice(rows.start + strip.start, rows.start + strip.stop), columns
            yield Counted(self.placed(core[:, strip]), area, *cut(pixel_weights, F, area))

    def image(self, pixels: NDArray[Any]) -> Array:
        """The image itself."""
        return pixels

    def gradient(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array of the type."""
        return np.empty(shape, dtype)

    def numbers(self, array: Array) -> NDArray[Any]:
        """The array itself."""
        found: NDArray[Any] = array
        return found

    def all_of(self, P: Array) -> NDArray[Any]:
        """The array itself."""
        return self.numbers(P)

    def placed(self, numbers: NDArray[Any], dtype: DTypeLike | None = None) -> Array:
        """A copy, aligned as the backend wants it."""
        copied = self._empty(numbers.shape, np.dtype(dtype or numbers.dtype))
        copied[...] = numbers
        return copied

    def zeros_like(self, array: Array) -> Array:
        """Zeros, aligned as the backend wants them."""
        zeros = self._empty(array.shape, array.dtype)
        self._inner.zero(zeros)
        return zeros

    def add(self, share: float, G: Array, total: Array) -> None:
        """Add share G to the total; G is overwritten."""
        G *= share
        total += G

    def slot(self) -> Array:
        """Memory of its own."""
        return self._inner.empty_losses(1)

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._inner.allocate(nbytes).view(dtype).reshape(shape)


class DevicePieces:
    """`Pieces` of a `CudaBackend`, whose features have height and width as axes 0 and 1.

    There is one slot, as there is one scratch memory: evaluations wait for each other.
    """

    before: tuple[slice, ...] = ()

    def __init__(self, inner: Any) -> None:
        self._inner, self._device = inner, inner.device
        self._fetched = WeakKeyDictionary[Any, NDArray[Any]]()

    def counted(self, F: Part, pixel_weights: PixelWeights | None) -> Iterator[Counted]:
        """All of the part, whose weights are zero outside the core."""
        m = np.zeros([span.stop - span.start for span in F.place], np.float32)
        if pixel_weights is None:
            m[F.core], total = 1, float(F.pixels)
        else:
            m[F.core], total = pixel_weights.values[F.core_place], pixel_weights.total
        if m.any():
            share = float(m.sum(dtype=np.float64)) / total
            yield Counted(F.array, F.place, self._inner.upload_pixel_weights(m), share)

    def image(self, pixels: NDArray[Any]) -> Array:
        """A copy on the device, which has an op for 32 bits alone."""
        return self.placed(pixels) if pixels.dtype == np.float32 else pixels

    def gradient(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Memory of the device, which has an op for 32 bits alone."""
        return self._inner.empty(dtype, shape) if dtype == np.float32 else np.empty(shape, dtype)

    def numbers(self, array: Array) -> NDArray[Any]:
        """A copy of what lies on the device."""
        if isinstance(array, np.ndarray):
            return array
        values: NDArray[Any] = np.empty(array.shape, array.dtype)
        self._device.copy_out(array, values)
        self._device.synchronize()
        return values

    def all_of(self, P: Array) -> NDArray[Any]:
        """The array itself if it is on the host, or a copy that is made once."""
        if isinstance(P, np.ndarray):
            return P
        if P not in self._fetched:
            self._fetched[P] = self.numbers(P)
        return self._fetched[P]

    def placed(self, numbers: NDArray[Any], dtype: DTypeLike | None = None) -> Array:
        """A copy on the device."""
        values = np.ascontiguousarray(numbers, dtype)
        copied = self._inner.empty(values.dtype, values.shape)
        self._device.copy_in(values, copied)
        return copied

    def zeros_like(self, array: Array) -> Array:
        """Zeros on the device."""
        zeros = self._inner.empty(array.dtype, array.shape)
        self._device.zero(zeros)
        return zeros

    def add(self, share: float, G: Array, total: Array) -> None:
        """Add share G to the total, by way of the host."""
        self._device.copy_in(self.numbers(total) + share * self.numbers(G), total)

    @cached_property
    def _slot(self) -> Array:
        return self._inner.empty_losses(1)

    def slot(self) -> Array:
        """The same memory every time."""
        return self._slot


def cut(pixel_weights: PixelWeights | None, F: Part, area: Area) -> tuple[Array | None, float]:
    """The weights of an area of a layer, and their share of the sum of all."""
    if pixel_weights is not None:
        return pixel_weights.cut(area)
    rows, columns = area
    return None, float((rows.stop - rows.start) * (columns.stop - columns.start) / F.pixels)


def _strips(rows: int, row_nbytes: int) -> Iterator[slice]:
    """Cut rows into strips of about 8 MB."""
    step = max(1, _STRIP // max(1, row_nbytes))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
