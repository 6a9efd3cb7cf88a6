"""The paper's alpha / beta, in each of its readings.

With the losses in canonical form, k_c mean((F - P)^2) + sum_l k_l sum_ij (G - A)^2_ij with Gram
matrices per pixel, what counts is kappa = k_c / (k_l N_l^2), which is one number: the style term is
divided by N_l^2 in every reading. From the same alpha / beta they get different kappas:

======== =============================================== ======================================
reading  says that                                       kappa
======== =============================================== ======================================
sums     Eq. 1 and 4 hold to the letter                  10 N M alpha / beta  (N M content features)
means    Fig. 2's caption holds: mean squared            5 alpha / beta
         differences in both terms
plain    the figures hold: at 1e-3 content and style     10000 alpha / beta
         are both plainly there
======== =============================================== ======================================

For a square picture of 512 pixels and 1e-3 that is 21000, 0.005 and 10. The figures of the paper
cannot have been made with the first, which gives the photograph back, nor with the second, which
gives a texture.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PLAIN", "READINGS", "balanced", "kappa_of"]

READINGS = ("plain", "sums", "means")

PLAIN = 10.0
"""kappa where content and style are both plainly there; see README, "Differences"."""

_PAPERS_RATIO = 1e-3  # alpha / beta of most of the paper's figures
_STYLE_LAYERS = 5  # w_l = 1/5


def kappa_of(ratio: float, reading: str, features: int) -> float:
    """The weight of content against style.

    Parameters
    ----------
    ratio : float
        alpha / beta.
    reading : {"plain", "sums", "means"}
    features : int
        N M: numbers that the content layer gives.
    """
    per_ratio = {
        "plain": PLAIN / _PAPERS_RATIO,
        "sums": 2 * _STYLE_LAYERS * features,
        "means": _STYLE_LAYERS,
    }
    return ratio * per_ratio[reading]


def balanced(kappa: float) -> dict[str, Any]:
    """Settings with which content and style have these weights, at any size.

    Five style layers, each with the same weight, as in the paper.
    """
    # The means, since their weights do not depend on the size: k_c = alpha, k_l = beta / N_l^2.
    return {
        "formula": "gatys-normalised",
        "content_weight": kappa / _STYLE_LAYERS,
        "style_weight": 1.0 / _STYLE_LAYERS,
    }
