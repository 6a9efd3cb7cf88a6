"""Joined borders: a backend whose convolutions and total variation wrap around the image.

What leaves at one side comes in at the opposite one, so that the image can tile. A convolution over
joined borders is the one over an array that is larger by a pixel of the opposite border on each
side, of which the middle is kept; so is its transpose. Hence any backend does it exactly with the
ops that it has, and with `pynst.backends.base.Backend.wrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, cast

from pynst.backends.base import Array, Backend, Evaluation, Kind, Padding, Pooling, Shape, Walk

__all__ = ["circular", "wrap"]

_ALIGNMENT = 256  # bytes: where `Backend.view` may cut an array out of a block
_MIDDLE = (slice(None), slice(1, -1), slice(1, -1))

_Operand = tuple[Kind, Array]
"""An array with its kind; the array may be None."""


def circular(backend: Backend) -> Backend:
    """The same backend over images whose borders are joined."""
    return cast("Backend", _Circular(backend))


def wrap(x: Array, y: Array) -> None:
    """`Backend.wrap` for NumPy arrays whose height and width are axes 1 and 2."""
    if y.shape[1] < x.shape[1]:
        y[...] = x[_MIDDLE]
        return
    H, W = x.shape[1:3]
    y[_MIDDLE] = x
    y[:, 1:-1, 0], y[:, 1:-1, -1] = x[:, :, W - 1], x[:, :, 0]
    y[:, 0], y[:, -1] = y[:, H], y[:, 1]


class _Circular:
    """A backend in front of another one; the ops that see no border are the other one's."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._blocks = dict[str, Array]()
        self._lock = RLock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def scratch_nbytes(self, op: str, C: int, N: int, H: int, W: int) -> int:
        """As `Backend.scratch_nbytes`, with the larger copies of what a convolution touches."""
        if "conv3x3" not in op:
            return self._inner.scratch_nbytes(op, C, N, H, W)
        x: Kind = "image" if op.startswith("image") else "features"
        arrays: list[tuple[Kind, Shape]] = [(x, (C, H, W)), ("features", (N, H, W))]
        nbytes = self._inner.scratch_nbytes(op, C, N, H + 2, W + 2)
        nbytes += self._offsets([*arrays, ("bits", (N, H, W))])[-1]
        return nbytes + self._inner.nbytes(*arrays[-1])  # before a pooling, in its own size

    def repeated(self, losses: Array, *, captured: bool = True) -> Evaluation:
        evaluation = self._inner.repeated(losses, captured=captured)
        return _Keeping(evaluation, lambda: list(self._blocks.values()))

    def image_conv3x3_relu(
        self,
        x: Array,
        weights: Any,
        padding: Padding,  # noqa: ARG002
        y: Array,
        bits: Array | None,
    ) -> None:
        self._over(
            lambda x, y, bits: self._inner.image_conv3x3_relu(x, weights, "zero", y, bits),
            [("image", x)],
            [("features", y), ("bits", bits)],
        )

    def image_conv3x3_relu_backward(
        self,
        dy: Array,
        bits: Array,
        weights: Any,
        padding: Padding,  # noqa: ARG002
        dx: Array,
    ) -> None:
        self._over(
            lambda dy, bits, dx: self._inner.image_conv3x3_relu_backward(
                dy, bits, weights, "zero", dx
            ),
            [("features", dy), ("bits", bits)],
            [("image", dx)],
        )

    def conv3x3_relu(self, x: Array, weights: Any, y: Array, bits: Array | None) -> None:
        self._over(
            lambda x, y, bits: self._inner.conv3x3_relu(x, weights, y, bits),
            [("features", x)],
            [("features", y), ("bits", bits)],
        )

    def conv3x3_relu_backward(self, dy: Array, bits: Array, weights: Any, dx: Array) -> None:
        self._over(
            lambda dy, bits, dx: self._inner.conv3x3_relu_backward(dy, bits, weights, dx),
            [("features", dy), ("bits", bits)],
            [("features", dx)],
        )

    def conv3x3_relu_pool(
        self,
        x: Array,
        weights: Any,
        mode: Pooling,
        y: Array,
        bits: Array | None,
        choices: Array | None,
    ) -> None:
        with self._lock:
            unpooled = self._unpooled(y, x)
            self.conv3x3_relu(x, weights, unpooled, bits)
            self._inner.pool2x2(unpooled, mode, y, choices)

    def conv3x3_relu_pool_backward(
        self, dy: Array, bits: Array, mode: Pooling, choices: Array | None, weights: Any, dx: Array
    ) -> None:
        with self._lock:
            unpooled = self._unpooled(dy, dx)
            self._inner.pool2x2_backward(dy, mode, choices, unpooled)
            self.conv3x3_relu_backward(unpooled, bits, weights, dx)

    def total_variation(
        self,
        x: Array,
        k: float,
        dx: Array,
        loss: Array,
        circular: bool = True,  # noqa: ARG002
    ) -> None:
        self._inner.total_variation(x, k, dx, loss, circular=True)

    def _over(
        self, op: Callable[..., None], read: Sequence[_Operand], written: Sequence[_Operand]
    ) -> None:
        """Do an op over larger copies of its operands, and keep the middle of what it writes."""
        with self._lock:
            copies = self._larger([*read, *written])
            for (kind, array), copy in zip(read, copies, strict=False):
                self._inner.wrap(array, kind, copy)
            op(*copies)
            for (kind, array), copy in zip(written, copies[len(read) :], strict=True):
                if array is not None:
                    self._inner.wrap(copy, kind, array)

    def _larger(self, operands: Sequence[_Operand]) -> list[Array | None]:
        """Memory for each array with a pixel more on each side; None for None."""
        inner = self._inner
        given = [(kind, array) for kind, array in operands if array is not None]
        shapes = [(kind, inner.shape_of(array, kind)) for kind, array in given]
        offsets = self._offsets(shapes)
        block = self._block("copies", offsets[-1])
        copies = (
            inner.view(block, offset, kind, _with_border(shape))
            for offset, (kind, shape) in zip(offsets, shapes, strict=False)
        )
        return [None if array is None else next(copies) for _, array in operands]

    def _offsets(self, shapes: Sequence[tuple[Kind, Shape]]) -> list[int]:
        """Where the copies of arrays of these shapes begin in one block, and its length."""
        offsets = [0]
        for kind, shape in shapes:
            end = offsets[-1] + self._inner.nbytes(kind, _with_border(shape))
            offsets.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        return offsets

    def _unpooled(self, pooled: Array, like: Array) -> Array:
        """Memory for features of the channels of one array in the size of another."""
        N = self._inner.shape_of(pooled, "features")[0]
        shape = N, *self._inner.shape_of(like, "features")[1:]
        block = self._block("unpooled", self._inner.nbytes("features", shape))
        return self._inner.view(block, 0, "features", shape)

    def _block(self, name: str, nbytes: int) -> Array:
        """A block of memory that is kept from op to op, made larger if need be."""
        if name not in self._blocks or self._blocks[name].nbytes < nbytes:
            self._blocks.pop(name, None)  # let go of the old one first
            self._blocks[name] = self._inner.allocate(nbytes)
        return self._blocks[name]


class _Keeping:
    """An evaluation that keeps the blocks which were in use: a captured graph refers to them."""

    def __init__(self, evaluation: Evaluation, blocks: Callable[[], list[Array]]) -> None:
        self._evaluation, self._blocks = evaluation, blocks
        self._kept = list[Array]()

    def __call__(self, walk: Walk, after: Walk | None = None) -> None:
        """Do the walk, then what `after` does."""
        self._evaluation(walk, after)
        known = set(map(id, self._kept))
        self._kept += [block for block in self._blocks() if id(block) not in known]

    @property
    def gradient_scale(self) -> float:
        return self._evaluation.gradient_scale

    @gradient_scale.setter
    def gradient_scale(self, scale: float) -> None:
        self._evaluation.gradient_scale = scale


def _with_border(shape: Shape) -> Shape:
    """A pixel more on each side."""
    C, H, W = shape
    return C, H + 2, W + 2
