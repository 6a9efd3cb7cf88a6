"""The pictures of a run: read once, checked, named, and matched in colour.

Everything that is done to a picture, whatever the level, is done here; the levels only resize.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError, OptionError
from pynst.images import ImageLike, Picture, read_picture, resize, size_to_long_side
from pynst.images.color import match_color
from pynst.options import TransferOptions

__all__ = ["Inputs", "StylePicture", "named_start", "read_inputs", "style_long_side"]

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
    size : tuple of int
        Height and width of the whole picture; `pixels` may have been reduced while it was read.
    """

    name: str
    share: float
    pixels: NDArray[np.float64]
    size: tuple[int, int]


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
    paths : dict of str to str
        The paths of those that came from files, exactly as they were given.
    aspect : tuple of int or None
        Height and width whose aspect the image has, where there is no content.
    """

    content: Picture | None
    styles: tuple[StylePicture, ...]
    start: Picture | None
    pictures: Mapping[str, Picture]
    paths: Mapping[str, str]
    aspect: tuple[int, int] | None = None

    def size(self, long_side: int) -> tuple[int, int]:
        """Height and width of the image whose long side is given.

        The image has the aspect of the content; without one, that which was asked for, or else
        that of the first style picture.
        """
        given = self.styles[0] if self.content is None else self.content
        return size_to_long_side(*(self.aspect or given.size), long_side)

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
    names = ["style"] if len(styles) == 1 else [f"style {i}" for i in range(1, len(styles) + 1)]
    sources: dict[str, Any] = {} if content is None else {"content": content}
    sources |= dict(zip(names, styles, strict=True))
    if start and named_start(options) is None:
        sources["init"] = options.init
    largest = {name: style_long_side(options.image_size, options.style_scale) for name in names}
    pictures = {
        name: read_picture(source, name, long_side=largest.get(name, options.image_size))
        for name, source in sources.items()
    }
    photograph = pictures.get("content")
    blend = options.style_blend or (1.0,) * len(styles)
    return Inputs(
        content=photograph,
        styles=tuple(
            _style_picture(name, weight / sum(blend), pictures[name], photograph, options)
            for name, weight in zip(names, blend, strict=True)
        ),
        start=pictures.get("init"),
        pictures=pictures,
        paths={
            name: os.fsdecode(source)
            for name, source in sources.items()
            if isinstance(source, str | os.PathLike)
        },
        aspect=None if options.aspect is None else (options.aspect[1], options.aspect[0]),
    )


def style_long_side(image_side: int, style_scale: float) -> int:
    """Long side of the style pictures beside an image, from the image's long side; pixels."""
    return max(1, round(image_side * style_scale))


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
    neighbours = "style_loss='neighbours'" if options.style_loss else f"formula={options.formula!r}"
    matched = options.match_color != "none"
    needs_content = {
        f"content_weight={options.content_weight!r}": bool(options.content_weight),
        f"preserve_color={options.preserve_color!r}": options.preserve_color,
        f"match_color={options.match_color!r}": matched,
        neighbours: "neighbours" in options.style_shares(),
    }
    needs_style = {
        f"style_weight={options.style_weight!r}": bool(options.style_weight),
        f"match_color={options.match_color!r}": matched,
    }
    for missing, name, needs in (
        (content is None, "content", needs_content),
        (not styles, "style", needs_style),
    ):
        wrong = next((setting for setting, wanted in needs.items() if wanted and missing), None)
        if wrong is not None:
            raise OptionError(f"{wrong} needs a {name} picture, got None")
    if options.aspect is not None and content is not None:
        raise OptionError(
            f"aspect={options.aspect!r} cannot be had together with a content picture, which gives"
            " the result its own"
        )
    if named_start(options) == "style" and not styles:
        raise OptionError("init='style' needs a style picture, got None")


def _style_picture(
    name: str, share: float, style: Picture, content: Picture | None, options: TransferOptions
) -> StylePicture:
    """A style picture, in the colours of the content if ``match_color`` says so."""
    pixels = style.pixels
    if options.match_color != "none" and content is not None:
        pixels = match_color(pixels, content.pixels, options.match_color)
    return StylePicture(name, share, pixels, style.size)
