"""`python -m bench pictures`: pairs x settings under one judge, with a sheet and a blind page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.gallery.judge import Judge, judge_options, painting_alone
from bench.gallery.page import Shown, blind_page
from bench.gallery.pairs import Pair
from bench.measure import Display
from pynst import TransferOptions
from pynst.experiments.sheets import Cell, CellResult, Sheet, make_sheet
from pynst.files import write_whole
from pynst.networks import open_network

__all__ = ["DEFAULT_SETTINGS", "Setting", "make_pictures"]


@dataclass(frozen=True)
class Setting:
    """A setting of PyNST that is compared.

    Attributes
    ----------
    name : str
        For the tables and the sheet.
    words : str
        Options of the command ``pynst``, e.g. ``"--quality fine"``; may be empty.
    """

    name: str
    words: str

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Read ``"NAME: OPTIONS"``, or ``"NAME"`` for the defaults.

        Raises
        ------
        ValueError
            The name is empty.
        """
        name, _, words = text.partition(":")
        if not name.strip():
            raise ValueError(f"a setting must be NAME or NAME: OPTIONS, got {text!r}")
        return cls(name.strip(), words.strip())

    def options(self, **shared: Any) -> TransferOptions:
        """The options of the setting; `shared` are those that all settings have.

        Raises
        ------
        SystemExit
            The words are no options of ``pynst``; argparse has said why.
        """
        from pynst.cli.parser import parse

        given = parse(["content", "style", *shlex.split(self.words)])
        names = {each.name for each in fields(TransferOptions)}
        own = {name: value for name, value in vars(given).items() if name in names}
        made = TransferOptions.paper if given.paper else TransferOptions
        return made(**{**shared, **own})


DEFAULT_SETTINGS = (
    Setting("pyramid", ""),
    Setting("pixels", "--variables pixels"),
)
"""What PyNST does, and the same number of evaluations over plain pixels, as in the paper."""


def make_pictures(
    pairs: Sequence[Pair], settings: Sequence[Setting], size: int, folder: Path, **shared: Any
) -> dict[str, Any]:
    """Make every picture that the folder does not hold yet, judge all, write sheet and page.

    Parameters
    ----------
    pairs, settings : sequence
    size : int
        Long side of the pictures, pixels.
    folder : Path
        The pictures with their records, ``sheet.png`` and ``blind.html``.
    **shared
        Fields of `TransferOptions` that all settings and the judge have: the network, the weights.

    Returns
    -------
    dict
        As it is stored: ``size``, ``settings``, and ``rows``, one for each picture; the row of the
        setting ``"painting"`` has what the painting's own pixels have.
    """
    options = {each.name: each.options(image_size=size, **shared) for each in settings}
    grid = [[_cell(pair, each, options[each.name]) for each in settings] for pair in pairs]
    display = Display(sum(map(len, grid)) + len(pairs))
    begun: set[str] = set()

    def begin(name: str) -> None:
        if name not in begun:
            begun.add(name)
            display(f"pictures: {name}")

    sheet = make_sheet(
        grid, f"{size} pixels", folder=folder / "cells", force=True,
        callback=lambda progress: begin(progress.name),
    )  # fmt: skip
    judging = judge_options(size, **shared)
    network = open_network(judging)
    rows, shown = [], []
    for pair in pairs:
        display(f"judge: {pair.name}")
        found, seen = _judged(pair, settings, sheet, Judge(pair, network, judging))
        rows += found
        shown.append(seen)
    display.close()
    _write(folder, sheet, shown)
    return {
        "size": size,
        "network": network.name,
        "settings": {each.name: each.words for each in settings},
        "rows": rows,
    }


def _cell(pair: Pair, setting: Setting, options: TransferOptions) -> Cell:
    labels = {"pair": pair.name, "setting": setting.name}
    return Cell(_name(pair, setting), labels, pair.content, pair.style, options)


def _name(pair: Pair, setting: Setting) -> str:
    return f"{pair.name}, {setting.name}"


def _judged(
    pair: Pair, settings: Sequence[Setting], sheet: Sheet, judge: Judge
) -> tuple[list[dict[str, Any]], Shown]:
    """The rows of one pair, and what the page shows of it."""
    rows, pictures = [], {}
    for setting in settings:
        result = sheet.results[_name(pair, setting)]
        row: dict[str, Any] = {"pair": pair.name, "setting": setting.name}
        if result.image is None:
            row["error"] = result.error
        else:
            pictures[setting.name] = result.image
            row |= {**_made(result), **judge(result.image)}
        rows.append(row)
    alone = painting_alone(judge.painting)
    rows.append({"pair": pair.name, "setting": "painting", **alone})
    return rows, Shown(pair.name, judge.content, judge.painting, pictures)


def _made(result: CellResult) -> dict[str, Any]:
    return {"evaluations": result.evaluations, "seconds": round(result.seconds, 1)}


def _write(folder: Path, sheet: Sheet, shown: Sequence[Shown]) -> None:
    sheet.save(folder / "sheet.png")
    sheet.curves(folder / "curves.svg")
    sheet.table(folder / "table.csv")
    write_whole(blind_page("Which is better?", shown).encode(), folder / "blind.html")
