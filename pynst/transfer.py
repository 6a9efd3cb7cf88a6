"""`stylize`: the algorithm, top to bottom.

content, style --read--> pictures --resize--> level 1: 128 px   x = start
                                              minimise L_total(x)   [objective, optimizers]
                                              level 2: 181 px   x = enlarged x
                                              ...
                                              last level: image_size  --> result
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.checkpoint import Checkpoint, Checkpoints, read_checkpoint
from pynst.errors import BackendError, Interrupted, OptionError, PyNSTError, RecordError
from pynst.forecast import TimeForecast, check_memory
from pynst.images import ImageLike, Picture, read_picture, resize, size_to_long_side, to_uint8
from pynst.images.color import luminance_of_result
from pynst.inputs import matched, read_styles
from pynst.levels import level_sizes
from pynst.machine import peak_memory
from pynst.networks.network import Network, open_network
from pynst.objective import Objective
from pynst.optimizers.descent import Descent, Snapshot, Stop, StopReason
from pynst.optimizers.table import OPTIMIZERS
from pynst.options import TransferOptions, with_changes
from pynst.record import PictureUsed, Record, finished, pixels_sha256, versions
from pynst.result import Progress, TransferResult

__all__ = ["Transfer", "stylize"]

_COARSEST_SHORT_SIDE = 32  # pixels: the deepest features of a coarse level are more than one pixel
_LOG = logging.getLogger("pynst")
_STARTS = ("content", "style", "noise")
_FREE_ON_RESUME = ("minutes", "threads", "weights")  # they change no bit of the result


def stylize(
    content: ImageLike,
    style: ImageLike | Sequence[ImageLike],
    options: TransferOptions | None = None,
    *,
    callback: Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
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

    Every exception that is raised once there is an image, one of `callback` included, has the best
    image so far as its attribute ``result``, a `TransferResult`.

    References
    ----------
    .. [1] L. Gatys, A. Ecker, M. Bethge, "Image Style Transfer Using Convolutional Neural
       Networks", CVPR 2016.

    Examples
    --------
    >>> result = stylize("photo.jpg", "painting.jpg", image_size=512)  # doctest: +SKIP
    >>> result.save("result.png")                                      # doctest: +SKIP
    """
    earlier = None
    if resume is not None:
        earlier = read_checkpoint(resume)
        options = _options_on_resume(earlier.record, options, changes)
    transfer = Transfer(
        content,
        style,
        with_changes(options, changes),
        callback,
        checkpoint=resume if checkpoint is None else checkpoint,
        earlier=earlier,
    )
    return transfer.run()


def _options_on_resume(
    record: Record, options: TransferOptions | None, changes: dict[str, Any]
) -> TransferOptions:
    """Settings of the run that goes on, with the network that it has found."""
    wrong = [name for name in changes if name not in _FREE_ON_RESUME]
    if options is not None or wrong:
        raise OptionError(
            f"{wrong[0] if wrong else 'options'} cannot be given with resume: the run goes on with"
            f" its own settings; {', '.join(_FREE_ON_RESUME)} may change"
        )
    return replace(record.options, network=record.network)


