"""The Wasserstein term: mean and covariance of the image's features shall be the painting's.

    L_wasserstein = sum_l k_l (|mu - nu|^2 + tr(C + S - 2 (S^1/2 C S^1/2)^1/2))

mu, C and nu, S are the mean and the covariance of the features of the image and of the painting,
times the network's factor per channel. It is the squared 2-Wasserstein distance of two normal
distributions with these moments: the least mean squared change that makes the one the other. With
L L^T = S its gradient with respect to the features is

    dF = 2 k / M ((mu - nu) 1^T + D (F - mu 1^T)),   D = I - L (L^T C L)^-1/2 L^T

With masks the sum is over regions too, as that of the Gram matrices is (`pynst.losses.style`): mu,
C are averages in which the pixel p has the weight m_p, and its gradient is m_p times as large.

Differs from the formula: of S, the principal directions are kept that hold 99 % of its variance;
what the image has in other directions counts in full. Along those that are kept, both covariances
get a little white noise added, so that the gradient is bounded and continuous where C is singular:
an image with fewer pixels than channels, or a flat one. The moments of several paintings are
those of all their pixels together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array
from pynst.backends.windows import Part
from pynst.inputs import Inputs
from pynst.losses.moments import Averages, Moments
from pynst.losses.style import layers_of_region, pixel_weights, share_of_region, style_features
from pynst.networks.layers import LayerChoice
from pynst.networks.network import Network
from pynst.options.formulas import Formula
from pynst.options.keywords import Guidance
from pynst.regions import Region, StylePicture, scaled_side

__all__ = ["Distance", "WassersteinTargets", "WassersteinTerm"]

Matrix = NDArray[np.float64]

_KEPT = 0.99  # share of the painting's variance whose directions are kept
_NOISE = 1e-3  # variance of the added noise, as a share of the mean of those that are kept
_LEAST_NOISE = 1e-12  # where the painting is flat


@dataclass(frozen=True)
class WassersteinTerm:
    """beta L_wasserstein over several layers, with relative weights.

    Attributes
    ----------
    beta : float
        Weight of the term.
    layers : LayerChoice
    formula : Formula
    guidance : {"area", "gatys"}
        As for `pynst.losses.style.GramTerm`.
    """

    beta: float
    layers: LayerChoice
    formula: Formula
    guidance: Guidance = "area"
    name = "wasserstein"

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> WassersteinTargets:
        """Compute the moments of the paintings, join them, and weigh each layer."""
        weights = self.layers.at(network, H, W)
        targets: dict[str, list[_Target]] = {layer: [] for layer in weights}
        for region in inputs.regions:
            read = layers_of_region(network, region, weights, H, W)
            for layer, painting in self._joined(network, region, max(H, W), read).items():
                m = pixel_weights(network, region.mask, layer, H, W, self.guidance)
                N, n = len(painting.mean), len(weights)
                s = network.scales.get(layer, np.ones(N))
                energy = float(np.sum(s**2 * (np.diag(painting.covariance) + painting.mean**2)))
                k = self.formula.style_factor(self.beta, read[layer] * n, n, N, energy)
                k *= share_of_region(m, len(inputs.regions), self.guidance)
                averages = Averages(network.backend, N, m)
                targets[layer].append(_Target(k, Distance(painting, s), averages))
        return WassersteinTargets(targets)

    def _joined(
        self, network: Network, region: Region, image_side: int, layers: Collection[str]
    ) -> dict[str, Moments]:
        """The moments of all pixels of a region's paintings, each painting with its share."""
        means, seconds = dict[str, Matrix](), dict[str, Matrix]()
        for style in region.styles if layers else ():
            for layer, found in self._moments(network, style, image_side, layers).items():
                mean, C = found
                means[layer] = means.get(layer, 0.0) + style.share * mean
                second = C + np.outer(mean, mean)
                seconds[layer] = seconds.get(layer, 0.0) + style.share * second
        return {
            layer: Moments(mean, seconds[layer] - np.outer(mean, mean))
            for layer, mean in means.items()
        }

    def _moments(
        self, network: Network, style: StylePicture, image_side: int, layers: Collection[str]
    ) -> dict[str, Moments]:
        """The moments of one painting at its size for this level."""
        long_side, averages = scaled_side(image_side, style.scale), dict[str, Averages]()
        features = style_features(network, style, long_side, layers)
        for layer in layers:
            m = pixel_weights(network, style.mask, layer, *style.at(image_side), self.guidance)
            N, _, _ = network.shape(layer, *style.at(image_side))
            averages[layer] = Averages(network.backend, N, m)
        features.visit(layers, lambda layer, F: averages[layer].read(F))
        return {layer: each.moments() for layer, each in averages.items()}


