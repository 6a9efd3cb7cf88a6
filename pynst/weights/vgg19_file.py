"""The VGG-19 weights: load, verify and save them.

Whatever file they come from (`pynst.formats`), they are brought to one convention on loading:
weights (N, C, 3, 3), cross-correlation, input channels R, G, B, input 255 * sRGB - mean. PyNST's
own file keeps them in that convention, with where they come from and a checksum of the numbers
themselves, which does not depend on the container: the same network imported from two files has the
same `VGG19Weights.sha256`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import WeightsError
from pynst.files import shown, whole_file
from pynst.formats.npz import write_npz
from pynst.weights.download import list_sources
from pynst.weights.layouts import VGG19_CONVOLUTIONS, convert_file
from pynst.weights.places import is_cached

__all__ = ["VGG19Weights", "load_weights", "save_weights", "verify_weights"]

_TRAININGS = ("oxford", "torchvision", "unknown")


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
    except MemoryError as error:  # says nothing about the file: `pynst.weights.cache` asks
        raise WeightsError(
            f"weights file {shown(path)}: there is not enough memory to read it, up to 400 MB"
        ) from error
    except ValueError as error:  # a null character in the path
        raise WeightsError(f"weights file {shown(path)}: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"weights file {shown(path)}: {error}{_advice(path)}") from error
    if converted.sha256 not in (None, weights.sha256):
        raise WeightsError(
            f"weights file {shown(path)}: damaged: the numbers do not have the recorded checksum"
            f"{_advice(path)}"
        )
    return weights


def _advice(path: Path) -> str:
    """What to do about a damaged file, if it is the cache's."""
    return '; "pynst weights fetch" gets it again' if is_cached(path) else ""


def save_weights(weights: VGG19Weights, path: str | os.PathLike[str]) -> None:
    """Write PyNST's own file: all of it or nothing; equal weights give equal bytes.

    Parameters
    ----------
    weights : VGG19Weights
        What to write.
    path : str or PathLike
        An uncompressed .npz with ``conv1_1.weight``, ``conv1_1.bias``, ... and `pynst``, a record
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
        with whole_file(path) as file:
            write_npz(file, arrays)
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
