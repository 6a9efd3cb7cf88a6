"""Which layers a run reads, and at which sizes.

A term of the loss names its layers, or takes the network's own. Whether a picture is large enough
for them is decided here for the losses, the levels, the calibration and the forecast of memory
alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pynst.errors import ImageError, OptionError
from pynst.networks.network import Network
from pynst.options import TransferOptions

__all__ = [
    "LayerChoice",
    "content_choice",
    "deepest",
    "layers_read",
    "neighbour_choice",
    "style_choice",
]


@dataclass(frozen=True)
class LayerChoice:
    """The layers of one term, whatever the size of the image.

    Attributes
    ----------
    given : tuple of (str, float) or None
        Layers with their relative weights as the user named them; all of them are read.
    defaults : tuple of str
        What is read otherwise, as far as the image is large enough: equally weighted.
    """

    given: tuple[tuple[str, float], ...] | None
    defaults: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """The layers that are read where the image is large enough."""
        if self.given is None:
            return self.defaults
        return tuple(name for name, weight in self.given if weight > 0)

    def at(self, network: Network, H: int, W: int) -> dict[str, float]:
        """Layers to be read of an image of H x W pixels, with relative weights of sum 1.

        Raises
        ------
        ImageError
            The image is too small for a layer that was named, or for the first of the defaults.
        """
        if self.given is None:
            fitting = [name for name in self.defaults if _fits(network, [name], H, W)]
            layers = dict.fromkeys(fitting or self.defaults[:1], 1.0)
        else:
            layers = {name: weight for name, weight in self.given if weight > 0}
        if not _fits(network, layers, H, W):
            raise ImageError(
                f"content: {W} x {H} pixels are too few for layer {deepest(network, layers)}, which"
                f" needs {network.smallest_side(layers)} on the short side; increase image_size or"
                " name shallower layers"
            )
        total = sum(layers.values())
        return {layer: weight / total for layer, weight in layers.items()}


def deepest(network: Network, layers: Collection[str]) -> str:
    """The one of the layers that comes last in the network."""
    return max(layers, key=network.layers.index)


def content_choice(options: TransferOptions, network: Network) -> LayerChoice:
    """The layers of the content term; raises `OptionError` for one that the network lacks."""
    return LayerChoice(_known(options.content_layers, network), network.content_layers)


def style_choice(options: TransferOptions, network: Network) -> LayerChoice:
    """The layers of the style term; raises `OptionError` for one that the network lacks."""
    if set(options.style_shares()) == {"neighbours"}:
        return neighbour_choice(options, network)
    return LayerChoice(_known(options.style_layers, network), network.style_layers)


def neighbour_choice(options: TransferOptions, network: Network) -> LayerChoice:
    """The layers whose features are matched: of the style's by default neither finest nor coarsest.

    On the finest, the colour of a pixel says too little of what it belongs to; on the coarsest, a
    feature is a whole object of the painting.
    """
    return LayerChoice(_known(options.style_layers, network), network.style_layers[1:-1])


def layers_read(options: TransferOptions, network: Network) -> dict[str, None]:
    """All layers that a run reads where its images are large enough, in order, as keys."""
    choices = content_choice(options, network), style_choice(options, network)
    return dict.fromkeys(name for choice in choices for name in choice.names())


def _known(
    given: Sequence[tuple[str, float]] | None, network: Network
) -> tuple[tuple[str, float], ...] | None:
    for name, _ in given or ():
        if name not in network.layers:
            raise OptionError(
                f"unknown layer {name!r}: network {network.name!r} has {', '.join(network.layers)}"
            )
    return tuple(given) if given else None


def _fits(network: Network, layers: Collection[str], H: int, W: int) -> bool:
    """Whether an image of H x W pixels has a pixel left at each of the layers."""
    return min(H, W) >= network.smallest_side(layers)