class Distance:
    """The squared distance from given moments, with its gradient.

    Parameters
    ----------
    painting : Moments
        nu and S, before the factors of the channels.
    scale : ndarray (N,)
        Factors of the channels.
    """

    def __init__(self, painting: Moments, scale: Matrix) -> None:
        self._scale = scale
        self._mean = scale * painting.mean
        variances, axes = np.linalg.eigh(np.outer(scale, scale) * painting.covariance)
        variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
        held = np.cumsum(variances)
        kept = variances[: 1 + int(np.searchsorted(held, _KEPT * held[-1]))]
        self._noise = max(_NOISE * float(kept.mean()), _LEAST_NOISE)
        self._L = axes[:, : len(kept)] * np.sqrt(kept + self._noise)
        self._constant = float(np.sum(kept + 2 * self._noise))

    def __call__(self, image: Moments) -> tuple[float, Matrix, Matrix]:
        """Compare with the moments of an image.

        Returns
        -------
        value : float
        D : ndarray (N, N)
        d : ndarray (N,)
            Half of the gradient times M is D F + d 1^T.
        """
        s, L = self._scale, self._L
        difference = s * image.mean - self._mean
        C = np.outer(s, s) * image.covariance
        inner = L.T @ C @ L + self._noise * (L.T @ L)
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        roots = np.sqrt(np.maximum(values, self._noise**2))
        value = (
            float(difference @ difference) + np.trace(C) + self._constant - 2 * float(roots.sum())
        )
        B = (L @ vectors) / np.sqrt(roots)
        D = np.outer(s, s) * (np.eye(len(s)) - B @ B.T)
        return value, D, s * difference - D @ image.mean


@dataclass(frozen=True)
class _Target:
    """Distance from a region's paintings at one layer, its factor k, and what is read of F."""

    k: float
    distance: Distance
    averages: Averages


class WassersteinTargets:
    """The Wasserstein term at one size."""

    def __init__(self, targets: Mapping[str, list[_Target]]) -> None:
        self._targets = {layer: of_layer for layer, of_layer in targets.items() if of_layer}
        self._of_windows = dict[tuple[str, int], tuple[float, Matrix, Matrix]]()
        self.layers = tuple(layer for layer, of_layer in self._targets.items() for _ in of_layer)

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:
        """Set the loss of each region at a layer, and add its gradient to dF.

        Of parts, both in the second pass: the first one only reads.
        """
        for i, target in enumerate(self._targets[layer]):
            target.averages.read(F)
            if isinstance(F, Part) and F.values:
                continue  # the other windows are still to come
            value, D, d = self._compared(layer, i, F)
            loss[i] = target.k * value
            factor = 2 * target.k / target.averages.total(F)
            target.averages.add(F, factor * D, factor * d, dF)

    def _compared(self, layer: str, i: int, F: Array) -> tuple[float, Matrix, Matrix]:
        """The distance and its gradient, which all windows of an image have in common."""
        target = self._targets[layer][i]
        if not isinstance(F, Part):
            return target.distance(target.averages.moments())
        if F.first:
            self._of_windows[layer, i] = target.distance(target.averages.moments())
        return self._of_windows[layer, i]
