"""The coarse-to-fine levels of a run: their sizes, and how many evaluations each of them gets.

Differs from the paper: it works at one size. From coarse to fine the style's elements come out
larger, pictures of different sizes come out alike, and most evaluations run on few pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynst.inputs import Inputs
from pynst.networks.layers import layers_read, style_choice
from pynst.networks.network import Network
from pynst.options import TransferOptions

__all__ = ["Level", "level_sizes", "plan_levels"]

_COARSEST_SHORT_SIDE = 32  # pixels: the deepest features of a coarse level are more than one pixel


@dataclass(frozen=True)
class Level:
    """One level of a run.

    Attributes
    ----------
    H, W : int
        Size of its image, pixels.
    evaluations : int
        How often its loss may be evaluated.
    """

    H: int
    W: int
    evaluations: int


def plan_levels(options: TransferOptions, network: Network, inputs: Inputs) -> tuple[Level, ...]:
    """Say which levels a run has, coarse to fine.

    A level is left out where its image would be too small for the layers that are read, or one of
    the style pictures beside it; the finest is always there.
    """
    sizes = level_sizes(
        options.image_size,
        options.levels,
        coarsest=network.coarsest,
        smallest=_smallest(options, network, inputs),
    )
    counts = options.schedule(len(sizes), network.finest_share)
    return tuple(
        Level(*inputs.size(size), count) for size, count in zip(sizes, counts, strict=True)
    )


def _smallest(options: TransferOptions, network: Network, inputs: Inputs) -> int:
    """Long side of the smallest image at which every picture is large enough for its layers."""
    H, W = inputs.size(1 << 15)
    least = max(network.smallest_side(layers_read(options, network)), _COARSEST_SHORT_SIDE)
    sides = [_long_side(least, H, W)]
    for style in inputs.styles:
        least = network.smallest_side(style_choice(options, network).names())
        sides.append(math.ceil(_long_side(least, *style.size) / style.scale))
    return max(sides)


def _long_side(short_side: int, H: int, W: int) -> int:
    """Long side of a picture of this aspect whose short side has so many pixels."""
    return math.ceil(short_side * max(H, W) / min(H, W))


def level_sizes(
    image_size: int, levels: int | None = None, *, coarsest: int = 128, smallest: int = 1
) -> tuple[int, ...]:
    """Long sides of the levels, coarse to fine, each twice the one before.

    With steps of sqrt(2) a run took half as much time again for a loss that was 0 to 7 % higher
    (512 pixels, five pairs of pictures).

    Parameters
    ----------
    image_size : int
        Long side of the finest level, pixels.
    levels : int, optional
        How many; by default as many as bring the first nearest to `coarsest` pixels. Fewer are
        given where the first would fall below `smallest`.
    coarsest : int
        Long side of the coarsest level by default, pixels.
    smallest : int
        Long side below which the network has no pixel left at its deepest layer.

    Returns
    -------
    tuple of int
        The last one is `image_size`.

    Examples
    --------
    >>> level_sizes(512)
    (128, 256, 512)
    """
    if levels is None:
        levels = 1 + max(0, round(math.log2(image_size / coarsest)))
    sizes = [round(image_size / 2**i) for i in reversed(range(levels))]
    return tuple(size for size in sizes if size >= smallest or size == image_size)
