"""`TransferOptions`: every setting once. CLI, validation and the README's table read it here.

``None`` as a default means "what belongs to the formula, the network or the quality"; `stylize` and
`Objective` fill it in, and their result records what was used.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from pynst.errors import OptionError
from pynst.formulas import FORMULAS

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from pynst.backends.base import Padding, Pooling, Precision

    MatchColor: TypeAlias = Literal["none", "cholesky", "symmetric"]

__all__ = ["QUALITIES", "TransferOptions", "describe", "with_changes"]

QUALITIES: dict[str, tuple[int, ...]] = {
    "draft": (30, 20, 12, 8, 6),
    "normal": (50, 35, 25, 20, 14),
    "fine": (100, 70, 50, 40, 30),
}
"""Evaluations of the objective per level, coarse to fine; the last holds for further levels."""


def setting(default: Any, help: str, check: Callable[[str, Any], Any], metavar: str = "") -> Any:
    """Declare one field of `TransferOptions`: default, help, and a check that cleans its value."""
    return field(default=default, metadata={"help": help, "check": check, "metavar": metavar})


# ---- checks: each takes (name, value) and returns the cleaned value or raises OptionError --------


def choice(*allowed: str) -> Callable[[str, Any], Any]:
    """One of the allowed words."""

    def check(name: str, value: Any) -> Any:
        if value not in allowed:
            raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        return value

    check.choices = allowed  # type: ignore[attr-defined]
    return check


def number(low: float, high: float = math.inf, *, whole: bool = False) -> Callable[[str, Any], Any]:
    """A finite number in [low, high]."""
    wanted = "a whole number" if whole else "a number"
    most = f"{high}" if whole else f"{high:g}"
    span = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {most}"

    def check(name: str, value: Any) -> Any:
        try:
            clean = float(value)
            if whole and clean == math.floor(clean):
                clean = int(value)  # a float has not all digits of a large number
        except (TypeError, ValueError, OverflowError):
            clean = math.nan
        right = math.isfinite(clean) and low <= clean <= high and not isinstance(value, (bool, str))
        if not right or (whole and clean != math.floor(clean)):
            raise OptionError(f"{name} must be {wanted} {span}, got {value!r}")
        return clean

    check.parse = int if whole else float  # type: ignore[attr-defined]
    return check


def optional(inner: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """``None``, or what `inner` takes."""

    def check(name: str, value: Any) -> Any:
        return None if value is None else inner(name, value)

    vars(check).update(vars(inner))
    return check


def several(inner: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """One value or a sequence of them, as a tuple."""

    def check(name: str, value: Any) -> Any:
        values = [value] if isinstance(value, (int, float, str)) else value
        try:
            return tuple(inner(name, item) for item in values) or _empty(name)
        except TypeError:
            raise OptionError(
                f"{name} must be one value or a list of them, got {value!r}"
            ) from None

    vars(check).update(vars(inner), many=True)
    return check


def flag(name: str, value: Any) -> Any:
    """True or false."""
    if value not in (True, False):
        raise OptionError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def layers(name: str, value: Any) -> Any:
    """Layer names with relative weights: names, ``"name=weight"`` words, or a mapping; as pairs."""
    words = [value] if isinstance(value, str) else value
    pairs: list[tuple[str, Any]] = []
    try:
        items = list(words.items()) if isinstance(words, Mapping) else list(words)
    except TypeError:
        raise OptionError(f"{name} must be layer names, got {value!r}") from None
    for item in items:
        if isinstance(item, str):
            layer, _, weight = item.partition("=")
            pairs.append((layer, _as_number(weight) if weight else 1.0))
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            pairs.append(item)
        else:
            raise OptionError(f"{name} must be layer names, got {item!r}")
    clean = {
        # the paper writes conv4_2 for what is read after its ReLU
        layer.replace("conv", "relu"): number(0)(f"{name}: weight of {layer}", weight)
        for layer, weight in pairs
    }
    if len(clean) != len(pairs):
        raise OptionError(f"{name} names a layer twice: {value!r}")
    if not any(clean.values()):
        raise OptionError(
            f"{name} must name at least one layer with a positive weight, got {value!r}"
        )
    return tuple(clean.items())


layers.many = True  # type: ignore[attr-defined]


def path(name: str, value: Any) -> Any:
    """A path."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"{name} must be a path, got {value!r}")
    return os.fspath(value)


def start(name: str, value: Any) -> Any:
    """``"content"``, ``"style"``, ``"noise"``, or an image, which `pynst.images` judges."""
    if (
        value is None
        or isinstance(value, (bool, int, float))
        or (isinstance(value, str) and not value)
    ):
        raise OptionError(f"{name} must be content, style, noise or an image, got {value!r}")
    return value


def _as_number(word: str) -> Any:
    """Turn a word of the command line into a number, or leave it for the check to refuse."""
    try:
        return float(word)
    except ValueError:
        return word


