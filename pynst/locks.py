"""Locks between processes; the operating system gives one up when its owner dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Turn", "one_at_a_time", "try_lock"]

_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK)
_POLL_SECONDS = 0.1
_LONGEST_NOTE = 4096


def try_lock(file: BinaryIO) -> bool | None:
    """Lock an open file for this process, without waiting.

    Returns
    -------
    bool or None
        False if another process or another open file holds the lock; None if the file system knows
        no locks. The lock ends when the file is closed.
    """
    try:
        if sys.platform == "win32":
            place = file.tell()
            file.seek(1 << 30)  # Windows locks bytes, and nobody may read or write these
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(place)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


class Turn:
    """The time during which this process alone does something.

    Attributes
    ----------
    alone : bool
        False where the file system knows no locks: then others may be at work as well.
    """

    def __init__(self, file: BinaryIO, *, alone: bool) -> None:
        self._file = file
        self.alone = alone

    def leave(self, note: str) -> None:
        """Leave a note for those who wait now."""
        with contextlib.suppress(OSError):
            self._file.write(note.encode()[:_LONGEST_NOTE])
            self._file.flush()


@contextmanager
def one_at_a_time(
    path: Path, seconds: float, waiting: Callable[[], None], noted: Callable[[str], None]
) -> Iterator[Turn]:
    """Wait until no other process holds the lock file `path`, and hold it.

    Parameters
    ----------
    path : Path
        A file for this purpose alone; it is removed when the turn ends.
    seconds : float
        Longest time to wait.
    waiting : callable
        Called once if this process has to wait.
    noted : callable
        Called with the note that an owner has left while this process waited for it.

    Raises
    ------
    TimeoutError
        The lock was held for longer than `seconds`.
    OSError
        The lock file cannot be made.
    """
    end = time.monotonic() + seconds
    while True:
        with path.open("a+b") as file:
            locked = try_lock(file)
            if locked is False:
                waiting()
                locked = _wait(file, end)
                file.seek(0)
                if note := file.read(_LONGEST_NOTE).decode(errors="replace"):
                    noted(note)
            waiting = _said_already
            # The owner removes the file: whoever waited for it holds the lock of a removed file.
            if locked is None or _lies_at(file, path):
                file.truncate(0)
                try:
                    yield Turn(file, alone=bool(locked))
                finally:
                    with contextlib.suppress(OSError):
                        path.unlink()
                return


def _wait(file: BinaryIO, end: float) -> bool | None:
    while (locked := try_lock(file)) is False:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(_POLL_SECONDS)
    return locked


def _said_already() -> None:
    """Stand in for the message once it has been given."""


def _lies_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
