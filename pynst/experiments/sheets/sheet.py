"""A contact sheet: the pictures of several runs with labels, their losses as curves and a table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pynst.curves import Curves, total_curve
from pynst.errors import ImageError
from pynst.experiments.sheets.cells import CellResult
from pynst.files import shown, write_whole
from pynst.images import save_image, to_png
from pynst.images.text import text_block

__all__ = ["Sheet"]

Pixels = NDArray[np.uint8]

Rectangle = tuple[int, int, int, int]
"""x, y, width and height, pixels."""

_MARGIN = 12  # pixels around everything
_NARROWEST = 150  # pixels: a label needs some width
_ERROR = (176, 0, 32)


class Sheet:
    """Runs with different settings side by side.

    Attributes
    ----------
    title : str
        Stands above the pictures.
    rows : tuple of tuple of str
        Names of the cells, row by row.
    results : dict of str to CellResult
        By the name of the cell; a cell that has not been run is not there.
    """

    def __init__(
        self, title: str, rows: Sequence[Sequence[str]], results: Mapping[str, CellResult]
    ) -> None:
        self.title = title
        self.rows = tuple(tuple(row) for row in rows)
        self.results = dict(results)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the cells whose run has failed."""
        return tuple(name for name, found in self.results.items() if found.error)

    @property
    def image(self) -> Pixels:
        """The sheet (H, W, 3): every picture to the bit, with its label around it."""
        return self._laid_out()[0]

    @property
    def rectangles(self) -> dict[str, Rectangle]:
        """Where the pictures lie in `image`: x, y, width, height, by the name of the cell."""
        return self._laid_out()[1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the sheet as a picture; its metadata has the title and the rectangles.

        Raises
        ------
        ImageError
            The file cannot be written.
        """
        image, rectangles = self._laid_out()
        about = {"sheet": self.title, "rectangles": json.dumps(rectangles)}
        save_image(image, path, metadata=about)

    def curves(self, path: str | os.PathLike[str]) -> None:
        """Save the total losses as a picture, one line per cell; see `pynst.curves.Curves.save`."""
        found = [self.results[name] for row in self.rows for name in row if name in self.results]
        lines = tuple(total_curve(each.name, each.history) for each in found)
        Curves(self.title, lines, "total loss").save(path)

    def table(self, path: str | os.PathLike[str]) -> None:
        """Save settings, terms of the loss, evaluations and seconds of each cell as CSV."""
        found = [self.results[name] for row in self.rows for name in row if name in self.results]
        settings = dict.fromkeys(name for each in found for name in each.settings)
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        columns = "total", "content", "style", "tv"
        more = "evaluations", "seconds", "stopped_early", "error"
        writer.writerow(["cell", *settings, *columns, *more])
        for each in found:
            terms = each.terms
            writer.writerow(
                [
                    each.name,
                    *(each.settings.get(name, "") for name in settings),
                    *("" if terms is None else repr(getattr(terms, name)) for name in columns),
                    each.evaluations,
                    f"{each.seconds:.2f}",
                    each.stopped_early,
                    each.error,
                ]
            )
        _write(out.getvalue(), path)

    def _repr_png_(self) -> bytes:
        """Show the sheet in a notebook."""
        return to_png(self.image / 255.0)

    def _laid_out(self) -> tuple[Pixels, dict[str, Rectangle]]:
        """Put title, labels and pictures in their places."""
        widths = self._widths()
        size = int(np.clip(np.median(widths) / 18, 10, 22))
        total = sum(widths) + _MARGIN * (len(widths) + 1)
        head = text_block(self.title, total - 2 * _MARGIN, size)
        strips, top = [_strip([head], total)], head.shape[0] + _MARGIN
        rectangles: dict[str, Rectangle] = {}
        for row in self.rows:
            cells = list(zip(row, widths, strict=False))
            labels = [self._label(name, width, size) for name, width in cells]
            offset = max(label.shape[0] for label in labels)  # where the pictures of a row begin
            blocks, left = [], _MARGIN
            for (name, width), label in zip(cells, labels, strict=True):
                space = np.full((offset - label.shape[0], width, 3), 255, np.uint8)
                blocks.append(np.concatenate([label, space, *self._below(name, width, size)]))
                image = self._image(name)
                if image is not None:
                    place = left, top + _MARGIN + offset, image.shape[1], image.shape[0]
                    rectangles[name] = place
                left += width + _MARGIN
            strips.append(_strip(blocks, total))
            top += strips[-1].shape[0]
        return np.concatenate([*strips, np.full((_MARGIN, total, 3), 255, np.uint8)]), rectangles

    def _image(self, name: str) -> Pixels | None:
        """The picture of a cell, if it has one."""
        found = self.results.get(name)
        return None if found is None else found.image

    def _widths(self) -> list[int]:
        """Width of each column: that of its widest picture."""
        widths = [_NARROWEST] * max(len(row) for row in self.rows)
        for row in self.rows:
            for i, image in enumerate(map(self._image, row)):
                widths[i] = max(widths[i], _NARROWEST if image is None else image.shape[1])
        return widths

    def _label(self, name: str, width: int, size: int) -> Pixels:
        """What stands above the picture of a cell, (H, width, 3)."""
        found = self.results.get(name)
        if found is None:
            return text_block(f"{name}\n\nnot made", width, size, (128, 128, 128))
        settings = [f"{key} = {value}" for key, value in found.settings.items()]
        return text_block("\n".join(settings) or name, width, size)

    def _below(self, name: str, width: int, size: int) -> list[Pixels]:
        """The picture of a cell and what stands below it, each (H, width, 3)."""
        found = self.results.get(name)
        if found is None:
            return []
        parts = []
        if found.image is not None:
            h, w = found.image.shape[:2]
            parts.append(np.full((h, width, 3), 255, np.uint8))
            parts[0][:, :w] = found.image
        if found.error:
            parts.append(text_block(f"error: {found.error}", width, size, _ERROR))
        return [*parts, text_block(_summary(found), width, size, (80, 80, 80))]


def _strip(blocks: Sequence[Pixels], width: int) -> Pixels:
    """Blocks side by side, (H, width, 3), with margins to their left and above them."""
    height = _MARGIN + max(block.shape[0] for block in blocks)
    strip = np.full((height, width, 3), 255, np.uint8)
    left = _MARGIN
    for block in blocks:
        h, w = block.shape[:2]
        strip[_MARGIN : _MARGIN + h, left : left + w] = block
        left += w + _MARGIN
    return strip


def _summary(found: CellResult) -> str:
    """The terms of the loss at the picture, and what the run took."""
    terms = found.terms
    if terms is None:
        return ""
    named = {"content": terms.content, "style": terms.style, "tv": terms.tv, **terms.others}
    losses = ", ".join(f"{name} {value:.3g}" for name, value in named.items() if value)
    took = f"{found.evaluations} evaluations, {found.seconds:.0f} s"
    return f"{losses}\n{took}" + (f" ({found.stopped_early})" if found.stopped_early else "")


def _write(text: str, path: str | os.PathLike[str]) -> None:
    """Write a text file, whole or not at all."""
    try:
        write_whole(text.encode("utf-8", "replace"), Path(path))
    except OSError as error:
        raise ImageError(f"output: cannot write {shown(path)}: {error.strerror}") from error
