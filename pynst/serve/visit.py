"""A visit to the page: pictures that were dropped in, and runs, one after the other.

Pictures live in memory and are known by the checksum of their bytes; the names that they come with
are only shown. A run that is stopped leaves its checkpoint in a folder of the visit, from which it
goes on to the same bits. Every result is written to a folder, so that no end of the program costs
a picture.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pynst.display import as_jpeg
from pynst.errors import BackendError, ImageError, OptionError, PyNSTError
from pynst.files import write_whole
from pynst.forecast import fit_sizes, in_bytes
from pynst.images import read_picture, size_to_long_side, to_uint8
from pynst.images.pictures import resize
from pynst.machine import available_memory
from pynst.networks import Network, open_network
from pynst.options import TransferOptions, with_changes
from pynst.result import Progress, TransferResult
from pynst.serve.board import Board, Job
from pynst.serve.request import MASKS, command_line, masks_for, options_asked, takes_masks
from pynst.transfer import stylize
from pynst.weights import find_weights

__all__ = ["MOST_BYTES", "Upload", "Visit"]

_LOG = logging.getLogger("pynst")

MOST_BYTES = 64 << 20
"""The largest file of a picture that is taken."""

_MOST_PICTURES = 32  # that are kept; the one that was used longest ago goes first
_MOST_JOBS = 24  # whose results are kept in memory
_MOST_STYLES = 8
_SHOWN_SIDE = 1024  # pixels: long side of a picture as the page gets it
_DEMO_SIZE = (512, 384)  # width and height of the demo's pictures, pixels
_LONGEST_NAME = 80
_KEYS = ("content", "styles", "mask", "settings")  # of a request


@dataclass(frozen=True, eq=False)
class Upload:
    """A picture that was dropped into the page.

    Attributes
    ----------
    key : str
        Checksum of its bytes.
    name : str
        What it was called where it came from; it is shown and never used as a path.
    data : bytes
        The file.
    size : tuple of int
        Height and width, pixels.
    jpeg : bytes
        The picture, reduced, as the page shows it.
    notes : tuple of str
        What was done to read it.
    """

    key: str
    name: str
    data: bytes
    size: tuple[int, int]
    jpeg: bytes
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What the page is told of it."""
        H, W = self.size
        return {"id": self.key, "name": self.name, "height": H, "width": W, "notes": self.notes}


@dataclass(frozen=True, eq=False)
class _Asked:
    """A request with its pictures: what a run needs besides its settings."""

    content: Upload
    styles: tuple[Upload, ...]
    mask: Upload | None
    options: TransferOptions


