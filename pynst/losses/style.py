"""The style term: the image's Gram matrices shall be those of the painting.

    L_style = sum_r sum_l lambda_rl k_rl sum_ij (s_i s_j (G_r - A_r)_ij)^2
                                                           Gatys et al. 2016, Eq. 3 to 5; 2017

G, A are the Gram matrices F F^T / M of the image and of the painting, each divided by its own
number of pixels M, so that the painting may have any size; s is the network's factor per channel;
`pynst.options.formulas` has k_l. The matrices of several paintings are blended.

Without masks there is one region r, the whole image, and lambda is 1. With masks (Gatys et al.
2017, "Controlling Perceptual Factors in Neural Style Transfer") the matrices are guided,

    G_r = sum_p m_p F_p F_p^T / sum_p m_p,

where the pixel p of the layer has the share m_p of the region. Their form is T_p F_p for guidance
channels T whose squares have the mean 1, so that m is T^2 up to a factor.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend, Walk
from pynst.errors import ImageError
from pynst.images import resize, size_to_long_side
from pynst.images.masks import Mask, carried_down, resize_mask
from pynst.inputs import Inputs, Region, StylePicture
from pynst.networks.layers import LayerChoice, deepest
from pynst.networks.network import Features, Network, read_features, upload_scale
from pynst.options.formulas import Formula
from pynst.options.keywords import Guidance
from pynst.regions import scaled_side

__all__ = [
    "GramTargets",
    "GramTerm",
    "check_regions",
    "layers_of_region",
    "pixel_weights",
    "pixels_inside",
    "share_of_region",
    "style_features",
]

_LOG = logging.getLogger("pynst")
_FEW_PIXELS = 16  # of a region at a layer: its Gram matrix there has at most this rank


@dataclass(frozen=True)
class GramTerm:
    """beta L_style over several layers, with relative weights.

    Attributes
    ----------
    beta : float
        Weight of the term.
    layers : LayerChoice
    formula : Formula
    guidance : {"area", "gatys"}
        Differs from the paper of 2017: ``"area"``, in which a mask is the share m of its region at
        each pixel and lambda is the region's share of the layer's area. The pull on a pixel then
        depends neither on the size of the region nor, where masks that add up to 1 run into each
        other, on the place. ``"gatys"`` is the published form: the mask is T, so that m is its
        square, and lambda is 1 / R for R regions.
    """

    beta: float
    layers: LayerChoice
    formula: Formula
    guidance: Guidance = "area"
    name = "style"

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> GramTargets:
        """Compute the Gram matrices A of the paintings, blend them, and weigh each layer."""
        weights = self.layers.at(network, H, W)
        targets: dict[str, list[_Target]] = {layer: [] for layer in weights}
        for region in inputs.regions:
            read = layers_of_region(network, region, weights, H, W)
            blended = self._blended(network, region, max(H, W), read)
            for layer, weight in read.items():
                A = blended[layer]
                m = pixel_weights(network, region.mask, layer, H, W, self.guidance)
                s = network.scales.get(layer, np.ones(len(A)))
                energy = float(np.sum((np.outer(s, s) * A) ** 2))
                n = len(weights)
                k = self.formula.style_factor(self.beta, weight * n, n, len(A), energy)
                k *= share_of_region(m, len(inputs.regions), self.guidance)
                backend = network.backend
                targets[layer].append(
                    _Target(
                        k,
                        backend.upload_gram(A),
                        backend.empty_gram(len(A)),
                        upload_scale(network, layer),
                        None if m is None else backend.upload_pixel_weights(m),
                    )
                )
        return GramTargets(network.backend, targets)

    def _blended(
        self, network: Network, region: Region, image_side: int, layers: Mapping[str, float]
    ) -> dict[str, NDArray[np.float64]]:
        """Gram matrices (N, N) of a region's paintings, blended by their shares."""
        blended: dict[str, NDArray[np.float64]] = {}
        for style in region.styles if layers else ():
            for layer, A in self._grams(network, style, image_side, layers).items():
                blended[layer] = blended.get(layer, 0.0) + style.share * A
        return blended

    def _grams(
        self, network: Network, style: StylePicture, image_side: int, layers: Mapping[str, float]
    ) -> dict[str, NDArray[np.float64]]:
        """Gram matrices (N, N) of one painting at its size for this level."""
        long_side = scaled_side(image_side, style.scale)
        features = style_features(network, style, long_side, layers)
        weights = dict[str, Array | None]()
        for layer in layers:
            m = pixel_weights(network, style.mask, layer, *style.at(image_side), self.guidance)
            weights[layer] = None if m is None else network.backend.upload_pixel_weights(m)
        return features.grams(weights)


