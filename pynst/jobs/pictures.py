"""From the words of a user to picture files: folders, patterns and single files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pynst.errors import ImageError
from pynst.files import shown
from pynst.images.files import READ_SUFFIXES

__all__ = ["Found", "find_pictures"]


@dataclass(frozen=True)
class Found:
    """A picture file that belongs to a batch.

    Attributes
    ----------
    path : str
        Where it lies, spelt as the user has spelt its folder.
    label : str
        What it is called in names of outputs: its name without the ending; for a picture in a
        folder that was searched with its subfolders, after the path inside that folder.
    """

    path: str
    label: str

    @property
    def suffix(self) -> str:
        """The ending of the file's name, without its dot."""
        return Path(self.path).suffix[1:]


def find_pictures(
    words: Iterable[str | os.PathLike[str]], what: str, folder: Path, *, recursive: bool = False
) -> list[Found]:
    """Find the pictures that files, folders and patterns name, in a fixed order, each once.

    Parameters
    ----------
    words : iterable of str or path
        A file; a folder, of which all pictures are taken; or a pattern such as ``"a/*.jpg"``.
    what : str
        What the pictures are, ``"content"`` or ``"style"``: error messages begin with it.
    folder : Path
        The folder of the outputs: what lies in it, or below it, is not found in other folders.
    recursive : bool
        Whether the subfolders of a folder are searched, too.

    Raises
    ------
    ImageError
        A word names no picture, or the folder of the outputs itself.
    """
    found: dict[str, Found] = {}
    for word in words:
        named = list(_named(os.fspath(word), what, folder, recursive))
        if not named:
            raise ImageError(f"{what}: no picture is found in {shown(word)}")
        for each in named:
            found.setdefault(os.path.realpath(each.path), each)
    return list(found.values())


def _named(word: str, what: str, folder: Path, recursive: bool) -> Iterator[Found]:
    """The pictures that one word names."""
    path = Path(word)
    if not word:  # what a script has left empty; as a path it would be the folder of the program
        raise ImageError(f"{what}: no such file or folder: ''")
    if path.is_dir():
        if os.path.realpath(path) == os.path.realpath(folder):
            raise ImageError(
                f"{what}: {shown(word)} is also the folder of the outputs, which would be taken"
                " for pictures at the next start; name another one"
            )
        for file in _files_in(path, folder, recursive):
            yield Found(str(file), file.relative_to(path).with_suffix("").as_posix())
    elif path.exists():
        yield Found(word, path.stem)
    elif glob.has_magic(word):
        matches = map(Path, sorted(glob.glob(word, recursive=True)))  # noqa: PTH207 - of any folder
        sound = (file for file in matches if _is_picture(file) and not _is_below(file, folder))
        yield from (Found(str(file), file.stem) for file in sound)
    else:
        raise ImageError(f"{what}: no such file or folder: {shown(word)}")


def _files_in(place: Path, folder: Path, recursive: bool) -> Iterator[Path]:
    """The pictures in a folder, by name; hidden files and folders are left out."""
    for top, folders, files in os.walk(place):
        below = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [
            name for name in below if recursive and not _is_below(Path(top, name), folder)
        ]
        yield from (Path(top, name) for name in sorted(files) if _is_picture(Path(top, name)))


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in READ_SUFFIXES and not hidden and path.is_file()


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
