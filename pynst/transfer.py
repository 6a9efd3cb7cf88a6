"""`stylize`: the algorithm, top to bottom.

content, style --read--> pictures --resize--> level 1: 128 px   x = start
                                              minimise L_total(x)   [objective, optimizers]
                                              level 2: 256 px   x = enlarged x
                                              ...
                                              last level: image_size  --> result
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pynst.checkpoint import Checkpoints, read_checkpoint
from pynst.forecast import fit_memory
from pynst.images import ImageLike, resize
from pynst.images.masks import resize_mask
from pynst.inputs import named_start, read_inputs
from pynst.levels import Level, plan_levels
from pynst.losses.table import loss_terms
from pynst.losses.terms import Term
from pynst.machine import give_back_memory
from pynst.networks import open_network
from pynst.networks.layers import layers_read
from pynst.objective import TotalLoss
from pynst.optimizers import optimizer_of
from pynst.optimizers.descent import Image, handed_over
from pynst.optimizers.pyramid import without_stripes
from pynst.options import TransferChanges, TransferOptions, with_changes
from pynst.result import Progress, TransferResult
from pynst.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["minimise_levels", "stylize"]

_DETAIL = 0.5  # of the content's finer detail, added at a new level
_SHARPENED = 0.5  # of the image's own finest detail, added once more at a new level


def stylize(
    content: ImageLike | None,
    style: ImageLike | Sequence[ImageLike] | None,
    options: TransferOptions | None = None,
    *,
    callback: Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    **changes: Unpack[TransferChanges],
) -> TransferResult:
    """Render the content image in the style of the style image.

    Minimises ``alpha L_content + beta L_style`` (Gatys et al. 2016, Eq. 7) over the pixels of the
    result, from coarse to fine.

    Parameters
    ----------
    content : str, Path, PIL.Image.Image or ndarray (H, W, 3), or None
        Photograph p. A uint8 array is sRGB in [0, 255]; a float array is sRGB in [0, 1]. Without
        one the loss has no content term: the image has the aspect of the first style picture, and
        starts from noise unless ``init`` says otherwise.
    style : as `content`, or a list of them, or None
        Artwork a, or several that are blended by ``style_blend``. Their sizes are free. Without one
        the loss has no style term.
    options : TransferOptions, optional
        All settings. Default: ``TransferOptions()``; ``TransferOptions.paper()`` is the paper's.
    callback : callable, optional
        Called after every evaluation with a `Progress`. Raise ``StopIteration`` in it to stop early
        and keep the image so far.
    checkpoint : str or path, optional
        File to which the run is written at the start of each level, every minute, and when it is
        interrupted or fails.
    resume : str or path, optional
        Checkpoint of an earlier run, which goes on to the same bits: with the same pictures, and
        with its own settings, of which only ``minutes``, ``threads`` and ``weights`` can be given
        anew. It is where the checkpoints go, too, unless ``checkpoint`` says otherwise.
    **changes
        Fields of `TransferOptions` to replace, e.g. ``style_weight=2``.

    Returns
    -------
    TransferResult
        The image, the loss history and the options used.

    Raises
    ------
    OptionError
        A setting is unknown or out of range.
    ImageError
        An image cannot be read, is too small, or has an unsupported shape or type.
    WeightsError
        The VGG-19 file is missing, damaged or of another layout.
    BackendError
        The backend is not available, an op failed, or the memory would not suffice.
    RecordError
        A checkpoint is damaged, of another run, or cannot be written.
    DivergedError
        The loss became NaN or infinite.
    Interrupted
        Ctrl-C (a `KeyboardInterrupt`).

    Notes
    -----
    Every exception that is raised once there is an image, one of `callback` included, has the best
    image so far as its attribute ``result``, a `TransferResult`.

    References
    ----------
    L. Gatys, A. Ecker, M. Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR
    2016.

    Examples
    --------
    >>> result = stylize("photo.jpg", "painting.jpg", image_size=512)  # doctest: +SKIP
    >>> result.save("result.png")                                      # doctest: +SKIP
    """
    earlier = None if resume is None else read_checkpoint(resume)
    if earlier is None:
        options = with_changes(options, changes)
    else:
        options = earlier.options_to_go_on(options, changes)
    inputs = read_inputs(content, style, options, start=earlier is None)
    network = open_network(options)
    levels = plan_levels(options, network, inputs)
    network.forget_deeper(layers_read(options, network))
    checkpoints = Checkpoints(resume if checkpoint is None else checkpoint)
    run = Run(options, inputs, network, levels, callback, checkpoints)
    if earlier is not None:
        run.go_on(earlier)
    return minimise_levels(run)


def minimise_levels(run: Run, terms: Sequence[Term] | None = None) -> TransferResult:
    """Minimise level by level; whatever ends it, the best image so far is not lost.

    The terms are those that the options of the run name, unless others are given.
    """
    if terms is None:
        terms = loss_terms(run.options, run.network, run.inputs)
    give_back_memory()
    run.fit(fit_memory(run.network, run.options, run.inputs))
    with run.keeping_the_best():
        for level in run.levels_left():
            _minimise(run, level, terms)
        return run.result()


def _minimise(run: Run, level: Level, terms: Sequence[Term]) -> None:
    """Run the optimiser at one level; the memory of the level goes when this returns."""
    minimise = optimizer_of(run.options, first=level is run.levels[0])
    snapshot = run.take_snapshot()
    # The start comes first: to make it takes memory that the loss then takes again.
    x = _first_image(run, level) if snapshot is None else snapshot.state["x"]
    state = None if snapshot is None else handed_over(snapshot.state)
    snapshot = None if snapshot is None else replace(snapshot, state={})
    loss = TotalLoss(run.network, run.inputs, terms, level.H, level.W)
    start = handed_over(x.astype(loss.dtype, copy=False))
    del x
    with run.descent(loss, level, snapshot) as descent:
        minimise(descent, start, state)


def _first_image(run: Run, level: Level) -> Image:
    """Where a level starts: from the level before, else as ``init`` says."""
    H, W, inputs, init = level.H, level.W, run.inputs, named_start(run.options)
    if run.x is not None:
        return _enlarged(run, H, W)
    if inputs.start is not None:
        return resize(inputs.start.samples, H, W)
    if init == "style":
        return resize(inputs.styles[0].pixels, H, W)
    if init == "noise" or inputs.content is None:
        noise = np.random.default_rng(run.options.seed).random((H, W, 3))
        return np.clip(without_stripes(noise), 0, 1) if run.options.over_pyramid() else noise
    return _grained(inputs.content_at(H, W), run)


def _grained(x: Image, run: Run) -> Image:
    """The content with the grey noise that the network needs where a style will be; in place."""
    grain, regions = run.network.grain, run.inputs.regions
    if not grain or not regions or run.options.style_weight == 0:
        return x
    H, W, _ = x.shape
    masks = [region.mask for region in regions]
    styled = sum(1.0 if mask is None else resize_mask(mask, H, W) for mask in masks)
    rng = np.random.default_rng(run.options.seed)
    for row, share in zip(x, np.broadcast_to(styled, (H, W)), strict=True):
        row += (grain * share * rng.standard_normal(W))[:, None]
    return np.clip(x, 0, 1, out=x)


def _enlarged(run: Run, H: int, W: int) -> Image:
    """The image of the level before, with some of the detail that is new at this size.

    An enlarged image is blurred, and its strokes have to be made sharp again: its finest octave is
    strengthened. The photograph's own detail is a better start than none, too: faces and lines come
    out clearer. With all of it the photograph would shine through the strokes. The same loss is
    reached two evaluations earlier (of 15, at 512 pixels). A run that begins from noise or from the
    style gets neither: what is fine in its image is not yet of the painting, and to strengthen it
    left a short run of a texture at 1.6 times the loss. Nor does one that shows what a layer keeps
    of the photograph.
    """
    assert run.x is not None
    h, w = run.x.shape[:2]
    x, options, inputs = resize(run.x, H, W), run.options, run.inputs
    shown = inputs.content is not None and named_start(options) not in ("noise", "style")
    if not (shown and inputs.styles and options.over_pyramid()):
        return x
    # In place: in one expression the arrays would be more than the run itself takes.
    soft = resize(resize(run.x, -(-h // 2), -(-w // 2)), H, W)
    sharper = np.subtract(x, soft, out=soft)
    sharper *= _SHARPENED
    x += sharper
    del soft, sharper
    detail = inputs.content_at(H, W)
    detail -= resize(inputs.content_at(h, w), H, W)
    detail *= _DETAIL
    x += detail
    return np.clip(x, 0, 1, out=x)
