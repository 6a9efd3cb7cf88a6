"""Regions: which part of the image takes its style from which parts of which paintings.

Without masks there is one region, the whole image, with all paintings. `style_masks` give each
painting its part of the image; `style_source_masks` say which part of a painting counts; `regions`
and `style_regions` say both by maps whose equal colours belong together. Whatever way it is said,
the losses see regions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError, OptionError
from pynst.images import Picture, read_picture, size_to_long_side
from pynst.images.masks import Mask, check_aspect, flat_colours, read_mask, resize_mask
from pynst.options import MASK_SETTINGS, TransferOptions

__all__ = [
    "Region",
    "StylePicture",
    "is_word",
    "mask_names",
    "mask_sources",
    "read_masks",
    "reader_of",
    "regions_of",
    "scaled_side",
    "setting_of",
]

_REST, _ALL = "rest", "all"
_GUIDED = ("gram", "wasserstein")
"""The style losses that know regions."""
_PER_STYLE = {
    "style_masks": "mask",
    "style_source_masks": "source mask",
    "style_regions": "regions",
}
_OF_IMAGE = {
    "regions": "regions",
    "content_mask": "mask of content",
    "keep_mask": "keep mask",
}
_MAPS = ("regions", "style_regions")
_SAME = 8  # levels of 255 by which a colour of one map may differ from that of another


@dataclass(frozen=True, eq=False)
class StylePicture:
    """A painting as the losses see it.

    Attributes
    ----------
    name : str
        ``"style"``; ``"style 1"``, ``"style 2"``, ... where there are several.
    share : float
        Its share of the blend in its region; these shares add up to 1.
    pixels : ndarray (H, W, 3)
        sRGB in [0, 1], in the colours of the content where the options want it; or the samples of
        a large picture as they were stored, see `pynst.images.Picture`.
    size : tuple of int
        Height and width of the whole picture; `pixels` may have been reduced while it was read.
    scale : float
        Its size relative to the image's.
    mask : ndarray (h, w) or None
        Which part of it gives its style; None for the whole.
    """

    name: str
    share: float
    pixels: NDArray[Any]
    size: tuple[int, int]
    scale: float = 1.0
    mask: Mask | None = None

    def at(self, image_side: int) -> tuple[int, int]:
        """Height and width of the picture beside an image of this long side; pixels."""
        return size_to_long_side(*self.size, scaled_side(image_side, self.scale))


def scaled_side(image_side: int, scale: float) -> int:
    """Long side of a picture relative to that of an image; pixels."""
    return max(1, round(image_side * scale))


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the image, and the paintings that give its style.

    Attributes
    ----------
    name : str
        For people: ``"style"``, ``"styles 1, 3"``, or the colour of a map, ``"#ff0000"``.
    mask : ndarray (H, W) or None
        Share of the region at each pixel of the finest level; None for all of the whole image. The
        masks of all regions add up to 1 or less.
    styles : tuple of StylePicture
        At least one.
    """

    name: str
    mask: Mask | None
    styles: tuple[StylePicture, ...]

    @property
    def is_masked(self) -> bool:
        """Whether the region, or a painting for it, is less than the whole."""
        return any(mask is not None for mask in (self.mask, *(each.mask for each in self.styles)))


def mask_sources(options: TransferOptions, styles: Sequence[str]) -> dict[str, Any]:
    """The masks that the options name, as they were given, by what they are called.

    Parameters
    ----------
    options : TransferOptions
    styles : sequence of str
        Names of the style pictures.

    Raises
    ------
    OptionError
        There is not one for each style picture, or two settings say the same.
    """
    _check_settings(options, len(styles))
    sources: dict[str, Any] = {}
    for setting in MASK_SETTINGS:
        given = getattr(options, setting)
        if given is not None:
            each = given if setting in _PER_STYLE else (given,)
            pairs = zip(mask_names(setting, styles), each, strict=True)
            sources |= {name: source for name, source in pairs if not is_word(setting, source)}
    return sources


def mask_names(setting: str, styles: Sequence[str]) -> list[str]:
    """What the masks of a setting are called: ``"mask of style 1"``, ... or ``"keep mask"``."""
    if setting in _OF_IMAGE:
        return [_OF_IMAGE[setting]]
    return [f"{_PER_STYLE[setting]} of {style}" for style in styles]


