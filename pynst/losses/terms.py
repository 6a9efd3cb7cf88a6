"""What a term of the loss is, and what one evaluation of all terms gives.

The total loss is a list of terms. A `Term` knows its weight and the layers that it reads; `at`
makes its targets for one size of the image, and from then on the `Targets` add the term's value and
its gradient, layer by layer, while the network walks back to the image. `pynst.losses.table` lists
the terms; a new one is a file beside this one and a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array
from pynst.backends.device import DeviceImages
from pynst.inputs import Inputs
from pynst.networks.network import Network

__all__ = ["IMAGE", "STYLE", "InPlace", "LossTerms", "PreparedTargets", "Targets", "Term"]

IMAGE = "x"
"""The network's input, as a term names it that reads the image itself."""

STYLE = ("style", "wasserstein", "neighbours")
"""Names of the terms that compare with the paintings; their values add up to `LossTerms.style`."""


@dataclass(frozen=True)
class LossTerms:
    """One evaluation, split into its terms; each with its weight, so that they add up to `total`.

    Attributes
    ----------
    total, content, style, tv : float
        The sum, and the terms of the paper and of total variation; 0 where a term is switched off.
    layers : dict of str to float
        Share of each layer: ``{"content relu4_2": ..., "style relu1_1": ...}``.
    others : dict of str to float
        The terms besides content, style and tv, by name.
    """

    total: float
    content: float
    style: float
    tv: float
    layers: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)


class Targets(Protocol):
    """A term at one size of the image, with what it compares with.

    Attributes
    ----------
    layers : tuple of str
        The layers that it reads, each as often as it has losses there, one after another; `IMAGE`
        for the image itself.
    """

    layers: tuple[str, ...]

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:
        """Set the losses of one layer, and add their gradient with respect to F to dF."""


@runtime_checkable
class PreparedTargets(Targets, Protocol):
    """Targets that can begin before the network walks back."""

    def prepare(self, layer: str, F: Array) -> None:
        """Begin what `add` will need of the features alone: called on the way forward.

        A backend with a device does it beside the network's walk.
        """


class Term(Protocol):
    """A term of the loss, whatever the size of the image.

    Attributes
    ----------
    name : str
        ``"content"``, ``"style"``, ``"tv"``, ...
    """

    name: str

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> Targets:
        """Make the targets for an image of H x W pixels."""


@dataclass(frozen=True)
class InPlace:
    """A loss whose image and gradient stay where a core computes.

    Attributes
    ----------
    images : DeviceImages
        Where an evaluation reads the image and writes the gradient; without arrays of its own where
        it reads and writes the optimiser's vectors.
    shape : tuple of int
        (H, W, 3)
    sums : Array, float64
        Slots that are copied to the host together with the losses.
    evaluate : callable
        ``evaluate(x, g, after)`` evaluates the loss, then does `after`, which may fill `sums`;
        returns the terms, and `sums` as a NumPy array. Where the images have no arrays of their
        own, the loss is that of the vector x, clipped to [0, 1], and g becomes its gradient.
    """

    images: DeviceImages
    shape: tuple[int, ...]
    sums: Array
    evaluate: Callable[[Array, Array, Callable[[], None]], tuple[LossTerms, NDArray[np.float64]]]
