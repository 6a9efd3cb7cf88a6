"""The total variation term: neighbouring pixels shall not differ without need.

Differs from the paper, which has no such term. It is applied to the network's input planes; their
axes are orthonormal in both networks, so this is the total variation of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynst.backends.base import Array, Backend
from pynst.inputs import Inputs
from pynst.losses.terms import IMAGE
from pynst.networks.network import Network

__all__ = ["VariationTargets", "VariationTerm"]


@dataclass(frozen=True)
class VariationTerm:
    """weight TV9(x), for an image x in [0, 1]; see `pynst.backends.base.Backend.total_variation`.

    Attributes
    ----------
    weight : float
    """

    weight: float
    name = "tv"

    def at(
        self,
        network: Network,
        inputs: Inputs,  # noqa: ARG002
        H: int,  # noqa: ARG002
        W: int,  # noqa: ARG002
    ) -> VariationTargets:
        """Nothing is compared with; the network's input spans 255 units where x spans one."""
        return VariationTargets(network.backend, self.weight / 255**2)


class VariationTargets:
    """Total variation at one size."""

    layers: tuple[str, ...] = (IMAGE,)

    def __init__(self, backend: Backend, k: float) -> None:
        self._backend = backend
        self._k = k

    def add(self, layer: str, F: Array, dF: Array, loss: Array) -> None:  # noqa: ARG002
        """Set the loss, and add its gradient to dF."""
        self._backend.total_variation(F, self._k, dF, loss)
