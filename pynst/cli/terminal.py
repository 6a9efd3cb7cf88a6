"""What all commands share: lines on stderr, the progress line, signals, and saving a result."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from pynst.errors import PyNSTError

if TYPE_CHECKING:
    from pynst.result import Progress, TransferResult

__all__ = ["Display", "Log", "Signals", "fail", "save", "say", "silence"]


def say(text: str) -> None:
    """One line on stderr."""
    _tell(f"pynst: {text}")


def _tell(text: str, end: str = "\n") -> None:
    """Write to stderr; that nobody reads it any more must not end a run."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send a stream nowhere: what waits in its buffer would fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError):  # it has no file below: captured, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def fail(error: BaseException) -> int:
    """Say what is wrong; returns the exit code."""
    text = str(error) if isinstance(error, PyNSTError) else f"{type(error).__name__}: {error}"
    say(f"error: {text}")
    return 1


class Log(logging.Handler):
    """What the package logs, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        say(record.getMessage())


class Signals:
    """Ctrl-C and SIGTERM during a ``with`` block: the first of them raises `KeyboardInterrupt`.

    Further ones are ignored, so that nothing disturbs the saving of what there is.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread, which alone may do this
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From now on a signal is too late: the work is done, and is being saved."""
        self.received = self.received or 0

    @property
    def exit_code(self) -> int:
        """As the shell has it: 128 plus the signal."""
        return 128 + (self.received or signal.SIGINT)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            raise KeyboardInterrupt


class Display:
    """One updating line on stderr; a few plain lines per level where that is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._width = 0
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._quiet:
            return
        finished = progress.iteration == progress.iterations
        if self._terminal:
            if time.monotonic() - self._last < 0.1 and not finished:
                return
        elif not finished and progress.iteration % max(1, progress.iterations // 2):
            return
        self._last = time.monotonic()
        terms = progress.terms
        left = "" if progress.left is None else f"  left {_clock(progress.left)}"
        line = (
            f"level {progress.level}/{progress.levels}"
            f"  iter {progress.iteration}/{progress.iterations}"
            f"  loss {terms.total:.4g} (content {terms.content:.3g}, style {terms.style:.3g})"
            f"  {100 * progress.fraction:.0f} %{left}"
        )
        if self._terminal:
            _tell("\r" + line.ljust(self._width), end="")
            self._width = len(line)
        else:
            _tell(line)

    def close(self) -> None:
        """End the updating line."""
        if self._width:
            _tell("")
            self._width = 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def save(result: TransferResult, path: Path, quiet: bool, **settings: Any) -> int:
    """Write the image and say where: its path on stdout, the rest on stderr.

    Where it cannot be written there, it is written elsewhere; returns the exit code.
    """
    try:
        result.save(path, **settings)
    except PyNSTError as error:
        fail(error)
        _rescue(result, path, settings)
        return 1
    if not quiet:
        early = f", stopped early ({result.stopped_early})" if result.stopped_early else ""
        evaluations = sum(len(level) for level in result.history)
        weights = f" ({result.weights_source})" if result.weights_source else ""
        _tell(
            f"{result.pixels.shape[1]} x {result.pixels.shape[0]} pixels, network"
            f" {result.network}{weights}, {evaluations} evaluations in {result.seconds:.1f} s on"
            f" {result.backend}{early}"
        )
    print(path, flush=True)
    return 0


def _rescue(result: TransferResult, path: Path, settings: dict[str, Any]) -> None:
    """Write the image as PNG where there is room: beside its place, here, among temporary files."""
    tried = []
    for folder in (path.parent, Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
        if folder in tried:
            continue
        tried.append(folder)
        place = folder / f"{path.stem}-rescued-{os.getpid()}.png"
        try:
            result.save(place, **{**settings, "overwrite": False})
        except PyNSTError:
            continue
        say(f"the best image so far is saved in {place} instead")
        print(place, flush=True)
        return
    say(f"the best image so far could not be saved in {', '.join(map(str, tried))} either")