def share_of_region(m: Mask | None, regions: int, guidance: Guidance) -> float:
    """The factor lambda of a region with these pixel weights, one of so many; see `GramTerm`."""
    if m is None:
        return 1.0
    return float(m.mean()) if guidance == "area" else 1 / regions


def pixel_weights(
    network: Network, mask: Mask | None, layer: str, H: int, W: int, guidance: Guidance
) -> Mask | None:
    """The weights m of a layer's pixels for a picture of H x W; None where all are 1."""
    if mask is None:
        return None
    m = _at_layer(network, mask, layer, H, W)
    return m if guidance == "area" else m**2


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


def layers_of_region(
    network: Network, region: Region, weights: Mapping[str, float], H: int, W: int
) -> dict[str, float]:
    """The layers at which a region of an image of H x W pixels has a style, with their weights.

    Where the region, or the part of a painting that counts for it, has less than a pixel, there is
    none; the other layers share that weight. The first layer is kept as long as anything is there.
    """
    inside = {layer: pixels_inside(network, region, layer, H, W) for layer in weights}
    first = min(weights, key=network.layers.index)
    kept = {layer for layer in weights if inside[layer] >= 1}
    kept |= {first} if inside[first] > 0 else set()
    if len(kept) == len(weights):
        return dict(weights)
    total = sum(weights[layer] for layer in kept)
    return {layer: weight / total for layer, weight in weights.items() if layer in kept}


def pixels_inside(network: Network, region: Region, layer: str, H: int, W: int) -> float:
    """How many pixels of a layer a region has, or the part of a painting for it if that is fewer.

    `H` and `W` are the size of the image.
    """
    sizes = [(region.mask, (H, W))]
    sizes += [(style.mask, style.at(max(H, W))) for style in region.styles]
    counts = [
        float(_at_layer(network, mask, layer, *size).sum())
        for mask, size in sizes
        if mask is not None
    ]
    return min(counts, default=math.inf)


def _at_layer(network: Network, mask: Mask, layer: str, H: int, W: int) -> Mask:
    """The shares of a layer's pixels for a picture of H x W pixels."""
    return carried_down(resize_mask(mask, H, W), *network.shape(layer, H, W)[1:])


def check_regions(
    network: Network, regions: Sequence[Region], layers: LayerChoice, H: int, W: int
) -> None:
    """Say which regions of the finished image, of H x W pixels, are too small for some layers.

    Raises
    ------
    ImageError
        One is too small for all layers of the style.
    """
    masked = [region for region in regions if region.is_masked]
    weights = layers.at(network, H, W) if masked else {}
    for region in masked:
        inside = {layer: pixels_inside(network, region, layer, H, W) for layer in weights}
        if max(inside.values()) < 1:
            layer = max(inside, key=lambda layer: inside[layer])
            raise ImageError(
                f"region {region.name}: is too small for a style: it has {inside[layer]:.2g}"
                f" pixels of layer {layer} at {W} x {H}, and needs at least 1"
            )
        few = {layer: n for layer, n in inside.items() if n < _FEW_PIXELS}
        if few:
            _LOG.warning(
                "region %s has few pixels of some layers at %d x %d: %s; where it has less than 1,"
                " it takes no style",
                region.name,
                W,
                H,
                ", ".join(f"{layer} {n:.2g}" for layer, n in few.items()),
            )


@dataclass(frozen=True)
class _Target:
    """Gram matrix A of a region at one layer, its factor k, memory for G, and the other factors.

    Those of the channels, and those of the pixels.
    """

    k: float
    A: Array
    G: Array
    scale: Array | None
    pixel_weights: Array | None


class GramTargets:
    """The style term at one size."""

    def __init__(self, backend: Backend, targets: Mapping[str, list[_Target]]) -> None:
        self._backend = backend
        self._targets = {layer: of_layer for layer, of_layer in targets.items() if of_layer}
        self._ahead: dict[str, Walk] = {}
        self.layers = tuple(layer for layer, of_layer in self._targets.items() for _ in of_layer)

    def prepare(self, layer: str, F: Array) -> None:
        """Compute all that needs no dF of a layer, at the latest when `add` is called (Eq. 3)."""
        self._ahead[layer] = self._backend.beside(partial(self._begin, layer, F))

    def _begin(self, layer: str, F: Array) -> None:
        for t in self._targets[layer]:
            self._backend.style_ahead(F, t.G, t.A, t.k, t.scale, t.pixel_weights)

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:
        """Set the loss of each region at a layer, add its gradient to dF (Eq. 3, 4 and 6)."""
        if layer in self._ahead:
            self._ahead.pop(layer)()
        else:
            self._begin(layer, F)
        for i, t in enumerate(self._targets[layer]):
            self._backend.style_loss(
                F, t.G, t.A, t.k, t.scale, dF, loss[i : i + 1], t.pixel_weights
            )
