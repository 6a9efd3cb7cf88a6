"""Mean activation of VGG-19's filters over photographs: what makes the paper's normalised network.

The paper rescales the filters so that each one's mean activation over images and positions is one.
ReLU and pooling are homogeneous per channel, so dividing the *features* by these means, where a
loss reads them, is the same network; no weights are rewritten. The means belong to the weights
that are loaded, so they are measured with them, over a few small photographs in the package.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from pynst.images import load_image
from pynst.vgg19 import VGG19

__all__ = ["calibration_pictures", "feature_scales", "mean_activations"]

_FLOOR = 0.1  # of the layer's median: a filter that no photograph excites must not rule the loss


def calibration_pictures() -> list[NDArray[np.float64]]:
    """Read the package's photographs: (H, W, 3), sRGB in [0, 1], and their mirror images."""
    folder = resources.files("pynst") / "data" / "calibration"
    pictures = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".jpg"):
            with resources.as_file(entry) as path:
                picture = load_image(path)
            pictures += [picture, picture[:, ::-1]]
    return pictures


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


def feature_scales(network: VGG19, layers: Collection[str]) -> dict[str, NDArray[np.float64]]:
    """Factors (N,) per layer by which the losses of a normalised network multiply its features.

    Differs from the paper: a mean below a tenth of its layer's median counts as that tenth. With
    few photographs some filter of 512 is hardly excited, and would otherwise rule the whole loss.
    """
    means = mean_activations(network, layers, calibration_pictures())
    return {layer: 1 / np.maximum(m, _FLOOR * np.median(m)) for layer, m in means.items()}
