"""Files of any kind: how a path is shown, and how a file appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pynst.locks import try_lock

__all__ = ["remove_leftovers", "shown", "whole_file", "write_whole"]


def shown(path: object) -> str:
    """Spell a path for a message: no control characters and no broken Unicode reach a terminal."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else repr(path)
    return text if text and text.isprintable() else ascii(text)


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Write a file so that `path` is, at every moment, the old file or the complete new one.

    The data goes to a file of its own in the same directory, to the disk, and then takes the name.
    A symbolic link stays; what it points to is replaced. An OSError is raised as it comes; without
    `overwrite` it is a FileExistsError where the name is taken when the data is complete. What
    killed processes have left in the directory is removed.
    """
    target = Path(os.path.realpath(path))
    remove_leftovers(target.parent)
    temporary, file = _temporary(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()  # an open file cannot be renamed there
            if not overwrite and target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """Make a new file beside `target`, locked as long as it is open."""
    while True:
        path = target.with_name(f".pynst-{os.urandom(6).hex()}.tmp")
        file = path.open("xb")  # like any new file: its mode follows the umask
        # Another process may have taken the file for a leftover before it was locked.
        locked = try_lock(file)
        if locked is None or (locked and path.exists()):
            return path, file
        file.close()


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files of writers that were killed: nobody holds their locks."""
    with contextlib.suppress(OSError):
        for path in directory.glob(".pynst-*.tmp"):
            with contextlib.suppress(OSError), path.open("r+b") as file:
                if try_lock(file):
                    path.unlink()


def write_whole(data: bytes, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write all of a file at once; see `whole_file`."""
    with whole_file(path, overwrite=overwrite) as file:
        file.write(data)
