"""Where the VGG-19 weights lie, and how they get there: the cache, the download, what is tried."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pynst.errors import WeightsError
from pynst.files import shown
from pynst.weights.download import Source, download, list_sources
from pynst.weights.vgg19_file import VGG19Weights, load_weights, save_weights

__all__ = ["ReportProgress", "cache_directory", "fetch_weights", "find_weights", "obtain_weights"]

_LOG = logging.getLogger("pynst")
_FILE_NAME = "vgg19.npz"
_WORK_PREFIX = ".fetch-"
_STALE_SECONDS = 24 * 3600
_DAY = 24 * 3600
_HELP = (
    'put a VGG-19 file in place with "pynst weights import FILE", or name one with PYNST_WEIGHTS'
)

ReportProgress = Callable[[str, int, int | None], None]
"""(title of the source, bytes so far, bytes in all or None)."""


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
        if not _exists(path):
            origin = "weights" if explicit is not None else "PYNST_WEIGHTS"
            raise WeightsError(f"{origin}: there is no file {shown(path)}")
        return path
    path = cache_directory() / _FILE_NAME
    return path if _exists(path) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no permission on the way; a null character in the name
        return False


def fetch_weights(
    *,
    source: str | None = None,
    progress: ReportProgress | None = None,
    directory: Path | None = None,
    manifest: str | os.PathLike[str] | None = None,
) -> Path:
    """Download VGG-19, verify and import it, and keep it in the cache.

    Parameters
    ----------
    source : str, optional
        Name of one source of `list_sources`. Default: those with the original training, in turn.
    progress : callable, optional
        Called with (title, bytes so far, bytes in all or None).
    directory : Path, optional
        Default: `cache_directory`.
    manifest : str or PathLike, optional
        Another list of sources than the package's.

    Returns
    -------
    Path
        PyNST's own file, ``vgg19.npz``. If it is already there, sound and from the source asked
        for, nothing is downloaded.

    Raises
    ------
    WeightsError
        No host could be reached or none had the right file, the cache cannot be written, or
        PYNST_OFFLINE is set.
    """
    sources = _chosen(list_sources(manifest), source)
    target = (directory or cache_directory()) / _FILE_NAME
    if _is_there(target, sources, source):
        return target
    if os.environ.get("PYNST_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(f"VGG-19 is not downloaded since PYNST_OFFLINE is set; {_HELP}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        failures = []
        for candidate, url in ((each, url) for each in sources for url in each.urls):
            try:
                weights = _fetch(candidate, url, target.parent, progress)
            except WeightsError as error:
                failures.append(f"{urlsplit(url).hostname}: {error}")
            else:
                save_weights(weights, target)
                return target
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WeightsError(
            f"the cache directory {shown(target.parent)} cannot be written: {reason};"
            " name another one with PYNST_CACHE_DIR"
        ) from error
    raise WeightsError(f"VGG-19 could not be downloaded ({'; '.join(failures)}); {_HELP}")


def obtain_weights(asked: str | None) -> Path | None:
    """Download VGG-19, or say in one line why the built-in filters stand in for it.

    Where nothing asks for VGG-19 by name, a host that could not be reached is not tried again for a
    day.
    """
    failed = cache_directory() / "download-failed"
    offline = os.environ.get("PYNST_OFFLINE", "0") not in ("", "0")
    try:
        if asked is None and _is_recent(failed):
            raise WeightsError(
                "the last download of VGG-19 failed less than a day ago (try it again with"
                ' "pynst weights fetch")'
            )
        if not offline:
            _LOG.warning("downloading VGG-19 once, to %s", shown(cache_directory()))
        return fetch_weights(progress=_log_progress())
    except WeightsError as error:
        if asked is not None:
            raise WeightsError(f"{asked} needs the VGG-19 weights: {error}") from error
        if not offline and not _is_recent(failed):
            with contextlib.suppress(OSError):
                failed.touch()
        _LOG.warning("using the built-in filters (palette and brush strokes), since %s", error)
        return None


def _fetch(
    source: Source, url: str, directory: Path, progress: ReportProgress | None
) -> VGG19Weights:
    """Download and import one file; whatever happens, it leaves nothing behind.

    Two processes may do this at once: each works in a directory of its own.
    """
    report = None if progress is None else partial(progress, source.title)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=directory) as work:
        file = download(url, Path(work), source.checksum, source.megabytes * 1_000_000, report)
        weights = load_weights(file, training=source.training)
    if source.canonical_sha256 not in (None, weights.sha256):
        raise WeightsError("the numbers in the file have not the published checksum")
    return weights


def _remove_stale(directory: Path) -> None:
    """Remove what a killed download left behind, once no running one can own it."""
    for work in directory.glob(f"{_WORK_PREFIX}*"):
        if work.is_dir() and time.time() - work.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(work, ignore_errors=True)


def _is_there(target: Path, sources: tuple[Source, ...], name: str | None) -> bool:
    """Whether the cache already holds a sound file (of the source asked for, if one was)."""
    if not _exists(target):
        return False
    try:
        weights = load_weights(target)
    except WeightsError:
        return False
    return name is None or weights.source == sources[0].title


def _chosen(sources: tuple[Source, ...], name: str | None) -> tuple[Source, ...]:
    if name is None:
        return tuple(source for source in sources if source.automatic)
    chosen = tuple(source for source in sources if source.name == name)
    if not chosen:
        names = ", ".join(source.name for source in sources)
        raise WeightsError(f"source must be one of {names}, got {name!r}")
    return chosen


def _is_recent(mark: Path) -> bool:
    """Whether a file was touched within the last day."""
    try:
        return 0 <= time.time() - mark.stat().st_mtime < _DAY
    except OSError:
        return False


def _log_progress() -> ReportProgress:
    """Log every tenth of a download."""
    told = -1

    def report(title: str, received: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * received // total if total else received // 10_000_000
        if tenth > told:
            told = tenth
            of = f" of {total / 1e6:.0f}" if total else ""
            _LOG.info("%s: %.0f%s MB", title, received / 1e6, of)

    return report
