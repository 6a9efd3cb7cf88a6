"""The style term: the image's Gram matrices shall be those of the painting.

    L_style = sum_l k_l sum_ij (s_i s_j (G - A)_ij)^2      Gatys et al. 2016, Eq. 3 to 5

G, A are the Gram matrices F F^T / M of the image and of the painting, each divided by its own
number of pixels M, so that the painting may have any size; s is the network's factor per channel;
`pynst.options.formulas` has k_l. The matrices of several paintings are blended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend, Walk
from pynst.errors import ImageError
from pynst.images import resize, size_to_long_side
from pynst.inputs import Inputs, StylePicture, style_long_side
from pynst.networks.layers import LayerChoice, deepest
from pynst.networks.network import Features, Network, read_features, upload_scale
from pynst.options.formulas import Formula

__all__ = ["GramTargets", "GramTerm", "style_features"]


@dataclass(frozen=True)
class GramTerm:
    """beta L_style over several layers, with relative weights.

    Attributes
    ----------
    beta : float
        Weight of the term.
    layers : LayerChoice
    formula : Formula
    style_scale : float
        Size of the paintings relative to the image's.
    """

    beta: float
    layers: LayerChoice
    formula: Formula
    style_scale: float
    name = "style"

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> GramTargets:
        """Compute the Gram matrices A of the paintings, blend them, and weigh each layer."""
        weights = self.layers.at(network, H, W)
        long_side = style_long_side(max(H, W), self.style_scale)
        blended: dict[str, NDArray[np.float64]] = {}
        for style in inputs.styles:
            for layer, A in _grams(network, style, long_side, weights).items():
                blended[layer] = blended.get(layer, 0.0) + style.share * A
        targets = {}
        for layer, weight in weights.items():
            A = blended[layer]
            s = network.scales.get(layer, np.ones(len(A)))
            energy = float(np.sum((np.outer(s, s) * A) ** 2))
            n = len(weights)
            k = self.formula.style_factor(self.beta, weight * n, n, len(A), energy)
            backend = network.backend
            targets[layer] = _Target(
                k, backend.upload_gram(A), backend.empty_gram(len(A)), upload_scale(network, layer)
            )
        return GramTargets(network.backend, targets)


def style_features(
    network: Network, style: StylePicture, long_side: int, layers: Collection[str]
) -> Features:
    """Compute the features of one painting at its size for this level.

    Raises
    ------
    ImageError
        The painting is too small for one of the layers.
    """
    H, W = size_to_long_side(*style.size, long_side)
    least = network.smallest_side(layers)
    if min(H, W) < least:
        raise ImageError(
            f"{style.name}: {W} x {H} pixels are too few for layer {deepest(network, layers)},"
            f" which needs {least} on the short side; increase image_size or style_scale, or crop"
            " the picture"
        )
    return read_features(network, resize(style.pixels, H, W), layers)


def _grams(
    network: Network, style: StylePicture, long_side: int, layers: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """Gram matrices (N, N) of one painting at its size for this level."""
    features = style_features(network, style, long_side, layers)
    return {layer: features.gram(layer) for layer in layers}


@dataclass(frozen=True)
class _Target:
    """Gram matrix A at one layer, its factor k, memory for G, and the factors of the channels."""

    k: float
    A: Array
    G: Array
    scale: Array | None


class GramTargets:
    """The style term at one size."""

    def __init__(self, backend: Backend, targets: Mapping[str, _Target]) -> None:
        self._backend = backend
        self._targets = targets
        self._ahead: dict[str, Walk] = {}
        self.layers = tuple(targets)

    def prepare(self, layer: str, F: Array) -> None:
        """Compute the Gram matrix of one layer, at the latest when `add` is called (Eq. 3)."""
        G = self._targets[layer].G
        self._ahead[layer] = self._backend.beside(partial(self._backend.gram, F, G))

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:
        """Set the loss of one layer, and add its gradient to dF (Eq. 3, 4 and 6)."""
        target = self._targets[layer]
        if layer not in self._ahead:
            self.prepare(layer, F)
        self._ahead.pop(layer)()
        self._backend.style_loss(F, target.G, target.A, target.k, target.scale, dF, loss)
