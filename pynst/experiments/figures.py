"""The figures of Gatys et al. 2016, each as a contact sheet of the runs that it shows.

The captions state alpha / beta, the layers and the start of each figure, but neither the size of
the pictures nor the number of evaluations. By default the loss is the paper's and the way to its
minimum is PyNST's, from coarse to fine; with `paper` the way is the paper's too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from pynst.errors import OptionError
from pynst.experiments.balance import READINGS, balanced, kappa_of
from pynst.experiments.reconstruction import reconstruction_options
from pynst.experiments.sheets import Cell, CellProgress, Sheet, make_sheet
from pynst.experiments.textures import texture_options
from pynst.images import ImageLike, read_picture, size_to_long_side
from pynst.options import TransferOptions, with_changes

__all__ = ["FIGURES", "figure"]

_CONTENT_LAYERS = ("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2")
_STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}

_RATIOS_OF_PAINTINGS = (1e-3, 8e-4, 5e-3, 5e-4, 5e-4)  # Fig. 3, B to F
_RATIOS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # Fig. 4; its caption has none
_RATIO = 1e-3
_RATIO_OF_PHOTOGRAPHS = 1e-2  # Fig. 7


_COARSE_TO_FINE = TransferOptions(network="vgg19", init="noise", quality="fine")
"""At 256 pixels 160 evaluations over two sizes, which cost about as much as 85 at the last one,
where `TransferOptions.paper` has 500 at one size."""


class _Request:
    """What is asked of a figure, as all of them need it."""

    def __init__(
        self,
        content: ImageLike,
        styles: Sequence[ImageLike],
        image_size: int,
        reading: str,
        paper: bool,
        changes: dict[str, Any],
    ) -> None:
        self.content = content
        self.styles = list(styles)
        self.image_size = image_size
        self.reading = reading
        self.paper = paper
        self.changes = changes
        H, W = read_picture(content, "content").pixels.shape[:2]
        self.H, self.W = size_to_long_side(H, W, image_size)

    def cell(
        self,
        name: str,
        ratio: float,
        style: int = 0,
        settings: dict[str, str] | None = None,
        **changes: Any,
    ) -> Cell:
        """A transfer with the paper's loss, with a ratio alpha / beta and some changes."""
        layer = changes.get("content_layers", "conv4_2")
        features = self._features(layer)
        kappa = kappa_of(ratio, self.reading, features)
        sums = kappa / kappa_of(1, "sums", features)
        way = TransferOptions.paper() if self.paper else _COARSE_TO_FINE
        size = {"image_size": self.image_size}
        options = with_changes(way, {**size, **balanced(kappa), **changes, **self.changes})
        label = {
            **(settings or {}),
            "alpha/beta": f"{ratio:g} ({self.reading})",
            "as sums": f"{sums:.3g}",
            "as means": f"{kappa / kappa_of(1, 'means', 0):.3g}",
        }
        return Cell(name, label, self.content, self.styles[style], options)

    def _features(self, layer: str) -> int:
        """N M of a layer for the content at its size."""
        block = int(layer[4])
        return _CHANNELS[block] * (self.H >> block - 1) * (self.W >> block - 1)


