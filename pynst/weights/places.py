"""Where the VGG-19 weights lie: the cache, a named file, and whether downloads are allowed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from pynst.errors import WeightsError
from pynst.files import shown

__all__ = ["cache_directory", "cached_file", "exists", "find_weights", "is_cached", "is_offline"]


def cache_directory() -> Path:
    """Directory of downloaded weights: PYNST_CACHE_DIR, else the user's cache of the platform.

    A process may have no home: HOME is not set and nobody knows the user, as in containers and
    under cron. The directory then lies among the temporary files and has the user's number in its
    name.

    Raises
    ------
    WeightsError
        That directory belongs to somebody else, who could put any weights into it; or there is no
        place for temporary files either.
    """
    chosen = os.environ.get("PYNST_CACHE_DIR")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path  # comes with pooch

    with contextlib.suppress(RuntimeError):  # there is no home
        path = user_cache_path("pynst")
        if path.is_absolute():  # older versions of platformdirs leave the ~
            return path
    return _cache_without_home()


def _cache_without_home() -> Path:
    """A directory of this user's own among the temporary files."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        path = Path(tempfile.gettempdir()) / f"pynst-{user}"
    except OSError as error:
        raise WeightsError(
            "there is no place for a cache, neither a home nor temporary files; name one with"
            " PYNST_CACHE_DIR"
        ) from error
    try:
        status = path.lstat()
    except OSError:  # it is not there yet
        return path
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user:
        raise WeightsError(
            f"the cache directory {path} belongs to somebody else; name another one with"
            " PYNST_CACHE_DIR"
        )
    return path


def find_weights(explicit: str | os.PathLike[str] | None = None) -> Path | None:
    """Where the weights are: `explicit`, else PYNST_WEIGHTS, else ``vgg19.npz`` in the cache.

    Returns
    -------
    Path or None
        None if nothing was named and the cache holds none.

    Raises
    ------
    WeightsError
        A file was named and does not exist.
    """
    named = explicit if explicit is not None else os.environ.get("PYNST_WEIGHTS") or None
    if named is not None:
        path = Path(named)
        with contextlib.suppress(RuntimeError):  # ~ of a user who does not exist
            path = path.expanduser()
        if not exists(path):
            origin = "weights" if explicit is not None else "PYNST_WEIGHTS"
            raise WeightsError(f"{origin}: there is no file {shown(path)}")
        return path
    path = cached_file()
    return path if exists(path) else None


def exists(path: Path) -> bool:
    """Whether there is a file, or anything else; False where nobody may look."""
    try:
        return path.exists()
    except (OSError, ValueError):  # no permission on the way; a null character in the name
        return False


def cached_file() -> Path:
    """``vgg19.npz`` in the cache, whether or not it is there."""
    return cache_directory() / "vgg19.npz"


def is_cached(path: Path) -> bool:
    """Whether a path is the file in the cache, which can be fetched again."""
    try:
        return path.absolute() == cached_file().absolute()
    except (OSError, WeightsError):  # there is no cache
        return False


def is_offline() -> bool:
    """Whether PYNST_OFFLINE forbids downloads."""
    return os.environ.get("PYNST_OFFLINE", "0") not in ("", "0")