def setting_of(name: str) -> str | None:
    """The setting that a mask of this name belongs to; None where it is no mask's."""
    kind, _, style = name.partition(" of ")
    words = _PER_STYLE if style.startswith("style") else _OF_IMAGE
    wanted = kind if style.startswith("style") else name
    return next((setting for setting, word in words.items() if word == wanted), None)


def reader_of(name: str) -> Callable[..., Picture]:
    """What reads the picture of this name: of a mask the brightness, of all others the colours."""
    return read_mask if "mask" in name.split() else read_picture


def is_word(setting: str, source: Any) -> bool:
    """Whether a mask is given as a word."""
    words = {"style_masks": (_REST, _ALL), "style_source_masks": (_ALL,)}.get(setting, ())
    return isinstance(source, str) and source in words


def _check_settings(options: TransferOptions, count: int) -> None:
    """Refuse settings that do not fit together, or not to the number of style pictures."""
    for setting in _PER_STYLE:
        given = getattr(options, setting)
        if given is not None and len(given) != count:
            raise OptionError(
                f"{setting} must have one mask for each of the {count} style pictures,"
                f" got {len(given)}"
            )
    if (options.regions is None) != (options.style_regions is None):
        raise OptionError(
            "regions and style_regions must be given together: each says what the colours of the"
            " other mean"
        )
    unguided = [loss for loss in options.style_shares() if loss not in _GUIDED]
    for setting in (*_PER_STYLE, "regions"):
        if unguided and getattr(options, setting) is not None:
            raise OptionError(
                f"{setting} cannot be given with style_loss={unguided[0]!r}, which compares whole"
                f" pictures; {' and '.join(map(repr, _GUIDED))} know masks of the style"
            )
    for setting in ("style_masks", "style_source_masks"):
        if options.regions is not None and getattr(options, setting) is not None:
            raise OptionError(f"{setting} cannot be given with regions, which says it already")


def read_masks(
    sources: Mapping[str, Any],
    image: tuple[int, int],
    of: str,
    styles: Mapping[str, Picture],
    long_side: int,
) -> dict[str, Picture]:
    """Read the masks and maps of a run, and compare their aspects with those of their pictures.

    Parameters
    ----------
    sources : mapping
        As from `mask_sources`.
    image : tuple of int
        Height and width whose aspect the image has.
    of : str
        Where the image has it from, e.g. ``"content"``.
    styles : mapping of str to Picture
        The style pictures by name.
    long_side : int
        Long side of the image, pixels.

    Returns
    -------
    dict of str to Picture
        The pixels of a mask are (H, W), those of a map (H, W, 3).

    Raises
    ------
    ImageError
        One cannot be read, is black everywhere, or has another aspect than its picture.
    """
    read: dict[str, Picture] = {}
    for name, source in sources.items():
        kind, _, style = name.partition(" of ")
        read[name] = reader_of(name)(source, name, long_side=long_side)
        of_painting = style in styles and kind != "mask"
        size, owner = (styles[style].size, style) if of_painting else (image, of)
        check_aspect(read[name], name, size, owner)
    return read


def regions_of(
    options: TransferOptions,
    styles: tuple[StylePicture, ...],
    masks: Mapping[str, Picture],
    H: int,
    W: int,
) -> tuple[tuple[Region, ...], dict[str, str]]:
    """Say which regions an image of H x W pixels has.

    Parameters
    ----------
    options : TransferOptions
    styles : tuple of StylePicture
        All of them; their shares are those of the whole blend.
    masks : mapping of str to Picture
        As from `read_masks`.
    H, W : int
        Size of the image at the finest level, pixels.

    Returns
    -------
    regions : tuple of Region
        Empty where there is no style picture.
    notes : dict of str to str
        What was done to a mask, by its name.

    Raises
    ------
    ImageError
        Nothing is left of a region.
    """
    if not styles:
        return (), {}
    if options.regions is not None:
        return _regions_of_maps(styles, masks, H, W)
    parts = [replace(style, mask=_part(masks, f"source mask of {style.name}")) for style in styles]
    groups = _grouped(options.style_masks or (_ALL,) * len(styles), styles, masks, (H, W))
    shares, note = _shares([mask for mask, _ in groups], (H, W))
    regions = []
    for share, (_, members) in zip(shares, groups, strict=True):
        chosen = tuple(parts[i] for i in members)
        if not share.any():
            raise ImageError(f"mask of {chosen[0].name}: the other masks leave nothing for 'rest'")
        # The shares of all of them add up to 1 already, as nearly as rounding lets them.
        blended = chosen if len(chosen) == len(parts) else _blended(chosen)
        regions.append(Region(_name(chosen), _unless_white(share), blended))
    first = next((name for name in masks if name.startswith("mask of style")), "")
    return tuple(regions), {first: note} if note else {}


