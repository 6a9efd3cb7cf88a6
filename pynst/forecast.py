"""Memory and time: how much a run will take, and what would fit.

The memory plans say to the byte what a network needs; the optimiser's vectors and the copies on the
way between image and network are counted. A run that would not fit is refused before it begins,
instead of being killed by the system when it is nearly done.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pynst.backends.base import OpSize
from pynst.errors import BackendError
from pynst.images import size_to_long_side
from pynst.inputs import Inputs, style_scales
from pynst.machine import available_memory
from pynst.networks import Network
from pynst.networks.layers import (
    LayerChoice,
    content_choice,
    layers_read,
    neighbour_choice,
    style_choice,
)
from pynst.networks.tiling import can_be_tiled, largest_window, overhead, tiled
from pynst.optimizers.lbfgs import PAIRS
from pynst.options import MASK_SETTINGS, TransferOptions
from pynst.regions import scaled_side

__all__ = ["Fit", "TimeForecast", "fit_memory", "fit_sizes", "forecast_memory", "in_bytes"]

_LOG = logging.getLogger("pynst")

_PROGRAM = {"lbfgs": 5_500_000, "scipy": 43_000_000, "adam": 6_000_000}
"""Bytes of the program itself that are loaded during a run, by optimiser: SciPy's modules."""

_BYTES_PER_VALUE = {"lbfgs": 160, "scipy": 500, "adam": 130}
"""Memory of the optimiser and the closure per value of the image: the kept pairs (22 vectors of
float32; in SciPy 25 of float64 with a third more values, the pyramid's), and about ten vectors of
float64 at the same time."""

_MATRICES = {"gram": 2, "wasserstein": 2, "neighbours": 0}
"""Matrices (N, N) of float64 that a style loss keeps for each layer: G, and A or a root of S."""

_WORKING = {"gram": 0, "wasserstein": 6, "neighbours": 0}
"""Such matrices that it needs besides, while it computes one layer."""

_COSINES = 4_000_000
"""Bytes that matching with a painting takes, besides the features of the photograph."""

_NARROW_BYTES_PER_VALUE = {"lbfgs": 24, "scipy": 500, "adam": 52}
"""The same where the image is walked in tiles: vectors of float32, but SciPy's; without the pairs.
L-BFGS has image and gradient at two points, a direction, and the best image."""

_PYRAMID_BYTES_PER_VALUE = 14
"""What L-BFGS over a pyramid takes more: M g at two points, and the pyramid."""

_TILES = (2048, 1536, 1024)
_SMALL_TILES = (768, 512)
"""Tiles that are tried where a run does not fit, in pixels; the halos of the small ones cost more
time than fewer pairs do."""

_FEWEST = 3
"""Pairs that L-BFGS keeps at least."""

