"""What a file of arrays is that is not VGG-19, in a few words."""

from __future__ import annotations

import re

from pynst.formats.common import Container, show

__all__ = ["describe"]

_OTHERS = {"VGG-11": (1, 1, 2, 2, 2), "VGG-13": (2, 2, 2, 2, 2), "VGG-16": (2, 2, 3, 3, 3)}


def describe(container: Container) -> str:
    """Say in a few words what a file that is not VGG-19 holds."""
    arrays = container.arrays
    if any(name.endswith("running_mean") for name in arrays):
        return "a network with batch normalisation"
    kernels = [
        array.shape
        for _, array in sorted(arrays.items(), key=lambda item: _natural(item[0]))
        if len(array.shape) == 4 and (array.shape[2:] == (3, 3) or array.shape[:2] == (3, 3))
    ]
    widths = [shape[0] if shape[2:] == (3, 3) else shape[3] for shape in kernels]
    for name, counts in _OTHERS.items():
        growth = [g for g, count in zip((1, 2, 4, 8, 8), counts, strict=True) for _ in range(count)]
        if widths and widths == [widths[0] * g for g in growth]:
            return f"it looks like {name}"
    if kernels:
        return f"it holds {len(kernels)} 3 x 3 convolutions, or they are named otherwise"
    some = ", ".join(show(name) for name in list(arrays)[:3])
    return (
        f"it holds {len(arrays)} arrays{f' ({some} ...)' if some else ''} and no 3 x 3 convolution"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which ``features.10`` comes after ``features.2``."""
    return [
        (int(piece[:9]), "") if piece.isascii() and piece.isdigit() else (-1, piece)
        for piece in re.split(r"(\d+)", name)
    ]
