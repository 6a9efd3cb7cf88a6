"""One fixed judge for pictures, whoever made them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.gallery.measures import color_distance, fine_detail, stripes
from bench.gallery.pairs import Pair, resized
from pynst import Objective, TransferOptions
from pynst.images import resize, to_uint8
from pynst.networks import Network

__all__ = ["Judge", "judge_options", "painting_alone"]


def judge_options(size: int, **changes: Any) -> TransferOptions:
    """The loss by which all pictures are compared: the formula `balanced` with its own weights.

    Every term of it is relative to the content's variance or the painting's Gram matrix, so that
    figures of different pairs stand on one scale. `changes` are for the network and its place only.
    """
    return TransferOptions(image_size=size, formula="balanced", **changes)


class Judge:
    """The judge of one pair at one size.

    Parameters
    ----------
    pair : Pair
    network : Network
        Open; the same one for all judges.
    options : TransferOptions
        As `judge_options` gives them.
    """

    def __init__(self, pair: Pair, network: Network, options: TransferOptions) -> None:
        self._objective = Objective(pair.content, pair.style, options, network=network)
        self.H, self.W = self._objective.shape[:2]
        content = self._objective.content
        assert content is not None
        self.content = to_uint8(content)
        self.painting = resized(pair.style, options.image_size)

    def __call__(self, picture: NDArray[np.uint8]) -> dict[str, Any]:
        """Judge a picture (h, w, 3), uint8; one of another size is brought to the judge's first.

        Returns
        -------
        dict
            ``total``, ``content``, ``style``, ``tv`` and ``layers``: the terms of the loss, with
            their weights, at the pixels as they are saved. ``hf``, ``axes``, ``isotropic``,
            ``detail`` and ``color``: see `bench.gallery.measures`. ``size``: the picture's own
            width and height.
        """
        size = [picture.shape[1], picture.shape[0]]
        if picture.shape[:2] != (self.H, self.W):
            picture = to_uint8(resize(picture / 255, self.H, self.W))
        total, _ = self._objective(picture / 255)
        terms = self._objective.terms
        assert terms is not None
        layers = {name: value for name, value in terms.layers.items() if name.startswith("style ")}
        return {
            "size": size,
            "total": _short(total),
            "content": _short(terms.content),
            "style": _short(terms.style),
            "tv": _short(terms.tv),
            "layers": {name.removeprefix("style "): _short(v) for name, v in layers.items()},
            **_pixels(picture, self.content),
            "color": _short(color_distance(picture, self.painting)),
        }


def painting_alone(painting: NDArray[np.uint8]) -> dict[str, Any]:
    """Fine detail and stripes of the painting itself, which those of pictures are held against."""
    return _pixels(painting, painting)


def _pixels(picture: NDArray[np.uint8], content: NDArray[np.uint8]) -> dict[str, float]:
    found = stripes(picture, content)
    return {
        "hf": _short(fine_detail(picture)),
        "axes": _short(found.axes),
        "isotropic": _short(found.isotropic),
        "detail": _short(found.detail),
    }


def _short(value: float) -> float:
    """Four significant digits: more would say nothing, and lengthen the file."""
    return float(f"{value:.4g}")
