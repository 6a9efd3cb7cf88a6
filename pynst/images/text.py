"""Text as pixels, for the labels of contact sheets: Pillow's own font, so that none is needed."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["text_block"]

_LONGEST = 2000  # characters of one text: a label, not a book
_LEADING = 1.35  # distance of two lines, in font sizes
_BLANK = 0.3  # width of a blank, in font sizes: the font's own is rounded to nothing at small sizes

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def text_block(
    text: str, width: int, size: int, colour: tuple[int, int, int] = (0, 0, 0)
) -> NDArray[np.uint8]:
    """Set a text on white, broken into lines.

    Parameters
    ----------
    text : str
        Line breaks are kept; what cannot be shown becomes a question mark.
    width : int
        Width of the block, pixels.
    size : int
        Height of the font, pixels.
    colour : tuple of int
        Red, green, blue, 0 to 255.

    Returns
    -------
    ndarray (H, width, 3), uint8
    """
    font = ImageFont.load_default(size)
    text = "".join(c if c.isprintable() or c == "\n" else "?" for c in text[:_LONGEST])
    blank = _BLANK * size
    lines = [part for line in text.split("\n") for part in _broken(line, width, font, blank)]
    step = round(_LEADING * size)
    image = Image.new("RGB", (width, step * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        x = 0.0
        for word in line.split(" "):
            draw.text((round(x), number * step), word, colour, font)
            x += font.getlength(word) + blank
    return np.asarray(image)


def _broken(line: str, width: int, font: Font, blank: float) -> list[str]:
    """Break one line at its blanks, and within a word that is wider than the block."""
    lines = [""]
    for word in line.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if sum(font.getlength(each) + blank for each in longer.split(" ")) - blank <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines
