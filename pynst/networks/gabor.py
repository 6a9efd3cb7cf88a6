"""The built-in network: Gabor and low-pass filters on an image pyramid, by a formula, 0 bytes.

It answers where VGG-19 is not at hand. On each of five levels of a binomial pyramid (up to seven by
`style_layers`) the same 67 filters of 7 x 7 pixels look for edges, lines and patches of colour;
the positive and the negative part of each response are one channel each, as a ReLU network has
them. Gram matrices of these channels carry palette and brush strokes; large motifs need a trained
network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import AddLoss, Array, Backend, OpSize, ReadFeatures, Shape
from pynst.errors import OptionError
from pynst.networks.plan import Buffer, Plan, Workspace

__all__ = ["Gabor", "filter_bank"]

_SIZE = 7
_ORIENTATIONS = 8
_SIGMA = _SIZE / 3.6

_COLOUR_AXES = np.array(
    [np.array([1, 1, 1]) / 3**0.5, np.array([1, 0, -1]) / 2**0.5, np.array([1, -2, 1]) / 6**0.5]
)
"""Rows: luminance, red against blue, magenta against green; orthonormal."""

_BANK = (
    # image plane, (wavelength in pixels, mean response) per Gabor filter, mean response of the
    # low-pass
    (0, ((3.0, 11.5), (5.5, 31.0)), 160.0),
    (1, ((5.5, 9.0),), 62.0),
    (2, ((5.5, 8.5),), 55.0),
)
"""The mean responses were measured on procedural pictures (1/f noise, dead leaves, strokes) and
rounded; they hold within a quarter on every level, since such pictures look alike at every scale.
Dividing by them gives every channel about the same say in a Gram matrix."""


def filter_bank() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Compute the 67 filters (67, 7, 7) and the image plane (67,) that each of them reads.

    A Gabor filter is a cosine of wavelength lambda and phase 0 or pi/2 under a Gaussian envelope,
    made to sum to zero and to have unit norm; the low-pass filter is the envelope itself.
    """
    radius = _SIZE // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    envelope = np.exp(-(x**2 + y**2) / (2 * _SIGMA**2))
    filters: list[NDArray[np.float64]] = []
    planes: list[int] = []
    for plane, gabors, low_pass in _BANK:
        for wavelength, mean_response in gabors:
            for orientation in range(_ORIENTATIONS):
                angle = np.pi * orientation / _ORIENTATIONS
                along = x * np.cos(angle) + y * np.sin(angle)
                for phase in (0.0, np.pi / 2):
                    wave = envelope * np.cos(2 * np.pi * along / wavelength + phase)
                    wave -= envelope * (wave.sum() / envelope.sum())
                    filters.append(wave / np.linalg.norm(wave) / mean_response)
        filters.append(envelope / np.linalg.norm(envelope) / low_pass)
        planes += [plane] * (len(filters) - len(planes))
    return np.array(filters, np.float32), np.array(planes, np.int32)


