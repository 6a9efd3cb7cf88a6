"""Curves of the loss as an SVG picture: one line per cell, over evaluations, with a log axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from xml.sax.saxutils import escape

from pynst.experiments.sheets.cells import CellResult

__all__ = ["curves_svg"]

_WIDTH, _HEIGHT = 960, 480  # of the picture
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 690, 430  # edges of the plot; the legend is to its right
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
_DASHES = ("none", "6 3", "2 2", "8 3 2 3")
_LEGEND_ROW = 15
_LONGEST_NAME = 40  # characters in the legend


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
    def of(cls, results: Sequence[CellResult]) -> _Axes:
        """Axes on which every positive total has a place."""
        values = [value for found in results for value in _totals(found) if 0 < value < math.inf]
        low = math.floor(math.log10(min(values, default=1.0)))
        high = math.ceil(math.log10(max(values, default=10.0)))
        last = max((found.evaluations for found in results), default=0)
        return cls(low, max(high, low + 1), max(last, 2))

    def x(self, evaluation: int) -> float:
        """From the left; evaluations are counted from 1."""
        return _LEFT + (_RIGHT - _LEFT) * (evaluation - 1) / (self.last - 1)

    def y(self, value: float) -> float:
        """From the top."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return _BOTTOM - (_BOTTOM - _TOP) * share


def curves_svg(results: Sequence[CellResult], title: str) -> str:
    """Draw the total loss of every cell that has a history.

    Parameters
    ----------
    results : sequence of CellResult
    title : str

    Returns
    -------
    str
        An SVG document. A dashed line stands where a level of any cell begins.
    """
    axes = _Axes.of(results)
    height = max(_HEIGHT, _TOP + _LEGEND_ROW * (len(results) + 1))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
            ' font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{_LEFT}" y="20" font-size="13">{_safe(title)}</text>',
            *_grid(axes, sorted({border for found in results for border in _borders(found)})),
            *(_curve(axes, number, found) for number, found in enumerate(results)),
            _frame(axes),
            "</svg>",
            "",
        ]
    )


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


def _curve(axes: _Axes, number: int, found: CellResult) -> str:
    """One cell: its line, and its place in the legend."""
    colour = _COLOURS[number % len(_COLOURS)]
    dashes = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    stroke = f'stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"'
    points = " ".join(
        f"{axes.x(i):.1f},{axes.y(value):.1f}"
        for i, value in enumerate(_totals(found), 1)
        if 0 < value < math.inf
    )
    y = _TOP + _LEGEND_ROW * number
    return (
        f'<polyline points="{points}" fill="none" {stroke}/>'
        f'<line x1="{_RIGHT + 15}" x2="{_RIGHT + 40}" y1="{y}" y2="{y}" {stroke}/>'
        f'<text x="{_RIGHT + 46}" y="{y}" dy="4">{_safe(found.name[:_LONGEST_NAME])}</text>'
    )


def _frame(axes: _Axes) -> str:
    """The two axes and what they mean."""
    middle = (_TOP + _BOTTOM) // 2
    return (
        f'<path d="M{_LEFT},{_TOP} V{_BOTTOM} H{_RIGHT}" fill="none" stroke="black"/>'
        f'<text x="{_LEFT}" y="{_BOTTOM + 16}">1</text>'
        f'<text x="{_RIGHT}" y="{_BOTTOM + 16}" text-anchor="end">{axes.last}</text>'
        f'<text x="{(_LEFT + _RIGHT) // 2}" y="{_BOTTOM + 32}" text-anchor="middle">'
        "evaluations of the objective</text>"
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
        "total loss</text>"
    )


def _totals(found: CellResult) -> list[float]:
    return [terms.total for level in found.history for terms in level]


def _borders(found: CellResult) -> list[int]:
    """The evaluations, from 1, with which the levels after the first begin."""
    return [1 + count for count in accumulate(map(len, found.history[:-1]))]


def _safe(text: str) -> str:
    """Text that XML can hold."""
    return escape("".join(c if c.isprintable() else "?" for c in text))
