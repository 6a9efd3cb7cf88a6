"""Memory and time: how much a run will take, how much there is, and what would fit.

The memory plans say to the byte what a network needs; the optimiser's vectors and the copies on the
way between image and network are counted. A run that would not fit is refused before it begins,
instead of being killed by the system when it is nearly done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pynst.errors import BackendError
from pynst.images import size_to_long_side
from pynst.machine import available_memory
from pynst.networks.network import Network
from pynst.options import TransferOptions

__all__ = ["TimeForecast", "check_memory", "forecast_memory"]

_BYTES_PER_VALUE = {"lbfgs": 160, "scipy": 290, "adam": 100}
"""Of the optimiser and the closure per value of the image: the kept pairs (20 of float32; in SciPy
25 of float64), and about ten vectors of float64 at the same time."""

Size = tuple[int, int]
Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """Bytes that a run will add to what the process holds.

    Attributes
    ----------
    workspace : int
        Activations and gradients of the finest level, or features of a larger style picture.
    targets, weights, scratch : int
        What the losses compare with; weights as the backend packs them; inside of ops.
    optimizer : int
        Its vectors, and copies of the image.
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
    network: Network, options: TransferOptions, content: Size, styles: Sequence[Size]
) -> Forecast:
    """Say what the finest level of a run will take.

    Parameters
    ----------
    network : Network
        Open; its weights are counted as far as they are not packed yet.
    options : TransferOptions
        The ``image_size`` and what else matters.
    content : tuple of int
        Height and width of the content picture as given.
    styles : sequence of tuple of int
        The same of each style picture.
    """
    H, W = size_to_long_side(*content, options.image_size)
    content_layers = dict(options.content_layers or dict.fromkeys(network.content_layers))
    style_layers = dict(options.style_layers or dict.fromkeys(network.style_layers))
    fits = [
        layer
        for layer in {*content_layers, *style_layers} & set(network.layers)
        if min(H, W) >= network.smallest_side([layer])
    ] or list(network.layers[:1])
    backend = network.backend
    style_side = max(1, round(max(H, W) * options.style_scale))
    plans = [network.plan(H, W, fits, gradient=True).nbytes]
    for style in styles:
        h, w = size_to_long_side(*style, style_side)
        deep = [layer for layer in fits if min(h, w) >= network.smallest_side([layer])]
        plans += [network.plan(h, w, deep, gradient=False).nbytes] if deep else []
    targets = sum(
        backend.nbytes("features", network.shape(layer, H, W))
        for layer in content_layers
        if layer in fits
    ) + sum(3 * 8 * network.shape(layer, H, W)[0] ** 2 for layer in style_layers if layer in fits)
    return Forecast(
        workspace=max(plans),
        targets=targets,
        weights=_packed_weights(network, fits),
        scratch=_scratch(network, fits, H, W),
        optimizer=3 * H * W * _BYTES_PER_VALUE[options.optimizer],
    )


def check_memory(
    network: Network, options: TransferOptions, content: Pixels, styles: Sequence[Pixels]
) -> None:
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

    sizes = [_size(picture) for picture in styles]

    def needed(image_size: int) -> int:
        smaller = replace(options, image_size=image_size)
        return forecast_memory(network, smaller, _size(content), sizes).total

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
        f"image_size={options.image_size} needs about {_shown(needs)} more memory,"
        f" and {_shown(max(0, room))} are {where}; {advice}{hint if on_device is None else ''}"
    )


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


def _packed_weights(network: Network, layers: Collection[str]) -> int:
    """Of VGG-19 up to the deepest of the layers, in the form in which the backend keeps them."""
    if network.name != "vgg19":
        return 0
    total, C = 0, 3
    for layer in network.layers[: 1 + max(network.layers.index(layer) for layer in layers)]:
        N = network.shape(layer, 1, 1)[0]
        total, C = total + 4 * 9 * 16 * 16 * math.ceil(N / 16) * math.ceil(C / 16), N
    return total


def _scratch(network: Network, layers: Collection[str], H: int, W: int) -> int:
    """The largest of what the ops need."""
    backend = network.backend
    deepest = max(network.layers.index(layer) for layer in layers)
    convolution = "conv3x3_relu" if network.name == "vgg19" else "filter7x7"
    sizes, C = [0], 3
    for layer in network.layers[: deepest + 1]:
        N, h, w = network.shape(layer, H, W)
        ops = [convolution] if C != 3 or network.name != "vgg19" else ["image_conv3x3_relu"]
        ops += ["gram", "style_loss", "content_loss"] if layer in layers else []
        sizes += [backend.scratch_nbytes(op, C, N, h, w) for op in ops]
        C = N
    return max(sizes)


def _size(picture: Pixels) -> Size:
    return picture.shape[0], picture.shape[1]


def _shown(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 10**9 else f"{nbytes / 1e6:.0f} MB"
