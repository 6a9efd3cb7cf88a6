"""VGG-19's convolutions: the layer table, the memory plan, the forward and the backward walk.

The walk is written once, over a `Backend`. Nothing is kept for the way back but the features that a
loss reads, one bit per ReLU and two per max-pooled value: average pooling needs nothing, and since
the weights are fixed no weight gradient exists.

K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
2014.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import (
    AddLoss,
    Array,
    Backend,
    OpSize,
    Padding,
    Pooling,
    ReadFeatures,
    Shape,
)
from pynst.errors import OptionError
from pynst.networks.plan import Buffer, Plan, Workspace

__all__ = ["LAYERS", "POOLINGS", "VGG19", "unpooled"]

_CONVOLUTIONS_PER_BLOCK = (2, 2, 4, 4, 4)

LAYERS = tuple(
    f"relu{block}_{index}"
    for block, count in enumerate(_CONVOLUTIONS_PER_BLOCK, 1)
    for index in range(1, count + 1)
)
"""relu1_1 ... relu5_4: the rectified response of each convolution; the paper writes conv1_1."""

POOLINGS = {
    f"pool{block}": f"relu{block}_{count}"
    for block, count in enumerate(_CONVOLUTIONS_PER_BLOCK[:-1], 1)
}
"""pool1 ... pool4, and the layer that each of them halves: the features of a pooling can be read as
well. The last pooling of VGG-19 is left out, as no convolution follows it."""


def unpooled(layer: str) -> str:
    """The rectified response that a pooling layer reads; any other layer is its own."""
    return POOLINGS.get(layer, layer)


@dataclass(frozen=True)
class Step:
    """One step of the walk: a convolution with its ReLU, a pooling, or both at once.

    Attributes
    ----------
    source, output : str
        Names of the buffers it reads and writes.
    layer : str
        The ReLU's layer, ``"relu1_1"``; empty for a pooling alone.
    shape, shape_out : Shape
        Shape of the ReLU's response (for a pooling alone, of the input), and of the output.
    """

    source: str
    output: str
    layer: str
    shape: Shape
    shape_out: Shape

    @property
    def pools(self) -> bool:
        """Whether it ends in a pooling."""
        return self.output != self.layer


class VGG19:
    """VGG-19 up to the deepest layer that is asked for.

    Parameters
    ----------
    backend : Backend
        Where to compute.
    convolutions : mapping of str to (weight, bias)
        ``"conv1_1"`` ... to float32 arrays (N, C, 3, 3) and (N,); for input in RGB order on the
        scale 0..255 with `mean` subtracted.
    mean : tuple of float
        Mean of the training images, RGB, on the scale 0..255.
    pooling : {"max", "average"}
        2 x 2 pooling; the network was trained with the maximum, the paper uses the average.
    padding : {"replicate", "zero", "circular"}
        Border of the first convolution; all others pad with zeros, as trained. With ``"circular"``
        every layer is padded from the opposite border, so that the image can tile; the backend is
        then one of `pynst.backends.circular`.
    scales : mapping of str to ndarray, optional
        Per layer, factors (N,) that the losses apply to its features: one over each filter's mean
        activation makes the paper's normalised network, since ReLU and pooling are homogeneous.
    weights_source, weights_sha256 : str
        Whose weights they are, for people, and the checksum of their numbers.
    """

    name = "vgg19"
    content_layers: tuple[str, ...] = ("relu4_2",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    input_axes = np.eye(3)
    """Rows: the network's input planes in terms of R, G, B."""
    tv_share = 1.0
    coarsest = 128
    """Long side of the coarsest level, pixels; below this the content is weak."""
    finest_share = 0.0
    """Least evaluations of any level, as a share of the coarsest's: the quality's table holds."""
    grain = 0.0

    def __init__(
        self,
        backend: Backend,
        convolutions: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
        mean: tuple[float, float, float],
        *,
        pooling: Pooling = "max",
        padding: Padding = "replicate",
        scales: Mapping[str, NDArray[np.float64]] | None = None,
        weights_source: str = "",
        weights_sha256: str = "",
    ) -> None:
        self.backend = backend
        self.mean = np.asarray(mean, np.float64)
        self.pooling: Pooling = pooling
        self.padding: Padding = padding
        self.scales: Mapping[str, NDArray[np.float64]] = dict(scales or {})
        self.weights_source = weights_source
        self.weights_sha256 = weights_sha256
        self._arrays = dict(convolutions)
        self._packed: dict[str, Any] = {}
        self._channels = {
            name.replace("conv", "relu"): len(bias) for name, (_, bias) in convolutions.items()
        }

    def with_scales(self, scales: Mapping[str, NDArray[np.float64]]) -> VGG19:
        """The same network, with the same packed weights, whose losses use these factors."""
        other = copy(self)
        other.scales = dict(scales)
        return other

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose features can be read, first to last."""
        relus = [layer for layer in LAYERS if layer in self._channels]
        after = {relu: pool for pool, relu in POOLINGS.items()}
        both = ((relu, after.get(relu)) for relu in relus)
        return tuple(layer for pair in both for layer in pair if layer is not None)

    def shape(self, layer: str, H: int, W: int) -> Shape:
        """Shape (N, h, w) of a layer's features for an image of H x W pixels."""
        halvings = _halvings(layer)
        return self._channels[unpooled(layer)], H >> halvings, W >> halvings

    def smallest_side(self, layers: Collection[str]) -> int:
        """Shortest image side, in pixels, at which each of the layers still has a pixel."""
        return 1 << max(map(_halvings, layers))

    def reach(self, layer: str) -> tuple[int, int]:
        """Pixels along one cell of a layer, and how many pixels beyond its cell a feature sees."""
        beyond = 0
        for step in reversed(self._walk([layer])):
            beyond = 2 * beyond if step in POOLINGS else beyond + 1
        return 1 << _halvings(layer), beyond

    def workspace(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Workspace:
        """Memory for images of H x W pixels: ``"x"``, ``"d x"``, one buffer per layer asked for."""
        return Workspace(self.plan(H, W, layers, gradient=gradient), self.backend)

    def plan(self, H: int, W: int, layers: Collection[str], *, gradient: bool) -> Plan:
        """Say which buffers a run over H x W pixels needs, and when.

        Step i of the way forward is at time i, of the way back at time 2 n - 1 - i.
        """
        steps = self._steps(H, W, layers)
        n = len(steps)
        buffers = [Buffer("x", "image", (3, H, W), 0, 2 * n)]
        for i, step in enumerate(steps):
            back = 2 * n - 1 - i
            kept_until = (back if gradient else n) if step.output in layers else i + 1
            buffers.append(Buffer(step.output, "features", step.shape_out, i, kept_until))
            if gradient:
                since = back if step is steps[-1] else back - 1
                buffers.append(Buffer(f"d {step.output}", "features", step.shape_out, since, back))
                if step.layer:
                    buffers.append(Buffer(f"bits {step.layer}", "bits", step.shape, i, back))
                if step.pools and self.pooling == "max":
                    choices = f"choices {step.output}"
                    buffers.append(Buffer(choices, "choices", step.shape_out, i, back))
        if gradient:
            buffers.append(Buffer("d x", "image", (3, H, W), 2 * n - 1, 2 * n))
        return Plan.of(buffers, self.backend)

    def ops(self, H: int, W: int, layers: Collection[str]) -> list[OpSize]:
        """The convolutions of a walk with their sizes."""
        sizes, C = [], 3
        for step in self._steps(H, W, layers):
            if step.layer:
                op = "image_conv3x3_relu" if step.source == "x" else "conv3x3_relu"
                sizes.append(OpSize(op, C, *step.shape))
            C = step.shape_out[0]
        return sizes

    def weights_nbytes(self, layers: Collection[str]) -> int:
        """Bytes that packing the weights up to the deepest of the layers will add.

        On a device that is all of them; on the host they take the place of the arrays that they
        are made from.
        """
        if self.backend.free_memory() is None:
            return 0
        walk = self._walk(layers)
        channels = [3, *(self._channels[layer] for layer in walk if layer in self._channels)]
        return sum(self.backend.conv3x3_weights_nbytes(C, N) for C, N in pairwise(channels))

    def forward(
        self, workspace: Workspace, layers: Collection[str], read: ReadFeatures | None = None
    ) -> None:
        """From ``workspace["x"]`` compute the layers' features, and what the way back needs.

        `read` is called at each of the layers, first to last.
        """
        _, H, W = workspace.plan.buffers["x"].shape
        for step in self._steps(H, W, layers):
            self._step_forward(step, workspace)
            if read is not None and step.output in layers:
                read(step.output, workspace[step.output])

    def _step_forward(self, step: Step, workspace: Workspace) -> None:
        x, y = workspace[step.source], workspace[step.output]
        bits = workspace.get(f"bits {step.layer}")
        choices = workspace.get(f"choices {step.output}")
        if not step.layer:
            self.backend.pool2x2(x, self.pooling, y, choices)
            return
        weights = self._weights(step.layer)
        if step.pools:
            self.backend.conv3x3_relu_pool(x, weights, self.pooling, y, bits, choices)
        elif step.source == "x":
            self.backend.image_conv3x3_relu(x, weights, self.padding, y, bits)
        else:
            self.backend.conv3x3_relu(x, weights, y, bits)

    def backward(self, workspace: Workspace, layers: Collection[str], add_loss: AddLoss) -> Array:
        """Walk back to the image after `forward`; returns ``workspace["d x"]``.

        `add_loss` is called at each of the layers, deepest first, and adds the gradient of the
        losses at this layer to what came from above.
        """
        _, H, W = workspace.plan.buffers["x"].shape
        steps = self._steps(H, W, layers)
        self.backend.zero(workspace[f"d {steps[-1].output}"])
        for step in reversed(steps):
            dy, dx = workspace[f"d {step.output}"], workspace[f"d {step.source}"]
            choices = workspace.get(f"choices {step.output}")
            if step.output in layers:
                add_loss(step.output, workspace[step.output], dy)
            if not step.layer:
                self.backend.pool2x2_backward(dy, self.pooling, choices, dx)
                continue
            weights, bits = self._weights(step.layer), workspace[f"bits {step.layer}"]
            if step.pools:
                self.backend.conv3x3_relu_pool_backward(
                    dy, bits, self.pooling, choices, weights, dx
                )
                continue
            if step.source == "x":
                self.backend.image_conv3x3_relu_backward(dy, bits, weights, self.padding, dx)
            else:
                self.backend.conv3x3_relu_backward(dy, bits, weights, dx)
        return workspace["d x"]

    def _steps(self, H: int, W: int, layers: Collection[str]) -> list[Step]:
        """The walk up to the deepest of the layers."""
        steps: list[Step] = []
        source = "x"
        walk = self._walk(layers)
        for layer, following in zip(walk, [*walk[1:], ""], strict=True):
            if layer == source:  # a pooling that the convolution before it has done as well
                continue
            at_once = following in POOLINGS and layer not in layers and source != "x"
            output = following if at_once else layer
            relu = "" if layer in POOLINGS else layer
            shape = self.shape(relu or unpooled(layer), H, W)
            steps.append(Step(source, output, relu, shape, self.shape(output, H, W)))
            source = output
        return steps

    def _walk(self, layers: Collection[str]) -> tuple[str, ...]:
        """All layers up to the deepest of the given ones."""
        missing = [layer for layer in layers if layer not in self.layers]
        if missing:
            raise OptionError(
                f"unknown layer {missing[0]!r}: this network has {', '.join(self.layers)}"
            )
        return self.layers[: 1 + max(self.layers.index(layer) for layer in layers)]

    def forget_deeper(self, layers: Collection[str]) -> None:
        """Give up the weights that no walk to these layers needs: 28 MB behind conv5_1."""
        for layer in set(self._channels) - set(self._walk(layers)):
            self._arrays.pop(layer.replace("relu", "conv"), None)

    def _weights(self, layer: str) -> Any:
        """Packed weights of the convolution before a ReLU; packed, and so replaced, when needed."""
        if layer not in self._packed:
            arrays = self._arrays.pop(layer.replace("relu", "conv"))
            self._packed[layer] = self.backend.conv3x3_weights(*arrays)
        return self._packed[layer]


def _halvings(layer: str) -> int:
    """How often the image's sides have been halved at a layer."""
    return int(layer[4]) - (layer not in POOLINGS)