def _part(masks: Mapping[str, Picture], name: str) -> Mask | None:
    """The mask of this name, if there is one and it is not white everywhere."""
    return _unless_white(masks[name].pixels) if name in masks else None


def _unless_white(mask: Mask) -> Mask | None:
    return None if (mask == 1).all() else mask


def _name(styles: Sequence[StylePicture]) -> str:
    """``"style 2"``, or ``"styles 1, 3"``."""
    if len(styles) == 1:
        return styles[0].name
    return "styles " + ", ".join(style.name.removeprefix("style ") for style in styles)


def _blended(styles: Sequence[StylePicture]) -> tuple[StylePicture, ...]:
    """The same with shares that add up to 1."""
    total = sum(style.share for style in styles)
    if not total:
        raise OptionError(f"style_blend must not be 0 for the whole region of {_name(styles)}")
    return tuple(replace(style, share=style.share / total) for style in styles)


def _grouped(
    given: Sequence[Any],
    styles: Sequence[StylePicture],
    masks: Mapping[str, Picture],
    size: tuple[int, int],
) -> list[tuple[Mask | None, list[int]]]:
    """Masks of this size, None for what the others leave, with the numbers of the style pictures.

    Style pictures with the same mask, or the same word, are together.
    """
    groups: list[tuple[Mask | None, list[int]]] = []
    for i, (source, style) in enumerate(zip(given, styles, strict=True)):
        mask = np.ones(size) if is_word("style_source_masks", source) else None
        if f"mask of {style.name}" in masks:
            mask = resize_mask(masks[f"mask of {style.name}"].pixels, *size)
        together = next((members for other, members in groups if _equal(mask, other)), None)
        if together is None:
            groups.append((mask, [i]))
        else:
            together.append(i)
    return groups


def _equal(mask: Mask | None, other: Mask | None) -> bool:
    if mask is None or other is None:
        return mask is other
    return np.array_equal(mask, other)


def _shares(masks: Sequence[Mask | None], size: tuple[int, int]) -> tuple[list[Mask], str]:
    """Masks that add up to 1 at most, and what had to be done for that; None is the rest."""
    total = sum((mask for mask in masks if mask is not None), np.zeros(size))
    rest = np.clip(1 - total, 0, 1)
    shares = [rest if mask is None else mask / np.maximum(total, 1) for mask in masks]
    count = int(np.count_nonzero(total > 1 + 1e-6))
    note = f"with the others above 1 at {count} pixels, where all were divided" if count else ""
    return shares, note


def _regions_of_maps(
    styles: Sequence[StylePicture], masks: Mapping[str, Picture], H: int, W: int
) -> tuple[tuple[Region, ...], dict[str, str]]:
    """Regions from maps: each colour of the image's map, with the paintings whose maps have it."""
    notes: dict[str, str] = {}
    colours, labels = _map(masks, "regions", notes)
    maps = {style.name: _map(masks, f"regions of {style.name}", notes) for style in styles}
    regions, bare = [], []
    for number, colour in enumerate(colours):
        chosen = []
        for style in styles:
            palette, places = maps[style.name]
            distance = np.abs(palette.astype(int) - colour.astype(int)).max(axis=1)
            if distance.min() <= _SAME:
                part = (places == distance.argmin()).astype(np.float64)
                chosen.append(replace(style, mask=_unless_white(part)))
        name = "#" + bytes(colour).hex()
        if not chosen:
            bare.append(name)
            continue
        mask = resize_mask((labels == number).astype(np.float64), H, W)
        regions.append(Region(name, _unless_white(mask), _blended(chosen)))
    if not regions:
        raise ImageError(
            f"regions: none of its colours, {', '.join(bare)}, is in the maps of the style pictures"
        )
    if bare:
        note = f"{', '.join(bare)} in no map of a style picture: no style there"
        notes["regions"] = "; ".join(filter(None, (notes.get("regions"), note)))
    return tuple(regions), notes


def _map(
    masks: Mapping[str, Picture], name: str, notes: dict[str, str]
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Colours of a map, and the number of the colour of each pixel."""
    colours, labels, others = flat_colours(masks[name].pixels, name)
    if others:
        notes[name] = f"{others} pixels of other colours taken for the nearest of {len(colours)}"
    return colours, labels
