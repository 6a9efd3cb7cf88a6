"""Sizes of the coarse-to-fine levels.

Differs from the paper: it works at one size. From coarse to fine the style's elements come out
larger, pictures of different sizes come out alike, and most evaluations run on few pixels.
"""

from __future__ import annotations

import math

__all__ = ["level_sizes"]


def level_sizes(
    image_size: int, levels: int | None = None, *, coarsest: int = 128, smallest: int = 1
) -> tuple[int, ...]:
    """Long sides of the levels, coarse to fine, each about sqrt(2) times the one before.

    Parameters
    ----------
    image_size : int
        Long side of the finest level, pixels.
    levels : int, optional
        How many; by default as many as keep the first at `coarsest` pixels or more. Fewer are given
        where the first would fall below `smallest`.
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
    (128, 181, 256, 362, 512)
    """
    if levels is None:
        # half a pixel of tolerance: 181 * sqrt(2) is 255.97
        levels = 1 + max(0, math.floor(2 * math.log2((image_size + 0.5) / coarsest)))
    sizes = [round(image_size / math.sqrt(2) ** i) for i in reversed(range(levels))]
    return tuple(size for size in sizes if size >= smallest or size == image_size)
