"""`sweep`: the same pictures with different settings, side by side on a contact sheet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pynst.errors import OptionError
from pynst.experiments.sheets import Cell, CellProgress, Sheet, make_sheet
from pynst.images import ImageLike
from pynst.options import TransferOptions, with_changes

__all__ = ["sweep"]

_PICTURES = ("content", "style")
_LONGEST_VALUE = 60  # characters of a value in a label


def sweep(
    content: ImageLike | None,
    style: ImageLike | Sequence[ImageLike] | None,
    columns: Mapping[str, Sequence[Any]],
    rows: Mapping[str, Sequence[Any]] | None = None,
    options: TransferOptions | None = None,
    *,
    title: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    workers: int | None = None,
    callback: Callable[[CellProgress], None] | None = None,
    **changes: Any,
) -> Sheet:
    """Stylise with each value of a setting, or with each pair of values of two.

    Parameters
    ----------
    content, style : as for `pynst.stylize`
    columns : mapping of str to sequence
        One setting and its values, left to right: a field of `TransferOptions`, or ``"content"`` or
        ``"style"`` with pictures. ``{"style_weight": [0.1, 1, 10]}``.
    rows : mapping of str to sequence, optional
        A second setting, top to bottom.
    options : TransferOptions, optional
        The settings that all cells have.
    title : str, optional
        Stands above the sheet.
    folder, force, workers, callback
        As for `pynst.experiments.sheets.make_sheet`: where finished cells are kept, whether there
        may be more than 64 cells, how many are run at the same time, and what is called on the way.
    **changes
        Fields of `TransferOptions` to replace in all cells.

    Returns
    -------
    Sheet
        ``sheet.results`` has each cell by the values in its label: ``"0.1"``; in a grid ``"0.1,
        noise"``, the column first. A cell whose run has failed has its error there.

    Raises
    ------
    OptionError
        A setting or value is wrong, or there are too many cells; before anything is run.

    Examples
    --------
    >>> sheet = sweep("a.jpg", "b.jpg", {"init": ["content", "noise"]})  # doctest: +SKIP
    >>> sheet.save("sheet.png")                                          # doctest: +SKIP
    """
    options = with_changes(options, changes)
    across = _axis(columns, "columns", options)
    down = [("", "", None)] if rows is None else _axis(rows, "rows", options)
    if rows is not None and next(iter(rows)) == next(iter(columns)):
        raise OptionError(f"columns and rows must be two settings, got {next(iter(rows))} twice")
    grid = [[_cell(content, style, options, [x, y]) for x in across] for y in down]
    return make_sheet(
        grid,
        title or _title(grid),
        folder=folder,
        force=force,
        workers=workers,
        callback=callback,
    )


Value = tuple[str, str, Any]
"""Name of a setting, the text of a value, and the value."""


def _axis(axis: Any, place: str, options: TransferOptions) -> list[Value]:
    """Check the values of one axis; each becomes (name, text, value)."""
    items = list(axis.items()) if isinstance(axis, Mapping) else []
    if len(items) != 1:
        raise OptionError(f"{place} must be one setting with its values, got {axis!r}")
    name, given = items[0]
    given = list(given) if isinstance(given, (list, tuple, range)) else []
    if not given:
        raise OptionError(f"{place}: {name} must have a list of values, got {items[0][1]!r}")
    known = {each.name for each in fields(TransferOptions)}
    found: list[Value] = []
    for number, value in enumerate(given, 1):
        if name in _PICTURES:
            found.append((name, _picture_text(value, number), value))
            continue
        changed = with_changes(options, {name: value})
        clean = getattr(changed, name) if name in known else value
        found.append((name, _text(clean, number), clean))
    texts = [text for _, text, _ in found]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise OptionError(f"{place}: {name} has the value {twice} twice")
    return found


def _cell(content: Any, style: Any, options: TransferOptions, values: Sequence[Value]) -> Cell:
    """The run with one value of each axis."""
    chosen = {name: value for name, _, value in values if name}
    content = chosen.pop("content", content)
    style = chosen.pop("style", style)
    settings = {name: text for name, text, _ in values if name}
    return Cell(
        ", ".join(settings.values()), settings, content, style, with_changes(options, chosen)
    )


def _text(value: Any, number: int) -> str:
    """A value as a label shows it."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)[:_LONGEST_VALUE]
    if isinstance(value, (int, float)):
        return f"{value:.15g}"
    if isinstance(value, os.PathLike):
        return _picture_text(value, number)
    if isinstance(value, tuple):
        return "+".join(_part(part, number) for part in value)[:_LONGEST_VALUE]
    return f"picture {number}"


def _part(part: Any, number: int) -> str:
    """One of several values; a layer without its weight where that is 1, a mask by its file."""
    if isinstance(part, tuple):
        layer, weight = part
        return layer if weight == 1 else f"{layer}={weight:g}"
    return f"{part:g}" if isinstance(part, (int, float)) else _picture_text(part, number)


def _picture_text(value: Any, number: int) -> str:
    """A picture by the name of its file, or by its number."""
    if isinstance(value, (str, os.PathLike)):
        return Path(os.fsdecode(value)).name[:_LONGEST_VALUE]
    return f"picture {number}"


def _title(grid: Sequence[Sequence[Cell]]) -> str:
    """The settings on the axes, and a checksum of all settings: the same sheet has the same."""
    names = " against ".join(grid[0][0].settings)
    text = repr([[(cell.name, cell.options) for cell in row] for row in grid])
    return f"{names}   [{hashlib.sha256(text.encode()).hexdigest()[:12]}]"
