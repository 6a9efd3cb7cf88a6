"""The pictures of a run: read once, checked, named, and matched in colour.

Everything that is done to a picture, whatever the level, is done here; the levels only resize.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError, OptionError
from pynst.images import ImageLike, Picture, read_picture, resize, size_to_long_side
from pynst.images.arrays import to_unit
from pynst.images.color import match_color
from pynst.images.masks import Mask, resize_mask
from pynst.options import TransferOptions
from pynst.regions import (
    Region,
    StylePicture,
    mask_sources,
    read_masks,
    regions_of,
    scaled_side,
)

__all__ = [
    "Inputs",
    "Region",
    "StylePicture",
    "is_start",
    "named_start",
    "read_inputs",
    "style_scales",
]

_STARTS = ("content", "style", "noise")


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
        All pictures and masks as they were read, by the names that errors, record and notes use.
    paths : dict of str to str
        The paths of those that came from files, exactly as they were given.
    aspect : tuple of int or None
        Height and width whose aspect the image has, where there is no content.
    regions : tuple of Region
        Which parts of the image take their style from which paintings; one without masks.
    content_mask, keep_mask : ndarray (H, W) or None
        Where the image keeps nearer to the content, and where it is the content in the end; of the
        size of the finest level.
    """

    content: Picture | None
    styles: tuple[StylePicture, ...]
    start: Picture | None
    pictures: Mapping[str, Picture]
    paths: Mapping[str, str]
    aspect: tuple[int, int] | None = None
    regions: tuple[Region, ...] = ()
    content_mask: Mask | None = None
    keep_mask: Mask | None = None

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
        return resize(self.content.samples, H, W)


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
    masks = mask_sources(options, names)
    scales = dict(zip(names, style_scales(options, len(names)), strict=True))
    pictures = {
        name: read_picture(
            source, name, long_side=scaled_side(options.image_size, scales.get(name, 1.0))
        )
        for name, source in sources.items()
    }
    blend = options.style_blend or (1.0,) * len(styles)
    inputs = Inputs(
        content=pictures.get("content"),
        styles=tuple(
            StylePicture(name, weight / sum(blend), found.samples, found.size, scales[name])
            for name, weight in zip(names, blend, strict=True)
            for found in [pictures[name]]
        ),
        start=pictures.get("init"),
        pictures=pictures,
        paths={
            name: os.fsdecode(source)
            for name, source in {**sources, **masks}.items()
            if isinstance(source, str | os.PathLike)
        },
        aspect=None if options.aspect is None else (options.aspect[1], options.aspect[0]),
    )
    return _in_colours_of_content(_with_masks(inputs, masks, options), options)


def _with_masks(inputs: Inputs, sources: Mapping[str, Any], options: TransferOptions) -> Inputs:
    """The inputs with their masks read and their regions made."""
    owner = "content" if inputs.content is not None else "result"
    size = inputs.content.size if inputs.content is not None else inputs.size(1 << 15)
    styles = {style.name: inputs.pictures[style.name] for style in inputs.styles}
    masks = read_masks(sources, size, owner, styles, options.image_size)
    H, W = inputs.size(options.image_size)
    regions, notes = regions_of(options, inputs.styles, masks, H, W)
    for name, note in notes.items():
        masks[name] = replace(masks[name], notes=(*masks[name].notes, note))

    def at_finest(name: str) -> Mask | None:
        return resize_mask(masks[name].pixels, H, W) if name in masks else None

    return replace(
        inputs,
        pictures={**inputs.pictures, **masks},
        regions=regions,
        content_mask=at_finest("mask of content"),
        keep_mask=at_finest("keep mask"),
    )


def style_scales(options: TransferOptions, count: int) -> tuple[float, ...]:
    """Size of each of so many style pictures, relative to the image's.

    Raises
    ------
    OptionError
        ``style_scale`` has values for another number of style pictures.
    """
    scale = options.style_scale
    scales = scale if isinstance(scale, tuple) else (scale,) * count
    if len(scales) != count:
        raise OptionError(
            f"style_scale must be one number or one for each of the {count} style pictures,"
            f" got {len(scales)} numbers"
        )
    return scales


def named_start(options: TransferOptions) -> str | None:
    """``"content"``, ``"style"`` or ``"noise"``; None where the start is a picture of its own."""
    return options.init if is_start(options.init) else None


def is_start(init: Any) -> TypeGuard[str]:
    """Whether a start is given as a word."""
    return isinstance(init, str) and init in _STARTS


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
        **{name: getattr(options, name) is not None for name in ("content_mask", "keep_mask")},
        f"content_weight={options.content_weight!r}": bool(options.content_weight),
        f"preserve_color={options.preserve_color!r}": options.preserve_color,
        f"match_color={options.match_color!r}": matched,
        neighbours: "neighbours" in options.style_shares(),
    }
    of_styles = ("style_masks", "style_source_masks", "regions", "style_regions")
    needs_style = {
        f"style_weight={options.style_weight!r}": bool(options.style_weight),
        f"match_color={options.match_color!r}": matched,
        **{name: getattr(options, name) is not None for name in of_styles},
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


def _in_colours_of_content(inputs: Inputs, options: TransferOptions) -> Inputs:
    """The paintings in the colours of the content if ``match_color`` says so.

    In a region they get the colours that the content has there, judged by the part of the painting
    that counts.
    """
    if options.match_color == "none" or inputs.content is None:
        return inputs
    content, method = inputs.content.pixels, options.match_color
    whole: dict[str, NDArray[np.float64]] = {}  # what needs no mask is matched once

    def at(mask: Mask | None, pixels: NDArray[np.float64]) -> Mask | None:
        return None if mask is None else resize_mask(mask, *pixels.shape[:2])

    def matched(style: StylePicture, mask: Mask | None) -> StylePicture:
        if style.mask is None and mask is None and style.name in whole:
            return replace(style, pixels=whole[style.name])
        pixels = match_color(
            to_unit(style.pixels),
            content,
            method,
            style_mask=at(style.mask, style.pixels),
            content_mask=at(mask, content),
        )
        if style.mask is None and mask is None:
            whole[style.name] = pixels
        return replace(style, pixels=pixels)

    return replace(
        inputs,
        styles=tuple(matched(style, None) for style in inputs.styles),
        regions=tuple(
            replace(region, styles=tuple(matched(style, region.mask) for style in region.styles))
            for region in inputs.regions
        ),
    )
