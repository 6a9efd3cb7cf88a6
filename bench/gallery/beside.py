"""The pictures of programs side by side: judged, on a sheet, and on the blind page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.gallery.judge import Judge, judge_options
from bench.gallery.page import Shown, blind_page
from bench.gallery.pairs import Pair
from bench.measure import Display
from pynst.experiments.sheets import CellResult, Sheet
from pynst.files import write_whole
from pynst.images import load_image, to_uint8
from pynst.networks import open_network

__all__ = ["judge_and_show"]


def judge_and_show(
    pairs: Sequence[Pair], rows: Sequence[dict[str, Any]], size: int, folder: Path,
    display: Display, **shared: Any,
) -> None:  # fmt: skip
    """Add the judge's figures to the rows, and write ``sheet.png`` and ``blind.html``.

    Parameters
    ----------
    pairs : sequence of Pair
    rows : sequence of dict
        One for each picture: ``pair``, ``program``, ``evaluations``, ``file`` in the folder, and
        ``median`` seconds or ``error``. They are changed in place.
    size : int
        At which the judge sees them, pixels.
    folder : Path
    display : Display
    **shared
        Network and weights of the judge.
    """
    options = judge_options(size, **shared)
    network = open_network(options)
    cells: dict[str, CellResult] = {}
    lines, shown = [], []
    for pair in pairs:
        display(f"judge: {pair.name}")
        judge = Judge(pair, network, options)
        pictures = {}
        own = [row for row in rows if row["pair"] == pair.name and "error" not in row]
        for row in own:
            picture = to_uint8(load_image(folder / row.pop("file")))
            row |= judge(picture)
            pictures[_title(row)] = picture
        given = {"photograph": judge.content, "painting": judge.painting}
        line = [CellResult(f"{pair.name}, {name}", {}, image) for name, image in given.items()]
        line += [
            CellResult(
                f"{pair.name}, {name}",
                {"program": name, "seconds": f"{row['median']:.3g}"},
                image,
            )
            for (name, image), row in zip(pictures.items(), own, strict=True)
        ]
        cells |= {cell.name: cell for cell in line}
        lines.append([cell.name for cell in line])
        shown.append(Shown(pair.name, judge.content, judge.painting, pictures))
    Sheet(f"{size} pixels", lines, cells).save(folder / "sheet.png")
    write_whole(blind_page("Which is better?", shown).encode(), folder / "blind.html")


def _title(row: dict[str, Any]) -> str:
    return row["program"] + (f" {row['evaluations']}" if row["evaluations"] else "")
