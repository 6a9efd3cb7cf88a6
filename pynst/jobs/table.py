"""A table of jobs, one per line, as a CSV file that may come from anywhere."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pynst.errors import OptionError
from pynst.files import shown
from pynst.jobs.files import with_paths
from pynst.options import TransferOptions, from_text, with_changes

__all__ = ["Line", "read_table"]

_LONGEST = 1 << 26  # bytes
_OWN_COLUMNS = ("content", "style", "output")


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes
    ----------
    number : int
        Of the line in the file, from 1.
    content : str
        Path of the content picture.
    styles : tuple of str
        Paths of the style pictures.
    output : str
        Name of the output in the folder of the outputs; empty where the table does not say.
    settings : dict
        The settings that the line gives.
    """

    number: int
    content: str
    styles: tuple[str, ...]
    output: str
    settings: dict[str, Any]


def read_table(path: str | os.PathLike[str]) -> list[Line]:
    """Read a table of jobs.

    The first line names the columns: ``content``, ``style``, ``output`` and settings of
    `TransferOptions`. Several styles of one job are separated by ``|``, several values of a setting
    by ``+``; an empty cell leaves the default. Paths, those of masks too, begin at the folder of
    the table. Columns are separated by commas, semicolons or tabs.

    Raises
    ------
    OptionError
        The file cannot be read, a column is unknown, or a cell is empty that must not be, or wrong;
        the message names the line.
    """
    text = _text(path)
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise OptionError(f"table {shown(path)}: damaged: {error}") from error
    columns = [name.strip().lstrip("-").replace("-", "_") for name in rows[0]] if rows else []
    _check_columns(columns, path)
    folder = Path(path).parent
    return list(_lines(rows, columns, folder, shown(path)))


def _text(path: str | os.PathLike[str]) -> str:
    """The text of the file; bounded, and UTF-8."""
    try:
        if Path(path).stat().st_size > _LONGEST:
            raise OptionError(f"table {shown(path)}: must be at most {_LONGEST >> 20} MB large")
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"table {shown(path)}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"table {shown(path)}: must be a text in UTF-8") from error
    if "\0" in text:
        raise OptionError(f"table {shown(path)}: must be a text, got a null character")
    return text


def _check_columns(columns: list[str], path: str | os.PathLike[str]) -> None:
    """Refuse a table whose first line does not name the columns of jobs."""
    twice = next((name for name in columns if columns.count(name) > 1), None)
    missing = next((name for name in ("content", "style") if name not in columns), None)
    if twice is not None or missing is not None:
        wrong = f"has no column {missing}" if twice is None else f"has two columns {shown(twice)}"
        raise OptionError(f"table {shown(path)}: {wrong}; the first line names the columns")
    known = {each.name for each in fields(TransferOptions)}
    for name in columns:
        if name not in _OWN_COLUMNS and name not in known:
            try:
                with_changes(None, {name: None})  # its error offers the nearest name
            except OptionError as error:
                raise OptionError(f"table {shown(path)}: line 1: {error}") from None


def _lines(rows: list[list[str]], columns: list[str], folder: Path, label: str) -> Iterator[Line]:
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"table {label}: line {number}"
        if len(row) > len(columns):
            raise OptionError(f"{where}: has {len(row)} cells, the table {len(columns)} columns")
        cells = {
            name: cell.strip() for name, cell in zip(columns, row, strict=False) if cell.strip()
        }
        missing = next((name for name in ("content", "style") if name not in cells), None)
        if missing is not None:
            raise OptionError(f"{where}: names no {missing}")
        try:
            settings = {
                name: from_text(name, cell)
                for name, cell in cells.items()
                if name not in _OWN_COLUMNS
            }
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from None
        settings |= with_paths(settings, lambda path: str(folder / path))
        styles = tuple(str(folder / part) for part in cells["style"].split("|"))
        yield Line(
            number, str(folder / cells["content"]), styles, cells.get("output", ""), settings
        )
