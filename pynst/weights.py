"""The VGG-19 weights: find, download, import, verify and save them.

Whatever file they come from (`pynst.formats`), they are brought to one convention on loading:
weights (N, C, 3, 3), cross-correlation, input channels R, G, B, input 255 * sRGB - mean. PyNST's
own file keeps them in that convention, with where they come from and a checksum of the numbers
themselves, which does not depend on the container: the same network imported from two files has the
same `VGG19Weights.sha256`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pynst.errors import WeightsError
from pynst.fetch import Source, download, list_sources
from pynst.files import shown, write_whole
from pynst.formats import convert_file
from pynst.formats.layouts import VGG19_CONVOLUTIONS, vgg19_table
from pynst.formats.npz import npz_bytes

__all__ = [
    "VGG19_CONVOLUTIONS",
    "Source",
    "VGG19Weights",
    "cache_directory",
    "fetch_weights",
    "find_weights",
    "list_sources",
    "load_weights",
    "save_weights",
    "verify_weights",
    "vgg19_table",
]

_TRAININGS = ("oxford", "torchvision", "unknown")
_FILE_NAME = "vgg19.npz"
_WORK_PREFIX = ".fetch-"
_STALE_SECONDS = 24 * 3600
_HELP = (
    'put a VGG-19 file in place with "pynst weights import FILE", or name one with PYNST_WEIGHTS'
)

ReportProgress = Callable[[str, int, int | None], None]
"""(title of the source, bytes so far, bytes in all or None)."""


@dataclass(frozen=True, eq=False)
class VGG19Weights:
    """The convolutions of VGG-19 in PyNST's convention.

    Parameters
    ----------
    convolutions : mapping of str to (weight, bias)
        ``"conv1_1"`` ... in the network's order, at most to ``"conv5_4"``; float32 arrays (N, C, 3,
        3) and (N,), for cross-correlation, with the input channels of conv1_1 in R, G, B order.
    mean : tuple of float
        Subtracted from 255 * sRGB; R, G, B.
    source : str
        For people, e.g. ``"Keras applications VGG-19 (ImageNet)"``.
    training : {"oxford", "torchvision", "unknown"}
        Whose training the numbers come from: the original one, or torchvision's own.
    licence : str
        For people.
    path : Path, optional
        The file that was loaded.

    Raises
    ------
    WeightsError
        The arrays are not those of a network of this form, or not finite. The channel counts are
        not compared with VGG-19's, so that tests can use a small network; `load_weights` compares
        them.
    """

    convolutions: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    mean: tuple[float, float, float]
    source: str = "made by hand"
    training: str = "unknown"
    licence: str = "unknown"
    path: Path | None = None

    def __post_init__(self) -> None:
        names = list(VGG19_CONVOLUTIONS)[: len(self.convolutions)]
        if not names or set(names) != set(self.convolutions):
            raise WeightsError(
                f"convolutions must be conv1_1 and on, got {sorted(self.convolutions)}"
            )
        C = 3
        for name in names:
            weight, bias = self.convolutions[name]
            _check_layer(name, weight, bias, C)
            C = len(bias)
        if not all(0 <= value <= 255 for value in self.mean):
            raise WeightsError(f"mean must be three numbers in 0..255, got {self.mean}")
        if self.training not in _TRAININGS:
            raise WeightsError(f"training must be one of {_TRAININGS}, got {self.training!r}")
        ordered = {name: self.convolutions[name] for name in names}
        object.__setattr__(self, "convolutions", MappingProxyType(ordered))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the mean and of each weight and bias in order, as little-endian float32."""
        digest = hashlib.sha256(np.asarray(self.mean, "<f4").tobytes())
        for pair in self.convolutions.values():
            for array in pair:
                digest.update(np.ascontiguousarray(array, "<f4").data)
        return digest.hexdigest()


