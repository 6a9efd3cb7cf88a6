"""`TransferOptions`: every setting once. CLI, validation and the README's table read it here.

``None`` as a default means "what belongs to the formula, the network or the quality"; `stylize` and
`Objective` fill it in, and their result records what was used.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, get_args

from pynst.errors import OptionError
from pynst.options.checks import (
    Check,
    choice,
    flag,
    layers,
    memory,
    number,
    one_or_several,
    optional,
    path,
    picture,
    pictures,
    several,
    shares,
    size,
    start,
    tile,
)
from pynst.options.formulas import FORMULAS
from pynst.options.keywords import (
    BackendName,
    FormulaName,
    Guidance,
    MatchColor,
    NetworkName,
    Optimizer,
    Padding,
    PairPrecision,
    Pooling,
    Precision,
    Quality,
    StyleLoss,
    TransferChanges,
    Variables,
)
from pynst.spelling import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "GROUPS",
    "MASK_SETTINGS",
    "PICTURE_SETTINGS",
    "QUALITIES",
    "TransferChanges",
    "TransferOptions",
    "describe",
    "from_text",
    "with_changes",
]

QUALITIES: dict[str, tuple[int, ...]] = {
    "draft": (24, 14, 9),
    "normal": (36, 22, 15),
    "fine": (100, 60, 40),
}
"""Evaluations of the objective per level, coarse to fine; the last holds for further levels."""

PICTURES, MASKS, LOSS, OPTIMISATION, COLOUR, MACHINE, FILES = GROUPS = (
    "pictures",
    "masks",
    "loss",
    "optimisation",
    "colour",
    "where to compute",
    "files",
)
"""Groups of settings, in the order in which ``pynst --help`` shows them."""


MASK_SETTINGS = (
    "style_masks",
    "style_source_masks",
    "regions",
    "style_regions",
    "content_mask",
    "keep_mask",
)
"""The settings that are pictures which say where."""

PICTURE_SETTINGS = ("init", *MASK_SETTINGS)
"""The settings whose values are pictures, or tuples of them."""


def setting(group: str, default: Any, help: str, check: Check, metavar: str = "") -> Any:
    """Declare one field of `TransferOptions`; the first of a group is the most used one."""
    return field(
        default=default,
        metadata={"group": group, "help": help, "check": check, "metavar": metavar},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferOptions:
    """Settings of a style transfer.

    Every field is checked when the object is made; a wrong one raises `OptionError` with its name,
    its value and what was wanted. Two objects are equal if all their settings are.
    """

    # ---- pictures --------------------------------------------------------------------------------
    image_size: int = setting(
        PICTURES,
        512,
        "long side of the result, pixels; on the command line also content: as large as that",
        size(16, 32768),
        "N",
    )
    aspect: tuple[int, int] | None = setting(
        PICTURES,
        None,
        "width and height that give the aspect of the result, where there is no content picture",
        optional(several(number(1, 32768, whole=True))),
        "N",
    )
    style_scale: float | tuple[float, ...] = setting(
        PICTURES,
        1.0,
        "size of the style picture relative to the result's; or one for each style picture",
        one_or_several(number(0.05, 20)),
        "X",
    )
    style_blend: tuple[float, ...] | None = setting(
        PICTURES,
        None,
        "relative weights of several style pictures",
        optional(several(number(0))),
        "X",
    )
    init: Any = setting(
        PICTURES, "content", "start: content, style, noise or an image file", start, "WHAT"
    )
    seed: int = setting(PICTURES, 0, "seed of init=noise", number(0, 2**63 - 1, whole=True), "N")
    keep_alpha: bool = setting(
        PICTURES,
        True,
        "keep the content's transparency, where the output's format has any",
        flag,
    )

    # ---- masks -----------------------------------------------------------------------------------
    style_masks: tuple[Any, ...] | None = setting(
        MASKS,
        None,
        "where in the result each style picture paints, white is there: one mask for each of them,"
        " or the words rest (what the others leave) and all",
        optional(pictures),
        "FILE",
    )
    style_source_masks: tuple[Any, ...] | None = setting(
        MASKS,
        None,
        "which part of each style picture gives its style, white does: one mask for each of them,"
        " or the word all; keeps frames and borders out",
        optional(pictures),
        "FILE",
    )
    regions: Any = setting(
        MASKS,
        None,
        "map of the result in flat colours: each takes its style from where style_regions has it",
        optional(picture),
        "FILE",
    )
    style_regions: tuple[Any, ...] | None = setting(
        MASKS,
        None,
        "maps of the style pictures in the colours of regions, one for each of them",
        optional(pictures),
        "FILE",
    )
    content_mask: Any = setting(
        MASKS,
        None,
        "where the result keeps nearer to the content, white does",
        optional(picture),
        "FILE",
    )
    content_mask_weight: float = setting(
        MASKS,
        5.0,
        "weight of the content term where content_mask is white, relative to elsewhere",
        number(0, 1e6),
        "X",
    )
    keep_mask: Any = setting(
        MASKS,
        None,
        "where the finished result is the content itself, with a soft edge, white is",
        optional(picture),
        "FILE",
    )
    guidance: Guidance = setting(
        MASKS,
        "area",
        "how masks guide the style: area (each pixel by its share, each region by its area) or"
        " gatys (as published in 2017: squared masks, regions alike)",
        choice(*get_args(Guidance)),
    )

    # ---- loss ------------------------------------------------------------------------------------
    content_weight: float | None = setting(
        LOSS,
        None,
        "alpha: weight of the content term; default: the formula's",
        optional(number(0)),
        "X",
    )
    style_weight: float | None = setting(
        LOSS,
        None,
        "beta: weight of the style term; default: the formula's",
        optional(number(0)),
        "X",
    )
    tv_weight: float | None = setting(
        LOSS, None, "weight of total variation; default: the formula's", optional(number(0)), "X"
    )
    formula: FormulaName = setting(
        LOSS,
        "balanced",
        "form of the loss: gentle, balanced or strong (how much of the painting), or a published"
        " one",
        choice(*get_args(FormulaName)),
    )
    # A str here, as records name the network that was used; `TransferChanges` has the words.
    network: str = setting(
        LOSS,
        "auto",
        "vgg19, builtin (no download), or auto: vgg19 if it is at hand or can be downloaded",
        choice(*get_args(NetworkName)),
    )
    style_loss: tuple[tuple[str, float], ...] | None = setting(
        LOSS,
        None,
        "what the style term compares, LOSS or LOSS=WEIGHT: gram (Gram matrices), wasserstein (mean"
        " and covariance of the features), neighbours (each feature with the painting's nearest to"
        " the content's); default: the formula's",
        optional(shares(*get_args(StyleLoss))),
        "LOSS",
    )
    style_layers: tuple[tuple[str, float], ...] | None = setting(
        LOSS,
        None,
        "layers of the style term, LAYER or LAYER=WEIGHT; weight 0 is the same as not named;"
        " default: the network's",
        optional(layers),
        "LAYER",
    )
    content_layers: tuple[tuple[str, float], ...] | None = setting(
        LOSS,
        None,
        "layers of the content term, LAYER or LAYER=WEIGHT; weight 0 is the same as not named;"
        " default: the network's",
        optional(layers),
        "LAYER",
    )
    pooling: Pooling | None = setting(
        LOSS,
        None,
        "pooling of VGG-19; default: the formula's",
        optional(choice("average", "max")),
    )
    padding: Padding | None = setting(
        LOSS,
        None,
        "padding of the first layer of VGG-19, or circular: of every layer, so that the result"
        " tiles; default: the formula's",
        optional(choice("zero", "replicate", "circular")),
    )
    normalised: bool | None = setting(
        LOSS,
        None,
        "divide features by each filter's mean over photographs; default: the formula's",
        optional(flag),
    )

    # ---- optimisation ----------------------------------------------------------------------------
    quality: Quality = setting(
        OPTIMISATION,
        "normal",
        "evaluations per level: draft, normal or fine",
        choice(*get_args(Quality)),
    )
    iterations: tuple[int, ...] | None = setting(
        OPTIMISATION,
        None,
        "evaluations of the objective: one number, or one per level, coarse to fine;"
        " default: by quality",
        optional(several(number(1, 10**6, whole=True))),
        "N",
    )
    levels: int | None = setting(
        OPTIMISATION,
        None,
        "levels from coarse to fine; 1 = one size; default: from about 128 pixels, doubling",
        optional(number(1, 16, whole=True)),
        "N",
    )
    minutes: float | None = setting(
        OPTIMISATION, None, "stop after this time with the best image", optional(number(0)), "X"
    )
    tolerance: float = setting(
        OPTIMISATION,
        0.0,
        "stop a level when 10 evaluations lower the loss by less than this share",
        number(0, 1),
        "X",
    )
    optimizer: Optimizer = setting(
        OPTIMISATION,
        "lbfgs",
        "lbfgs (the algorithm of SciPy's L-BFGS-B, resumable), scipy (SciPy's own), or adam",
        choice(*get_args(Optimizer)),
    )
    variables: Variables | None = setting(
        OPTIMISATION,
        None,
        "what lbfgs and scipy minimise over: pyramid (large shapes move as fast as details), or"
        " pixels, as the paper does; default: the formula's",
        optional(choice(*get_args(Variables))),
    )

    # ---- colour ----------------------------------------------------------------------------------
    preserve_color: bool = setting(COLOUR, False, "keep the colours of the content picture", flag)
    match_color: MatchColor = setting(
        COLOUR,
        "none",
        "give the style picture the content's mean colour and covariance before the run:"
        " none, cholesky or symmetric",
        choice(*get_args(MatchColor)),
    )

    # ---- where to compute ------------------------------------------------------------------------
    backend: BackendName = setting(
        MACHINE,
        "auto",
        "where to compute; auto: on CUDA where it can be used, else on the CPU",
        choice(*get_args(BackendName)),
    )
    threads: int | None = setting(
        MACHINE,
        None,
        "CPU threads; default: $OMP_NUM_THREADS, then all",
        optional(number(1, 1024, whole=True)),
        "N",
    )
    precision: Precision = setting(
        MACHINE,
        "fast",
        "arithmetic on CUDA: fast (16-bit numbers) or accurate (32-bit)",
        choice("fast", "accurate"),
    )

    memory: int | None = setting(
        MACHINE,
        None,
        "most memory of the whole process, like 6G; default: $PYNST_MEMORY, then what is free",
        optional(memory),
        "SIZE",
    )
    tile: int | str | None = setting(
        MACHINE,
        "auto",
        "walk a large image in tiles of so many pixels, to the same result: auto (where it would"
        " not fit into memory as a whole), a number, or none",
        tile,
        "N",
    )
    pairs: int | None = setting(
        MACHINE,
        None,
        "pairs of vectors that L-BFGS keeps; default: 10, or fewer where memory is short",
        optional(number(3, 10, whole=True)),
        "N",
    )
    pair_precision: PairPrecision | None = setting(
        MACHINE,
        None,
        "numbers of the pairs of L-BFGS: full (32 bits) or half (16 bits); default: full, or half"
        " where memory is short",
        optional(choice(*get_args(PairPrecision))),
    )

    # ---- files -----------------------------------------------------------------------------------
    weights: str | None = setting(
        FILES,
        None,
        "VGG-19 weights file; default: $PYNST_WEIGHTS, then the cache, then a download",
        optional(path),
        "PATH",
    )
    calibration: str | None = setting(
        FILES,
        None,
        "folder of photographs for the means of a normalised network; default: the package's",
        optional(path),
        "PATH",
    )

    if TYPE_CHECKING:
        # The fields hold cleaned values; what may be passed for them is wider, and stands here.
        def __init__(self, **settings: Unpack[TransferChanges]) -> None: ...

    def __post_init__(self) -> None:
        for each in fields(self):
            value = each.metadata["check"].clean(each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, value)
        alpha, beta = self.content_weight, self.style_weight
        if alpha == 0 and beta == 0:
            raise OptionError(
                "content_weight and style_weight must not both be 0: nothing would be left to do"
            )
        if self.aspect is not None and len(self.aspect) != 2:
            raise OptionError(f"aspect must be a width and a height, got {self.aspect!r}")
        if self.style_blend is not None and not any(self.style_blend):
            raise OptionError("style_blend must have at least one positive weight, got only zeros")

        only_gram = all(loss == "gram" for loss, _ in self.style_loss or ())
        if not only_gram and not FORMULAS[self.formula].relative:
            relative = [name for name, formula in FORMULAS.items() if formula.relative]
            raise OptionError(
                f"style_loss={self.style_loss!r} needs a formula whose terms are relative to the"
                f" pictures ({', '.join(relative)}), got formula={self.formula!r}"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TransferOptions):
            return NotImplemented
        return self._all_but_pictures() == other._all_but_pictures() and all(
            _same(getattr(self, name), getattr(other, name)) for name in PICTURE_SETTINGS
        )

    def __hash__(self) -> int:
        return hash(self._all_but_pictures())

    def _all_but_pictures(self) -> tuple[Any, ...]:
        """Every value but those that may be arrays: no `==`, no hash."""
        return tuple(
            getattr(self, each.name) for each in fields(self) if each.name not in PICTURE_SETTINGS
        )

    @classmethod
    def paper(cls, **changes: Unpack[TransferChanges]) -> TransferOptions:
        """Settings of the paper: its formula, network and optimiser, from noise, at one size."""
        # Differs from the paper: 500 evaluations, whose number it does not state; alpha / beta is
        # 1e-6, as with its 1e-3 and Eq. 1 and 4 to the letter the photograph comes back.
        return with_changes(
            cls(
                formula="paper",
                network="vgg19",
                init="noise",
                levels=1,
                iterations=500,
                optimizer="scipy",
                style_weight=1e6,
            ),
            changes,
        )

    def style_shares(self) -> dict[str, float]:
        """What the style term compares, by name, with shares that add up to 1."""
        return dict(self.style_loss or FORMULAS[self.formula].style_loss)

    def over_pyramid(self) -> bool:
        """Whether L-BFGS minimises over the variables of a pyramid, not over the pixels."""
        return (self.variables or FORMULAS[self.formula].variables) == "pyramid"

    def schedule(self, levels: int, finest_share: float = 0.0) -> tuple[int, ...]:
        """Evaluations for each of so many levels, coarse to fine.

        By quality, none gets fewer than `finest_share` of the first.
        """
        if self.iterations is None:
            table = QUALITIES[self.quality]
            if levels == 1 and self.levels == 1:
                return (sum(table),)
            least = round(finest_share * table[0])
            return tuple(max(least, table[min(level, len(table) - 1)]) for level in range(levels))
        if len(self.iterations) == 1:
            return self.iterations * levels
        if len(self.iterations) != levels:
            raise OptionError(
                f"iterations must be one number or one for each of the {levels} levels,"
                f" got {len(self.iterations)} numbers"
            )
        return self.iterations


def with_changes(options: TransferOptions | None, changes: Mapping[str, Any]) -> TransferOptions:
    """Replace fields by name; an unknown name raises `OptionError` and offers the nearest one."""
    known: dict[str, Field[Any]] = {each.name: each for each in fields(TransferOptions)}
    for name in changes:
        if name not in known:
            hint = did_you_mean(name, known) or "the fields of TransferOptions are known"
            raise OptionError(f"unknown option {name!r}; {hint}")
    if options is not None and not isinstance(options, TransferOptions):
        raise OptionError(f"options must be a TransferOptions, got {type(options).__name__}")
    return replace(options or TransferOptions(), **changes)


def from_text(name: str, text: str) -> Any:
    """Read one value of a setting from a text, such as a cell of a table.

    Parameters
    ----------
    name : str
        A field of `TransferOptions`; the value of any other name stays text.
    text : str
        ``"0.5"``, ``"true"``; the parts of a value of several parts are joined by plus signs.

    Raises
    ------
    OptionError
        The text is of another type than the setting.
    """
    known = {each.name: each.metadata["check"] for each in fields(TransferOptions)}
    check: Check | None = known.get(name)
    if check is None:
        return text
    if check.boolean:
        if text.lower() not in ("true", "false"):
            raise OptionError(f"{name} must be true or false, got {text!r}")
        return text.lower() == "true"
    try:
        parts = [check.parse(part) for part in text.split("+")] if check.many else []
        return parts or check.parse(text)
    except ValueError:
        raise OptionError(f"{name} must be {check.kind}, got {text!r}") from None


def describe() -> list[tuple[str, str, str]]:
    """Describe every setting: (name, default, help), in the order of declaration."""
    return [
        (each.name, "" if each.default is None else str(each.default), each.metadata["help"])
        for each in fields(TransferOptions)
    ]


def _same(here: Any, there: Any) -> bool:
    """Whether two settings are the same word, path or picture, or tuples of the same."""
    if here is there:
        return True
    if type(here) is not type(there):
        return False
    if isinstance(here, tuple):
        return len(here) == len(there) and all(map(_same, here, there))
    if hasattr(here, "dtype"):
        import numpy as np

        return bool(here.dtype == there.dtype and np.array_equal(here, there))
    return bool(here == there)


def _document() -> None:
    """Write the Parameters section of the class from the settings."""
    lines = ["", "", "Parameters", "----------"]
    for each in fields(TransferOptions):
        default = "optional" if each.default is None else f"default {each.default!r}"
        lines += [f"{each.name} : {each.metadata['check'].kind}, {default}"]
        lines += [f"    {each.metadata['help']}"]
    # Python 3.13 has removed the indentation of docstrings already, earlier ones have not.
    head = inspect.cleandoc(TransferOptions.__doc__ or "")
    TransferOptions.__doc__ = head + "\n".join(lines) + "\n"


_document()
