"""What each setting takes, in types: for type checkers, and the allowed words for the checks.

The words stand here once. `pynst.options` reads them for its checks, so that what a type checker
accepts and what the program accepts are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    import os
    from typing import TypeAlias

    Layers: TypeAlias = str | Sequence[str | tuple[str, float]] | Mapping[str, float]

__all__ = [
    "BackendName",
    "FormulaName",
    "Guidance",
    "MatchColor",
    "NetworkName",
    "ObjectiveChanges",
    "Optimizer",
    "Padding",
    "PairPrecision",
    "Pooling",
    "Precision",
    "Quality",
    "StyleLoss",
    "TransferChanges",
    "Variables",
]

NetworkName = Literal["auto", "vgg19", "builtin"]
FormulaName = Literal[
    "balanced", "gentle", "strong", "paper", "gatys-normalised", "gatys", "johnson"
]
StyleLoss = Literal["gram", "wasserstein", "neighbours"]
Quality = Literal["draft", "normal", "fine"]
Optimizer = Literal["lbfgs", "scipy", "adam"]
Variables = Literal["pyramid", "pixels"]
PairPrecision = Literal["full", "half"]
Guidance = Literal["area", "gatys"]
MatchColor = Literal["none", "cholesky", "symmetric"]
Pooling = Literal["average", "max"]
Padding = Literal["zero", "replicate", "circular"]
Precision = Literal["fast", "accurate"]
BackendName = Literal["auto", "cpu", "cuda", "reference"]


class ObjectiveChanges(TypedDict, total=False):
    """Settings as keywords, but ``network``, for which `Objective` takes more than a name.

    A function that declares ``**changes: Unpack[...]`` of them lets type checkers find misspelt
    settings and wrong types.
    """

    image_size: int
    aspect: Sequence[int] | None
    style_scale: float | Sequence[float]
    style_blend: float | Sequence[float] | None
    init: Any
    seed: int
    keep_alpha: bool
    style_masks: Any
    style_source_masks: Any
    regions: Any
    style_regions: Any
    content_mask: Any
    content_mask_weight: float
    keep_mask: Any
    guidance: Guidance
    content_weight: float | None
    style_weight: float | None
    tv_weight: float | None
    formula: FormulaName
    style_loss: Layers | None
    style_layers: Layers | None
    content_layers: Layers | None
    pooling: Pooling | None
    padding: Padding | None
    normalised: bool | None
    quality: Quality
    iterations: int | Sequence[int] | None
    levels: int | None
    minutes: float | None
    tolerance: float
    optimizer: Optimizer
    variables: Variables | None
    preserve_color: bool
    match_color: MatchColor
    backend: BackendName
    threads: int | None
    precision: Precision
    memory: int | str | None
    tile: int | Literal["auto", "none"] | None
    pairs: int | None
    pair_precision: PairPrecision | None
    weights: str | os.PathLike[str] | None
    calibration: str | os.PathLike[str] | None


class TransferChanges(ObjectiveChanges, total=False):
    """The fields of `TransferOptions` as keywords, with all that they take."""

    network: NetworkName