def _check_layer(name: str, weight: NDArray[np.float32], bias: NDArray[np.float32], C: int) -> None:
    """Refuse arrays that cannot be a layer with C input channels."""
    N = len(bias)
    for part, array, shape in (("weight", weight, (N, C, 3, 3)), ("bias", bias, (N,))):
        if array.dtype != np.float32 or array.shape != shape:
            raise WeightsError(
                f"{name}: {part} must be float32 of shape {shape},"
                f" got {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise WeightsError(f"{name}: {part} holds numbers that are not finite")
    if not weight.any():
        raise WeightsError(f"{name}: all weights are zero: the file was not written to its end")


# ---- files ---------------------------------------------------------------------------------------


def load_weights(path: str | os.PathLike[str], *, training: str | None = None) -> VGG19Weights:
    """Load VGG-19 from a file of any known format, recognised by what it holds, not by its name.

    Parameters
    ----------
    path : str or PathLike
        PyNST's own file, NumPy .npz, PyTorch .pth (a state dict of torchvision's, Caffe's or
        Gatys'), Keras .h5, MatConvNet .mat, or safetensors. Nothing that a file holds is ever run.
    training : {"oxford", "torchvision"}, optional
        Needed for a PyTorch file with torchvision's layer names that is none of the published ones:
        whether its numbers and conventions are the original's (as converted from Caffe) or
        torchvision's. Refused where it contradicts the file.

    Returns
    -------
    VGG19Weights
        All 16 convolutions, or at least the 13 up to conv5_1.

    Raises
    ------
    WeightsError
        The file is missing, damaged, hostile, or not VGG-19; the message says what was found.
    """
    path = Path(path)
    if training not in (None, "oxford", "torchvision"):
        raise WeightsError(f'training must be "oxford" or "torchvision", got {training!r}')
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        handle = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise WeightsError("is not a regular file")
            converted = convert_file(file, training)
        weights = VGG19Weights(
            converted.convolutions,
            converted.mean,
            converted.source,
            converted.training,
            converted.licence,
            path,
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WeightsError(f"weights file {shown(path)}: cannot be read: {reason}") from error
    except ValueError as error:  # a null character in the path
        raise WeightsError(f"weights file {shown(path)}: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"weights file {shown(path)}: {error}") from error
    if converted.sha256 not in (None, weights.sha256):
        raise WeightsError(
            f"weights file {shown(path)}: damaged: the numbers do not have the recorded checksum"
        )
    return weights


def save_weights(weights: VGG19Weights, path: str | os.PathLike[str]) -> None:
    """Write PyNST's own file: all of it or nothing; equal weights give equal bytes.

    Parameters
    ----------
    weights : VGG19Weights
        What to write.
    path : str or PathLike
        An uncompressed .npz with ``conv1_1.weight``, ``conv1_1.bias``, ... and ``pynst``, a record
        in JSON as uint8.

    Raises
    ------
    WeightsError
        The file cannot be written.
    """
    path = Path(path)
    record = {
        "format": 1,
        "mean": [float(value) for value in weights.mean],
        "source": weights.source,
        "training": weights.training,
        "licence": weights.licence,
        "sha256": weights.sha256,
    }
    text = json.dumps(record, sort_keys=True).encode()
    arrays: dict[str, NDArray[Any]] = {"pynst": np.frombuffer(text, np.uint8)}
    for name, (weight, bias) in weights.convolutions.items():
        arrays[f"{name}.weight"] = weight
        arrays[f"{name}.bias"] = bias
    try:
        write_whole(npz_bytes(arrays), path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WeightsError(f"weights file {shown(path)}: cannot be written: {reason}") from error


def verify_weights(path: str | os.PathLike[str], *, training: str | None = None) -> str:
    """Say in one sentence what a weights file is.

    Raises
    ------
    WeightsError
        It is not a sound VGG-19 file.
    """
    weights = load_weights(path, training=training)
    published = [
        source.name for source in list_sources() if source.canonical_sha256 == weights.sha256
    ]
    known = f", the numbers of the published source {published[0]!r}" if published else ""
    return (
        f"{shown(path)}: VGG-19 with {len(weights.convolutions)} convolutions, {weights.source},"
        f" training: {weights.training}, licence: {weights.licence},"
        f" SHA-256 {weights.sha256}{known}"
    )


# ---- places --------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """Directory of downloaded weights: PYNST_CACHE_DIR, else the user's cache of the platform."""
    chosen = os.environ.get("PYNST_CACHE_DIR")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path  # comes with pooch

    return user_cache_path("pynst")


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


# ---- downloading ---------------------------------------------------------------------------------


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
