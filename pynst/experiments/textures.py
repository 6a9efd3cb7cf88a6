"""Textures: an image from noise with the Gram matrices of a picture, at any size.

Gatys et al. 2015 (NeurIPS) and 2016, Eq. 3 to 6, with no content picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pynst.errors import OptionError
from pynst.images import ImageLike, read_picture
from pynst.options import TransferOptions, with_changes
from pynst.result import Progress, TransferResult
from pynst.transfer import stylize

__all__ = ["PAPER_LAYERS", "texture", "texture_options"]

PAPER_LAYERS = ("conv1_1", "pool1", "pool2", "pool3", "pool4")
"""The layers of the texture model of 2015."""

_SIDE = 256  # pixels; the size of the textures of 2015
_LARGEST = 512  # pixels: long side at which a larger source is read, by default
_SHORTEST, _LONGEST = 16, 32768  # pixels: the sides that an image can have
_MOST_ENLARGED = 20  # times the source: beyond, its Gram matrices are those of a few pixels
_EVALUATIONS_PAPER = 2000  # as in the authors' program
_OWN_NAMES = {
    "aspect": "size",
    "image_size": "size",
    "style_layers": "layers",
    "style_scale": "source_size",
    "padding": "tileable",
}
"""Settings for which `texture` has a parameter of its own."""


def texture(
    picture: ImageLike,
    size: Sequence[int] | None = None,
    *,
    layers: Any = None,
    source_size: int | None = None,
    tileable: bool = False,
    paper: bool = False,
    callback: Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    **changes: Any,
) -> TransferResult:
    """Make an image from noise with the texture of a picture, and with nothing of its arrangement.

    Parameters
    ----------
    picture : str, Path, PIL.Image.Image or ndarray (H, W, 3)
        The source; see `pynst.stylize`.
    size : (int, int), optional
        Width and height of the result, pixels; it may be larger than the source. Default: 256 x
        256.
    layers : list of str, or mapping of str to float, optional
        The layers whose Gram matrices are matched, with relative weights. Default: the network's
        style layers; with `paper` conv1_1, pool1, pool2, pool3, pool4.
    source_size : int, optional
        Long side at which the source is read, pixels; its elements keep that scale in the result,
        whatever the result's size. Default: its own, at most 512.
    tileable : bool
        Join the borders, so that copies of the result fit together without a seam.
    paper : bool
        The model of 2015: normalised VGG-19 with average pooling, its layers, at one size, without
        total variation, driven by SciPy's L-BFGS-B.
    callback, checkpoint, resume
        As for `pynst.stylize`. A run that is resumed has its settings from the checkpoint.
    **changes
        Fields of `TransferOptions` to replace, e.g. ``seed=1``.

    Returns
    -------
    TransferResult

    Raises
    ------
    PyNSTError
        As for `pynst.stylize`.

    References
    ----------
    .. [1] L. Gatys, A. Ecker, M. Bethge, "Texture Synthesis Using Convolutional Neural Networks",
       NeurIPS 2015.

    Examples
    --------
    >>> result = texture("pebbles.jpg", (768, 512), tileable=True)  # doctest: +SKIP
    """
    if resume is not None:
        _check_nothing_beside_resume(
            size=size, layers=layers, source_size=source_size, tileable=tileable, paper=paper
        )
        return stylize(
            None, picture, callback=callback, checkpoint=checkpoint, resume=resume, **changes
        )
    options = texture_options(
        picture,
        size,
        layers=layers,
        source_size=source_size,
        tileable=tileable,
        paper=paper,
        **changes,
    )
    return stylize(None, picture, options, callback=callback, checkpoint=checkpoint)


def texture_options(
    picture: ImageLike,
    size: Sequence[int] | None = None,
    *,
    layers: Any = None,
    source_size: int | None = None,
    tileable: bool = False,
    paper: bool = False,
    **changes: Any,
) -> TransferOptions:
    """Settings of a texture; parameters as for `texture`.

    Raises
    ------
    OptionError
        A setting is wrong, or is one that a parameter of `texture` stands for.
    ImageError
        The picture cannot be read.
    """
    for name, own in _OWN_NAMES.items():
        if name in changes and (name != "padding" or tileable):
            raise OptionError(f"{name} cannot be given to a texture: {own} says it here")
    W, H = _checked_size((_SIDE, _SIDE) if size is None else size)
    side = _side(picture, source_size)
    if max(W, H) > _MOST_ENLARGED * side:
        raise OptionError(
            f"size must be at most {_MOST_ENLARGED} times the source, which is read at {side}"
            f" pixels, got {W} x {H}"
        )
    made = (
        TransferOptions.paper(style_layers=PAPER_LAYERS, iterations=(_EVALUATIONS_PAPER,))
        if paper
        else TransferOptions(network="vgg19", init="noise", quality="fine")
    )
    settings = {
        "image_size": max(W, H),
        "aspect": (W, H),
        "style_scale": side / max(W, H),
        **({} if layers is None else {"style_layers": layers}),
        **({"padding": "circular"} if tileable else {}),
    }
    return with_changes(made, {**settings, **changes})


def _check_nothing_beside_resume(**given: Any) -> None:
    """Refuse what would change a run that goes on."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise OptionError(
                f"{name} cannot be given with resume: the run goes on with its own settings"
            )


def _checked_size(size: Any) -> tuple[int, int]:
    """Width and height as whole numbers that an image can have."""
    given = list(size) if isinstance(size, (list, tuple)) else []
    if len(given) != 2:
        raise OptionError(f"size must be a width and a height, got {size!r}")
    W, H = (_whole_side("size", side) for side in given)
    return W, H


def _side(picture: ImageLike, source_size: int | None) -> int:
    """Long side at which the source is read."""
    if source_size is None:
        H, W = read_picture(picture, "style").pixels.shape[:2]
        return int(min(max(H, W), _LARGEST))
    return _whole_side("source_size", source_size)


def _whole_side(name: str, value: Any) -> int:
    """The side of a picture, pixels."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not _SHORTEST <= value <= _LONGEST or int(value) != value:
        raise OptionError(
            f"{name} must be a whole number of {_SHORTEST} to {_LONGEST} pixels, got {value!r}"
        )
    return int(value)