class Visit(Board):
    """Takes pictures and requests from a page, and runs them in a thread of its own.

    Parameters
    ----------
    base : TransferOptions
        The settings where the page asks for nothing.
    folder : Path
        Where results are written; made with the first one.
    """

    interactive = True

    def __init__(self, base: TransferOptions, folder: Path) -> None:
        super().__init__()
        self.base, self.folder = base, folder
        self.pictures: dict[str, Upload] = {}
        self._asked: dict[int, _Asked] = {}
        self._checkpoints = tempfile.TemporaryDirectory(prefix="pynst-serve-")
        self._closing = False
        self._count = 0
        self._reading = threading.Lock()  # one picture at a time: decoding takes memory
        self._network: tuple[Any, Network] | None = None
        self._thread = threading.Thread(target=self._work, name="pynst-runs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the run that is under way, write what it has, and end."""
        with self.changing():
            self._closing = True
            running = [job for job in self.jobs.values() if job.state in ("running", "stopping")]
            for job in running:
                job.state = "stopping"
            begun = not running or running[0].progress is not None
        if begun:  # a run that still fetches its weights has nothing to lose
            self._thread.join()
        self._checkpoints.cleanup()
        self.end()

    def to_json(self) -> dict[str, Any]:
        """Everything that a page is told."""
        with self.lock:
            pictures = [picture.to_json() for picture in self.pictures.values()]
            return {**super().to_json(), "pictures": pictures, "folder": str(self.folder)}

    # ---- pictures ----------------------------------------------------------------------------

    def add_picture(self, data: bytes, name: str) -> Upload:
        """Take a picture, if it is one.

        Raises
        ------
        ImageError
            It is damaged, too large, or no picture.
        """
        key = hashlib.sha256(data).hexdigest()[:24]
        name = "".join(c if c.isprintable() else "?" for c in name)[-_LONGEST_NAME:] or "picture"
        if len(data) > MOST_BYTES:
            raise ImageError(f"{name}: must have at most {in_bytes(MOST_BYTES)}")
        with self._reading:
            picture = read_picture(io.BytesIO(data), name, long_side=_SHOWN_SIDE)
            H, W = picture.pixels.shape[:2]
            h, w = size_to_long_side(H, W, min(max(H, W), _SHOWN_SIDE))
            jpeg = as_jpeg(to_uint8(resize(picture.pixels, h, w)))
        upload = Upload(key, name, data, picture.size, jpeg, picture.notes)
        with self.changing():
            self.pictures.pop(key, None)
            self.pictures[key] = upload
            while len(self.pictures) > _MOST_PICTURES:
                del self.pictures[next(iter(self.pictures))]
        return upload

    def add_demo(self) -> list[Upload]:
        """Take the two pictures that `pynst demo` draws."""
        from pynst.demo import draw_painting, draw_scene
        from pynst.images import to_png

        return [
            self.add_picture(to_png(draw(*_DEMO_SIZE) / 255), name)
            for draw, name in ((draw_scene, "scene.png"), (draw_painting, "painting.png"))
        ]

    # ---- runs --------------------------------------------------------------------------------

    def start(self, request: Any) -> Job:
        """Put a run into the queue.

        Raises
        ------
        PyNSTError
            The request is not sound: one sentence says why.
        """
        asked = self._read(request)
        with self.changing():
            self._count += 1
            job = Job(
                self._count,
                asked.content.name,
                tuple(style.name for style in asked.styles),
                asked.options,
                command_line(
                    asked.content.name,
                    [style.name for style in asked.styles],
                    asked.options,
                    [] if asked.mask is None else masks_for(asked.styles, "mask.png"),
                ),
                asked={key: request[key] for key in _KEYS if key in request},
            )
            self.jobs[job.number], self._asked[job.number] = job, asked
            self._drop_old_jobs()
        return job

    def stop(self, number: int) -> None:
        """Stop a run and keep its best image; one that waits is taken out of the queue."""
        job = self._job(number)
        with self.changing():
            if job.state == "waiting" and not job.png:
                del self.jobs[number], self._asked[number]
            elif job.state == "waiting":
                job.state = "stopped"
            elif job.state == "running":
                job.state = "stopping"

    def go_on(self, number: int) -> None:
        """Go on with a run that was stopped, from where it stood, to the same bits."""
        job = self._job(number)
        with self.changing():
            if job.state != "stopped":
                raise OptionError(f"run {number} is {job.state}, and only a stopped one can go on")
            job.state = "waiting"

    def remove(self, number: int) -> None:
        """Take a run that has ended off the page; its file stays in the folder."""
        job = self._job(number)
        with self.changing():
            if job.state not in ("done", "stopped", "failed"):
                raise OptionError(f"run {number} is {job.state}: stop it first")
            self._forget(number)

    def forecast(self, request: Any) -> dict[str, Any]:
        """Say before the start what memory a run will take."""
        asked = self._read(request)
        options = asked.options
        if options.network != "builtin" and find_weights(options.weights) is None:
            return {
                "fits": True,
                "text": "The weights of VGG-19 are not on this machine. The first run fetches"
                " them, 18.5 MB or more, once; where it cannot, the built-in filters paint.",
            }
        network = self._open(options)
        sizes = [style.size for style in asked.styles]
        regions = 1
        if asked.mask is not None:  # what it holds makes no difference
            options = with_changes(options, {MASKS: masks_for(sizes, "mask")})
            regions = min(2, len(sizes))
        try:
            found = fit_sizes(network, options, asked.content.size, sizes, regions)
        except BackendError as error:
            return {"fits": False, "text": str(error)}
        room = network.backend.free_memory() or available_memory(options.memory)
        text = f"Needs about {in_bytes(found.needs.total)} of memory"
        text += "." if room is None else f"; {in_bytes(max(0, room))} are free."
        return {"fits": True, "text": found.told or text}

    def _open(self, options: TransferOptions) -> Network:
        """A network to make plans with; the last one is kept, as opening takes a moment."""
        plain = TransferOptions(normalised=False)  # the means of photographs take no memory
        names = ("network", "weights", "formula", "pooling", "padding", "backend", "precision")
        wanted = with_changes(plain, {name: getattr(options, name) for name in names})
        with self._reading:
            if self._network is None or self._network[0] != wanted:
                self._network = wanted, open_network(wanted)
            return self._network[1]

    def _read(self, request: Any) -> _Asked:
        """Check a request and find its pictures."""
        if not isinstance(request, Mapping):
            raise OptionError("a request must be an object")
        styles = request.get("styles")
        if not isinstance(styles, Sequence) or not 1 <= len(styles) <= _MOST_STYLES:
            raise OptionError(f"styles must be a list of 1 to {_MOST_STYLES} pictures")
        mask, options = request.get("mask"), options_asked(self.base, request.get("settings", {}))
        with self.lock:
            asked = _Asked(
                self._picture("content", request.get("content")),
                tuple(self._picture("style", key) for key in styles),
                None if mask is None else self._picture("mask", mask),
                options,
            )
        if asked.mask is not None and not takes_masks():
            raise OptionError("mask: this version of PyNST has no masks")
        return asked

    def _picture(self, name: str, key: Any) -> Upload:
        """A picture by its key; it is then the last to be given up."""
        upload = self.pictures.pop(key, None) if isinstance(key, str) else None
        if upload is None:
            raise ImageError(f"{name}: there is no such picture, drop it in again")
        self.pictures[upload.key] = upload
        return upload

    def _job(self, number: int) -> Job:
        with self.lock:
            if number not in self.jobs:
                raise OptionError(f"there is no run {number}")
            return self.jobs[number]

    def _drop_old_jobs(self) -> None:
        """Forget the oldest runs that have ended; their files are in the folder."""
        ended = [n for n, job in self.jobs.items() if job.state in ("done", "stopped", "failed")]
        for number in ended[: max(0, len(self.jobs) - _MOST_JOBS)]:
            self._forget(number)

    def _forget(self, number: int) -> None:
        del self.jobs[number], self._asked[number]
        with suppress(OSError):
            self._checkpoint(number).unlink(missing_ok=True)

    def _checkpoint(self, number: int) -> Path:
        return Path(self._checkpoints.name) / f"{number}.npz"

    # ---- the thread that runs ----------------------------------------------------------------

    def _work(self) -> None:
        """Run what is in the queue, until the visit ends."""
        while (job := self._next()) is not None:
            log = _Log(job)
            _LOG.addHandler(log)
            try:
                result, state, message = self._run(job)
            except PyNSTError as error:
                result, state, message = error.result, "failed", str(error)
            except Exception as error:  # a defect ends its run, not the visit
                _LOG.exception("run %d", job.number)
                result, state = getattr(error, "result", None), "failed"
                message = f"{type(error).__name__}: {error}"
            finally:
                _LOG.removeHandler(log)
            self._finish(job, result, state, message)

    def _next(self) -> Job | None:
        """The run that has waited longest; None at the end of the visit."""
        with self.lock:
            while True:
                waiting = [job for job in self.jobs.values() if job.state == "waiting"]
                if self._closing:
                    return None
                if waiting:
                    with self.changing():
                        waiting[0].state = "running"
                    return waiting[0]
                self.lock.wait()

    def _run(self, job: Job) -> tuple[TransferResult | None, str, str]:
        """Run, or go on from where the run was stopped."""
        asked = self._asked[job.number]
        path, content = self._checkpoint(job.number), io.BytesIO(asked.content.data)
        styles = [io.BytesIO(style.data) for style in asked.styles]
        masks = _masks(asked)

        def report(progress: Progress) -> None:
            with self.changing():
                job.show(progress)
                if job.state == "stopping":
                    raise KeyboardInterrupt  # as Ctrl-C: the best image and a checkpoint stay

        try:
            if job.png:  # it was stopped before
                result = stylize(content, styles, callback=report, resume=path, **masks)
            else:
                result = stylize(
                    content, styles, asked.options, callback=report, checkpoint=path, **masks
                )
        except KeyboardInterrupt as stopped:
            return getattr(stopped, "result", None), "stopped", ""
        path.unlink(missing_ok=True)
        return result, "done", ""

    def _finish(self, job: Job, result: TransferResult | None, state: str, message: str) -> None:
        """Keep and write what a run came to."""
        png, saved = b"", None
        if result is not None:
            file = io.BytesIO()
            result.save(file, format="png")
            png = file.getvalue()
            try:
                saved = _write(png, self.folder, job.number)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                message = f"{message} The picture could not be written: {reason}.".strip()
        with self.changing():
            job.state, job.message = state, message
            if result is not None:
                job.finish(result, png, saved)


def _masks(asked: _Asked) -> Any:
    """The painted mask as a setting, if there is one; a run that goes on wants it again."""
    if asked.mask is None:
        return {}
    pixels = read_picture(io.BytesIO(asked.mask.data), "mask").pixels[:, :, 0]
    return {MASKS: masks_for(asked.styles, pixels)}


def _write(png: bytes, folder: Path, number: int) -> Path:
    """Write a result under a name that no other one has."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{number}"
    for attempt in count(1):
        path = folder / (f"{stem}.png" if attempt == 1 else f"{stem}-{attempt}.png")
        with suppress(FileExistsError):
            write_whole(png, path, overwrite=False)
            return path
    raise AssertionError("there is always another name")


class _Log(logging.Handler):
    """Keeps for a page what its run logs, such as which network is used, and why."""

    def __init__(self, job: Job) -> None:
        super().__init__(logging.INFO)
        self._job, self._thread = job, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message of the thread that runs."""
        if record.thread == self._thread and record.exc_info is None:
            self._job.notes.append(record.getMessage())
