"""One run: what survives a level, and what the run tells and keeps on its way.

The algorithm is in `pynst.transfer`; it calls a `Run` to begin a level, to end it and to make the
result. Progress, checkpoints, and the best image that no way of ending may lose, are kept here.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from traceback import clear_frames

import numpy as np

from pynst.checkpoint import Checkpoint, Checkpoints
from pynst.errors import BackendError, DivergedError, Interrupted, PyNSTError, RecordError
from pynst.forecast import TimeForecast
from pynst.images import resize, to_uint8
from pynst.images.color import luminance_of_result, mixed_in_linear_light
from pynst.images.masks import feathered, resize_mask
from pynst.inputs import Inputs
from pynst.levels import Level
from pynst.losses.terms import LossTerms
from pynst.machine import peak_memory
from pynst.networks import Network
from pynst.networks.tiling import tiled
from pynst.objective import TotalLoss
from pynst.optimizers.descent import Descent, Image, Snapshot, Stop, StopReason
from pynst.options import TransferOptions
from pynst.record import Record, finished, record_of
from pynst.result import Progress, TransferResult

__all__ = ["Run"]

_LOG = logging.getLogger("pynst")


class Run:
    """A run over its levels.

    Parameters
    ----------
    options : TransferOptions
    inputs : Inputs
    network : Network
    levels : sequence of Level
        Coarse to fine.
    callback : callable, optional
        Called after every evaluation with a `Progress`.
    checkpoints : Checkpoints, optional
        Where the run is written on its way.

    Attributes
    ----------
    record : Record
        What the run is made from.
    x : ndarray (H, W, 3) or None
        The best image of the last level that has one; the next level starts from it.
    reason : StopReason
        Why the last level ended.
    """

    def __init__(
        self,
        options: TransferOptions,
        inputs: Inputs,
        network: Network,
        levels: Sequence[Level],
        callback: Callable[[Progress], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.options = options
        self.inputs = inputs
        self.network = network
        self.levels = tuple(levels)
        self.record = record_of(options, inputs, network)
        self.x: Image | None = None
        self.reason = StopReason.ITERATIONS
        self._callback = callback
        self._checkpoints = checkpoints or Checkpoints(None)
        self._histories: list[list[LossTerms]] = []
        self._restarts = 0
        self._snapshot: Snapshot | None = None
        self._descent: Descent | None = None
        self._started = time.monotonic()
        self._time = TimeForecast()

    def fit(self, options: TransferOptions) -> None:
        """Take the settings that fit into memory, and the tiles among them."""
        self.options = options
        self.record = replace(self.record, options=options)
        if isinstance(options.tile, int):
            self.network = tiled(self.network, options.tile)

    # ---- from level to level -----------------------------------------------------------------

    def go_on(self, earlier: Checkpoint) -> None:
        """Begin where an earlier run stood; raises `RecordError` if it was another run."""
        earlier.record.check_same_input(self.record)
        earlier.record.check_levels(range(1, earlier.level + 2), len(self.levels))
        for difference in earlier.record.other_programs(self.record):
            _LOG.warning("%s: the bits may differ", difference)
        earlier.record.choose_on(self.network.backend, measure=True)
        self.record = self.record.started_as(earlier.record)
        level = self.levels[earlier.level]
        shape = earlier.snapshot.state["x"].shape
        if shape != (level.H, level.W, 3):
            raise RecordError(f"the checkpoint is of {shape}, the level of {level.H} x {level.W}")
        self._histories = [list(history) for history in earlier.histories]
        self._snapshot = earlier.snapshot
        self._restarts = earlier.restarts
        self._started -= earlier.seconds

    def levels_left(self) -> Iterator[Level]:
        """The levels that are still to be done; ends early where time or callback end the run."""
        for level in self.levels[len(self._histories) :]:
            if self.reason in (StopReason.MINUTES, StopReason.CALLBACK):
                break
            yield level

    def take_snapshot(self) -> Snapshot | None:
        """Where an earlier run stood in the level that begins now; None in any other level."""
        snapshot, self._snapshot = self._snapshot, None
        return snapshot

    @contextmanager
    def descent(self, loss: TotalLoss, level: Level, resume: Snapshot | None) -> Iterator[Descent]:
        """The loss of a level with its bookkeeping; the best image is kept however it ends.

        Inside, an optimiser runs until it raises `Stop`, which ends here.
        """
        minutes = self.options.minutes
        descent = Descent(
            loss,
            level.evaluations,
            deadline=math.inf if minutes is None else self._started + 60 * minutes,
            tolerance=self.options.tolerance,
            on_evaluation=self._report,
            on_step=lambda descent: self._checkpoints.offer(descent, self._here),
            resume=resume,
            pairs=self.options.pairs,
        )
        self._descent = descent
        self._histories.append(descent.history)
        try:
            yield descent
        except Stop as stop:
            # The optimiser's vectors, which the traceback holds, make room for the image.
            self.reason = stop.reason
            descent.finish()
            clear_frames(stop.__traceback__)
        except KeyboardInterrupt as interrupt:
            clear_frames(interrupt.__traceback__)
            raise
        finally:
            self._take_best()
        self._restarts += descent.restarts
        self._descent = None

    def _take_best(self) -> None:
        """Keep the best image of the level."""
        best = None if self._descent is None else self._descent.best
        if best is not None:
            self.x = np.clip(best, 0, 1)

    # ---- whatever ends it --------------------------------------------------------------------

    @contextmanager
    def keeping_the_best(self) -> Iterator[None]:
        """Write a last checkpoint, and give whatever is raised the best image so far."""
        try:
            yield
        except KeyboardInterrupt:
            self._keep_checkpoint()
            if self.x is None:  # interrupted while the best image of a level was being kept
                self._take_best()
            if self.x is None:
                raise
            raise Interrupted(self.result(StopReason.INTERRUPTED)) from None
        except MemoryError as error:
            self._keep_checkpoint()
            raise self._with_result(BackendError(f"out of memory: {error}")) from error
        except BaseException as error:
            self._keep_checkpoint()
            self._with_result(error)
            raise
        finally:
            self._descent = None

    def result(self, reason: StopReason | None = None) -> TransferResult:
        """What was reached, at the full size."""
        assert self.x is not None
        reason = reason or self.reason
        H, W = self.inputs.size(self.options.image_size)
        x = self.x.astype(np.float64, copy=False)
        x = x if x.shape[:2] == (H, W) else resize(x, H, W)
        if self.options.preserve_color:
            x = luminance_of_result(x, self.inputs.content_at(H, W))
        if self.inputs.keep_mask is not None:
            kept = feathered(resize_mask(self.inputs.keep_mask, H, W))
            x = mixed_in_linear_light(x, self.inputs.content_at(H, W), kept)
        content = self.inputs.content
        alpha = content.alpha if content is not None and self.options.keep_alpha else None
        counts = [len(history) for history in self._histories]
        if reason is StopReason.DIVERGED:
            counts[-1] -= 1  # the last evaluation has no part in the image
        while counts and not counts[-1]:
            counts.pop()
        stopped_early = "" if reason is StopReason.ITERATIONS else reason.value
        return TransferResult(
            pixels=x,
            alpha=None if alpha is None else resize(alpha, H, W),
            history=tuple(tuple(history) for history in self._histories),
            options=self.options,
            record=finished(self._record_now(), tuple(counts), stopped_early, x),
            seconds=time.monotonic() - self._started,
            peak_bytes=peak_memory(),
            stopped_early=stopped_early,
            restarts=self._restarts + (self._descent.restarts if self._descent else 0),
        )

    def _with_result(self, error: BaseException) -> BaseException:
        """Give an exception the best image so far, as its ``result``."""
        if self.x is not None and getattr(error, "result", None) is None:
            with suppress(Exception):  # nothing may hide the error itself
                diverged = isinstance(error, DivergedError)
                reason = StopReason.DIVERGED if diverged else StopReason.ERROR
                error.result = self.result(reason)  # type: ignore[attr-defined]
        return error

    # ---- progress and checkpoints ------------------------------------------------------------

    def _report(self, descent: Descent) -> None:
        """Tell the callback where the run stands."""
        self.x = None  # this level has a better image now
        if self._callback is None:
            return
        work = [level.H * level.W * level.evaluations for level in self.levels]
        level = len(self._histories)
        done = sum(work[: level - 1]) + work[level - 1] * len(descent.history) / descent.budget
        fraction = min(1.0, done / sum(work))
        best = descent.best_image
        assert best is not None
        progress = Progress(
            level=level,
            levels=len(self.levels),
            iteration=len(descent.history),
            iterations=descent.budget,
            fraction=fraction,
            terms=descent.history[-1],
            seconds=time.monotonic() - self._started,
            left=self._time.left(fraction),
            image=lambda: to_uint8(np.clip(best(), 0, 1)),
        )
        try:
            self._callback(progress)
        except StopIteration:
            raise Stop(StopReason.CALLBACK) from None

    def _here(self, snapshot: Snapshot) -> Checkpoint:
        """The run between two steps of its optimiser."""
        before = tuple(tuple(history) for history in self._histories[:-1])
        seconds = time.monotonic() - self._started
        record = self._record_now()
        return Checkpoint(record, len(before), before, self._restarts, seconds, snapshot)

    def _record_now(self) -> Record:
        """The record, with what has been measured since the run began."""
        return replace(self.record, tuned=dict(self.network.backend.tuned))

    def _keep_checkpoint(self) -> None:
        """On the way out: a last checkpoint, if the optimiser stood between two steps."""
        snapshot = self._descent.snapshot if self._descent is not None else None
        if snapshot is not None and snapshot.history:
            with suppress(PyNSTError, MemoryError):  # the checkpoint before is still there
                self._checkpoints.write(self._here(snapshot))
