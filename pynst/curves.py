"""Curves of the loss over the evaluations of a run, as an SVG picture with a logarithmic axis."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

from pynst.errors import ImageError
from pynst.files import shown, write_whole
from pynst.losses.terms import LossTerms

__all__ = ["Curve", "Curves", "History", "check_curves_file", "term_curves", "total_curve"]

History: TypeAlias = Sequence[Sequence[LossTerms]]
"""The terms of every evaluation, one sequence per level, coarse to fine."""

_WIDTH, _HEIGHT = 960, 480  # of the picture
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 690, 430  # edges of the plot; the legend is to its right
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
_DASHES = ("none", "6 3", "2 2", "8 3 2 3")
_LEGEND_ROW = 15
_LONGEST_NAME = 40  # characters in the legend
_DECADES = 6  # powers of ten that are shown at most: a content term begins near zero


@dataclass(frozen=True)
class Curve:
    """One line: a loss over the evaluations of a run.

    Attributes
    ----------
    name : str
        Stands in the legend.
    values : tuple of float
        One per evaluation; those that are not positive have no place on a logarithmic axis.
    borders : tuple of int
        The evaluations, from 1, with which the levels after the first begin.
    """

    name: str
    values: tuple[float, ...]
    borders: tuple[int, ...] = ()

    @property
    def points(self) -> list[tuple[int, float]]:
        """The evaluations, from 1, with those values that can be drawn."""
        return [(i, v) for i, v in enumerate(self.values, 1) if 0 < v < math.inf]


@dataclass(frozen=True)
class Curves:
    """Several curves in one plot; a notebook shows it as a picture.

    Attributes
    ----------
    title : str
    curves : tuple of Curve
    quantity : str
        What the vertical axis shows.
    """

    title: str
    curves: tuple[Curve, ...]
    quantity: str = "loss"

    @property
    def borders(self) -> list[int]:
        """The evaluations with which a level of any curve begins."""
        return sorted({border for curve in self.curves for border in curve.borders})

    def svg(self) -> str:
        """Draw the curves as an SVG document; a dashed line stands where a level begins."""
        axes = _Axes.of(self.curves)
        height = max(_HEIGHT, _TOP + _LEGEND_ROW * (len(self.curves) + 1))
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
                f' viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11">',
                '<rect width="100%" height="100%" fill="white"/>',
                f'<text x="{_LEFT}" y="20" font-size="13">{_safe(self.title)}</text>',
                *_grid(axes, self.borders),
                *(_line(axes, number, curve) for number, curve in enumerate(self.curves)),
                _frame(axes, self.quantity),
                "</svg>",
                "",
            ]
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the curves, as SVG or, with matplotlib, in any format that it writes.

        Parameters
        ----------
        path : str or path
            ``"loss.svg"`` needs nothing; ``"loss.pdf"``, ``"loss.png"`` need matplotlib.

        Raises
        ------
        ImageError
            The file cannot be written, or its ending needs matplotlib, which is not installed.
        """
        check_curves_file(path)
        if Path(path).suffix.lower() != ".svg":
            return self._save_by_matplotlib(path)
        try:
            write_whole(self.svg().encode("utf-8", "replace"), path)
        except OSError as error:
            raise ImageError(f"curves: cannot write {shown(path)}: {error.strerror}") from error
        return Path(path)

    def draw(self, axes: Any) -> None:
        """Draw the curves into the axes of a figure of matplotlib."""
        for curve in self.curves:
            points = curve.points
            axes.plot([i for i, _ in points], [value for _, value in points], label=curve.name)
        for border in self.borders:
            axes.axvline(border, color="0.6", linestyle=":", linewidth=1)
        axes.set(
            yscale="log",
            xlabel="evaluations of the objective",
            ylabel=self.quantity,
            title=self.title,
        )
        axes.legend(frameon=False)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _save_by_matplotlib(self, path: str | os.PathLike[str]) -> Path:
        """Write the curves in a format of matplotlib's."""
        import io

        from matplotlib.figure import Figure  # without pyplot: no window, no state

        figure, file = Figure(figsize=(8, 4.5), layout="constrained"), io.BytesIO()
        self.draw(figure.subplots())
        try:
            figure.savefig(file, format=Path(path).suffix[1:].lower(), dpi=150)
            write_whole(file.getvalue(), path)
        except (OSError, ValueError) as error:  # ValueError: a format that it does not know
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"curves: cannot write {shown(path)}: {reason}") from error
        return Path(path)


