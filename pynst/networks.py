"""The interface of a network, and which one a run takes."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pynst.backends import open_backend
from pynst.backends.base import AddLoss, Array, Backend, Shape
from pynst.calibration import feature_scales, powers_of_two, rescaled
from pynst.errors import OptionError, WeightsError
from pynst.files import shown
from pynst.formulas import FORMULAS
from pynst.gabor import Gabor
from pynst.memory import Plan, Workspace
from pynst.options import TransferOptions
from pynst.vgg19 import VGG19
from pynst.weights import (
    ReportProgress,
    cache_directory,
    fetch_weights,
    find_weights,
    load_weights,
)

__all__ = ["Network", "open_network"]

_LOG = logging.getLogger("pynst")
_DAY = 24 * 3600


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
        path = _download(asked)
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


def _download(asked: str | None) -> Path | None:
    """Download VGG-19, or say in one line why the built-in filters stand in for it.

    Where nothing asks for VGG-19 by name, a host that could not be reached is not tried again for a
    day.
    """
    failed = cache_directory() / "download-failed"
    offline = os.environ.get("PYNST_OFFLINE", "0") not in ("", "0")
    try:
        if asked is None and _is_recent(failed):
            raise WeightsError(
                "the last download of VGG-19 failed less than a day ago (try it again with"
                ' "pynst weights fetch")'
            )
        if not offline:
            _LOG.warning("downloading VGG-19 once, to %s", shown(cache_directory()))
        return fetch_weights(progress=_log_progress())
    except WeightsError as error:
        if asked is not None:
            raise WeightsError(f"{asked} needs the VGG-19 weights: {error}") from error
        if not offline and not _is_recent(failed):
            with contextlib.suppress(OSError):
                failed.touch()
        _LOG.warning("using the built-in filters (palette and brush strokes), since %s", error)
        return None


def _is_recent(mark: Path) -> bool:
    """Whether a file was touched within the last day."""
    try:
        return 0 <= time.time() - mark.stat().st_mtime < _DAY
    except OSError:
        return False


def _log_progress() -> ReportProgress:
    """Log every tenth of a download."""
    told = -1

    def report(title: str, received: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * received // total if total else received // 10_000_000
        if tenth > told:
            told = tenth
            of = f" of {total / 1e6:.0f}" if total else ""
            _LOG.info("%s: %.0f%s MB", title, received / 1e6, of)

    return report
