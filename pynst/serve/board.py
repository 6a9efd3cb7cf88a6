"""What a page shows: the runs of a visit, each with its picture, its losses and where it stands.

The thread that runs and the threads that serve share a `Board` under its lock. A page that waits is
woken when something has changed; it is then told everything anew, so that a reload shows the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.display import as_jpeg
from pynst.options import TransferOptions
from pynst.options.words import changed
from pynst.result import Progress, TransferResult
from pynst.version import __version__

__all__ = ["Board", "Job"]

_SECONDS_PER_FRAME = 0.5  # a page shows two pictures a second at most
_SHARE_OF_FRAMES = 0.05  # of the time of a run, at most, goes into pictures on its way
_GRACE = 3.0  # seconds that pages get at the end to hear of it
_PREVIEW_QUALITY = 85  # of a picture on its way, as a JPEG


@dataclass(eq=False)
class Job:
    """One run as a page shows it.

    Attributes
    ----------
    number : int
        From 1, in the order in which the runs were asked for.
    content : str
        Name of the photograph.
    styles : tuple of str
        Names of the paintings.
    options : TransferOptions
    command : str
        The line of the command line that would do the same.
    asked : dict
        What the page had asked for, from which it can fill its form again.
    state : str
        ``"waiting"``, ``"running"``, ``"stopping"``, ``"stopped"``, ``"done"`` or ``"failed"``.
    message : str
        What went wrong, or what else is to be said.
    notes : list of str
        What the run has logged, and what was done to read its pictures.
    progress : Progress or None
        Where the run stands.
    losses : list of tuple
        Total, content and style of every evaluation; None where one is not finite.
    borders : list of int
        The evaluations, from 0, with which the levels after the first begin.
    frame, fetched : int
        Grows when there is a new picture; the last one that a page has got.
    image : ndarray (H, W, 3), uint8, or None
        The best image so far, while the run goes on.
    jpeg : bytes
        The result as a page shows it, once there is one.
    png : bytes
        The result as a file with its record.
    about : dict
        Size, seconds, network and backend of the result.
    saved : Path or None
        Where that file has been written.
    """

    number: int
    content: str
    styles: tuple[str, ...]
    options: TransferOptions
    command: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    state: str = "waiting"
    message: str = ""
    notes: list[str] = field(default_factory=list)
    progress: Progress | None = None
    losses: list[tuple[float | None, ...]] = field(default_factory=list)
    borders: list[int] = field(default_factory=list)
    frame: int = 0
    fetched: int = 0
    image: NDArray[np.uint8] | None = None
    jpeg: bytes = b""
    png: bytes = b""
    about: dict[str, Any] = field(default_factory=dict)
    saved: Path | None = None
    _next_frame: float = 0.0

    def show(self, progress: Progress) -> None:
        """Take over where the run stands, after one evaluation; its picture if one is due."""
        terms, starts = progress.terms, [0, *self.borders]
        while len(starts) < progress.level:
            starts.append(len(self.losses))
        del starts[progress.level :]
        # A run that goes on repeats the evaluations behind its checkpoint.
        del self.losses[starts[-1] + progress.iteration - 1 :]
        values = terms.total, terms.content, terms.style
        self.losses.append(tuple(value if isfinite(value) else None for value in values))
        self.borders, self.progress = starts[1:], progress
        begin = time.monotonic()
        if begin >= self._next_frame:
            self.image = progress.image()
            self.frame += 1
            end = time.monotonic()
            self._next_frame = end + max(_SECONDS_PER_FRAME, (end - begin) / _SHARE_OF_FRAMES)

    def finish(self, result: TransferResult, png: bytes = b"", saved: Path | None = None) -> None:
        """Take over what the run came to."""
        self.png, self.saved = png, saved
        self.jpeg, self.image = as_jpeg(result.image), None
        self.frame += 1
        H, W = result.pixels.shape[:2]
        self.about = {"width": W, "height": H, "seconds": result.seconds}
        self.about |= {"network": result.network, "backend": result.backend}
        self.notes += [note for note in result.notes if note not in self.notes]

    def picture(self) -> bytes:
        """The picture as it stands, as a JPEG; empty where there is none yet."""
        image = self.image
        return self.jpeg if image is None else as_jpeg(image, _PREVIEW_QUALITY)

    def to_json(self) -> dict[str, Any]:
        """What a page is told of the run, but for its picture and its losses."""
        shown: dict[str, Any] = {
            "number": self.number,
            "state": self.state,
            "content": self.content,
            "styles": list(self.styles),
            "settings": changed(self.options),
            "asked": self.asked,
            "command": self.command,
            "message": self.message,
            "notes": self.notes[-8:],
            "frame": self.frame,
            "evaluations": len(self.losses),
            "borders": self.borders,
            "downloads": bool(self.png),
            "saved": None if self.saved is None else str(self.saved),
        }
        if self.image is not None:
            shown["height"], shown["width"] = self.image.shape[:2]
        if self.progress is not None:
            names = "level", "levels", "iteration", "iterations", "fraction", "seconds", "left"
            shown |= {name: getattr(self.progress, name) for name in names}
            shown["loss"] = self.losses[-1][0]
        shown |= self.about
        return shown


class Board:
    """The runs that a page shows, and a bell that rings when something has changed.

    Attributes
    ----------
    jobs : dict of int to Job
        By number, oldest first.
    ended : bool
        Whether nothing will change any more.
    watchers : int
        How many pages listen.
    lock : threading.Condition
        Held while anything here is read or changed.
    """

    interactive = False

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.ended = False
        self.watchers = 0
        self.lock = threading.Condition(threading.RLock())
        self._version = 0

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, and wake whoever waits for a change."""
        with self.lock:
            try:
                yield
            finally:
                self._version += 1
                self.lock.notify_all()

    def wait(self, seen: int, seconds: float) -> int:
        """Wait until there is something newer than version `seen`; returns the version."""
        with self.lock:
            self.lock.wait_for(lambda: self._version != seen, seconds)
            return self._version

    def end(self) -> None:
        """Say that nothing will change any more, and wait a moment until all pages know."""
        with self.changing():
            self.ended = True
        with self.lock:
            self.lock.wait_for(lambda: self.watchers == 0, _GRACE)

    def to_json(self) -> dict[str, Any]:
        """Everything that a page is told."""
        with self.lock:
            return {
                "version": __version__,
                "interactive": self.interactive,
                "ended": self.ended,
                "jobs": [job.to_json() for job in self.jobs.values()],
            }
