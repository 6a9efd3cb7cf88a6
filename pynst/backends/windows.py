"""Losses over windows: a backend that adds up the features of an image window by window.

A network that walks a large image in windows (`pynst.networks.tiling`) hands each window's features
to the losses as a `Part`. The image is walked twice, so that the loss and its gradient are those of
the whole image:

    first pass, values:      over the cores, which cover the image once: G = sum F_core F_core^T / M
    second pass, gradients:  over the whole windows, whose halos hold what the cores depend on

The losses call the same ops in both passes; this backend does in each of them what belongs there,
with the ops of the backend behind it, in the order of the windows. It needs arrays that are
NumPy's, with height and width as axes 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend, Kind, Shape
from pynst.errors import BackendError

__all__ = ["Area", "Part", "PixelWeights", "Whole", "WindowsBackend"]

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


class Whole(Protocol):
    """A whole image, or features of one layer of it, which are computed when they are asked for."""

    def hold(self, image: Array) -> None:
        """Take an image (H, W, 3) as what is walked; it is not copied."""

    def assembled(self) -> Array:
        """The features as one array."""


class PixelWeights:
    """Factors of the pixels of a layer, of which each window takes its own.

    Parameters
    ----------
    inner : Backend
        Whose op will read them.
    m : ndarray (H, W)
        As for `Backend.upload_pixel_weights`.
    """

    def __init__(self, inner: Backend, m: NDArray[np.float64]) -> None:
        self._inner = inner
        # As precise as the image of the other backend, since print sizes have many pixels.
        self._values = m.astype(f"f{inner.nbytes('image', (1, 1, 1))}")
        self._sum = float(self._values.sum(dtype=np.float64))

    @cached_property
    def whole(self) -> Array:
        """All of them as the other backend takes them."""
        return self._inner.upload_pixel_weights(self._values)

    def cut(self, area: Area) -> tuple[Array, float]:
        """Those of an area as the other backend takes them, and their share of the sum of all."""
        values = self._values[area]
        share = float(values.sum(dtype=np.float64)) / self._sum
        return self._inner.upload_pixel_weights(values), share


class WindowsBackend:
    """A backend in front of another one; the ops that see no window are the other one's.

    Parameters
    ----------
    inner : Backend
        The reference or the CPU.
    whole : type
        The class of what `Whole` describes.
    """

    def __init__(self, inner: Backend, whole: type) -> None:
        self._inner = inner
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        @wraps(found)
        def op(*arguments: Any) -> Any:
            if any(isinstance(each, Part | self._whole) for each in arguments):
                raise BackendError(f"tile: {name} cannot be computed over windows; ask for no tile")
            return found(*arguments)

        return op

    def image_input(
        self, image: Array, axes: NDArray[np.float64], mean: NDArray[np.float64], x: Array
    ) -> None:
        """As `Backend.image_input`; an image that is walked in windows stays where it is."""
        if isinstance(x, self._whole):
            cast("Whole", x).hold(image)
        else:
            self._inner.image_input(image, axes, mean, x)

    def download(self, array: Array, kind: Kind, shape: Shape) -> NDArray[Any]:
        """As `Backend.download`; of a whole image's features too."""
        if isinstance(array, self._whole):
            array = cast("Whole", array).assembled()
        return self._inner.download(array, kind, shape)

    def upload_pixel_weights(self, m: NDArray[np.float64]) -> PixelWeights:
        """As `Backend.upload_pixel_weights`; the windows take their own of them."""
        return PixelWeights(self._inner, m)

    def gram(self, F: Array, G: Array, pixel_weights: PixelWeights | None = None) -> None:
        """As `Backend.gram`; of a part, its core's share is added to G."""
        if not isinstance(F, Part):
            self._inner.gram(F, G, _whole(pixel_weights))
        elif F.values:
            if F.first:
                self._inner.zero(G)
            of_strip = self._inner.empty_gram(len(G))
            for strip, area in self._core(F):
                m, share = _cut(pixel_weights, F, area)
                if share:
                    self._inner.gram(strip, of_strip, m)
                    of_strip *= share
                    G += of_strip

    def content_loss(
        self,
        F: Array,
        P: Array,
        k: float,
        scale: Array | None,
        dF: Array,
        loss: Array,
        pixel_weights: PixelWeights | None = None,
    ) -> None:
        """As `Backend.content_loss`; of a part, the value over its core or the gradient."""
        if not isinstance(F, Part):
            self._inner.content_loss(F, P, k, scale, dF, loss, _whole(pixel_weights))
        elif not F.values:
            target = self._copied(P[(slice(None), *F.place)], F.array.dtype)
            m, _ = _cut(pixel_weights, F, F.place)
            ignored = self._inner.empty_losses(1)
            self._inner.content_loss(F.array, target, k, scale, dF, ignored, m)
        else:
            if F.first:
                self._inner.zero(loss)
            of_strip = self._inner.empty_losses(1)
            for strip, area in self._core(F):
                unread = self._empty(strip.shape, strip.dtype)
                self._inner.zero(unread)
                target = self._copied(P[(slice(None), *area)], strip.dtype)
                m, _ = _cut(pixel_weights, F, area)
                self._inner.content_loss(strip, target, k, scale, unread, of_strip, m)
                loss += of_strip

    def style_loss(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        dF: Array,
        loss: Array,
        pixel_weights: PixelWeights | None = None,
    ) -> None:
        """As `Backend.style_loss`; of a part, the gradient of the whole image's loss."""
        if not isinstance(F, Part):
            self._inner.style_loss(F, G, A, k, scale, dF, loss, _whole(pixel_weights))
        elif not F.values:
            # The op divides by the weights that it sees, and the loss by those of the whole image.
            m, share = _cut(pixel_weights, F, F.place)
            if share:
                self._inner.style_loss(F.array, G, A, k * share, scale, dF, loss, m)
                loss /= share

    def total_variation(
        self, x: Array, k: float, dx: Array, loss: Array, circular: bool = False
    ) -> None:
        """As `Backend.total_variation`; of a part, the value over its core or the gradient."""
        if not isinstance(x, Part):
            self._inner.total_variation(x, k, dx, loss, circular)
        elif not x.values:
            self._inner.total_variation(
                x.array, k * _share(x.array, x), dx, self._inner.empty_losses(1)
            )
        else:
            if x.first:
                self._inner.zero(loss)
            for sign, piece in _squares(x):
                planes, share = self._copied(piece), self._inner.empty_losses(1)
                ignored = self._empty(piece.shape, piece.dtype)
                self._inner.zero(ignored)
                self._inner.total_variation(planes, k * _share(piece, x), ignored, share)
                loss += sign * share

    def _core(self, F: Part) -> Iterator[tuple[Array, Area]]:
        """The features of a part's core in strips, with their places in the whole image.

        There are none where no cell of the layer is in the core.
        """
        core, (rows, columns) = F.array[(slice(None), *F.core)], _core_place(F)
        height = core.shape[1]
        for strip in _strips(height, core.nbytes // height) if core.size else ():
            place = slice(rows.start + strip.start, rows.start + strip.stop), columns
            yield self._copied(core[:, strip]), place

    def _copied(self, array: NDArray[Any], dtype: np.dtype[Any] | None = None) -> Array:
        """The same numbers in memory, and of the type, as the backend wants it."""
        copied = self._empty(array.shape, dtype or array.dtype)
        copied[...] = array
        return copied

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Memory as the backend wants it aligned."""
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._inner.allocate(nbytes).view(dtype).reshape(shape)


def _whole(pixel_weights: PixelWeights | None) -> Array | None:
    """The weights of all pixels, as the other backend takes them."""
    return None if pixel_weights is None else pixel_weights.whole


def _cut(pixel_weights: PixelWeights | None, F: Part, area: Area) -> tuple[Array | None, float]:
    """The weights of an area of a layer, and their share of the sum of all."""
    if pixel_weights is not None:
        return pixel_weights.cut(area)
    rows, columns = area
    return None, float((rows.stop - rows.start) * (columns.stop - columns.start) / F.pixels)


def _core_place(F: Part) -> Area:
    """The place of a part's core in the whole image."""
    rows, columns = (
        slice(place.start + core.start, place.start + core.stop)
        for core, place in zip(F.core, F.place, strict=True)
    )
    return rows, columns


def _strips(rows: int, row_nbytes: int) -> Iterator[slice]:
    """Cut rows into strips of about 8 MB."""
    step = max(1, _STRIP // max(1, row_nbytes))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _share(piece: Array, of: Part) -> float:
    """Share of the whole image's pixels; the ops divide by the pixels that they see."""
    return float(piece.shape[1] * piece.shape[2] / of.pixels)


def _squares(x: Part) -> Iterator[tuple[int, Array]]:
    """Pieces whose total variations add up, with these signs, to that of the squares of a core.

    The squares of 2 x 2 pixels whose upper left pixel lies in the core reach one row and one column
    beyond it, where the image goes on. The op counts the differences along this row and this column
    too, as if the image ended there; as pieces of their own they have the same total variation.
    """
    rows, columns = x.core
    _, H, W = x.array.shape
    bottom, right = min(rows.stop + 1, H), min(columns.stop + 1, W)
    yield 1, x.array[:, rows.start : bottom, columns.start : right]
    if bottom > rows.stop:
        yield -1, x.array[:, rows.stop : bottom, columns.start : right]
    if right > columns.stop:
        yield -1, x.array[:, rows.start : bottom, columns.stop : right]