def check_curves_file(path: str | os.PathLike[str]) -> None:
    """Check, before the work that makes the curves, that they could be written.

    Raises
    ------
    ImageError
        The folder is missing, or the ending needs matplotlib, which is not installed.
    """
    from importlib.util import find_spec

    place = Path(path)
    if not place.suffix:
        raise ImageError(f"curves: must be a file that ends in .svg, got {shown(path)}")
    if place.suffix.lower() != ".svg" and find_spec("matplotlib") is None:
        raise ImageError(
            f"curves: {shown(place.suffix)} needs matplotlib, which is not installed; .svg does not"
        )
    if not place.parent.is_dir():
        raise ImageError(f"curves: no such directory: {shown(place.parent)}")


def total_curve(name: str, history: History) -> Curve:
    """The total loss of a run as one curve."""
    values = tuple(terms.total for level in history for terms in level)
    return Curve(name, values, _borders(history))


def term_curves(history: History) -> tuple[Curve, ...]:
    """The total loss of a run, and each of its terms that is not zero throughout."""
    evaluations = [_named(terms) for level in history for terms in level]
    names = dict.fromkeys(name for terms in evaluations for name in terms)
    curves = [
        Curve(name, tuple(terms.get(name, 0.0) for terms in evaluations), _borders(history))
        for name in names
    ]
    return tuple(curve for curve in curves if curve.points)


def _named(terms: LossTerms) -> dict[str, float]:
    """The terms of one evaluation, by the names that they have in a legend."""
    named = {"total": terms.total, "content": terms.content, "style": terms.style}
    return {**named, "total variation": terms.tv, **terms.others}


def _borders(history: History) -> tuple[int, ...]:
    """The evaluations, from 1, with which the levels after the first begin."""
    return tuple(1 + count for count in accumulate(map(len, history[:-1])))


@dataclass(frozen=True)
class _Axes:
    """Where an evaluation and a value lie in the picture.

    Attributes
    ----------
    low, high : int
        Exponents of the lowest and the highest value that are shown.
    last : int
        The last evaluation.
    """

    low: int
    high: int
    last: int

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> _Axes:
        """Axes on which the values have a place, but for those that are far below the highest."""
        values = [value for curve in curves for _, value in curve.points]
        low = math.floor(math.log10(min(values, default=1.0)))
        high = math.ceil(math.log10(max(values, default=10.0)))
        last = max((len(curve.values) for curve in curves), default=0)
        return cls(max(low, high - _DECADES), max(high, low + 1), max(last, 2))

    def x(self, evaluation: int) -> float:
        """From the left; evaluations are counted from 1."""
        return _LEFT + (_RIGHT - _LEFT) * (evaluation - 1) / (self.last - 1)

    def y(self, value: float) -> float:
        """From the top."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return _BOTTOM - (_BOTTOM - _TOP) * share


def _grid(axes: _Axes, borders: Sequence[int]) -> Iterator[str]:
    """A line for each power of ten, and a dashed one where a level begins."""
    for exponent in range(axes.low, axes.high + 1):
        y = f"{axes.y(10.0**exponent):.1f}"
        yield f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y}" dy="4" text-anchor="end">1e{exponent}</text>'
    for border in borders:
        x = f"{axes.x(border):.1f}"
        yield (
            f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{_BOTTOM}" stroke="#999"'
            ' stroke-dasharray="3 3"/>'
        )


def _line(axes: _Axes, number: int, curve: Curve) -> str:
    """One curve: its line, and its place in the legend."""
    colour = _COLOURS[number % len(_COLOURS)]
    dashes = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    stroke = f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"'
    points = " ".join(
        f"{axes.x(i):.1f},{axes.y(value):.1f}"
        for i, value in curve.points
        if value >= 10.0**axes.low
    )
    y = _TOP + _LEGEND_ROW * number
    return (
        f'<polyline points="{points}" fill="none" {stroke}/>'
        f'<line x1="{_RIGHT + 15}" x2="{_RIGHT + 40}" y1="{y}" y2="{y}" {stroke}/>'
        f'<text x="{_RIGHT + 46}" y="{y}" dy="4">{_safe(curve.name[:_LONGEST_NAME])}</text>'
    )


def _frame(axes: _Axes, quantity: str) -> str:
    """The two axes and what they mean."""
    middle = (_TOP + _BOTTOM) // 2
    return (
        f'<path d="M{_LEFT},{_TOP} V{_BOTTOM} H{_RIGHT}" fill="none" stroke="black"/>'
        f'<text x="{_LEFT}" y="{_BOTTOM + 16}">1</text>'
        f'<text x="{_RIGHT}" y="{_BOTTOM + 16}" text-anchor="end">{axes.last}</text>'
        f'<text x="{(_LEFT + _RIGHT) // 2}" y="{_BOTTOM + 32}" text-anchor="middle">'
        "evaluations of the objective</text>"
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        f"{_safe(quantity)}</text>"
    )


def _safe(text: str) -> str:
    """Text that XML can hold."""
    return escape("".join(c if c.isprintable() else "?" for c in text))
