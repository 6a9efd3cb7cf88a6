"""What a layer keeps of a picture: an image from noise that has the picture's features there.

Mahendran and Vedaldi's reconstruction as in Gatys et al. 2016, Fig. 1: Eq. 1 and 2 alone, with no
style picture. Low layers give back the pixels, high ones only objects and their arrangement.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pynst.errors import OptionError
from pynst.images import ImageLike
from pynst.options import TransferOptions, with_changes
from pynst.result import Progress, TransferResult
from pynst.transfer import stylize

__all__ = ["LAYER", "reconstruct", "reconstruction_options"]

LAYER = "conv4_2"
"""The layer by default: that of the paper's content term."""

_EVALUATIONS = 300
_EVALUATIONS_PAPER = 1000  # Eq. 1 alone leaves a lattice of pixels that fades slowly


def reconstruct(
    picture: ImageLike,
    layer: Any = None,
    *,
    paper: bool = False,
    callback: Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    **changes: Any,
) -> TransferResult:
    """Make an image from noise that looks like a picture to one layer of the network.

    Parameters
    ----------
    picture : str, Path, PIL.Image.Image or ndarray (H, W, 3)
        What is reconstructed; see `pynst.stylize`.
    layer : str, list of str, or mapping of str to float, optional
        The layer, ``"conv4_2"`` by default; or several, with relative weights.
    paper : bool
        Minimise Eq. 1 as the paper has it. By default the loss is relative to the variance of the
        features, and a little total variation is added.
    callback, checkpoint, resume
        As for `pynst.stylize`. A run that is resumed has its settings from the checkpoint.
    **changes
        Fields of `TransferOptions` to replace, e.g. ``seed=1`` or ``image_size=256``.

    Returns
    -------
    TransferResult

    Raises
    ------
    PyNSTError
        As for `pynst.stylize`.

    Notes
    -----
    Differs from the paper: VGG-19 hardly sees a lattice of alternating pixels, so that an image
    which only has the right features is noisy. Total variation, in a share too small to blur,
    removes the lattice.

    Examples
    --------
    >>> result = reconstruct("photo.jpg", "conv4_2", image_size=256)  # doctest: +SKIP
    """
    if resume is not None:
        if layer is not None or paper:
            raise OptionError(
                f"{'paper' if layer is None else 'layer'} cannot be given with resume: the run goes"
                " on with its own settings"
            )
        return stylize(
            picture, None, callback=callback, checkpoint=checkpoint, resume=resume, **changes
        )
    options = reconstruction_options(layer, paper=paper, **changes)
    return stylize(picture, None, options, callback=callback, checkpoint=checkpoint)


def reconstruction_options(
    layer: Any = None, *, paper: bool = False, **changes: Any
) -> TransferOptions:
    """Settings of a reconstruction; parameters as for `reconstruct`."""
    if "content_layers" in changes:
        raise OptionError("content_layers cannot be given beside layer, which is its name here")
    made = (
        TransferOptions.paper(style_weight=None, iterations=(_EVALUATIONS_PAPER,))
        if paper
        else TransferOptions(
            network="vgg19",
            init="noise",
            levels=1,
            iterations=(_EVALUATIONS,),
            content_weight=1.0,
            # A pyramid's variables are slow in the finest detail, which is what lower layers keep.
            variables="pixels",
        )
    )
    return with_changes(made, {"content_layers": LAYER if layer is None else layer, **changes})
