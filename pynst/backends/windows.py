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
from functools import wraps
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend, Kind, Shape
from pynst.errors import BackendError

__all__ = ["Area", "Part", "Whole", "WindowsBackend"]

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

    def gram(self, G: Array) -> None:
        """Set G to the Gram matrix of the features."""

    def assembled(self) -> Array:
        """The features as one array."""


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

    def gram(self, F: Array, G: Array, pixel_weights: Array | None = None) -> None:
        """As `Backend.gram`; of a part, its core's share is added to G."""
        self._refuse_weights(F, pixel_weights)
        if isinstance(F, self._whole):
            cast("Whole", F).gram(G)
        elif not isinstance(F, Part):
            self._inner.gram(F, G, pixel_weights)
        elif F.values:
            if F.first:
                self._inner.zero(G)
            share = self._inner.empty_gram(len(G))
            for strip in self._core(F):
                self._inner.gram(strip, share)
                share *= _share(strip, F)
                G += share

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
        """As `Backend.content_loss`; of a part, the value over its core or the gradient."""
        self._refuse_weights(F, pixel_weights)
        if not isinstance(F, Part):
            self._inner.content_loss(F, P, k, scale, dF, loss, pixel_weights)
        elif not F.values:
            target = self._copied(P[(slice(None), *F.place)], F.array.dtype)
            self._inner.content_loss(F.array, target, k, scale, dF, self._inner.empty_losses(1))
        else:
            if F.first:
                self._inner.zero(loss)
            target = P[(slice(None), *F.place)][(slice(None), *F.core)]
            share = self._inner.empty_losses(1)
            for strip, rows in zip(self._core(F), self._rows(F), strict=True):
                ignored = self._empty(strip.shape, strip.dtype)
                self._inner.zero(ignored)
                against = self._copied(target[:, rows], strip.dtype)
                self._inner.content_loss(strip, against, k, scale, ignored, share)
                loss += share

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
        """As `Backend.style_loss`; of a part, the gradient of the whole image's loss."""
        self._refuse_weights(F, pixel_weights)
        if not isinstance(F, Part):
            self._inner.style_loss(F, G, A, k, scale, dF, loss, pixel_weights)
        elif not F.values:
            # The op divides by the pixels that it sees, and the loss by those of the whole image.
            share = _share(F.array, F)
            self._inner.style_loss(F.array, G, A, k * share, scale, dF, loss)
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

    def _refuse_weights(self, F: Array, pixel_weights: Array | None) -> None:
        """Say that the pixels of a part cannot have weights."""
        if pixel_weights is not None and isinstance(F, Part | self._whole):
            raise BackendError("tile: masks cannot be computed over windows; ask for no tile")

    def _rows(self, F: Part) -> Iterator[slice]:
        """The rows of a part's core, in strips; none where no cell of the layer is in the core."""
        core = F.array[(slice(None), *F.core)]
        return _strips(core.shape[1], core.nbytes // core.shape[1]) if core.size else iter(())

    def _core(self, F: Part) -> Iterator[Array]:
        """The features of a part's core, in strips."""
        core = F.array[(slice(None), *F.core)]
        for rows in self._rows(F):
            yield self._copied(core[:, rows])

    def _copied(self, array: NDArray[Any], dtype: np.dtype[Any] | None = None) -> Array:
        """The same numbers in memory, and of the type, as the backend wants it."""
        copied = self._empty(array.shape, dtype or array.dtype)
        copied[...] = array
        return copied

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Memory as the backend wants it aligned."""
        nbytes = int(np.prod(shape)) * dtype.itemsize
        return self._inner.allocate(nbytes).view(dtype).reshape(shape)


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