class Gabor:
    """The filter bank on every level of an image pyramid; a `pynst.networks.Network`.

    Parameters
    ----------
    backend : Backend
        Where to compute.
    """

    name = "builtin"
    content_layers: tuple[str, ...] = ("level3",)
    style_layers: tuple[str, ...] = ("level1", "level2", "level3", "level4", "level5")
    input_axes = _COLOUR_AXES
    weights_source = weights_sha256 = ""
    tv_share = 0.05
    """Share of the formula's total variation: the default of VGG-19 would smooth the strokes away,
    and of the lattice it is there to remove this network makes little (judged on three pairs)."""
    coarsest = 256
    finest_share = 0.8
    """Its features reach no further than their level, so strokes are made where they are fine:
    three levels of 50, 40, 40 evaluations to 512 are crisper than five of 50 to 14."""
    grain = 0.05
    """Filters answer evenly to an even sky, which would become a regular weave; of grain they make
    strokes, at a loss that is 0.1 to 0.5 % lower (three pairs)."""
    layers = ("level1", "level2", "level3", "level4", "level5", "level6", "level7")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.mean = np.full(3, 117.0)
        self.scales: Mapping[str, NDArray[np.float64]] = {}
        weight, plane = filter_bank()
        self._channels = 2 * len(weight)
        self._weights = backend.filter7x7_weights(weight, plane)

    def shape(self, layer: str, H: int, W: int) -> Shape:
        """Shape (N, h, w) of a layer's features for an image of H x W pixels."""
        return self._channels, *_image_shape(_level(layer), H, W)[1:]

    def smallest_side(self, layers: Collection[str]) -> int:
        """Shortest image side, in pixels, at which each layer has the 3 pixels its border needs."""
        return 1 + max(2 << (_level(layer) - 1) for layer in layers)

    def reach(self, layer: str) -> tuple[int, int]:
        """Pixels along one cell of a layer, and how many pixels beyond its cell a feature sees."""
        beyond = _SIZE // 2
        for _ in range(_level(layer) - 1):
            beyond = 2 * beyond + 1
        return 1 << (_level(layer) - 1), beyond

    def workspace(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Workspace:
        """Memory for images of H x W pixels: ``"x"``, ``"d x"``, one buffer per layer asked for."""
        return Workspace(self.plan(H, W, layers, gradient=gradient), self.backend)

    def plan(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Plan:
        """Say which buffers a run over H x W pixels needs, and when."""
        n = self._deepest(layers)
        buffers = []
        for i in range(1, n + 1):
            back, layer = 2 * n + 1 - i, f"level{i}"
            image, shape = _image_shape(i, H, W), self.shape(layer, H, W)
            last = 2 * n + 1 if i == 1 else i + 1
            buffers.append(Buffer(_image(i), "image", image, i - 1, last))
            if gradient:
                until = 2 * n + 1 if i == 1 else back + 1
                buffers.append(Buffer(f"d {_image(i)}", "image", image, back, until))
            if layer in layers:
                kept_until = back if gradient else n + 1
                buffers.append(Buffer(layer, "features", shape, i, kept_until))
                if gradient:
                    buffers.append(Buffer(f"d {layer}", "features", shape, back, back))
                    buffers.append(Buffer(f"bits {layer}", "bits", shape, i, back))
        return Plan.of(buffers, self.backend)

    def ops(self, H: int, W: int, layers: Collection[str]) -> list[OpSize]:
        """The filters of a walk with their sizes."""
        return [OpSize("filter7x7", 3, *self.shape(layer, H, W)) for layer in layers]

    def weights_nbytes(self, layers: Collection[str]) -> int:  # noqa: ARG002
        """The filters take next to nothing, and are there already."""
        return 0

    def forget_deeper(self, layers: Collection[str]) -> None:
        """Do nothing: the filters are small."""

    def forward(
        self, workspace: Workspace, layers: Collection[str], read: ReadFeatures | None = None
    ) -> None:
        """From ``workspace["x"]`` compute the layers' features, and what the way back needs.

        `read` is called at each of the layers, first to last.
        """
        for i in range(1, self._deepest(layers) + 1):
            if i > 1:
                self.backend.binomial_down(workspace[_image(i - 1)], workspace[_image(i)])
            layer = f"level{i}"
            if layer in layers:
                bits = workspace.get(f"bits {layer}")
                self.backend.filter7x7(workspace[_image(i)], self._weights, workspace[layer], bits)
                if read is not None:
                    read(layer, workspace[layer])

    def backward(self, workspace: Workspace, layers: Collection[str], add_loss: AddLoss) -> Array:
        """Walk back to the image after `forward`, coarsest level first; returns its gradient."""
        n = self._deepest(layers)
        for i in range(n, 0, -1):
            dx, layer = workspace[f"d {_image(i)}"], f"level{i}"
            if i == n:
                self.backend.zero(dx)
            else:
                self.backend.binomial_down_backward(workspace[f"d {_image(i + 1)}"], dx)
            if layer in layers:
                dF = workspace[f"d {layer}"]
                self.backend.zero(dF)
                add_loss(layer, workspace[layer], dF)
                bits = workspace[f"bits {layer}"]
                self.backend.filter7x7_backward(dF, bits, self._weights, dx)
        return workspace["d x"]

    def _deepest(self, layers: Collection[str]) -> int:
        missing = [layer for layer in layers if layer not in self.layers]
        if missing:
            raise OptionError(
                f"unknown layer {missing[0]!r}: the built-in network has {', '.join(self.layers)}"
            )
        return max(_level(layer) for layer in layers)


def _level(layer: str) -> int:
    return int(layer.removeprefix("level"))


def _image_shape(level: int, H: int, W: int) -> Shape:
    """Shape of the pyramid's image at a level: halved, rounded up, from level to level."""
    return 3, -(-H >> (level - 1)), -(-W >> (level - 1))


def _image(i: int) -> str:
    """Name of the pyramid's image at level i; level 1 is the network's input."""
    return "x" if i == 1 else f"image{i}"
