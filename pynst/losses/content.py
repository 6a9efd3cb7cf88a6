"""The content term: the image's features at a layer shall be those of the photograph.

    L_content = k_c mean(c (s (F - P))^2)          Gatys et al. 2016, Eq. 1, in canonical form

F, P are the features (N, M) of the image and of the photograph, s the network's factor per channel,
c the weight of each pixel: 1, or `content_mask_weight` inside the mask of the content.
`pynst.options.formulas` has k_c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pynst.backends.base import Array, Backend
from pynst.images.masks import carried_down, resize_mask
from pynst.inputs import Inputs
from pynst.networks.layers import LayerChoice
from pynst.networks.network import Network, read_features, upload_scale
from pynst.options.formulas import Formula

__all__ = ["ContentTargets", "ContentTerm", "Target"]


@dataclass(frozen=True)
class ContentTerm:
    """alpha L_content over one or several layers, with relative weights.

    Attributes
    ----------
    alpha : float
        Weight of the term.
    layers : LayerChoice
    formula : Formula
    mask_weight : float
        Weight of a pixel inside the content's mask.
    """

    alpha: float
    layers: LayerChoice
    formula: Formula
    mask_weight: float = 1.0
    name = "content"

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> ContentTargets:
        """Read the features P of the photograph, and weigh each layer."""
        weights = self.layers.at(network, H, W)
        features = read_features(network, inputs.content_at(H, W), weights)
        targets = {}
        for layer, weight in weights.items():
            P = features.download(layer)
            N, M = P.shape[0], P.shape[1] * P.shape[2]
            s = network.scales.get(layer, np.ones(N))
            scaled = s[:, None] * P.reshape(N, M).astype(np.float64)
            energy = float(np.mean(scaled**2))
            V = float(np.mean((scaled - scaled.mean(1, keepdims=True)) ** 2))
            k_c = self.formula.content_factor(self.alpha, N, M, V, energy)
            targets[layer] = Target(
                weight * k_c / (N * M),
                features.copy(layer),
                upload_scale(network, layer),
                self._pixel_weights(network.backend, inputs, (H, W), P.shape[1:]),
            )
        return ContentTargets(network.backend, targets)

    def _pixel_weights(
        self, backend: Backend, inputs: Inputs, image: tuple[int, int], layer: tuple[int, ...]
    ) -> Array | None:
        """The weights c of a layer's pixels; None where all are 1."""
        if inputs.content_mask is None or self.mask_weight == 1:
            return None
        mask = carried_down(resize_mask(inputs.content_mask, *image), *layer)
        return backend.upload_pixel_weights(1 + (self.mask_weight - 1) * mask)


@dataclass(frozen=True)
class Target:
    """Features P at one layer, their factor k, and the factors of their channels and pixels."""

    k: float
    P: Array
    scale: Array | None
    pixel_weights: Array | None = None


class ContentTargets:
    """The content term at one size."""

    def __init__(self, backend: Backend, targets: Mapping[str, Target]) -> None:
        self._backend = backend
        self._targets = targets
        self.layers = tuple(targets)

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:
        """Set the loss of one layer, and add its gradient to dF (Eq. 1 and 2)."""
        t = self._targets[layer]
        self._backend.content_loss(F, t.P, t.k, t.scale, dF, loss, t.pixel_weights)
