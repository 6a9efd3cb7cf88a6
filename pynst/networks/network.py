"""The interface of a network, and which one a run takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pynst.backends import open_backend
from pynst.backends.base import AddLoss, Array, Backend, Shape
from pynst.errors import OptionError
from pynst.formulas import FORMULAS
from pynst.networks.calibration import feature_scales, powers_of_two, rescaled
from pynst.networks.gabor import Gabor
from pynst.networks.plan import Plan, Workspace
from pynst.networks.vgg19 import VGG19
from pynst.options import TransferOptions
from pynst.weights import find_weights, load_weights
from pynst.weights.cache import obtain_weights

__all__ = ["Network", "open_network"]


class Network(Protocol):
    """What the objective asks of a network; `VGG19` and `Gabor` have it."""

    name: str
    backend: Backend
    mean: NDArray[np.float64]
    input_axes: NDArray[np.float64]
    weights_source: str
    weights_sha256: str
    tv_share: float
    coarsest: int
    finest_share: float
    scales: dict[str, NDArray[np.float64]]
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]: ...

    def shape(self, layer: str, H: int, W: int) -> Shape: ...

    def smallest_side(self, layers: Collection[str]) -> int: ...

    def plan(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Plan: ...

    def workspace(
        self, H: int, W: int, layers: Collection[str], *, gradient: bool
    ) -> Workspace: ...

    def forward(self, workspace: Workspace, layers: Collection[str]) -> None: ...

    def backward(
        self, workspace: Workspace, layers: Collection[str], add_loss: AddLoss
    ) -> Array: ...


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
    formula = FORMULAS[options.formula]
    vgg_only = [
        name
        for name, wanted in (
            (f"formula={options.formula!r}", options.formula != "balanced"),
            ("normalised=True", bool(options.normalised)),
            ("weights", options.weights is not None),
            ("pooling", options.pooling is not None),
            ("padding", options.padding is not None),
            ("calibration", options.calibration is not None),
        )
        if wanted
    ]
    if options.network == "builtin" and vgg_only:
        raise OptionError(f"{vgg_only[0]} belongs to VGG-19, got network='builtin'")
    asked = "network='vgg19'" if options.network == "vgg19" else next(iter(vgg_only), None)
    path = None if options.network == "builtin" else find_weights(options.weights)
    if path is None and options.network != "builtin":
        path = obtain_weights(asked)
    weights = None if path is None else load_weights(path)
    backend = open_backend(options.backend, threads=options.threads, precision=options.precision)
    if weights is None:
        return Gabor(backend)
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
    )
    network.scales = {
        layer: np.full(network.shape(layer, 1, 1)[0], 2.0**e) for layer, e in powers.items()
    }
    network.weights_source = f"{weights.source}, training: {weights.training}"
    network.weights_sha256 = weights.sha256
    normalised = formula.normalised if options.normalised is None else options.normalised
    if normalised:
        content = dict(options.content_layers or dict.fromkeys(network.content_layers))
        style = dict(options.style_layers or dict.fromkeys(network.style_layers))
        network.scales = feature_scales(
            network, {*content, *style} & set(network.layers), options.calibration
        )
    return network
