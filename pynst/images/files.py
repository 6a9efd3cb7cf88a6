"""Picture files: which formats are written, what may be read, and what may be written where."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pynst.errors import ImageError
from pynst.files import shown

__all__ = ["FORMATS", "FileFormat", "check_input", "check_output", "only_image_errors"]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a format that is written can hold."""

    name: str
    sixteen_bits: bool
    alpha: bool
    longest_side: int


_PNG = FileFormat("PNG", sixteen_bits=True, alpha=True, longest_side=2**31 - 1)
_TIFF = FileFormat("TIFF", sixteen_bits=True, alpha=True, longest_side=2**31 - 1)
_JPEG = FileFormat("JPEG", sixteen_bits=False, alpha=False, longest_side=65500)
FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": FileFormat("WEBP", sixteen_bits=False, alpha=True, longest_side=16383),
    ".bmp": FileFormat("BMP", sixteen_bits=False, alpha=False, longest_side=2**31 - 1),
}
"""By extension, in lower case."""


@contextmanager
def only_image_errors(doing: str) -> Iterator[None]:
    """Whatever is raised inside leaves as an `ImageError`: decoders raise nearly everything."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = "out of memory" if isinstance(error, MemoryError) else reason
        summary = shown(reason.split("\n")[0][:200] or type(error).__name__)
        raise ImageError(f"{doing}: {summary}") from error


def check_input(path: str | os.PathLike[str], name: str) -> None:
    """Check that there is a file to read, without opening it: a pipe would wait for its writer."""
    with only_image_errors(f"{name}: cannot read {shown(path)}"):
        try:
            status = Path(path).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ImageError(f"{name}: no such file: {shown(path)}") from error
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: is a directory, not an image file: {shown(path)}")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name}: is not a regular file: {shown(path)}")
        if status.st_size == 0:
            raise ImageError(f"{name}: file is empty: {shown(path)}")


def check_output(
    path: str | os.PathLike[str],
    *,
    bits: int = 8,
    alpha: bool = False,
    size: tuple[int, ...] | None = None,
) -> None:
    """Check that an image can be written, before the long work that makes it.

    Parameters
    ----------
    path : str or path
        Where the image is to be written; nothing is created.
    bits : {8, 16}
        Bits per channel.
    alpha : bool
        Whether the image has transparency.
    size : tuple of int, optional
        Height and width, as some formats have a limit.

    Raises
    ------
    ImageError
        The extension is unknown or its format cannot hold such an image, `path` is a directory, or
        its directory is missing or not writable.
    """
    with only_image_errors(f"output: cannot write {shown(path)}"):
        target = Path(path)
        if target.suffix.lower() not in FORMATS:
            raise ImageError(f"output: must end in {', '.join(FORMATS)}, got {shown(path)}")
        _check_place(target)
    file_format = FORMATS[target.suffix.lower()]
    if bits not in (8, 16):
        raise ImageError(f"output: bits must be 8 or 16, got {bits!r}")
    if bits == 16 and not file_format.sixteen_bits:
        raise ImageError(f"output: 16 bits per channel need .png or .tif, got {shown(path)}")
    if alpha and not file_format.alpha:
        raise ImageError(f"output: transparency needs .png, .webp or .tif, got {shown(path)}")
    if size is not None and max(size) > file_format.longest_side:
        limit = f"{file_format.name} holds at most {file_format.longest_side} pixels a side"
        raise ImageError(f"output: {limit}, got {size[0]} x {size[1]}")


def _check_place(target: Path) -> None:
    """Check that a file may appear here, or take the place of one that does exist."""
    directory = target.parent
    if not directory.is_dir():
        raise ImageError(f"output: no such directory: {shown(directory)}")
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        pass
    else:
        if stat.S_ISDIR(mode):
            raise ImageError(f"output: is a directory: {shown(target)}")
        if not stat.S_ISREG(mode):
            raise ImageError(f"output: is not a regular file: {shown(target)}")
    real = Path(os.path.realpath(target)).parent  # a link's own directory is not the one written to
    if not os.access(real, os.W_OK | os.X_OK):
        raise ImageError(f"output: directory is missing or not writable: {shown(real)}")
