"""The terms of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LossTerms"]


@dataclass(frozen=True)
class LossTerms:
    """One evaluation, split into its terms; each with its weight, so that they add up to `total`.

    Attributes
    ----------
    total, content, style, tv : float
    layers : dict of str to float
        Share of each layer: ``{"content relu4_2": ..., "style relu1_1": ...}``.
    """

    total: float
    content: float
    style: float
    tv: float
    layers: Mapping[str, float] = field(default_factory=dict)
