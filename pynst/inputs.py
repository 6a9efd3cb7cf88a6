"""The style pictures as the options want them: each with its share, in the content's colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError, OptionError
from pynst.images import ImageLike, Picture, read_picture
from pynst.images.color import match_color
from pynst.options import TransferOptions

__all__ = ["matched", "read_styles"]


def read_styles(
    style: ImageLike | Sequence[ImageLike], options: TransferOptions
) -> list[tuple[float, Picture]]:
    """Read one or several style pictures: pairs of (share of the blend, picture)."""
    styles: list[Any] = list(style) if isinstance(style, (list, tuple)) else [style]
    if not styles:
        raise ImageError("style must be at least one picture, got an empty list")
    blend = options.style_blend or (1.0,) * len(styles)
    if len(blend) != len(styles):
        raise OptionError(
            f"style_blend must have one weight for each of the {len(styles)} style pictures,"
            f" got {len(blend)}"
        )
    names = ["style"] if len(styles) == 1 else [f"style {i}" for i in range(1, len(styles) + 1)]
    return [
        (weight / sum(blend), read_picture(each, name))
        for weight, each, name in zip(blend, styles, names, strict=True)
    ]


def matched(
    style: NDArray[np.float64], content: NDArray[np.float64], options: TransferOptions
) -> NDArray[np.float64]:
    """The style picture (H, W, 3) in the colours of the content, if ``match_color`` says so."""
    if options.match_color == "none":
        return style
    return match_color(style, content, options.match_color)