def figure(
    number: int,
    content: ImageLike | None = None,
    style: ImageLike | Sequence[ImageLike] | None = None,
    *,
    image_size: int = 256,
    seeds: int = 4,
    ratios: Sequence[float] | None = None,
    reading: str = "plain",
    paper: bool = False,
    title: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    workers: int | None = None,
    callback: Callable[[CellProgress], None] | None = None,
    **changes: Any,
) -> Sheet:
    """Make a figure of the paper with pictures of one's own.

    Parameters
    ----------
    number : {1, 3, 4, 5, 6, 7}
        1: what each layer keeps, of the content (from noise, Eq. 1) and of the style (Eq. 4, with
        growing sets of layers). 3: one photograph in several styles. 4: alpha / beta from little
        content to much. 5: content from conv2_2 and from conv4_2. 6: starts from content, style
        and noise. 7: from one photograph to another.
    content : as for `pynst.stylize`, optional
        With no picture at all: the two that PyNST draws itself.
    style : as for `pynst.stylize`, optional
        For figure 3 several; for figure 1 the content by default.
    image_size : int
        Long side of each picture, pixels.
    seeds : int
        How many noise starts figure 6 shows.
    ratios : sequence of float, optional
        alpha / beta of each cell of figures 3 and 4, or the one of figures 5, 6 and 7; by default
        the paper's.
    reading : {"plain", "sums", "means"}
        What alpha / beta means; see `pynst.experiments.balance`.
    paper : bool
        Minimise as the paper does: 500 evaluations of SciPy's L-BFGS-B at one size, which takes
        much longer. Figure 1: also Eq. 1 alone and the model of 2015, without total variation. By
        default the levels go from coarse to fine, with the same loss in figures 3 to 7.
    title, folder, force, workers, callback
        As for `pynst.sweep`.
    **changes
        Fields of `TransferOptions` to replace in all cells, e.g. ``iterations=200``.

    Returns
    -------
    Sheet

    Raises
    ------
    OptionError
        There is no such figure, or a setting is wrong.
    PyNSTError
        As for `pynst.sweep`.

    Examples
    --------
    >>> figure(6, "photo.jpg", "painting.jpg").save("fig6.png")  # doctest: +SKIP
    """
    if number not in FIGURES:
        known = ", ".join(map(str, FIGURES))
        raise OptionError(f"figure must be one of {known}, got {number!r}")
    if reading not in READINGS:
        raise OptionError(f"reading must be one of {', '.join(READINGS)}, got {reading!r}")
    given: list[Any] = list(style) if isinstance(style, (list, tuple)) else [style]
    content, styles = _pictures(number, content, [s for s in given if s is not None], image_size)
    if len(styles) > 1 and number != 3:
        raise OptionError(f"figure {number} has one style picture, got {len(styles)}")
    request = _Request(content, styles, image_size, reading, paper, changes)
    rows = FIGURES[number](request, _checked_ratios(ratios), _checked_seeds(seeds))
    default = f"Figure {number}: {_TITLES[number]}"
    return make_sheet(
        rows,
        title or default,
        folder=folder,
        force=force,
        workers=workers,
        callback=callback,
    )


def _pictures(
    number: int, content: ImageLike | None, styles: list[ImageLike], image_size: int
) -> tuple[ImageLike, list[ImageLike]]:
    """The pictures that are given, or the two that PyNST draws."""
    if content is None and not styles:
        from pynst.demo import draw_painting, draw_scene

        side = min(max(image_size, 64), 4096)  # what can be drawn; the runs resize it
        size = side, round(side * 3 / 4)
        return draw_scene(*size), [draw_painting(*size)]
    if content is not None and not styles and number == 1:
        styles = [content]
    if content is None or not styles:
        missing = "content" if content is None else "style"
        raise OptionError(f"figure {number} needs a {missing} picture beside the other, or neither")
    return content, styles


def _checked_ratios(ratios: Sequence[float] | None) -> tuple[float, ...]:
    """Each a positive number; empty for the paper's."""
    found = tuple(ratios or ())
    for ratio in found:
        known: Any = ratio
        real = isinstance(known, (int, float)) and not isinstance(known, bool)
        if not real or not 0 < ratio < float("inf"):
            raise OptionError(f"ratios must be positive numbers, got {ratio!r}")
    return found


def _checked_seeds(seeds: Any) -> int:
    """A number of noise starts."""
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise OptionError(f"seeds must be a whole number of at least 1, got {seeds!r}")
    return seeds


