"""Evaluations on a CUDA device: captured once, replayed, and run again where a gradient was lost.

Feature gradients are stored multiplied by a power of two, the gradient scale (the loss scale of
mixed precision), so that float16 neither overflows nor underflows. The scale lives on the device:
the kernels tell it the largest gradient they meet; from that it chooses the scale of the next
evaluation, and tells the host whether this evaluation has to be run again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Walk
from pynst.backends.device import Device, DeviceArray
from pynst.errors import BackendError

__all__ = ["GraphEvaluation", "Report"]

_TRIES = 24  # a scale that is wrong by 2^100 is mended in a few
_GRADIENT_SCALE = np.dtype(
    [("next", "<f4"), ("largest", "<u4"), ("last", "<f4"), ("accepted", "<u4")]
)
_HEAD = _GRADIENT_SCALE.itemsize
_ACCEPTED = 3  # index of its word


class Report:
    """What comes back from an evaluation in one copy: the gradient scale's state and the losses.

    Attributes
    ----------
    gradient_scale : DeviceArray (4,), uint32
        The core's ``GradientScale``.
    losses : DeviceArray (count,), float64
    host_losses : ndarray (count,), float64
        What has arrived of them.
    arrived : bool
        Whether `host_losses` are what the device holds.
    """

    def __init__(self, device: Device, count: int) -> None:
        self._device = device
        self._block = device.allocate(_HEAD + 8 * count)
        self._host, self._fetch = device.fetching(self._block)
        start = self._block.pointer
        self.gradient_scale = DeviceArray(self._block.owner, start, np.uint32, 4)
        self._sums: dict[int, DeviceArray] = {}
        self.arrived = False
        # Views of the same memory, made once: an evaluation reads them again and again.
        self._head = self._host[:_HEAD].view(_GRADIENT_SCALE)
        self._words = self._host[:_HEAD].view(np.uint32)
        self.host_losses: NDArray[np.float64] = self._host[_HEAD:].view(np.float64)
        state = np.zeros(self._block.nbytes, np.uint8)
        state[:_HEAD].view(_GRADIENT_SCALE)[:] = (1, 0, 1, 1)
        self._host[:] = state  # the next scale can be asked for before anything has arrived
        device.copy_in(state, self._block)

    @property
    def losses(self) -> DeviceArray:  # made anew, since it refers to this report
        return DeviceArray(self, self._block.pointer + _HEAD, np.float64, self.host_losses.size)

    def sums_of(self, loss: DeviceArray, nbytes: int) -> DeviceArray:
        """Memory for the sums of which a loss is made, the same each time: graphs refer to it."""
        sums = self._sums.get(loss.pointer)
        if sums is None or sums.nbytes < nbytes:
            sums = self._sums[loss.pointer] = self._device.allocate(nbytes)
        return sums

    @property
    def accepted(self) -> bool:
        """Whether no gradient of the evaluation was lost."""
        return bool(self._words[_ACCEPTED])

    @property
    def last_scale(self) -> float:
        """Gradient scale of the last evaluation."""
        return float(self._head["last"][0])

    @property
    def next_scale(self) -> float:
        """Gradient scale of the next evaluation."""
        return float(self._head["next"][0])

    @next_scale.setter
    def next_scale(self, scale: float) -> None:
        self._head["next"] = scale
        self._device.copy_in(self._words.copy(), self.gradient_scale)

    def fetch(self) -> None:
        """Wait for the evaluation, and copy all of it to the host."""
        self._fetch()
        self.arrived = True


class GraphEvaluation:
    """Does the same walk again and again: eagerly, then captured as a graph, then replayed.

    Parameters
    ----------
    device : Device
    report : Report
    count : int
        Losses at the head of the report, which must be finite.
    scaled : callable
        Does a walk, with gradients multiplied by the report's gradient scale where need be.
    scratch : callable
        Returns the backend's scratch memory. The first walk finds out how much of it is needed, and
        allocates it.
    lock : context manager
        Held during an evaluation: all evaluations of a backend share its scratch memory, and may be
        asked for by several threads.
    captured : bool
        Whether the walk is captured; one that is not the same every time must not be.
    """

    def __init__(
        self,
        device: Device,
        report: Report,
        count: int,
        scaled: Callable[[Walk], None],
        scratch: Callable[[], Any],
        lock: AbstractContextManager[Any],
        *,
        captured: bool = True,
    ) -> None:
        self._device, self._report, self._count = device, report, count
        self._scaled, self._find_scratch = scaled, scratch
        self._lock, self._captured = lock, captured
        self._walks = 0
        self._replay: Callable[[], None] | None = None
        self._scratch: Any = None

    def __call__(self, walk: Walk, after: Walk | None = None) -> None:
        """Do the walk and what comes after it, again where a gradient was lost."""
        for _ in range(_TRIES):
            with self._lock:
                self._run_once(walk, after)
            if self._report.accepted:
                return
            # Losses that are not finite are the caller's to judge: no scale would mend them.
            if not np.isfinite(self._report.host_losses[: self._count]).all():
                return
        raise BackendError(
            f"cuda: the gradients leave the range of float16 in {_TRIES} tries, the last with the"
            f" gradient scale {self._report.last_scale:g}; precision='accurate' may help, or"
            " smaller weights of the terms"
        )

    @property
    def gradient_scale(self) -> float:
        """Factor of the next evaluation's gradients."""
        return self._report.next_scale

    @gradient_scale.setter
    def gradient_scale(self, scale: float) -> None:
        self._report.next_scale = scale

    def _run_once(self, walk: Walk, after: Walk | None) -> None:
        if self._walks == 1 and self._captured:
            self._replay = self._device.capture(lambda: self._scaled(walk))
            self._scratch = self._find_scratch()  # the graph has its address: keep it
        if self._replay is None:
            self._report.next_scale = self.gradient_scale  # forget a walk that was interrupted
            self._scaled(walk)
        else:
            self._replay()
        self._walks += 1
        if after is not None:
            after()
        self._report.fetch()
