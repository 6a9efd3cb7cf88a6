"""Files of any kind: how a path is shown, and how a file appears whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["shown", "whole_file", "write_whole"]


def shown(path: object) -> str:
    """Spell a path for a message: no control characters and no broken Unicode reach a terminal."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else repr(path)
    return text if text and text.isprintable() else ascii(text)


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Write a file so that `path` is, at every moment, the old file or the complete new one.

    The data goes to a file of its own in the same directory, to the disk, and then takes the name.
    A symbolic link stays; what it points to is replaced. An OSError is raised as it comes; without
    `overwrite` it is a FileExistsError where the name is taken when the data is complete.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".pynst-{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open("xb") as file:  # like any new file: its mode follows the umask
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not overwrite and target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_whole(data: bytes, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write all of a file at once; see `whole_file`."""
    with whole_file(path, overwrite=overwrite) as file:
        file.write(data)
