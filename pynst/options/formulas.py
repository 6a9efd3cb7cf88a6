"""The published forms of the loss, each as two factors of one canonical form.

With F, P of N channels x M pixels and Gram matrices divided by their own number of pixels
(G = F F^T / M, so that a style picture may have any size) every published variant reads

    L = sum_content c_l k_c mean((F - P)^2)  +  sum_style k_l sum_ij (G - A)^2_ij  +  tv_weight
    TV9(x)

and differs only in k_c and k_l, the network's pooling and padding, and whether its features are
normalised. c_l are the content layers' relative weights (sum 1), r_l the style layers' (mean 1), L
the number of style layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pynst.options.keywords import Padding, Pooling, Variables

__all__ = ["FORMULAS", "Formula"]

_FLAT = (
    1e-3  # a flat picture's features vary by nothing: divide by this share of their energy instead
)
_TINY = 1e-12


@dataclass(frozen=True)
class Formula:
    """One published loss: its factors and the settings that belong to it.

    Attributes
    ----------
    content_factor : callable
        (alpha, N, M, V, energy) to k_c. V is the spatial variance of the content features, energy
        their mean square.
    style_factor : callable
        (beta, r, L, N, energy) to k_l. energy is sum_ij A_ij^2.
    content_weight, style_weight, tv_weight : float
        Default alpha, beta and weight of total variation.
    pooling, padding : str
        Pooling of VGG-19 and padding of its first layer.
    normalised : bool
        Whether each filter's features are divided by their mean activation over photographs.
    source : str
        Where it was published.
    style_loss : tuple of (str, float)
        What the style term compares, with shares that add up to 1.
    relative : bool
        Whether every term is relative to its own picture. Then it fits any network, and any
        `style_loss`: energy and V may be in the units of that one.
    variables : str
        What L-BFGS minimises over. In the normalised network the pyramid's are no gain: the loss
        after as many evaluations is 0.9 to 1.3 times that of the pixels.
    """

    content_factor: Callable[[float, int, int, float, float], float]
    style_factor: Callable[[float, float, int, int, float], float]
    content_weight: float
    style_weight: float
    tv_weight: float
    pooling: Pooling
    padding: Padding
    normalised: bool
    source: str
    style_loss: tuple[tuple[str, float], ...] = (("gram", 1.0),)
    relative: bool = False
    variables: Variables = "pyramid"


# Differs from the paper: every term is relative to its own picture, so that one setting fits
# any picture, size and network; maximum pooling and a little total variation (see the README).
_BALANCED = Formula(
    content_factor=lambda alpha, N, M, V, energy: alpha / max(V, _FLAT * energy, _TINY),  # noqa: ARG005
    style_factor=lambda beta, r, L, N, energy: beta * r / L / max(energy, _TINY),  # noqa: ARG005
    content_weight=0.06,
    style_weight=1.0,
    tv_weight=1.0,
    pooling="max",
    padding="replicate",
    normalised=False,
    source="PyNST's default",
    relative=True,
)

FORMULAS: dict[str, Formula] = {
    "balanced": _BALANCED,
    # Things stay whole, as the photograph's features are matched with the painting's.
    "gentle": replace(
        _BALANCED, style_loss=(("gram", 0.5), ("neighbours", 0.5)), source="PyNST's own"
    ),
    "strong": replace(_BALANCED, content_weight=0.02, source="PyNST's own"),
    # Eq. 1: alpha 1/2 sum (F - P)^2 = alpha N M / 2 mean(...). Eq. 4 and 5 with w_l = 1 / L.
    "paper": Formula(
        content_factor=lambda alpha, N, M, V, energy: alpha * N * M / 2,  # noqa: ARG005
        style_factor=lambda beta, r, L, N, energy: beta * r / L / (4 * N**2),  # noqa: ARG005
        content_weight=1.0,
        style_weight=1e3,
        tv_weight=0.0,
        pooling="average",
        padding="zero",
        normalised=True,
        source="Gatys, Ecker, Bethge, CVPR 2016, Eq. 1, 4, 5, 7",
        variables="pixels",
    ),
    "gatys-normalised": Formula(
        content_factor=lambda alpha, N, M, V, energy: alpha,  # noqa: ARG005
        style_factor=lambda beta, r, L, N, energy: beta * r / N**2,  # noqa: ARG005
        content_weight=1e6,
        style_weight=2e8,
        tv_weight=0.0,
        pooling="average",
        padding="zero",
        normalised=True,
        source="the first author's later release (NeuralImageSynthesis)",
        variables="pixels",
    ),
    "gatys": Formula(
        content_factor=lambda alpha, N, M, V, energy: alpha,  # noqa: ARG005
        style_factor=lambda beta, r, L, N, energy: beta * r / N**4,  # noqa: ARG005
        content_weight=1.0,
        style_weight=1e3,
        tv_weight=0.0,
        pooling="max",
        padding="zero",
        normalised=False,
        source="the first author's PyTorch notebook",
    ),
    "johnson": Formula(
        content_factor=lambda alpha, N, M, V, energy: alpha,  # noqa: ARG005
        style_factor=lambda beta, r, L, N, energy: beta * r / N**4,  # noqa: ARG005
        content_weight=5.0,
        style_weight=100.0,
        tv_weight=0.0,
        pooling="max",
        padding="zero",
        normalised=False,
        source="jcjohnson/neural-style, neural-style-pt, anishathalye/neural-style",
    ),
}
