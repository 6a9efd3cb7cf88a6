"""Memory and time: how much a run will take, and what would fit.

The memory plans say to the byte what a network needs; the optimiser's vectors and the copies on the
way between image and network are counted. A run that would not fit is refused before it begins,
instead of being killed by the system when it is nearly done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pynst.backends.base import OpSize
from pynst.errors import BackendError
from pynst.images import size_to_long_side
from pynst.inputs import Inputs, style_scales
from pynst.machine import available_memory
from pynst.networks import Network
from pynst.networks.layers import LayerChoice, content_choice, neighbour_choice, style_choice
from pynst.options import MASK_SETTINGS, TransferOptions
from pynst.regions import scaled_side

__all__ = ["TimeForecast", "check_memory", "forecast_memory", "in_bytes"]

_PROGRAM = {"lbfgs": 7_000_000, "scipy": 43_000_000, "adam": 6_000_000}
"""Bytes of the program itself that are loaded during a run, by optimiser: SciPy's modules."""

_BYTES_PER_VALUE = {"lbfgs": 160, "scipy": 290, "adam": 130}
"""Memory of the optimiser and the closure per value of the image: the kept pairs (20 vectors of
float32; in SciPy 25 of float64), and about ten vectors of float64 at the same time."""

_MATRICES = {"gram": 2, "wasserstein": 2, "neighbours": 0}
"""Matrices (N, N) of float64 that a style loss keeps for each layer: G, and A or a root of S."""

_WORKING = {"gram": 0, "wasserstein": 6, "neighbours": 0}
"""Such matrices that it needs besides, while it computes one layer."""

_COSINES = 4_000_000
"""Bytes that matching with a painting takes, besides the features of the photograph."""

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
    """

    workspace: int
    targets: int
    weights: int
    scratch: int
    optimizer: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.workspace + self.targets + self.weights + self.scratch + self.optimizer


def forecast_memory(
    network: Network,
    options: TransferOptions,
    content: Size | None,
    styles: Sequence[Size],
    regions: int = 1,
) -> Forecast:
    """Say what the finest level of a run will take.

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
    masked = any(getattr(options, name) is not None for name in MASK_SETTINGS)
    aspect = None if options.aspect is None else (options.aspect[1], options.aspect[0])
    H, W = size_to_long_side(*(content or aspect or styles[0]), options.image_size)
    backend = network.backend
    content_layers = _fitting(content_choice(options, network), network, H, W) if content else []
    style_layers = _fitting(style_choice(options, network), network, H, W) if styles else []
    layers = dict.fromkeys([*content_layers, *style_layers])
    matched = _matched_nbytes(network, options, H, W) if styles else 0
    plans = [network.plan(H, W, layers, gradient=True).nbytes]
    for style, scale in zip(styles, style_scales(options, len(styles)), strict=True):
        h, w = size_to_long_side(*style, scaled_side(max(H, W), scale))
        deep = [layer for layer in style_layers if min(h, w) >= network.smallest_side([layer])]
        features = network.plan(h, w, deep, gradient=False).nbytes if deep else 0
        plans += [features + matched + (_COSINES if matched else 0)]
    shapes = {layer: network.shape(layer, H, W) for layer in layers}
    targets = sum(backend.nbytes("features", shapes[layer]) for layer in content_layers)
    channels = [shapes[layer][0] for layer in style_layers]
    targets += matched + regions * _matrices_nbytes(options, channels)
    if masked:  # the masks, float64, and the weights of the pixels, float32
        targets += regions * (8 * H * W + sum(4 * h * w for _, h, w in shapes.values()))
    program = _PROGRAM[options.optimizer] if backend.free_memory() is None else 0
    ops = network.ops(H, W, layers)
    for N, h, w in shapes.values():
        ops += [OpSize(op, N, N, h, w) for op in ("gram", "style_loss", "content_loss")]
        ops += [OpSize("gram_weighted", N, N, h, w)] if masked else []
    return Forecast(
        workspace=max(plans),
        targets=targets,
        weights=network.weights_nbytes(layers),
        scratch=max(backend.scratch_nbytes(*op) for op in ops),
        optimizer=3 * H * W * _BYTES_PER_VALUE[options.optimizer] + program,
    )


def check_memory(network: Network, options: TransferOptions, inputs: Inputs) -> None:
    """Refuse a run over these pictures that would not fit into memory.

    Raises
    ------
    BackendError
        It would not; names the largest ``image_size`` that would.
    OptionError
        PYNST_MEMORY is not a number of bytes.
    """
    on_device = network.backend.free_memory()
    room = available_memory() if on_device is None else on_device
    if room is None:
        return
    content = None if inputs.content is None else inputs.content.size
    styles = [style.size for style in inputs.styles]

    def needed(image_size: int) -> int:
        smaller = replace(options, image_size=image_size)
        return forecast_memory(network, smaller, content, styles, len(inputs.regions)).total

    needs = needed(options.image_size)
    if needs <= room:
        return
    low, high = 15, options.image_size  # low fits, or is below the smallest size there is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= room else (low, middle)
    advice = f"image_size={low} would fit" if low > 15 else "no image_size would fit"
    hint = " (the variable PYNST_MEMORY sets the limit of the whole process)"
    where = "available" if on_device is None else f"free on {network.backend.name}"
    raise BackendError(
        f"image_size={options.image_size} needs about {in_bytes(needs)} more memory,"
        f" and {in_bytes(max(0, room))} are {where}; {advice}{hint if on_device is None else ''}"
    )


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
