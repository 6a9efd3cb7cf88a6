"""`stylize`: the algorithm, top to bottom.

content, style --read--> pictures --resize--> level 1: 128 px   x = start
                                              minimise L_total(x)   [objective, optimizers]
                                              level 2: 181 px   x = enlarged x
                                              ...
                                              last level: image_size  --> result
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pynst.color import luminance_of_result
from pynst.errors import DivergedError, ImageError, Interrupted
from pynst.images import (
    ImageLike,
    read_picture,
    resize,
    save_image,
    size_to_long_side,
    to_png,
    to_uint8,
)
from pynst.networks import Network, open_network
from pynst.objective import LossTerms, Objective, read_styles
from pynst.optimizers import OPTIMIZERS, Run, Stop
from pynst.options import TransferOptions, with_changes
from pynst.pyramid import level_sizes

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Progress", "TransferResult", "stylize"]

Pixels = NDArray[np.float64]

_COARSEST_SHORT_SIDE = 32  # pixels: the deepest features of a coarse level are more than one pixel


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after one evaluation of the objective.

    Attributes
    ----------
    level, levels : int
        From 1, coarse to fine.
    iteration, iterations : int
        Evaluations at this level, done and allowed.
    fraction : float
        Share of the whole run's work that is done, in [0, 1]; work is evaluations times pixels.
    terms : LossTerms
        The loss of this evaluation.
    seconds : float
        Since the start of the run.
    image : callable
        The best image of this level so far, (H, W, 3) uint8; made only when called.
    """

    level: int
    levels: int
    iteration: int
    iterations: int
    fraction: float
    terms: LossTerms
    seconds: float
    image: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class TransferResult:
    """A finished, or early stopped, style transfer.

    Attributes
    ----------
    pixels : ndarray (H, W, 3), float64
        The result, sRGB in [0, 1].
    history : tuple of tuple of LossTerms
        One tuple per level, coarse to fine, with one entry per evaluation.
    options : TransferOptions
        The settings; with the same pictures they give this result again.
    network : str
        ``"vgg19"`` or ``"builtin"``: which one was used.
    backend : str
        ``"cpu (avx512, 2 threads)"``, ...
    seconds : float
        Wall time.
    peak_bytes : int or None
        Largest resident memory of this process so far; None where the system does not tell.
    stopped_early : str
        Why the run ended before its budget: ``"minutes"``, ``"tolerance"``, ``"callback"``,
        ``"interrupted"``, ``"diverged"``, ``"converged"``; empty if it did not.
    restarts : int
        How often the line search failed and the optimiser began afresh from the best image.
    """

    pixels: Pixels
    history: tuple[tuple[LossTerms, ...], ...]
    options: TransferOptions
    network: str
    backend: str
    seconds: float
    peak_bytes: int | None
    stopped_early: str = ""
    restarts: int = 0

    @property
    def image(self) -> NDArray[np.uint8]:
        """The result as (H, W, 3) uint8, sRGB."""
        return to_uint8(self.pixels)

    def save(self, path: str | os.PathLike[str], **settings: Any) -> Path:
        """Write the image; the format follows from the extension. See `pynst.save_image`."""
        return save_image(self.pixels, path, **settings)

    def to_pil(self) -> PIL.Image.Image:
        """The result as a Pillow image."""
        import PIL.Image

        return PIL.Image.fromarray(self.image)

    def _repr_png_(self) -> bytes:
        """Show the image in a notebook."""
        return to_png(self.pixels)


def stylize(
    content: ImageLike,
    style: ImageLike | Sequence[ImageLike],
    options: TransferOptions | None = None,
    *,
    callback: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> TransferResult:
    """Render the content image in the style of the style image.

    Minimises ``alpha L_content + beta L_style`` (Gatys et al. [1]_, Eq. 7) over the pixels of the
    result, from coarse to fine.

    Parameters
    ----------
    content : str, Path, PIL.Image.Image or ndarray (H, W, 3)
        Photograph p. A uint8 array is sRGB in [0, 255]; a float array is sRGB in [0, 1].
    style : as `content`, or a list of them
        Artwork a, or several that are blended by ``style_blend``. Their sizes are free.
    options : TransferOptions, optional
        All settings. Default: ``TransferOptions()``; ``TransferOptions.paper()`` is the paper's.
    callback : callable, optional
        Called after every evaluation with a `Progress`. Raise ``StopIteration`` in it to stop early
        and keep the image so far.
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
        The backend is not available, or an op failed.
    DivergedError
        The loss became NaN or infinite; its ``result`` is the best image before.
    Interrupted
        Ctrl-C (a `KeyboardInterrupt`); its ``result`` is the best image so far.

    References
    ----------
    .. [1] L. Gatys, A. Ecker, M. Bethge, "Image Style Transfer Using Convolutional Neural
    Networks",
       CVPR 2016.

    Examples
    --------
    >>> result = stylize("photo.jpg", "painting.jpg", image_size=512)  # doctest: +SKIP
    >>> result.save("result.png")                                      # doctest: +SKIP
    """
    options = with_changes(options, changes)
    transfer = _Transfer(content, style, options, callback)
    try:
        transfer.run()
    except KeyboardInterrupt:
        if transfer.x is None:
            raise
        raise Interrupted(transfer.result("interrupted")) from None
    except DivergedError as error:
        if transfer.x is not None:
            error.result = transfer.result("diverged")
        raise
    return transfer.result(transfer.stopped_early)


class _Transfer:
    """One call of `stylize`: its pictures, its network, and how far it is."""

    def __init__(
        self,
        content: ImageLike,
        style: ImageLike | Sequence[ImageLike],
        options: TransferOptions,
        callback: Callable[[Progress], None] | None,
    ) -> None:
        self.options = options
        self.callback = callback
        self.started = time.monotonic()
        self.content = read_picture(content, "content").pixels
        self.styles = [pixels for _, pixels in read_styles(style, options)]
        self.start = None
        if not (isinstance(options.init, str) and options.init in ("content", "style", "noise")):
            self.start = read_picture(options.init, "init").pixels
        self.network: Network = open_network(options)
        self.sizes = self._level_sizes()
        self.budgets = options.schedule(len(self.sizes), self.network.finest_share)
        self.work = [
            size**2 * budget for size, budget in zip(self.sizes, self.budgets, strict=True)
        ]
        self.x: Pixels | None = None
        self.histories: list[list[LossTerms]] = []
        self.restarts = 0
        self.stopped_early = ""

    def run(self) -> None:
        """Minimise level by level; `x` is the best image so far at any time."""
        for size, budget in zip(self.sizes, self.budgets, strict=True):
            reason = self._minimise(size, budget)
            if reason in ("minutes", "callback"):
                self.stopped_early = reason
                return
            if reason in ("tolerance", "converged") and size == self.sizes[-1]:
                self.stopped_early = reason

    def _minimise(self, size: int, budget: int) -> str:
        """Run the optimiser at one level; returns why it ended.

        The objective, and with it the level's memory, goes when this returns.
        """
        objective = Objective(
            self.content,
            self.styles,
            replace(self.options, image_size=size),
            network=self.network,
        )
        H, W = objective.shape[:2]
        x = self._first_image(objective) if self.x is None else resize(self.x, H, W)
        minutes = self.options.minutes
        run = Run(
            objective,
            budget,
            deadline=math.inf if minutes is None else self.started + 60 * minutes,
            tolerance=self.options.tolerance,
            on_evaluation=self._report,
        )
        self.histories.append(run.history)
        try:
            OPTIMIZERS[self.options.optimizer](run, x)
        except Stop as stop:
            return str(stop)
        finally:
            self.restarts += run.restarts
            if run.best is not None:
                self.x = np.clip(run.best, 0, 1)
        raise AssertionError("an optimiser ends by Stop")

    def _report(self, run: Run) -> None:
        """Tell the callback where the run stands."""
        if self.callback is None:
            return
        level = len(self.histories)
        done = sum(self.work[: level - 1]) + self.work[level - 1] * len(run.history) / run.budget
        assert run.best is not None
        best = run.best
        progress = Progress(
            level=level,
            levels=len(self.sizes),
            iteration=len(run.history),
            iterations=run.budget,
            fraction=min(1.0, done / sum(self.work)),
            terms=run.history[-1],
            seconds=time.monotonic() - self.started,
            image=lambda: to_uint8(np.clip(best, 0, 1)),
        )
        try:
            self.callback(progress)
        except StopIteration:
            raise Stop("callback") from None

    def _first_image(self, objective: Objective) -> Pixels:
        """The start at the coarsest level."""
        H, W = objective.shape[:2]
        if self.start is not None:
            return resize(self.start, H, W)
        if self.options.init == "noise":
            return np.random.default_rng(self.options.seed).random((H, W, 3))
        return resize(self.styles[0], H, W) if self.options.init == "style" else objective.content

    def _level_sizes(self) -> tuple[int, ...]:
        """Long sides of the levels; too small ones are left out, a too small image is refused."""
        layers = [
            *dict(self.options.content_layers or dict.fromkeys(self.network.content_layers)),
            *dict(self.options.style_layers or dict.fromkeys(self.network.style_layers)),
        ]
        known = [layer for layer in layers if layer in self.network.layers]
        H, W = self.content.shape[:2]
        least = self.network.smallest_side(known) if known else 1
        smallest = math.ceil(max(least, _COARSEST_SHORT_SIDE) * max(H, W) / min(H, W))
        return level_sizes(
            self.options.image_size,
            self.options.levels,
            coarsest=self.network.coarsest,
            smallest=smallest,
        )

    def result(self, stopped_early: str) -> TransferResult:
        """What was reached, at the full size."""
        if self.x is None:
            raise ImageError("there is no image yet")
        H, W = self.content.shape[:2]
        shape = size_to_long_side(H, W, self.options.image_size)
        x = self.x if self.x.shape[:2] == shape else resize(self.x, *shape)
        if self.options.preserve_color:
            x = luminance_of_result(x, resize(self.content, *shape))
        return TransferResult(
            pixels=x,
            history=tuple(tuple(history) for history in self.histories),
            options=self.options,
            network=self.network.name,
            backend=self.network.backend.name,
            seconds=time.monotonic() - self.started,
            peak_bytes=_peak_bytes(),
            stopped_early=stopped_early,
            restarts=self.restarts,
        )


def _peak_bytes() -> int | None:
    """Largest resident memory of this process so far."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
