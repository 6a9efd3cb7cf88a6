"""Which network a run takes: VGG-19 where its weights can be had, else the built-in filters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pynst.backends import open_backend
from pynst.backends.base import Backend
from pynst.backends.circular import circular
from pynst.errors import BackendError, OptionError
from pynst.networks.calibration import Convolutions, feature_scales, powers_of_two, rescaled
from pynst.networks.gabor import Gabor
from pynst.networks.layers import layers_read
from pynst.networks.network import Network
from pynst.networks.vgg19 import LAYERS, POOLINGS, VGG19, unpooled
from pynst.options import TransferOptions
from pynst.options.formulas import FORMULAS
from pynst.weights import VGG19Weights, cache_directory
from pynst.weights.cache import open_weights

__all__ = ["open_network"]

Vector = NDArray[np.float64]


def open_network(options: TransferOptions) -> Network:
    """Open the network that the options ask for.

    ``network="auto"`` takes VGG-19 where its weights are at hand or can be downloaded, else the
    built-in filters; which of them, and why, is logged as one warning when it is not VGG-19.

    Raises
    ------
    WeightsError
        VGG-19 was asked for, by name or by a formula that belongs to it, and cannot be loaded.
    BackendError
        The backend is not available.
    OptionError
        The options ask for what the built-in network does not have.
    """
    vgg_only = _vgg_only(options)
    if options.network == "builtin" and vgg_only:
        raise OptionError(f"{vgg_only[0]} belongs to VGG-19, got network='builtin'")
    weights = None
    if options.network != "builtin":
        asked = "network='vgg19'" if options.network == "vgg19" else next(iter(vgg_only), None)
        weights = open_weights(options.weights, asked)
    backend = _backend(options)
    return Gabor(backend) if weights is None else _vgg19(weights, backend, options)


def _vgg_only(options: TransferOptions) -> list[str]:
    """The settings that only VGG-19 has, as far as they are set."""
    asked = {
        f"formula={options.formula!r}": not FORMULAS[options.formula].relative,
        "normalised=True": bool(options.normalised),
        "weights": options.weights is not None,
        "pooling": options.pooling is not None,
        "padding": options.padding is not None,
        "calibration": options.calibration is not None,
    }
    return [name for name, wanted in asked.items() if wanted]


def _backend(options: TransferOptions) -> Backend:
    """The backend that the options ask for."""
    name = options.backend
    # Its eigenvectors are LAPACK's; they would stop the device's stream in every evaluation.
    if "wasserstein" in options.style_shares():
        if name == "cuda":
            raise BackendError(
                "style_loss='wasserstein' is not available on CUDA: ask for backend='cpu'"
            )
        name = "cpu" if name == "auto" else name
    found = open_backend(
        name, threads=options.threads, precision=options.precision, cache=cache_directory
    )
    return circular(found) if options.padding == "circular" else found


def _scales(convolutions: Convolutions, powers: Mapping[str, int]) -> dict[str, Vector]:
    """Factors of the features whose layers were divided by powers of two, poolings included."""
    layers = [layer for layer in (*LAYERS, *POOLINGS) if unpooled(layer) in powers]
    channels = {
        layer: len(convolutions[unpooled(layer).replace("relu", "conv")][1]) for layer in layers
    }
    return {layer: np.full(channels[layer], 2.0 ** powers[unpooled(layer)]) for layer in layers}


def _vgg19(weights: VGG19Weights, backend: Backend, options: TransferOptions) -> VGG19:
    """VGG-19 with pooling, padding and normalisation as the options or the formula say."""
    formula = FORMULAS[options.formula]
    pooling = options.pooling or formula.pooling
    convolutions, powers = weights.convolutions, dict[str, int]()
    if backend.narrow:
        powers = powers_of_two(convolutions, weights.mean, pooling)
        convolutions = rescaled(convolutions, powers)
    network = VGG19(
        backend,
        convolutions,
        weights.mean,
        pooling=pooling,
        padding=options.padding or formula.padding,
        scales=_scales(convolutions, powers),
        weights_source=f"{weights.source}, training: {weights.training}",
        weights_sha256=weights.sha256,
    )
    if formula.normalised if options.normalised is None else options.normalised:
        read = layers_read(options, network)
        return network.with_scales(feature_scales(network, read, options.calibration))
    return network