class Transfer:
    """One run: its pictures, its network, and how far it is; see `stylize`.

    Parameters
    ----------
    earlier : Checkpoint, optional
        Of the run that this one goes on with.
    again : Record, optional
        Of the run that this one repeats: with the same pictures, weights and numbers of
        evaluations.
    """

    def __init__(
        self,
        content: ImageLike,
        style: ImageLike | Sequence[ImageLike],
        options: TransferOptions,
        callback: Callable[[Progress], None] | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        earlier: Checkpoint | None = None,
        again: Record | None = None,
    ) -> None:
        self.options = options
        self.callback = callback
        self.started = time.monotonic() - (earlier.seconds if earlier else 0.0)
        pictures = self._read(content, style, options, init=earlier is None)
        self.network: Network = open_network(options)
        self.sizes = self._level_sizes()
        self.budgets = options.schedule(len(self.sizes), self.network.finest_share)
        self.record = self._record(pictures)
        if again is not None:  # a run that was stopped is repeated as far as it went
            again.check_same_input(self.record)
            again.check_levels(again.evaluations, len(self.sizes))
            self.budgets = (*again.evaluations, *self.budgets[len(again.evaluations) :])
        if earlier is not None:
            earlier.record.check_same_input(self.record)
            earlier.record.check_levels(range(1, earlier.level + 2), len(self.sizes))
            for difference in earlier.record.other_programs(self.record):
                _LOG.warning("%s: the bits may differ", difference)
        check_memory(self.network, options, self.content, self.styles)

        self.x: NDArray[np.float64] | None = None
        self.histories = [list(history) for history in earlier.histories] if earlier else []
        self.rest = earlier.snapshot if earlier else None
        self.restarts = earlier.restarts if earlier else 0
        self.stopped_early = ""
        self.final_level = len(again.evaluations if again else self.sizes) - 1
        self._run: Descent | None = None
        self._time = TimeForecast()
        self._checkpoints = Checkpoints(checkpoint)

    def _read(
        self, content: ImageLike, style: Any, options: TransferOptions, *, init: bool
    ) -> dict[str, Picture]:
        """Read all pictures; returns them by name."""
        photograph = read_picture(content, "content")
        styles = [picture for _, picture in read_styles(style, options)]
        names = ["style", *(f"style {i}" for i in range(2, len(styles) + 1))]
        pictures = {"content": photograph, **dict(zip(names, styles, strict=True))}
        self.content, self.alpha = photograph.pixels, photograph.alpha
        self.styles = [matched(picture.pixels, self.content, options) for picture in styles]
        self.start = None
        if init and not (isinstance(options.init, str) and options.init in _STARTS):
            pictures["init"] = read_picture(options.init, "init")
            self.start = pictures["init"].pixels
        return pictures

    def run(self) -> TransferResult:
        """Minimise level by level; whatever ends it, the best image so far is not lost."""
        try:
            for level in range(len(self.histories), self.final_level + 1):
                reason = self._minimise(level)
                if reason in ("minutes", "callback"):
                    self.stopped_early = reason
                    break
                if reason in ("tolerance", "converged") and level == self.final_level:
                    self.stopped_early = reason
            return self.result(self.stopped_early)
        except KeyboardInterrupt:
            self._keep_checkpoint()
            if self.x is None:
                raise
            raise Interrupted(self.result("interrupted")) from None
        except MemoryError as error:
            self._keep_checkpoint()
            raise self._with_result(BackendError(f"out of memory: {error}")) from error
        except BaseException as error:
            self._keep_checkpoint()
            self._with_result(error)
            raise

    def _minimise(self, level: int) -> str:
        """Run the optimiser at one level; returns why it ended.

        The objective, and with it the level's memory, goes when this returns.
        """
        objective = Objective(
            self.content,
            self.styles,
            replace(self.options, image_size=self.sizes[level], match_color="none"),
            network=self.network,
        )
        x, rest = self._first_image(objective)
        minutes = self.options.minutes
        self._run = run = Descent(
            objective,
            self.budgets[level],
            deadline=math.inf if minutes is None else self.started + 60 * minutes,
            tolerance=self.options.tolerance,
            on_evaluation=self._report,
            on_step=lambda run: self._checkpoints.offer(run, self._here),
            resume=rest,
        )
        self.histories.append(run.history)
        try:
            OPTIMIZERS[self.options.optimizer](run, x, rest.state if rest else None)
        except Stop as stop:
            self._run, self.restarts = None, self.restarts + run.restarts
            return str(stop.reason)
        finally:
            best = run.best
            if best is not None:
                self.x = np.clip(best, 0, 1)
        raise AssertionError("an optimiser ends by Stop")

    def _first_image(self, objective: Objective) -> tuple[NDArray[np.float64], Snapshot | None]:
        """The start of a level, or where an earlier run stood in it."""
        H, W = objective.shape[:2]
        if self.rest is not None:
            rest, self.rest = self.rest, None
            x: NDArray[np.float64] = rest.state["x"]
            if x.shape != objective.shape:
                raise RecordError(f"the checkpoint is of {x.shape}, the level of {objective.shape}")
            return x, rest
        if self.x is not None:
            return resize(self.x, H, W), None
        if self.start is not None:
            return resize(self.start, H, W), None
        if self.options.init == "noise":
            return np.random.default_rng(self.options.seed).random((H, W, 3)), None
        if self.options.init == "style":
            return resize(self.styles[0], H, W), None
        return objective.content, None

    def _report(self, run: Descent) -> None:
        """Tell the callback where the run stands."""
        if self.callback is None:
            return
        sizes_and_budgets = zip(self.sizes, self.budgets, strict=True)
        work = [size**2 * budget for size, budget in sizes_and_budgets]
        level = len(self.histories)
        done = sum(work[: level - 1]) + work[level - 1] * len(run.history) / run.budget
        fraction = min(1.0, done / sum(work))
        best = run.best_image
        assert best is not None
        progress = Progress(
            level=level,
            levels=len(self.sizes),
            iteration=len(run.history),
            iterations=run.budget,
            fraction=fraction,
            terms=run.history[-1],
            seconds=time.monotonic() - self.started,
            left=self._time.left(fraction),
            image=lambda: to_uint8(np.clip(best(), 0, 1)),
        )
        try:
            self.callback(progress)
        except StopIteration:
            raise Stop(StopReason.CALLBACK) from None

    def _here(self, rest: Snapshot) -> Checkpoint:
        """The run between two steps of its optimiser."""
        before = tuple(tuple(history) for history in self.histories[:-1])
        seconds = time.monotonic() - self.started
        return Checkpoint(self.record, len(before), before, self.restarts, seconds, rest)

    def _keep_checkpoint(self) -> None:
        """On the way out: a last checkpoint, if the optimiser stood still."""
        rest = self._run.snapshot if self._run is not None else None
        if rest is not None and rest.history:
            with suppress(PyNSTError, MemoryError):  # the one before is still there
                self._checkpoints.write(self._here(rest))

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

    def _record(self, pictures: dict[str, Picture]) -> Record:
        """What the run is made from."""
        return Record(
            options=self.options,
            pictures=tuple(
                PictureUsed(name, picture.source, pixels_sha256(picture.pixels), picture.notes)
                for name, picture in pictures.items()
            ),
            network=self.network.name,
            weights_source=self.network.weights_source,
            weights_sha256=self.network.weights_sha256,
            backend=self.network.backend.name,
            versions=versions(),
        )

    def result(self, stopped_early: str) -> TransferResult:
        """What was reached, at the full size."""
        assert self.x is not None
        H, W = self.content.shape[:2]
        shape = size_to_long_side(H, W, self.options.image_size)
        x = self.x if self.x.shape[:2] == shape else resize(self.x, *shape)
        if self.options.preserve_color:
            x = luminance_of_result(x, resize(self.content, *shape))
        keep = self.alpha is not None and self.options.keep_alpha
        counts = [len(history) for history in self.histories]
        if stopped_early == "diverged":
            counts[-1] -= 1  # the last evaluation has no part in the image
        while counts and not counts[-1]:
            counts.pop()
        return TransferResult(
            pixels=x,
            alpha=resize(self.alpha, *shape) if keep and self.alpha is not None else None,
            history=tuple(tuple(history) for history in self.histories),
            options=self.options,
            record=finished(self.record, tuple(counts), stopped_early, x),
            seconds=time.monotonic() - self.started,
            peak_bytes=peak_memory(),
            stopped_early=stopped_early,
            restarts=self.restarts + (self._run.restarts if self._run else 0),
        )

    def _with_result(self, error: BaseException) -> BaseException:
        """Give an exception the best image so far, as its ``result``."""
        if self.x is not None and getattr(error, "result", None) is None:
            with suppress(Exception):  # nothing may hide the error itself
                diverged = isinstance(error, ArithmeticError) and isinstance(error, PyNSTError)
                error.result = self.result("diverged" if diverged else "error")  # type: ignore[attr-defined]
        return error
