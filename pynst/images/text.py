"""Text as pixels, for the labels of contact sheets: Pillow's own font, so that none is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["text_block"]

_LONGEST = 2000  # characters of one text: a label, not a book
_LEADING = 1.35  # distance of two lines, in font sizes


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
    lines = [part for line in text.split("\n") for part in _broken(line, width, font)]
    step = round(_LEADING * size)
    image = Image.new("RGB", (width, step * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((0, number * step), line, colour, font)
    return np.asarray(image)


def _broken(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Break one line at its blanks, and within a word that is wider than the block."""
    lines = [""]
    for word in line.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines
