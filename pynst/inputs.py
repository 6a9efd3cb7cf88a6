"""The pictures of a run: read once, checked, named, and matched in colour.

Everything that is done to a picture, whatever the level, is done here; the levels only resize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError, OptionError
from pynst.images import ImageLike, Picture, read_picture, resize, size_to_long_side
from pynst.images.color import match_color
from pynst.options import TransferOptions

__all__ = ["Inputs", "StylePicture", "named_start", "read_inputs"]

_STARTS = ("content", "style", "noise")


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A painting as the losses see it.

    Attributes
    ----------
    name : str
        ``"style"``; ``"style 1"``, ``"style 2"``, ... where there are several.
    share : float
        Its share of the blend; all shares add up to 1.
    pixels : ndarray (H, W, 3)
        sRGB in [0, 1], in the colours of the content where the options want it.
    """

    name: str
    share: float
    pixels: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The pictures of a run.

    Attributes
    ----------
    content : Picture or None
        The photograph.
    styles : tuple of StylePicture
        The paintings; empty where there is none.
    start : Picture or None
        Where the run starts, if that is a picture of its own.
    pictures : dict of str to Picture
        All pictures as they were read, by the names that errors, record and notes use.
    aspect : tuple of int or None
        Height and width whose aspect the image has, where there is no content.
    """

    content: Picture | None
    styles: tuple[StylePicture, ...]
    start: Picture | None
    pictures: Mapping[str, Picture]
    aspect: tuple[int, int] | None = None

    def size(self, long_side: int) -> tuple[int, int]:
        """Height and width of the image whose long side is given.

        The image has the aspect of the content; without one, that which was asked for, or else
        that of the first style picture.
        """
        given = self.styles[0].pixels if self.content is None else self.content.pixels
        H, W = self.aspect or given.shape[:2]
        return size_to_long_side(H, W, long_side)

    def content_at(self, H: int, W: int) -> NDArray[np.float64]:
        """The content picture at a size, (H, W, 3)."""
        assert self.content is not None, "a run without a content has no term that asks for one"
        return resize(self.content.pixels, H, W)


def read_inputs(
    content: ImageLike | None,
    style: ImageLike | Sequence[ImageLike] | None,
    options: TransferOptions,
    *,
    start: bool = True,
) -> Inputs:
    """Read all pictures of a run.

    Parameters
    ----------
    content : as for `pynst.stylize`
        None where the image shall have the style alone.
    style : as for `pynst.stylize`
        None where the image shall have the content alone.
    options : TransferOptions
    start : bool
        Whether to read the picture that ``init`` names; a resumed run has its start behind it.

    Raises
    ------
    ImageError
        A picture cannot be read.
    OptionError
        A setting belongs to a picture that is missing, or ``style_blend`` to another number of
        them.
    """
    styles = _as_list(style)
    _check_presence(content, styles, options)
    pictures: dict[str, Picture] = {}
    if content is not None:
        pictures["content"] = read_picture(content, "content")
    names = ["style"] if len(styles) == 1 else [f"style {i}" for i in range(1, len(styles) + 1)]
    for name, each in zip(names, styles, strict=True):
        pictures[name] = read_picture(each, name)
    if start and named_start(options) is None:
        pictures["init"] = read_picture(options.init, "init")
    photograph = pictures.get("content")
    blend = options.style_blend or (1.0,) * len(styles)
    return Inputs(
        photograph,
        tuple(
            StylePicture(name, weight / sum(blend), _matched(pictures[name], photograph, options))
            for name, weight in zip(names, blend, strict=True)
        ),
        pictures.get("init"),
        pictures,
        None if options.aspect is None else (options.aspect[1], options.aspect[0]),
    )


def named_start(options: TransferOptions) -> str | None:
    """``"content"``, ``"style"`` or ``"noise"``; None where the start is a picture of its own."""
    init = options.init
    return init if isinstance(init, str) and init in _STARTS else None


def _as_list(style: Any) -> list[Any]:
    """The style pictures as a list."""
    if style is None:
        return []
    styles = list(style) if isinstance(style, (list, tuple)) else [style]
    if not styles:
        raise ImageError("style must be at least one picture, got an empty list")
    return styles


def _check_presence(content: Any, styles: Sequence[Any], options: TransferOptions) -> None:
    """Refuse settings that belong to a picture that is missing."""
    if content is None and not styles:
        raise ImageError("content and style must not both be None")
    if options.style_blend is not None and len(options.style_blend) != len(styles):
        raise OptionError(
            f"style_blend must have one weight for each of the {len(styles)} style pictures,"
            f" got {len(options.style_blend)}"
        )
    needs_content = {
        "content_weight": bool(options.content_weight),
        "preserve_color": options.preserve_color,
        "match_color": options.match_color != "none",
    }
    needs_style = {"style_weight": bool(options.style_weight)}
    for missing, name, needs in (
        (content is None, "content", needs_content),
        (not styles, "style", {**needs_style, "match_color": needs_content["match_color"]}),
    ):
        wrong = next((option for option, wanted in needs.items() if wanted and missing), None)
        if wrong is not None:
            raise OptionError(
                f"{wrong}={getattr(options, wrong)!r} needs a {name} picture, got None"
            )
    if options.aspect is not None and content is not None:
        raise OptionError(
            f"aspect={options.aspect!r} cannot be had together with a content picture, which gives"
            " the result its own"
        )
    if named_start(options) == "style" and not styles:
        raise OptionError("init='style' needs a style picture, got None")


def _matched(
    style: Picture, content: Picture | None, options: TransferOptions
) -> NDArray[np.float64]:
    """The style picture (H, W, 3), in the colours of the content if ``match_color`` says so."""
    if options.match_color == "none" or content is None:
        return style.pixels
    return match_color(style.pixels, content.pixels, options.match_color)