def _layers(request: _Request, ratios: Sequence[float], seeds: int) -> list[list[Cell]]:  # noqa: ARG001
    """Fig. 1: the content from one layer each, the style from growing sets of layers."""
    size, paper, changes = request.image_size, request.paper, request.changes
    H, W = read_picture(request.styles[0], "style").pixels.shape[:2]
    H, W = size_to_long_side(H, W, size)
    contents, styles = [], []
    for layer in _CONTENT_LAYERS:
        options = reconstruction_options(layer, paper=paper, image_size=size, **changes)
        contents.append(
            Cell(f"content {layer}", {"content": layer}, request.content, None, options)
        )
    for count in range(1, len(_STYLE_LAYERS) + 1):
        named = _STYLE_LAYERS[:count]
        options = texture_options(
            request.styles[0], (W, H), layers=named, source_size=size, paper=paper, **changes
        )
        label = named[0] if count == 1 else f"{named[0]} to {named[-1]}"
        styles.append(Cell(f"style {label}", {"style": label}, None, request.styles[0], options))
    return [contents, styles]


def _paintings(request: _Request, ratios: Sequence[float], seeds: int) -> list[list[Cell]]:  # noqa: ARG001
    """Fig. 3: several styles, each with its own ratio, three in a row."""
    given = ratios or _RATIOS_OF_PAINTINGS
    cells = [
        request.cell(f"style {i + 1}", given[min(i, len(given) - 1)], i, {"style": f"{i + 1}"})
        for i in range(len(request.styles))
    ]
    return [cells[i : i + 3] for i in range(0, len(cells), 3)]


def _balances(request: _Request, ratios: Sequence[float], seeds: int) -> list[list[Cell]]:  # noqa: ARG001
    """Fig. 4: alpha / beta rises from left to right."""
    return [[request.cell(f"ratio {r:g}", r) for r in sorted(set(ratios or _RATIOS))]]


def _depths(request: _Request, ratios: Sequence[float], seeds: int) -> list[list[Cell]]:  # noqa: ARG001
    """Fig. 5: the content layer is low, or high."""
    ratio = _one(ratios, _RATIO)
    return [
        [
            request.cell(layer, ratio, settings={"content layer": layer}, content_layers=layer)
            for layer in ("conv2_2", "conv4_2")
        ]
    ]


def _starts(request: _Request, ratios: Sequence[float], seeds: int) -> list[list[Cell]]:
    """Fig. 6: from the content, from the style, and from several noises."""
    ratio = _one(ratios, _RATIO)
    pictures = [
        request.cell(f"start {init}", ratio, settings={"start": init}, init=init)
        for init in ("content", "style")
    ]
    noises = [
        request.cell(
            f"noise {seed}",
            ratio,
            settings={"start": f"noise, seed {seed}"},
            init="noise",
            seed=seed,
        )
        for seed in range(seeds)
    ]
    return [pictures, *(noises[i : i + 4] for i in range(0, seeds, 4))]


def _photographs(request: _Request, ratios: Sequence[float], seeds: int) -> list[list[Cell]]:  # noqa: ARG001
    """Fig. 7: the style is a photograph too, and the start is the content."""
    ratio = _one(ratios, _RATIO_OF_PHOTOGRAPHS)
    return [[request.cell("photograph", ratio, settings={"start": "content"}, init="content")]]


def _one(ratios: Sequence[float], paper: float) -> float:
    """The only ratio of a figure."""
    if len(ratios) > 1:
        raise OptionError(f"this figure has one ratio, got {len(ratios)}")
    return ratios[0] if ratios else paper


FIGURES: dict[int, Callable[..., list[list[Cell]]]] = {
    1: _layers,
    3: _paintings,
    4: _balances,
    5: _depths,
    6: _starts,
    7: _photographs,
}
"""By its number in the paper; figure 2 is a drawing of the method."""

_TITLES = {
    1: "what each layer keeps of content and style",
    3: "one photograph in several styles",
    4: "little content to much",
    5: "content from a low and from a high layer",
    6: "starts from content, style and noise",
    7: "from photograph to photograph",
}
