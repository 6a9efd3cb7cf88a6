"""Tiles: a network that walks a large image in windows, to the same loss and gradient.

The image is cut into cores, which cover it once. A window is a core and a halo around it, as wide
as what the core depends on. The features in a core are those of the whole image where the halo is
as wide as their receptive field; the gradient in a core is the whole image's where the halo is
wider than twice that: it needs the gradients of all features that see the core, and with them the
pixels that those features see. The Gram matrices are those of the whole image, so that every
evaluation walks the windows twice (`pynst.backends.windows`). Hence no seam and no approximation,
at the price of computing the halos anew for each window.

Windows begin on the grid of the deepest layer's cells (16 pixels for relu5_1), so that each pooling
meets the same squares as in the whole image, and the last window has what is left of an odd size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from pynst.backends import open_backend
from pynst.backends.base import AddLoss, Array, Backend, OpSize, ReadFeatures
from pynst.backends.windows import Area, Part, WindowsBackend
from pynst.errors import OptionError
from pynst.networks.network import Network, upload_image
from pynst.networks.plan import Buffer, Plan, Workspace

__all__ = [
    "TiledNetwork",
    "TiledWorkspace",
    "Window",
    "can_be_tiled",
    "halo",
    "largest_window",
    "overhead",
    "tiled",
    "windows",
]

_INPUT = "x"
"""The name of a network's input among its layers."""


