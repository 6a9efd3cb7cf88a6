"""The interface of a network, and how an image goes in and features come out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import AddLoss, Array, Backend, OpSize, ReadFeatures, Shape
from pynst.networks.plan import Plan, Workspace

__all__ = [
    "Features",
    "Network",
    "read_features",
    "upload_features",
    "upload_image",
    "upload_scale",
]


class Network(Protocol):
    """What the objective asks of a network; `VGG19` and `Gabor` have it.

    Attributes
    ----------
    name : str
        ``"vgg19"`` or ``"builtin"``.
    backend : Backend
    mean : ndarray (3,)
        What is subtracted from the image, R, G, B, on the scale 0..255.
    input_axes : ndarray (3, 3)
        Rows: the network's input planes in terms of R, G, B; orthonormal.
    weights_source, weights_sha256 : str
        Whose weights they are, and the checksum of their numbers; empty without weights.
    tv_share : float
        Share of the formula's total variation that suits this network.
    coarsest : int
        Long side of the coarsest level by default, pixels.
    finest_share : float
        Least evaluations of any level, as a share of the coarsest's.
    grain : float
        Standard deviation of the grey noise that a start from the content gets where a style will
        be, of [0, 1].
    scales : mapping of str to ndarray (N,)
        By layer: factors by which the losses multiply the features of each channel; ones where a
        layer is not named.
    content_layers, style_layers : tuple of str
        The layers that are read by default.
    """

    name: str
    backend: Backend
    mean: NDArray[np.float64]
    input_axes: NDArray[np.float64]
    weights_source: str
    weights_sha256: str
    tv_share: float
    coarsest: int
    finest_share: float
    grain: float
    scales: Mapping[str, NDArray[np.float64]]
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose features can be read, first to last."""

    def shape(self, layer: str, H: int, W: int) -> Shape:
        """Shape (N, h, w) of a layer's features for an image of H x W pixels."""

    def smallest_side(self, layers: Collection[str]) -> int:
        """Shortest image side, in pixels, at which each of the layers can be computed."""

    def reach(self, layer: str) -> tuple[int, int]:
        """Pixels along one cell of a layer, and how many pixels beyond its cell a feature sees."""

    def plan(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Plan:
        """Say which buffers a walk over an image of H x W pixels needs, and when."""

    def workspace(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Workspace:
        """Memory of that plan: ``"x"``, ``"d x"``, one buffer per layer asked for."""

    def ops(self, H: int, W: int, layers: Collection[str]) -> list[OpSize]:
        """The ops of a walk with their sizes; an op and its gradient need the same scratch."""

    def weights_nbytes(self, layers: Collection[str]) -> int:
        """Bytes that packing the weights up to the deepest of the layers will add."""

    def forget_deeper(self, layers: Collection[str]) -> None:
        """Give up what no walk to these layers needs; no deeper one may follow."""

    def forward(
        self, workspace: Workspace, layers: Collection[str], read: ReadFeatures | None = None
    ) -> None:
        """From ``workspace["x"]`` compute the layers' features, and what the way back needs.

        `read` is called at each of the layers, first to last.
        """

    def backward(self, workspace: Workspace, layers: Collection[str], add_loss: AddLoss) -> Array:
        """Walk back to the image after `forward`; returns ``workspace["d x"]``.

        `add_loss` is called at each of the layers, deepest first, and adds the gradient of the
        losses at this layer to what came from above.
        """


def upload_image(network: Network, image: Array, x: Array) -> None:
    """Write an image (H, W, 3), sRGB in [0, 1], as the network's input x (3, H, W)."""
    if isinstance(image, np.ndarray):
        # The op reads numbers of these two types where they lie; any other image is copied.
        dtype = np.float32 if image.dtype == np.float32 else np.float64
        image = np.require(image, dtype, ["C", "A"])
    network.backend.image_input(image, network.input_axes, network.mean, x)


def upload_scale(network: Network, layer: str) -> Array | None:
    """The factors of a layer's channels for the loss ops; None where they are ones."""
    scale = network.scales.get(layer)
    return None if scale is None else network.backend.upload_scale(scale)


def upload_features(backend: Backend, values: NDArray[np.floating[Any]]) -> Array:
    """Features (N, h, w) from NumPy, in memory of their own."""
    block = backend.allocate(backend.nbytes("features", values.shape))
    features = backend.view(block, 0, "features", values.shape)
    backend.upload(values, "features", features)
    return features


class Features:
    """The features of one image, in memory of their own, without what a way back would need."""

    def __init__(self, network: Network, workspace: Workspace) -> None:
        self._backend = network.backend
        self._workspace = workspace

    def visit(self, layers: Collection[str], read: ReadFeatures) -> None:
        """Call ``read(layer, F)`` with the features of each of the layers, where they lie.

        Of a picture that is walked in windows they come as parts, one after another; an op that
        knows parts (`pynst.backends.windows`) then gives what it would of the whole.
        """
        self._workspace.visit(layers, read)

    def download(self, layer: str) -> NDArray[np.floating[Any]]:
        """Features (N, h, w) of one layer to NumPy."""
        return self._backend.download(self._workspace[layer], "features", self._shape(layer))

    def copy(self, layer: str) -> Array:
        """Features of one layer in memory of their own, which outlives these features."""
        return self._workspace.copied(layer)

    def grams(self, pixel_weights: Mapping[str, Array | None]) -> dict[str, NDArray[np.float64]]:
        """Gram matrices (N, N) to NumPy, of layers whose pixels have these weights.

        See `pynst.backends.base.Backend.gram`.
        """
        backend = self._backend
        grams = {layer: backend.empty_gram(self._shape(layer)[0]) for layer in pixel_weights}
        self.visit(grams, lambda layer, F: backend.gram(F, grams[layer], pixel_weights[layer]))
        return {layer: backend.download_gram(G) for layer, G in grams.items()}

    def _shape(self, layer: str) -> Shape:
        return self._workspace.plan.buffers[layer].shape


def read_features(
    network: Network, image: NDArray[np.floating[Any]], layers: Collection[str]
) -> Features:
    """Compute the features of an image (H, W, 3), sRGB in [0, 1], at some layers."""
    H, W = image.shape[:2]
    workspace = network.workspace(H, W, layers, gradient=False)
    upload_image(network, image, workspace["x"])
    network.forward(workspace, layers)
    return Features(network, workspace)
