"""The neighbours term: the image's features shall be those of the painting that are most alike.

    L_neighbours = sum_l k_l mean((s (F - P))^2)

For each pixel of the photograph at a layer, P holds the features of the pixel of the painting that
are nearest to the photograph's (Kolkin et al. 2022, "Neural Neighbor Style Transfer"). Nearest is
meant by the cosine of the angle between features, after each picture's mean has been subtracted. So
this is the content term with other features to compare with: they are found once for each size of
the image, and do not change while the image does.

Differs from that paper: each layer is matched by itself; only the photograph is looked up, never
the image; of a large painting, a grid of pixels is looked through.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynst.inputs import Inputs
from pynst.losses.content import ContentTargets, Target
from pynst.losses.style import style_features
from pynst.networks.layers import LayerChoice
from pynst.networks.network import Network, read_features, upload_features, upload_scale
from pynst.options.formulas import Formula
from pynst.regions import scaled_side

__all__ = ["NeighboursTerm", "nearest"]

_CANDIDATES = 2**14  # pixels of a painting at one layer; more of them take long and add little
_COSINES = 2**20  # at a time: 4 MB

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class NeighboursTerm:
    """beta L_neighbours over several layers, with relative weights.

    Attributes
    ----------
    beta : float
        Weight of the term.
    layers : LayerChoice
    formula : Formula
    """

    beta: float
    layers: LayerChoice
    formula: Formula
    name = "neighbours"

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> ContentTargets:
        """Find the nearest features P in each painting, blend them, and weigh each layer."""
        weights = self.layers.at(network, H, W)
        blended = self._blended(network, inputs, H, W, weights)
        targets = {}
        for layer, weight in weights.items():
            P = blended.pop(layer)
            N, M = len(P), P[0].size
            scaled = P.reshape(N, M) * _scale(network, layer, N)
            energy = float(np.mean(scaled**2, dtype=np.float64))
            V = float(np.mean((scaled - scaled.mean(1, keepdims=True)) ** 2, dtype=np.float64))
            k = weight * self.formula.content_factor(self.beta, N, M, V, energy)
            targets[layer] = Target(
                k / (N * M), upload_features(network.backend, P), upload_scale(network, layer)
            )
        return ContentTargets(network.backend, targets)

    def _blended(
        self, network: Network, inputs: Inputs, H: int, W: int, layers: Collection[str]
    ) -> dict[str, Maps]:
        """The features P (N, h, w) of each layer."""
        photograph = read_features(network, inputs.content_at(H, W), layers)
        looked_up = {layer: photograph.download(layer) for layer in layers}
        del photograph  # its workspace need not stay beside that of a painting
        blended: dict[str, Maps] = {}
        for style in inputs.styles:
            long_side = scaled_side(max(H, W), style.scale)
            painting = style_features(network, style, long_side, layers)
            for layer, features in looked_up.items():
                s = _scale(network, layer, len(features))
                found = nearest(features, painting.download(layer), s)
                blended[layer] = blended.get(layer, np.float32(0)) + np.float32(style.share) * found
        return blended


def nearest(photograph: Maps, painting: Maps, scale: Maps) -> Maps:
    """For each pixel of the photograph, the features of the painting that are nearest to it.

    Parameters
    ----------
    photograph : ndarray (N, h, w)
        Features at one layer.
    painting : ndarray (N, h', w')
        Features at the same layer.
    scale : ndarray (N, 1)
        Factors of the channels, by which both are compared.

    Returns
    -------
    ndarray (N, h, w)
        Features of the painting. Of pixels that are equally near, the first is taken.
    """
    step = int(np.ceil(np.sqrt(painting[0].size / _CANDIDATES)))
    candidates = painting[:, ::step, ::step].reshape(len(painting), -1)
    directions = _centred(scale * candidates)
    lengths = np.sqrt(np.einsum("ij,ij->j", directions, directions))
    directions /= np.maximum(lengths, np.float32(1e-12))
    # The length of what is looked up does not change which candidate has the greatest cosine.
    queries = photograph.reshape(len(photograph), -1)
    mean = queries.mean(1, keepdims=True)
    rows = max(1, _COSINES // candidates.shape[1])
    found = [
        np.argmax((scale * (queries[:, start : start + rows] - mean)).T @ directions, axis=1)
        for start in range(0, queries.shape[1], rows)
    ]
    return candidates[:, np.concatenate(found)].reshape(photograph.shape)


def _centred(features: Maps) -> Maps:
    """Features (N, M) less their mean over the pixels, in place."""
    features -= features.mean(1, keepdims=True)
    return features


def _scale(network: Network, layer: str, N: int) -> Maps:
    """The factors of a layer's channels, (N, 1)."""
    return network.scales.get(layer, np.ones(N)).astype(np.float32)[:, None]