@dataclass(frozen=True)
class Window:
    """One window of an image, in pixels.

    Attributes
    ----------
    core : Area
        Rows and columns of the image that belong to this window alone.
    area : Area
        Rows and columns of the core and its halo, as far as the image reaches.
    """

    core: Area
    area: Area

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, halo included."""
        rows, columns = self.area
        return rows.stop - rows.start, columns.stop - columns.start


def tiled(network: Network, tile: int) -> Network:
    """The same network, which walks images larger than a tile in windows.

    Parameters
    ----------
    network : Network
    tile : int
        Longest side of a core, pixels; it is rounded up to the cells of the deepest layer.

    Raises
    ------
    OptionError
        The network joins the borders of the image, which a window does not have.
    """
    if isinstance(network, TiledNetwork):
        network = network.plain
    if not can_be_tiled(network):
        raise OptionError(f"tile={tile} and padding='circular' exclude each other")
    return cast("Network", TiledNetwork(network, tile))


def can_be_tiled(network: Network) -> bool:
    """Whether a network can walk windows: over an image that has borders."""
    return getattr(network, "padding", "") != "circular"


def largest_window(network: Network, H: int, W: int, layers: Collection[str]) -> tuple[int, int]:
    """Height and width of the largest piece in which an image of H x W pixels is walked."""
    if not isinstance(network, TiledNetwork):
        return H, W
    sizes = [window.size for window in network.windows(H, W, layers, gradient=True)]
    return max(h for h, _ in sizes), max(w for _, w in sizes)


def overhead(network: Network, H: int, W: int, layers: Collection[str]) -> tuple[int, int, float]:
    """Rows and columns of tiles, and how many times the pixels of the plain walk are walked.

    The way back takes as long as the way forward, so that the first pass, which only goes forward,
    counts half.
    """
    assert isinstance(network, TiledNetwork)
    passes = [network.windows(H, W, layers, gradient=gradient) for gradient in (False, True)]
    forward, both = (sum(h * w for h, w in (each.size for each in found)) for found in passes)
    rows = len({window.core[0].start for window in passes[0]})
    share = 1.0 if len(passes[0]) == 1 else (forward / 2 + both) / (H * W)
    return rows, len(passes[0]) // rows, share


def halo(network: Network, layers: Collection[str], *, gradient: bool) -> tuple[int, int]:
    """Width of the halo, pixels, and the grid on which the windows begin.

    Parameters
    ----------
    network : Network
    layers : collection of str
        The layers that are read.
    gradient : bool
        Whether the gradient in the core is wanted, or only its features.
    """
    reaches = [network.reach(layer) for layer in layers]
    grid = max(scale for scale, _ in reaches)
    width = max((_up(pixels, scale) if gradient else 0) + pixels for scale, pixels in reaches)
    return _up(width, grid), grid


def windows(H: int, W: int, tile: int, grid: int, width: int) -> list[Window]:
    """Cut an image of H x W pixels into windows with a halo of a width, row by row."""
    return [
        Window((rows, columns), (_widened(rows, H, width), _widened(columns, W, width)))
        for rows in _cores(H, tile, grid)
        for columns in _cores(W, tile, grid)
    ]


class TiledNetwork:
    """A network in front of another one; what sees no image is the other one's.

    Parameters
    ----------
    network : Network
    tile : int
        Longest side of a core, pixels.

    Attributes
    ----------
    plain : Network
        The network that is given.
    tile : int
    windows_backend, backend : WindowsBackend
        Knows the parts and the whole of what is walked in windows.
    """

    def __init__(self, network: Network, tile: int) -> None:
        self.plain = network
        self.tile = tile
        self.windows_backend = WindowsBackend(network.backend, _Features)
        self.backend = cast("Backend", self.windows_backend)

    @cached_property
    def host(self) -> Backend:
        """Where the image, its gradient and the losses lie, also if a device walks the windows."""
        on_host = self.plain.backend.free_memory() is None
        return self.plain.backend if on_host else open_backend("cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def windows(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> list[Window]:
        """The windows of an image, for its features or for its gradient."""
        width, grid = halo(self.plain, layers, gradient=gradient)
        return windows(H, W, self.tile, grid, width)

    def walks_windows(self, H: int, W: int, layers: Collection[str]) -> bool:
        """Whether an image is larger than a tile; a smaller one is walked as ever."""
        return len(self.windows(H, W, layers, gradient=False)) > 1

    def plan(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Plan:
        """The memory of the largest window; the image and its gradient are their owner's."""
        if not self.walks_windows(H, W, layers):
            return self.plain.plan(H, W, layers, gradient=gradient)
        shapes = {layer: self.plain.shape(layer, H, W) for layer in layers}
        features = {layer: Buffer(layer, "features", shapes[layer], 0, 1) for layer in layers}
        whole = {_INPUT: Buffer(_INPUT, "image", (3, H, W), 0, 1), **features}
        return Plan(whole, {}, self._window_nbytes(H, W, layers, gradient=gradient))

    def workspace(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Workspace:
        """Memory for images of H x W pixels."""
        if not self.walks_windows(H, W, layers):
            return self.plain.workspace(H, W, layers, gradient=gradient)
        return TiledWorkspace(self.plan(H, W, layers, gradient=gradient), self, layers)

    def ops(self, H: int, W: int, layers: Collection[str]) -> list[OpSize]:
        """The ops of a walk over the largest window, with their sizes."""
        whole = cast("Network", self)
        return self.plain.ops(*largest_window(whole, H, W, layers), layers)

    def forward(
        self, workspace: Workspace, layers: Collection[str], read: ReadFeatures | None = None
    ) -> None:
        """Walk an image that is no larger than a tile; any other is walked when it is read."""
        if not isinstance(workspace, TiledWorkspace):
            self.plain.forward(workspace, layers, read)

    def backward(self, workspace: Workspace, layers: Collection[str], add_loss: AddLoss) -> Array:
        """Walk back over an image that is no larger than a tile; see `evaluate`."""
        return self.plain.backward(workspace, layers, add_loss)

    def evaluate(
        self,
        workspace: TiledWorkspace,
        layers: Collection[str],
        image: Array,
        gradient: Array,
        add_loss: AddLoss,
        *,
        clip: bool = False,
    ) -> None:
        """Walk all windows of an image twice: add up its losses, and write their gradient.

        Parameters
        ----------
        workspace : TiledWorkspace
        layers : collection of str
        image, gradient : array (H, W, 3)
            sRGB in [0, 1], and dL/dimage. Neither is copied as a whole: at print sizes each copy
            takes as much as all of a small run.
        add_loss : callable
            Called with the parts of both passes, of each layer and then of the input itself.
        clip : bool
            Whether the losses are those of the image clipped to [0, 1].
        """
        axes, pieces = self.plain.input_axes, self.windows_backend.pieces
        workspace.hold(image, clip=clip)
        for visit in self.walk(workspace, layers, gradient=False):
            for layer in (*layers, _INPUT):
                add_loss(layer, visit.part(layer), None)
        for visit in self.walk(workspace, layers, gradient=True):
            core, area = visit.window.core, visit.window.area
            dx = self.plain.backward(visit.memory, layers, visit.adding(add_loss))
            add_loss(_INPUT, visit.part(_INPUT), dx)
            part = pieces.gradient((*visit.window.size, 3), gradient.dtype)
            self.plain.backend.image_input_backward(dx, axes, part)
            gradient[core] = pieces.numbers(part)[_inside(core, area)]
        workspace.hold(None)

    def walk(
        self, workspace: TiledWorkspace, layers: Collection[str], *, gradient: bool
    ) -> Iterator[_Visit]:
        """Go forward in each window, in order."""
        _, H, W = workspace.plan.buffers[_INPUT].shape
        for index, window in enumerate(self.windows(H, W, layers, gradient=gradient)):
            memory = workspace.of(window.size, gradient=gradient)
            pixels = self.windows_backend.pieces.image(workspace.pixels(window.area))
            upload_image(self.plain, pixels, memory[_INPUT])
            self.plain.forward(memory, layers)
            yield _Visit(self.plain, (H, W), window, memory, index == 0, not gradient)

    def _window_nbytes(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> int:
        """Bytes of the workspace that every window fits into, in either pass."""
        passes = (False, True) if gradient else (False,)
        return max(
            self.plain.plan(*size, layers, gradient=each).nbytes
            for each in passes
            for size in {window.size for window in self.windows(H, W, layers, gradient=each)}
        )


@dataclass(frozen=True)
class _Visit:
    """A window whose features have just been computed.

    Attributes
    ----------
    network : Network
    size : tuple of int
        Height and width of the whole image.
    window : Window
    memory : Workspace
        The window's.
    first, values : bool
        As for `pynst.backends.windows.Part`.
    """

    network: Network
    size: tuple[int, int]
    window: Window
    memory: Workspace
    first: bool
    values: bool

    def part(self, layer: str) -> Part:
        """The features of a layer in this window."""
        scale, (h, w) = 1, self.size
        if layer != _INPUT:
            scale, _ = self.network.reach(layer)
            _, h, w = self.network.shape(layer, *self.size)

        def cells(area: Area) -> Area:
            (H, W), (rows, columns) = self.size, area
            return _scaled(rows, scale, H, h), _scaled(columns, scale, W, w)

        place = cells(self.window.area)
        core = _inside(cells(self.window.core), place)
        return Part(self.memory[layer], core, place, h * w, self.first, self.values)

    def adding(self, add_loss: AddLoss) -> AddLoss:
        """What adds the gradient at a layer of this window, on its way back."""
        return lambda layer, _, dF: add_loss(layer, self.part(layer), dF)


class TiledWorkspace(Workspace):
    """The memory for an image that is walked in windows: that of one window.

    The image itself, ``workspace["x"]``, stays where it is; the features of a layer,
    ``workspace["relu1_1"]``, are computed when they are asked for.
    """

    def __init__(self, plan: Plan, network: TiledNetwork, layers: Collection[str]) -> None:
        super().__init__(Plan({}, {}, plan.nbytes), network.plain.backend)
        self.plan = plan
        self.layers = tuple(layers)
        self._network = network
        self._windows: dict[tuple[int, int, bool], Workspace] = {}
        self._image: Array = None
        self._clip = False

    def __getitem__(self, name: str) -> Array:
        # Made anew, since it refers to this workspace, whose memory shall not wait for the cycle
        # collector.
        return _Features(self, name) if name in self.plan.buffers else super().__getitem__(name)

    def hold(self, image: Array | None, *, clip: bool = False) -> None:
        """Take the image (H, W, 3) that is walked, clipped to [0, 1] if asked for; or let it go."""
        self._image, self._clip = image, clip

    def pixels(self, area: Area) -> Array:
        """The image in a window."""
        part = self._image[area]
        return np.clip(part, 0, 1) if self._clip else part

    def of(self, size: tuple[int, int], *, gradient: bool) -> Workspace:
        """The workspace of a window of a size; all of them lie in the same memory."""
        key = (*size, gradient)
        if key not in self._windows:
            inner = self._network.plain
            plan = inner.plan(*size, self.layers, gradient=gradient)
            self._windows[key] = Workspace(plan, inner.backend, self._block)
        return self._windows[key]

    def visit(self, layers: Collection[str], read: ReadFeatures) -> None:
        """Call ``read(layer, part)`` for each window in order, and for each of the layers in it."""
        for visit in self._network.walk(self, self.layers, gradient=False):
            for layer in layers:
                read(layer, visit.part(layer))

    def copied(self, name: str) -> Array:
        """The features of a layer of the whole image, in memory of their own.

        Those of a backend that computes in 32 bits are kept in 16, to 1/4096 of each number: a loss
        compares with them, and in 32 bits they would take as much as 2.7 vectors of L-BFGS. From
        where a number is too large for 16 bits, they are kept in 32.
        """
        return self.assembled(name, narrow=True)

    def assembled(self, name: str, *, narrow: bool = False) -> Array:
        """The features of a layer of the whole image, from one walk."""
        pieces, whole = self._network.windows_backend.pieces, None
        for visit in self._network.walk(self, self.layers, gradient=False):
            part = visit.part(name)
            core = pieces.numbers(part.array)[(*pieces.before, *part.core)]
            if whole is None:
                shape = list(part.array.shape)
                height = len(pieces.before)
                shape[height : height + 2] = self.plan.buffers[name].shape[1:]
                half = narrow and core.dtype == np.float32
                whole = np.empty(shape, np.float16 if half else core.dtype)
            if whole.dtype == np.float16 and core.max(initial=0) > np.finfo(np.float16).max:
                whole = whole.astype(core.dtype)
            whole[(*pieces.before, *part.place)][(*pieces.before, *part.core)] = core
        assert whole is not None
        return whole


class _Features:
    """The features of one layer, or the image itself; see `pynst.backends.windows.Whole`."""

    def __init__(self, workspace: TiledWorkspace, layer: str) -> None:
        self._workspace = workspace
        self._layer = layer

    def hold(self, image: Array) -> None:
        self._workspace.hold(image)

    def assembled(self) -> Array:
        return self._workspace.assembled(self._layer)


def _up(number: int, step: int) -> int:
    """A number rounded up to a multiple of a step."""
    return -(-number // step) * step


def _cores(length: int, tile: int, grid: int) -> list[slice]:
    """Cut [0, length) into equal parts that are not longer than a tile; the last has the rest."""
    tile = _up(tile, grid)
    step = _up(-(-length // -(-length // tile)), grid)
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _widened(core: slice, length: int, width: int) -> slice:
    return slice(max(0, core.start - width), min(length, core.stop + width))


def _scaled(span: slice, scale: int, length: int, cells: int) -> slice:
    """Cells of a layer that belong to a span of pixels; the last span has the rest of them."""
    return slice(span.start // scale, cells if span.stop == length else span.stop // scale)


def _inside(area: Area, of: Area) -> Area:
    """An area as counted from the corner of another one that holds it."""
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(area, of, strict=True)
    )
    return rows, columns
