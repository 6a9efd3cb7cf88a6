"""Losses over windows: a backend that adds up the features of an image window by window.

A network that walks a large image in windows (`pynst.networks.tiling`) hands each window's features
to the losses as a `Part`. The image is walked twice, so that the loss and its gradient are those of
the whole image:

    first pass, values:      over the cores, which cover the image once: G = sum F_core F_core^T / M
    second pass, gradients:  over the whole windows, whose halos hold what the cores depend on

The losses call the same ops in both passes; this backend does in each of them what belongs there,
with the ops of the backend behind it, in the order of the windows. What has a window is cut and
added up by `pynst.backends.pieces`; the losses of windows are NumPy arrays in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend, Evaluation, Kind, Shape
from pynst.backends.pieces import (
    Area,
    DevicePieces,
    HostPieces,
    Part,
    Pieces,
    PixelWeights,
    cut,
)
from pynst.errors import BackendError

__all__ = ["Area", "Part", "PixelWeights", "Whole", "WindowsBackend"]


class Whole(Protocol):
    """A whole image, or features of one layer of it, which are computed when they are asked for."""

    def hold(self, image: Array) -> None:
        """Take an image (H, W, 3) as what is walked; it is not copied."""

    def assembled(self) -> Array:
        """The features as one array."""


class WindowsBackend:
    """A backend in front of another one; the ops that see no window are the other one's.

    Parameters
    ----------
    inner : Backend
    whole : type
        The class of what `Whole` describes.

    Attributes
    ----------
    pieces : Pieces
        What is cut out of windows, and added up.
    """

    def __init__(self, inner: Backend, whole: type) -> None:
        self._inner = inner
        self._whole = whole
        on_host = inner.free_memory() is None
        self.pieces: Pieces = HostPieces(inner) if on_host else DevicePieces(inner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        @wraps(found)
        def op(*arguments: Any, **named: Any) -> Any:
            if any(isinstance(each, Part | self._whole) for each in arguments):
                raise BackendError(f"tile: {name} cannot be computed over windows; ask for no tile")
            return found(*arguments, **named)

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

    def walks(self) -> Evaluation:
        """What does evaluations over windows, whose ops are on other memory every time."""
        return self._inner.repeated(self.pieces.slot(), captured=False)

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
            of_piece = self._inner.empty_gram(len(G))
            for piece, _, m, share in self.pieces.counted(F, pixel_weights):
                if share:
                    self._inner.gram(piece, of_piece, m)
                    self.pieces.add(share, of_piece, G)

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
            target = self._cut(P, F.place, F.array.dtype)
            m, _ = cut(pixel_weights, F, F.place)
            slot = self.pieces.slot()
            self._inner.content_loss(F.array, target, k, scale, dF, slot, m)
        else:
            if F.first:
                loss[:] = 0
            for piece, area, m, _ in self.pieces.counted(F, pixel_weights):
                target, unread = self._cut(P, area, piece.dtype), self.pieces.zeros_like(piece)
                slot = self.pieces.slot()
                self._inner.content_loss(piece, target, k, scale, unread, slot, m)
                loss += self._inner.download_losses(slot)

    def style_ahead(
        self,
        F: Array,
        G: Array,
        A: Array,
        k: float,
        scale: Array | None,
        pixel_weights: PixelWeights | None = None,
    ) -> None:
        """As `Backend.style_ahead`; of a part, `gram` alone."""
        if isinstance(F, Part):
            self.gram(F, G, pixel_weights)
        else:
            self._inner.style_ahead(F, G, A, k, scale, _whole(pixel_weights))

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
            m, share = cut(pixel_weights, F, F.place)
            if share:
                slot = self.pieces.slot()
                self._inner.style_loss(F.array, G, A, k * share, scale, dF, slot, m)
                loss[:] = self._inner.download_losses(slot) / share

    def total_variation(
        self, x: Array, k: float, dx: Array, loss: Array, circular: bool = False
    ) -> None:
        """As `Backend.total_variation`; of a part, the value over its core or the gradient."""
        if not isinstance(x, Part):
            self._inner.total_variation(x, k, dx, loss, circular)
        elif not x.values:
            self._inner.total_variation(x.array, k * _share(x.array, x), dx, self.pieces.slot())
        else:
            if x.first:
                loss[:] = 0
            for sign, piece in _squares(x, self.pieces.numbers(x.array)):
                planes, slot = self.pieces.placed(piece), self.pieces.slot()
                unread = self.pieces.zeros_like(planes)
                self._inner.total_variation(planes, k * _share(piece, x), unread, slot)
                loss += sign * self._inner.download_losses(slot)

    def _cut(self, P: Array, area: Area, dtype: np.dtype[Any]) -> Array:
        """The features of an area, out of those of the whole image."""
        return self.pieces.placed(self.pieces.all_of(P)[(*self.pieces.before, *area)], dtype)


def _whole(pixel_weights: PixelWeights | None) -> Array | None:
    """The weights of all pixels, as the other backend takes them."""
    return None if pixel_weights is None else pixel_weights.whole


def _share(piece: Array, of: Part) -> float:
    """Share of the whole image's pixels; the ops divide by the pixels that they see."""
    return float(piece.shape[1] * piece.shape[2] / of.pixels)


def _squares(x: Part, planes: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Pieces of a part's planes whose total variations add up, with these signs, to its core's.

    The squares of 2 x 2 pixels whose upper left pixel lies in the core reach one row and one column
    beyond it, where the image goes on. The op counts the differences along this row and this column
    too, as if the image ended there; as pieces of their own they have the same total variation.
    """
    rows, columns = x.core
    _, H, W = planes.shape
    bottom, right = min(rows.stop + 1, H), min(columns.stop + 1, W)
    yield 1, planes[:, rows.start : bottom, columns.start : right]
    if bottom > rows.stop:
        yield -1, planes[:, rows.stop : bottom, columns.start : right]
    if right > columns.stop:
        yield -1, planes[:, rows.start : bottom, columns.stop : right]