def _empty(name: str) -> Any:
    raise OptionError(f"{name} must not be empty")


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferOptions:
    """Settings of a style transfer.

    Every field is checked when the object is made; a wrong one raises `OptionError` with its name,
    its value and what was wanted.
    """

    network: str = setting(
        "auto",
        "vgg19, builtin (no download), or auto: vgg19 if it is at hand or can be downloaded",
        choice("auto", "vgg19", "builtin"),
    )
    weights: str | None = setting(
        None,
        "VGG-19 weights file; default: $PYNST_WEIGHTS, then the cache, then a download",
        optional(path),
        "PATH",
    )
    formula: str = setting("balanced", "form of the loss", choice(*FORMULAS))
    image_size: int = setting(
        512, "long side of the result, pixels", number(16, 32768, whole=True), "N"
    )
    aspect: tuple[int, ...] | None = setting(
        None,
        "width and height that give the aspect of the result, where there is no content picture",
        optional(several(number(1, 32768, whole=True))),
        "N",
    )
    quality: str = setting(
        "normal", "evaluations per level: draft, normal or fine", choice(*QUALITIES)
    )
    iterations: tuple[int, ...] | None = setting(
        None,
        "evaluations of the objective: one number, or one per level, coarse to fine;"
        " default: by quality",
        optional(several(number(1, 10**6, whole=True))),
        "N",
    )
    levels: int | None = setting(
        None,
        "levels from coarse to fine; 1 = one size; default: from about 128 pixels up by sqrt(2)",
        optional(number(1, 16, whole=True)),
        "N",
    )
    minutes: float | None = setting(
        None, "stop after this time with the best image", optional(number(0)), "X"
    )
    tolerance: float = setting(
        0.0,
        "stop a level when 10 evaluations lower the loss by less than this share",
        number(0, 1),
        "X",
    )
    init: Any = setting("content", "start: content, style, noise or an image file", start, "WHAT")
    seed: int = setting(0, "seed of init=noise", number(0, 2**63 - 1, whole=True), "N")
    optimizer: str = setting(
        "lbfgs",
        "lbfgs (the algorithm of SciPy's L-BFGS-B, resumable), scipy (SciPy's own), or adam",
        choice("lbfgs", "scipy", "adam"),
    )
    content_weight: float | None = setting(
        None, "alpha: weight of the content term; default: the formula's", optional(number(0)), "X"
    )
    style_weight: float | None = setting(
        None, "beta: weight of the style term; default: the formula's", optional(number(0)), "X"
    )
    tv_weight: float | None = setting(
        None, "weight of total variation; default: the formula's", optional(number(0)), "X"
    )
    content_layers: Any = setting(
        None,
        "layers of the content term, LAYER or LAYER=WEIGHT; weight 0 is the same as not named",
        optional(layers),
        "LAYER",
    )
    style_layers: Any = setting(
        None,
        "layers of the style term, LAYER or LAYER=WEIGHT; weight 0 is the same as not named",
        optional(layers),
        "LAYER",
    )
    pooling: Pooling | None = setting(
        None, "pooling of VGG-19; default: the formula's", optional(choice("average", "max"))
    )
    padding: Padding | None = setting(
        None,
        "padding of the first layer of VGG-19, or circular: of every layer, so that the result"
        " tiles; default: the formula's",
        optional(choice("zero", "replicate", "circular")),
    )
    normalised: bool | None = setting(
        None,
        "divide features by each filter's mean over photographs; default: the formula's",
        optional(flag),
    )
    calibration: str | None = setting(
        None,
        "folder of photographs for the means of a normalised network; default: the package's",
        optional(path),
        "PATH",
    )
    style_blend: tuple[float, ...] | None = setting(
        None, "relative weights of several style pictures", optional(several(number(0))), "X"
    )
    style_scale: float = setting(
        1.0, "size of the style picture relative to the result's", number(0.05, 20), "X"
    )
    preserve_color: bool = setting(False, "keep the colours of the content picture", flag)
    match_color: MatchColor = setting(
        "none",
        "give the style picture the content's mean colour and covariance before the run:"
        " none, cholesky or symmetric",
        choice("none", "cholesky", "symmetric"),
    )
    keep_alpha: bool = setting(
        True, "keep the content's transparency, where the output's format has any", flag
    )
    backend: str = setting("auto", "where to compute", choice("auto", "cpu", "cuda", "reference"))
    precision: Precision = setting("fast", "arithmetic on CUDA", choice("fast", "accurate"))
    threads: int | None = setting(
        None,
        "CPU threads; default: $OMP_NUM_THREADS, then all",
        optional(number(1, 1024, whole=True)),
        "N",
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = each.metadata["check"](each.name, getattr(self, each.name))
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

    @classmethod
    def paper(cls, **changes: Any) -> TransferOptions:
        """Settings of the paper: its formula, network and optimiser, from noise, at one size."""
        # Differs from the paper: 500 evaluations, whose number it does not state; alpha / beta is
        # 1e-6, as with its 1e-3 and Eq. 1 and 4 to the letter the photograph comes back.
        return with_changes(
            cls(
                formula="paper",
                network="vgg19",
                init="noise",
                levels=1,
                iterations=(500,),
                optimizer="scipy",
                style_weight=1e6,
            ),
            changes,
        )

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
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            raise OptionError(f"unknown option {name!r}{hint}")
    if options is not None and not isinstance(options, TransferOptions):
        raise OptionError(f"options must be a TransferOptions, got {type(options).__name__}")
    return replace(options or TransferOptions(), **changes)


def describe() -> list[tuple[str, str, str]]:
    """Describe every setting: (name, default, help), in the order of declaration."""
    return [
        (each.name, "" if each.default is None else str(each.default), each.metadata["help"])
        for each in fields(TransferOptions)
    ]
