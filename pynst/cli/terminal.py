"""Standard output and error: streams that never end a run, lines on them, and the progress line.

Standard streams may be closed, full, a pipe whose reader has gone, or unable to encode a name. None
of this may cost a picture, so that `Streams` replaces them while a command runs: what cannot be
written is left out, and the exit code tells it at the end. Texts that come from files may hold
control characters; every line passes `printable`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, cast

from pynst.errors import PyNSTError

if TYPE_CHECKING:
    from pynst.result import Progress

__all__ = [
    "Display",
    "Log",
    "Streams",
    "clock",
    "cut",
    "fail",
    "line",
    "path_line",
    "printable",
    "progress_line",
    "say",
    "tell",
    "write_out",
]

_LONGEST_LINE = 2000
_GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe, or the terminal, has gone


def printable(text: str) -> str:
    r"""Escape what a terminal would obey instead of show: ``"\x1b"`` becomes four characters.

    Control characters, line breaks, marks of writing direction and broken Unicode are escaped.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )


def cut(text: str, longest: int) -> str:
    """Shorten a text that came from a file."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def line(text: str, indent: str = "", longest: int | None = _LONGEST_LINE) -> None:
    """One line on standard output, of so many characters at most; a reader gets it at once."""
    text = printable(text)
    print(indent + (text if longest is None else cut(text, longest)), flush=True)


def write_out(data: bytes) -> bool:
    """Write bytes to standard output; returns whether it has taken them."""
    stream = sys.stdout
    if not isinstance(stream, Stream):
        return False
    stream.write_bytes(data)
    stream.flush()
    return stream.is_open and stream.error is None


def path_line(path: str | os.PathLike[str]) -> None:
    """A path as a line of its own on standard output.

    A program that reads it gets the bytes of the name as the file system has them, and at once; a
    terminal gets them escaped.
    """
    stream = sys.stdout
    if isinstance(stream, Stream) and not stream.isatty():
        stream.write_bytes(os.fsencode(path) + b"\n")
        stream.flush()
    else:
        line(os.fspath(path))


def tell(text: str) -> None:
    """One line on standard error."""
    print(cut(printable(text), _LONGEST_LINE), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """One line on standard error that tells who speaks."""
    tell(f"pynst: {text}")


def fail(error: BaseException) -> int:
    """Say what is wrong; returns the exit code."""
    text = str(error) if isinstance(error, PyNSTError) else f"{type(error).__name__}: {error}"
    say(f"error: {text}")
    return 1


class Log(logging.Handler):
    """What the package logs, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        say(record.getMessage())


class Stream(io.TextIOBase):
    """A standard stream that takes everything and raises nothing.

    Parameters
    ----------
    inner : TextIO or None
        The stream that Python made; None where its file descriptor was closed.

    Attributes
    ----------
    error : OSError, ValueError or None
        Why the stream takes no more; ValueError if it was closed.
    """

    def __init__(self, inner: TextIO | None) -> None:
        self._inner = inner
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text; what the encoding lacks is escaped."""
        if self._inner is not None and self.error is None:
            encoding = self._inner.encoding or "utf-8"
            try:
                self._inner.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are, or as text where the stream below takes no bytes."""
        buffer = getattr(self._inner, "buffer", None)
        if buffer is None:
            self.write(data.decode(errors="backslashreplace"))
            return
        self.flush()
        if self.error is None:
            try:
                buffer.write(data)
            except (OSError, ValueError) as error:
                self._give_up(error)

    def flush(self) -> None:
        """Write what waits in the buffer."""
        if self._inner is not None and self.error is None:
            try:
                self._inner.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    @property
    def is_open(self) -> bool:
        """Whether there is a stream below."""
        return self._inner is not None

    def fileno(self) -> int:
        """The descriptor of the stream below; `io.UnsupportedOperation` if there is none."""
        return super().fileno() if self._inner is None else self._inner.fileno()

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        try:
            return self._inner is not None and self._inner.isatty()
        except ValueError:  # it is closed
            return False

    def _give_up(self, error: OSError | ValueError) -> None:
        """Send the stream nowhere: what is in its buffer would fail again when Python ends."""
        self.error = error
        assert self._inner is not None
        with contextlib.suppress(OSError, ValueError):  # it has no file below, or is closed
            descriptor = self._inner.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


class Streams:
    """Replaces standard output and error during a ``with`` block by streams that never fail."""

    def __init__(self) -> None:
        self._before = (sys.stdout, sys.stderr)
        self.out, self.err = Stream(sys.stdout), Stream(sys.stderr)

    def __enter__(self) -> Streams:
        _occupy_closed_descriptors()
        sys.stdout, sys.stderr = cast(TextIO, self.out), cast(TextIO, self.err)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.out.flush()
        self.err.flush()
        sys.stdout, sys.stderr = self._before

    def exit_code(self, code: int) -> int:
        """Turn 0 into 1 where standard output was not taken; a reader that left needs no word."""
        self.out.flush()
        error = self.out.error
        if error is None:
            return code
        if not isinstance(error, OSError) or error.errno not in _GONE:
            reason = getattr(error, "strerror", None) or error
            say(f"error: standard output cannot be written: {reason}")
        return code or 1


def _occupy_closed_descriptors() -> None:
    """Open the null device as each standard descriptor that is closed.

    The next file to be opened would get its number otherwise, and what a C library writes to
    standard error would land in a picture.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


class Display:
    """One updating line on standard error; a few plain lines per level if that is no terminal."""

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
        self.update(progress_line(progress))

    def update(self, text: str) -> None:
        """Show a line in the place of the one before; below it where that is no terminal."""
        text = printable(text)
        if self._terminal:
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            tell(text)

    @property
    def updates(self) -> bool:
        """Whether a line takes the place of the one before."""
        return self._terminal

    def close(self) -> None:
        """End the updating line."""
        if self._width:
            print(file=sys.stderr)
            self._width = 0


def progress_line(progress: Progress) -> str:
    """Where a run stands, on one line."""
    terms = progress.terms
    left = "" if progress.left is None else f"  left {clock(progress.left)}"
    return (
        f"level {progress.level}/{progress.levels}"
        f"  iter {progress.iteration}/{progress.iterations}"
        f"  loss {terms.total:.4g} (content {terms.content:.3g}, style {terms.style:.3g})"
        f"  {100 * progress.fraction:.0f} %{left}"
    )


def clock(seconds: float) -> str:
    """Spell a time for people: ``"1:05"``, ``"2:00:05"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
