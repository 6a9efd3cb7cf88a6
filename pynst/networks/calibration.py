"""Mean activation of VGG-19's filters over photographs: what makes the paper's normalised network.

The paper rescales the filters so that each one's mean activation over images and positions is one.
ReLU and pooling are homogeneous per channel, so dividing the *features* by these means, where a
loss reads them, is the same network; no weights are rewritten. The means belong to the weights
that are loaded, so they are measured with them, over a few small photographs in the package.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pynst.backends import open_backend
from pynst.backends.base import Pooling
from pynst.errors import ImageError
from pynst.images import load_image, resize, size_to_long_side
from pynst.images.files import only_image_errors
from pynst.networks.vgg19 import VGG19, unpooled

__all__ = [
    "Convolutions",
    "calibration_pictures",
    "clamped",
    "feature_scales",
    "mean_activations",
    "powers_of_two",
    "rescaled",
]

Convolutions = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
_LONG_SIDE = 256
_FLOOR = 0.1  # of the layer's median: a filter that no photograph excites must not rule the loss


def calibration_pictures(
    folder: str | os.PathLike[str] | None = None,
) -> list[NDArray[np.float64]]:
    """Read photographs: (H, W, 3), sRGB in [0, 1], and their mirror images.

    Parameters
    ----------
    folder : str or path, optional
        Its pictures, each reduced to 256 pixels; by default the package's photographs.

    Raises
    ------
    ImageError
        The folder cannot be read, holds no picture, or a damaged one.
    """
    place = resources.files("pynst") / "data" / "calibration" if folder is None else Path(folder)
    pictures = []
    with only_image_errors(f"calibration: cannot read {place}"):
        for entry in sorted(place.iterdir(), key=lambda item: item.name):
            if Path(entry.name).suffix.lower() in _SUFFIXES:
                with resources.as_file(entry) as path:
                    pictures.append(_reduced(load_image(path), entry.name))
    if not pictures:
        raise ImageError(f"calibration: there is no picture in {place}")
    return [seen for picture in pictures for seen in (picture, picture[:, ::-1])]


def _reduced(picture: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """At most 256 pixels on the long side, and 16 on the short one, which relu5_1 needs."""
    H, W = picture.shape[:2]
    if max(H, W) > _LONG_SIDE:
        H, W = size_to_long_side(H, W, _LONG_SIDE)
    if min(H, W) < 16:
        raise ImageError(f"calibration: {name} must have at least 16 pixels a side, has {W} x {H}")
    return resize(picture, H, W)


def mean_activations(
    network: VGG19, layers: Collection[str], pictures: Collection[NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Measure each filter's mean activation over the positions of the pictures, equally weighted.

    Returns
    -------
    dict of str to ndarray (N,)
        One vector per layer.
    """
    backend = network.backend
    sums = dict.fromkeys(layers, 0.0)
    for picture in pictures:
        H, W = picture.shape[:2]
        workspace = network.workspace(H, W, layers, gradient=False)
        planes = np.moveaxis(255.0 * picture - network.mean, 2, 0)
        backend.upload(planes, "image", workspace["x"])
        network.forward(workspace, layers)
        for layer in layers:
            F = backend.download(workspace[layer], "features", network.shape(layer, H, W))
            sums[layer] = sums[layer] + F.mean((1, 2), dtype=np.float64)
    return {layer: np.asarray(total) / len(pictures) for layer, total in sums.items()}


def feature_scales(
    network: VGG19,
    layers: Collection[str],
    folder: str | os.PathLike[str] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Factors (N,) per layer by which the losses of a normalised network multiply its features.

    Differs from the paper: a mean below a tenth of its layer's median counts as that tenth. With
    few photographs some filter of 512 is hardly excited, and would otherwise rule the whole loss.
    """
    means = _measured_once(network, layers, calibration_pictures(folder))
    return {layer: 1 / clamped(m) for layer, m in means.items()}


_MEASURED: dict[tuple[object, ...], dict[str, NDArray[np.float64]]] = {}
"""What `_measured_once` has found in this process."""

_MOST_MEASURED = 8  # a sheet has few networks; the means of one take some kilobytes


def _measured_once(
    network: VGG19, layers: Collection[str], pictures: Collection[NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """`mean_activations`, which takes seconds, once for all cells of a sheet.

    Everything that decides about the bits is in the key, the pixels of the pictures included.
    """
    pixels = hashlib.sha256()
    for picture in pictures:
        pixels.update(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes())
    key = (
        network.weights_sha256,
        network.pooling,
        network.padding,
        network.backend.name,
        frozenset(layers),
        pixels.digest(),
    )
    found = _MEASURED.get(key) or mean_activations(network, layers, pictures)
    if network.weights_sha256:
        while key not in _MEASURED and len(_MEASURED) >= _MOST_MEASURED:
            _MEASURED.pop(next(iter(_MEASURED)))
        _MEASURED[key] = found
    return found


def clamped(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means (N,) of one layer, none below a tenth of their median, and none zero."""
    return np.maximum(means, max(_FLOOR * float(np.median(means)), np.finfo(float).tiny))


# ---- features near one, where a backend's numbers are narrow -------------------------------------


def powers_of_two(
    convolutions: Convolutions, mean: tuple[float, float, float], pooling: Pooling
) -> dict[str, int]:
    """For each layer the power of two that is nearest to its mean activation over a photograph.

    As trained, features of VGG-19 reach into the thousands, and 16-bit numbers end at 65504.
    """
    network = VGG19(open_backend("cpu"), convolutions, mean, pooling=pooling)
    layers = [layer for layer in network.layers if layer == unpooled(layer)]
    means = mean_activations(network, layers, calibration_pictures()[:1])
    return {
        layer: round(math.log2(max(float(np.mean(m)), sys.float_info.min)))
        for layer, m in means.items()
    }


def rescaled(convolutions: Convolutions, powers: Mapping[str, int]) -> Convolutions:
    """The network whose layer l has the features of this one divided by 2^e_l, to the last bit.

    ReLU and pooling are homogeneous: the weights of layer l become w 2^(e_(l-1) - e_l), its biases
    b 2^-e_l. With 2^e_l as `scales` in the losses it is the same network again.
    """
    found, before = {}, 0
    for name, (weight, bias) in convolutions.items():
        e = powers[name.replace("conv", "relu")]
        found[name] = (weight * np.float32(2.0 ** (before - e)), bias * np.float32(2.0**-e))
        before = e
    return found
