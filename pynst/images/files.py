"""Picture files: which formats are written, what may be read, and what may be written where."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeGuard

from pynst.errors import ImageError, OptionError
from pynst.files import shown

__all__ = [
    "FORMATS",
    "READ_SUFFIXES",
    "BinarySource",
    "FileFormat",
    "binary_input",
    "check_dpi",
    "check_fit",
    "check_input",
    "check_output",
    "check_writable",
    "file_format",
    "is_readable",
    "label",
    "only_image_errors",
    "write_to",
]

BinarySource: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
"""A path, or an open binary file that can seek."""


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

READ_SUFFIXES = frozenset(FORMATS) | frozenset(
    [
        ".jfif",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".jp2",
        ".j2k",
        ".jpx",
        ".tga",
        ".heic",
        ".heif",
    ]
)
"""Extensions, in lower case, of the files in a folder that are taken for pictures."""


@contextmanager
def only_image_errors(doing: str) -> Iterator[None]:
    """Whatever is raised inside leaves as an `ImageError`: decoders raise nearly everything.

    An `OptionError` passes: it is not the picture that is wrong.
    """
    try:
        yield
    except (ImageError, OptionError):
        raise
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = "out of memory" if isinstance(error, MemoryError) else text
        summary = shown(text.split("\n")[0][:200] or type(error).__name__)
        raise ImageError(f"{doing}: {summary}") from error


def is_readable(source: object) -> TypeGuard[IO[bytes]]:
    """Whether this is an open file, rather than a path, an image or an array."""
    return callable(getattr(source, "read", None))


def label(source: object) -> str:
    """Name a source for a message: a path or the name of an open file, printable."""
    if isinstance(source, str | os.PathLike):
        return shown(source)
    name = getattr(source, "name", None)
    return f"file {shown(name)}" if isinstance(name, str) and name else "file"


@contextmanager
def binary_input(source: Any, name: str) -> Iterator[IO[bytes]]:
    """Open a path, or take an open file, which then stays open; refuses what cannot be read."""
    if isinstance(source, str | os.PathLike):
        check_input(source, name)
        with Path(source).open("rb") as file:
            yield file
        return
    wanted = "an open file must be binary and able to seek"
    missing = [each for each in ("seek", "tell") if not callable(getattr(source, each, None))]
    if missing:
        raise ImageError(f"{name}: {wanted}, got {type(source).__name__} without {missing[0]}")
    with only_image_errors(f"{name}: cannot read {label(source)}: {wanted}"):
        source.seek(0)
        head = source.read(1)
    if not isinstance(head, bytes):
        raise ImageError(f"{name}: {wanted}, got {type(source).__name__} of {type(head).__name__}")
    if not head:
        raise ImageError(f"{name}: file is empty: {label(source)}")
    yield source


def check_writable(file: Any) -> None:
    """Check that this is an open binary file, before the work of encoding."""
    if not callable(getattr(file, "write", None)):
        wanted = "a path or an open binary file"
        raise ImageError(f"output: must be {wanted}, got {type(file).__name__}")
    try:
        file.write(b"")
    except TypeError:
        given = f"{type(file).__name__} of text"
        raise ImageError(f"output: an open file must be binary, got {given}") from None


def write_to(file: Any, data: bytes) -> None:
    """Write all of `data` to an open binary file."""
    view = memoryview(data)
    while view:
        count = file.write(view)
        view = view[count if isinstance(count, int) else len(view) :]


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


def file_format(path: object, format_name: str | None = None) -> FileFormat:
    """Find the format by its name or by the extension of a path or of the name of an open file.

    Raises
    ------
    ImageError
        There is neither, or it is unknown.
    """
    known = ", ".join(FORMATS)
    if format_name is not None:
        key = f".{str(format_name).lower().removeprefix('.')}"
        if key not in FORMATS:
            raise ImageError(f"output: format must be one of {known}, got {format_name!r}")
        return FORMATS[key]
    is_path = isinstance(path, str | os.PathLike)
    name = path if is_path else getattr(path, "name", None)
    suffix = Path(name).suffix.lower() if isinstance(name, str | os.PathLike) else ""
    if suffix not in FORMATS and not is_path:
        raise ImageError(f"output: an open file needs format, one of {known}, got {label(path)}")
    if suffix not in FORMATS:
        raise ImageError(f"output: must end in {known}, got {shown(path)}")
    return FORMATS[suffix]


def check_output(
    path: str | os.PathLike[str],
    *,
    bits: int = 8,
    alpha: bool = False,
    size: tuple[int, ...] | None = None,
    format: str | None = None,
    dpi: float | None = None,
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
    format : str, optional
        Name of the format, e.g. ``"png"``. Default: the extension of `path` names it.
    dpi : float, optional
        Pixels per inch when printed.

    Raises
    ------
    ImageError
        The extension is unknown or its format cannot hold such an image, `dpi` is out of range,
        `path` is a directory, or its directory is missing or not writable.
    """
    check_dpi(dpi)
    with only_image_errors(f"output: cannot write {shown(path)}"):
        found = file_format(path, format)
        _check_place(Path(path))
    check_fit(found, path, bits=bits, alpha=alpha, size=size)


def check_dpi(dpi: float | None) -> None:
    """Check that these can be pixels per inch: None, or a number from 1 to 10 000."""
    number = isinstance(dpi, int | float) and not isinstance(dpi, bool)
    if dpi is not None and not (number and 1 <= dpi <= 10_000):
        raise ImageError(f"output: dpi must be a number from 1 to 10000, got {dpi!r}")


def check_fit(
    found: FileFormat, path: object, *, bits: int, alpha: bool, size: tuple[int, ...] | None
) -> None:
    """Check that a format can hold an image; see `check_output`."""
    if bits not in (8, 16):
        raise ImageError(f"output: bits must be 8 or 16, got {bits!r}")
    if bits == 16 and not found.sixteen_bits:
        raise ImageError(f"output: 16 bits per channel need .png or .tif, got {label(path)}")
    if alpha and not found.alpha:
        raise ImageError(f"output: transparency needs .png, .webp or .tif, got {label(path)}")
    if size is not None and max(size) > found.longest_side:
        limit = f"{found.name} holds at most {found.longest_side} pixels a side"
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
