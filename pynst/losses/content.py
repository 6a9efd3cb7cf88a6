"""The content term: the image's features at a layer shall be those of the photograph.

    L_content = k_c mean((s (F - P))^2)            Gatys et al. 2016, Eq. 1, in canonical form

F, P are the features (N, M) of the image and of the photograph, s the network's factor per channel;
`pynst.options.formulas` has k_c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend
from pynst.inputs import Inputs
from pynst.networks.layers import LayerChoice
from pynst.networks.network import Network, read_features, upload_scale
from pynst.options.formulas import Formula

__all__ = ["ContentTargets", "ContentTerm", "Target"]

_BLOCK = 1 << 16  # numbers that are weighed at a time


@dataclass(frozen=True)
class ContentTerm:
    """alpha L_content over one or several layers, with relative weights.

    Attributes
    ----------
    alpha : float
        Weight of the term.
    layers : LayerChoice
    formula : Formula
    """

    alpha: float
    layers: LayerChoice
    formula: Formula
    name = "content"

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> ContentTargets:
        """Read the features P of the photograph, and weigh each layer."""
        weights = self.layers.at(network, H, W)
        features = read_features(network, inputs.content_at(H, W), weights)
        targets = {}
        for layer, weight in weights.items():
            P = features.copy(layer)
            N, h, w = shape = network.shape(layer, H, W)
            s = network.scales.get(layer, np.ones(N))
            downloaded = network.backend.download(P, "features", shape)
            energy, V = _energy_and_variance(downloaded.reshape(N, h * w), s)
            k_c = self.formula.content_factor(self.alpha, N, h * w, V, energy)
            targets[layer] = Target(weight * k_c / (N * h * w), P, upload_scale(network, layer))
        return ContentTargets(network.backend, targets)


def _energy_and_variance(
    P: NDArray[np.floating[Any]], s: NDArray[np.float64]
) -> tuple[float, float]:
    """Mean of (s P)^2, and of the squared difference to each channel's mean.

    Block by block, since in float64 the features of a large image are too much; the halves are
    those of NumPy's own pairwise summation, so that the bits are those of ``np.mean``.
    """
    N, M = P.shape
    means = np.array([np.mean(s[i] * P[i].astype(np.float64)) for i in range(N)])
    return _squares(P, s, np.zeros(N), 0, N * M) / (N * M), _squares(P, s, means, 0, N * M) / (
        N * M
    )


def _squares(
    P: NDArray[np.floating[Any]],
    s: NDArray[np.float64],
    minus: NDArray[np.float64],
    first: int,
    end: int,
) -> float:
    """Sum of (s P - minus)^2 over the values from `first` to `end` of the flattened P."""
    n = end - first
    if n <= _BLOCK:
        channels = np.arange(first, end) // P.shape[1]
        scaled = s[channels] * P.reshape(-1)[first:end].astype(np.float64)
        return float(np.sum((scaled - minus[channels]) ** 2))
    middle = first + n // 2 - n // 2 % 8
    return _squares(P, s, minus, first, middle) + _squares(P, s, minus, middle, end)


@dataclass(frozen=True)
class Target:
    """Features P at one layer, their factor k, and the factors of their channels."""

    k: float
    P: Array
    scale: Array | None


class ContentTargets:
    """The content term at one size."""

    def __init__(self, backend: Backend, targets: Mapping[str, Target]) -> None:
        self._backend = backend
        self._targets = targets
        self.layers = tuple(targets)

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:
        """Set the loss of one layer, and add its gradient to dF (Eq. 1 and 2)."""
        target = self._targets[layer]
        self._backend.content_loss(F, target.P, target.k, target.scale, dF, loss)