_PICTURE = 24
"""Bytes of a pixel of a picture, in float64."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Forecast:
    """Bytes that a run will add to what the process holds.

    Attributes
    ----------
    workspace : int
        Activations and gradients of the finest level, or features of a larger style picture.
    targets, weights, scratch : int
        What the losses compare with; what packing the weights adds; what the ops need inside.
    optimizer : int
        Its vectors and copies of the image, and the modules that it loads.
    host : int
        What lies on the host while a device walks the windows of an image; `total` is then what
        the device has to hold.
    """

    workspace: int
    targets: int
    weights: int
    scratch: int
    optimizer: int
    host: int = 0

    @property
    def total(self) -> int:
        """All of it where the loss is computed."""
        return self.workspace + self.targets + self.weights + self.scratch + self.optimizer


def forecast_memory(
    network: Network,
    options: TransferOptions,
    content: Size | None,
    styles: Sequence[Size],
    regions: int = 1,
) -> Forecast:
    """Say what a run will take: its finest level, which takes the most.

    Parameters
    ----------
    network : Network
        Open; its weights are counted as far as they are not packed yet.
    options : TransferOptions
        The ``image_size`` and what else matters.
    content : tuple of int or None
        Height and width of the content picture as given; None where there is none.
    styles : sequence of tuple of int
        The same of each style picture.
    regions : int
        How many parts of the image have a style of their own.
    """
    if not isinstance(options.tile, int):
        return _forecast_level(network, options, content, styles, regions)
    found = _forecast_level(tiled(network, options.tile), options, content, styles, regions)
    if found.host and options.levels != 1:
        # A level that is no larger than a tile has its image and its vectors on the device.
        below = replace(options, image_size=options.tile, tile=None)
        plain = _forecast_level(network, below, content, styles, regions)
        found = max(found, replace(plain, host=found.host), key=lambda each: each.total)
    return found


def _forecast_level(
    network: Network,
    options: TransferOptions,
    content: Size | None,
    styles: Sequence[Size],
    regions: int,
) -> Forecast:
    """What the level takes whose long side is ``image_size``."""
    masked = any(getattr(options, name) is not None for name in MASK_SETTINGS)
    aspect = None if options.aspect is None else (options.aspect[1], options.aspect[0])
    H, W = size_to_long_side(*(content or aspect or styles[0]), options.image_size)
    backend = network.backend
    content_layers = _fitting(content_choice(options, network), network, H, W) if content else []
    style_layers = _fitting(style_choice(options, network), network, H, W) if styles else []
    layers = dict.fromkeys([*content_layers, *style_layers])
    matched = _matched_nbytes(network, options, H, W) if styles else 0
    plans, pictures = [network.plan(H, W, layers, gradient=True).nbytes], [0]
    for style, scale in zip(styles, style_scales(options, len(styles)), strict=True):
        h, w = size_to_long_side(*style, scaled_side(max(H, W), scale))
        pictures.append(_PICTURE * h * w)
        deep = [layer for layer in style_layers if min(h, w) >= network.smallest_side([layer])]
        features = network.plan(h, w, deep, gradient=False).nbytes if deep else 0
        plans += [features + matched + (_COSINES if matched else 0)]
    shapes = {layer: network.shape(layer, H, W) for layer in layers}
    window = largest_window(network, H, W, layers)
    narrow = window != (H, W)
    apart = narrow and backend.free_memory() is not None
    features = sum(backend.nbytes("features", shapes[layer]) for layer in content_layers)
    in_32_bits = backend.nbytes("features", (16, 1, 1)) == 4 * 16
    kept = features // 2 if narrow and in_32_bits else features
    channels = [shapes[layer][0] for layer in style_layers]
    targets = matched + regions * _matrices_nbytes(options, channels)
    if masked:  # the masks, float64, and the weights of the pixels, float32
        kept += regions * (8 * H * W + sum(4 * h * w for _, h, w in shapes.values()))
    # Before there are any vectors, pictures are resized, and the content's features are weighed.
    # Features of 32 bits, and the start; or of 16 bits, the start, and the photograph.
    number, images = (2, 2) if narrow else (4, 1)
    weighed = [
        number * math.prod(shapes[layer]) + images * _PICTURE * H * W for layer in content_layers
    ]
    before = max([*pictures, *weighed])
    on_host = apart or backend.free_memory() is None
    program = _PROGRAM[options.optimizer] if on_host else 0
    ops = network.ops(H, W, layers)
    for layer in layers:
        N, h, w = network.shape(layer, *window)
        ops += [OpSize(op, N, N, h, w) for op in ("gram", "style_loss", "content_loss")]
        # A device has no strips of a core: the weights of the pixels say what is in it.
        ops += [OpSize("gram_weighted", N, N, h, w)] if masked or apart else []
        if narrow and layer in content_layers:  # the part of a window, and a gradient for nobody
            targets += (2 if apart else 1) * backend.nbytes("features", (N, h, w))
    if apart:  # the image of a window, and its gradient
        targets += 2 * 4 * 3 * math.prod(window)
    optimizer = max(before, 3 * H * W * _bytes_per_value(options, narrow)) + program
    return Forecast(
        workspace=max(plans),
        targets=targets + (0 if apart else kept),
        weights=network.weights_nbytes(layers),
        scratch=max(backend.scratch_nbytes(*op) for op in ops),
        optimizer=0 if apart else optimizer,
        host=kept + optimizer if apart else 0,
    )


def _bytes_per_value(options: TransferOptions, narrow: bool) -> int:
    """Memory of the optimiser per value of the image."""
    value = (_NARROW_BYTES_PER_VALUE if narrow else _BYTES_PER_VALUE)[options.optimizer]
    if options.optimizer != "lbfgs":
        return value
    number = 2 if options.pair_precision == "half" else 4
    pairs = 2 * number * ((options.pairs or PAIRS) + 1)  # a pair is two vectors; one is spare
    if narrow:
        return value + pairs + (_PYRAMID_BYTES_PER_VALUE if options.over_pyramid() else 0)
    return value + pairs - 2 * 4 * (PAIRS + 1)


def fit_memory(network: Network, options: TransferOptions, inputs: Inputs) -> TransferOptions:
    """Make a run over these pictures fit into memory, or refuse it.

    Where the run as it is would not fit, ``tile="auto"`` takes tiles, the largest that fit; where a
    device walks them, the image and the vectors lie on the host. Where they do not suffice, L-BFGS
    keeps its pairs in half precision, then fewer of them; then tiles become as small as is
    sensible. What was chosen is logged as one warning.

    Returns
    -------
    TransferOptions
        With the tile, the pairs and their precision that were chosen; as given where the run
        fits.

    Raises
    ------
    BackendError
        It does not fit; names the largest ``image_size`` that would.
    OptionError
        PYNST_MEMORY is not a number of bytes, or the tile cannot be had.
    """
    found = fit_sizes(
        network,
        options,
        None if inputs.content is None else inputs.content.size,
        [style.size for style in inputs.styles],
        len(inputs.regions),
    )
    if found.told:
        _LOG.warning("%s", found.told)
    return found.options


@dataclass(frozen=True)
class Fit:
    """A run that fits into memory.

    Attributes
    ----------
    options : TransferOptions
        As given, or with the tile, the pairs and their precision that were chosen.
    needs : Forecast
        What it will take.
    told : str
        What was chosen, in one line; empty where the run fits as given.
    """

    options: TransferOptions
    needs: Forecast
    told: str


def fit_sizes(
    network: Network,
    options: TransferOptions,
    content: Size | None,
    styles: Sequence[Size],
    regions: int = 1,
) -> Fit:
    """Find out how a run over pictures of these sizes fits into memory, and log nothing.

    Parameters
    ----------
    network, options, content, styles, regions : as for `forecast_memory`

    Raises
    ------
    BackendError, OptionError
        As for `fit_memory`.
    """
    room = _Room.of(network, options)
    if isinstance(options.tile, int):
        tiled(network, options.tile)  # whether it can be had at all

    def needed(options: TransferOptions) -> Forecast:
        return forecast_memory(network, options, content, styles, regions)

    if room.own is None:
        return Fit(options, needed(options), "")
    aspect = None if options.aspect is None else (options.aspect[1], options.aspect[0])
    given = content or aspect or styles[0]

    def size(image_size: int) -> Size:
        return size_to_long_side(*given, image_size)

    for way in _ways(options, network, size(options.image_size)):
        needs = needed(way)
        if room.holds(needs):
            same = way == options
            told = "" if same else _told(way, network, size(way.image_size), needs, room.own)
            return Fit(way, needs, told)

    def fits(image_size: int) -> bool:
        at_size = replace(options, image_size=image_size)
        whole, *_, leanest = _ways(at_size, network, size(image_size))
        return any(room.holds(needed(way)) for way in (leanest, whole))

    wanted, free, where, limit = room.lacking(needs, network, options)
    raise BackendError(
        f"image_size={options.image_size} needs about {in_bytes(wanted)} more memory, and"
        f" {in_bytes(max(0, free))} are {where};"
        f" {_advice(fits, options.image_size)}{limit}"
    )


@dataclass(frozen=True)
class _Room:
    """Bytes that are free where the loss is computed, and on the host; None if nobody knows."""

    own: int | None
    host: int | None

    @classmethod
    def of(cls, network: Network, options: TransferOptions) -> _Room:
        """The room that a run has."""
        host, device = available_memory(options.memory), network.backend.free_memory()
        return cls(host if device is None else device, host)

    def holds(self, needs: Forecast) -> bool:
        """Whether a run fits."""
        own = self.own is None or needs.total <= self.own
        return own and (not needs.host or self.host is None or needs.host <= self.host)

    def lacking(
        self, needs: Forecast, network: Network, options: TransferOptions
    ) -> tuple[int, int, str, str]:
        """Bytes that are needed, and that there are, where they do not suffice; and who says so."""
        on_device = network.backend.free_memory() is not None
        if on_device and needs.total > (self.own or 0):
            return needs.total, self.own or 0, f"free on {network.backend.name}", ""
        limit = "memory" if options.memory is not None else "the variable PYNST_MEMORY"
        said = f" ({limit} sets the limit of the whole process)"
        return (needs.host if on_device else needs.total), self.host or 0, "available", said


def _advice(fits: Callable[[int], bool], image_size: int) -> str:
    """The largest size that would fit."""
    low, high = 15, image_size  # low fits, or is below the smallest size there is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return f"image_size={low} would fit" if low > 15 else "no image_size would fit"


def _ways(options: TransferOptions, network: Network, size: Size) -> list[TransferOptions]:
    """The run as given, and with less and less memory, in the order in which they slow it."""
    large, small = list[Any]([options.tile]), list[Any]()
    if options.tile == "auto" and can_be_tiled(network):
        large, small = ([n for n in tiles if n < max(size)] for tiles in (_TILES, _SMALL_TILES))
        if network.backend.free_memory() is not None:  # where fewer pairs would make no room
            large, small = large + small, []
    kept = _ways_to_keep(options, network)
    tried = [(tile, each) for each in kept for tile in large or small[:1] or [options.tile]]
    tried += [(tile, kept[-1]) for tile in small]
    ways = [options, *(replace(options, tile=tile, **each) for tile, each in tried)]
    fewer = options.optimizer == "lbfgs" and options.pairs is None
    if fewer and options.variables is None and options.over_pyramid():
        # Last, since it changes the picture: as many vectors less as M and its image take.
        ways += [replace(way, variables="pixels") for way in ways[1:] if way.pairs == _FEWEST]
    return ways


def _ways_to_keep(options: TransferOptions, network: Network) -> list[dict[str, Any]]:
    """How L-BFGS can keep its pairs: all in full, then in half precision, then fewer and fewer."""
    if options.optimizer != "lbfgs":
        return [{}]
    counts = [None, *range(9, _FEWEST - 1, -1)] if options.pairs is None else [options.pairs]
    on_host = network.backend.free_memory() is None
    if options.pair_precision is not None or not on_host:
        return [{"pairs": count} for count in counts]
    half = [{"pairs": count, "pair_precision": "half"} for count in counts]
    return [{"pairs": counts[0]}, *half]


def _told(
    options: TransferOptions, network: Network, size: Size, needs: Forecast, room: int
) -> str:
    """What was chosen, in one line."""
    text = f"image_size={options.image_size} as a whole would not fit into {in_bytes(room)}:"
    if isinstance(options.tile, int):
        walked = tiled(network, options.tile)
        layers = layers_read(options, network)
        rows, columns, share = overhead(walked, *size, layers)
        text += (
            f" tiles of {options.tile} pixels, {columns} x {rows}, give the same picture in"
            f" {share:.1f} times the time;"
        )
    if options.pairs is not None or options.pair_precision == "half":
        half = " in half precision" if options.pair_precision == "half" else ""
        text += f" L-BFGS keeps {options.pairs or PAIRS} pairs{half};"
    if options.variables is not None:
        text += f" it minimises over the {options.variables};"
    text += f" about {in_bytes(needs.total)}"
    return text + (f" on the device, and {in_bytes(needs.host)} on the host" if needs.host else "")


def _matched_nbytes(network: Network, options: TransferOptions, H: int, W: int) -> int:
    """Bytes of the features that the neighbours loss compares with; 0 without that loss."""
    if "neighbours" not in options.style_shares():
        return 0
    layers = _fitting(neighbour_choice(options, network), network, H, W)
    return sum(network.backend.nbytes("features", network.shape(each, H, W)) for each in layers)


def _matrices_nbytes(options: TransferOptions, channels: Sequence[int]) -> int:
    """Bytes of the matrices of the style losses, for layers of so many channels."""
    kept, working = sum(N**2 for N in channels), max(channels, default=0) ** 2
    return sum(
        8 * (_MATRICES[loss] * kept + _WORKING[loss] * working) for loss in options.style_shares()
    )


def _fitting(choice: LayerChoice, network: Network, H: int, W: int) -> list[str]:
    """The layers of a term for which the image is large enough; at least the network's first."""
    names = [name for name in choice.names() if min(H, W) >= network.smallest_side([name])]
    return names or list(network.layers[:1])


class TimeForecast:
    """How long a run will go on, judged by its evaluations since the first."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._evaluations = 0

    def left(self, fraction: float) -> float | None:
        """Seconds to go after an evaluation; None before the third one.

        Parameters
        ----------
        fraction : float
            Share of the work that is done.
        """
        now = time.monotonic()
        self._evaluations += 1
        start, done = self._first = self._first or (now, fraction)
        if self._evaluations < 3 or fraction <= done:
            return None
        return (now - start) * (1 - fraction) / (fraction - done)


def in_bytes(nbytes: int) -> str:
    """Spell a number of bytes for people: ``"1.2 GB"``."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 10**9 else f"{nbytes / 1e6:.0f} MB"
