"""Pairs of a photograph and a painting: from two folders of a user's, or from scikit-image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pynst.images import load_image, resize, save_image, to_uint8
from pynst.images.bands import size_to_long_side

__all__ = ["Pair", "find_pairs", "resized"]

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@dataclass(frozen=True)
class Pair:
    """A photograph and a painting, as files.

    Attributes
    ----------
    content, style : Path
    """

    content: Path
    style: Path

    @property
    def name(self) -> str:
        return f"{self.content.stem} x {self.style.stem}"


def find_pairs(
    contents: Path | None, styles: Path | None, folder: Path, most: int | None = None
) -> list[Pair]:
    """Pair every photograph with every painting.

    Parameters
    ----------
    contents, styles : Path or None
        Folders of pictures, or single pictures. Without one, four photographs of scikit-image are
        taken, and as paintings the one that the demo draws and a stained tissue.
    folder : Path
        Where pictures that are no files yet are saved.
    most : int, optional
        The number of pairs, if not all; the first ones in the order of the names.

    Raises
    ------
    FileNotFoundError
        A folder is not there, or has no picture.
    """
    photographs = _files(contents) if contents else _scikit_images(folder)
    paintings = _files(styles) if styles else _paintings(folder)
    return [Pair(*each) for each in product(photographs, paintings)][:most]


def _files(folder: Path) -> list[Path]:
    """The pictures of a folder by name, or the one picture that is given."""
    if folder.is_file():
        return [folder.resolve()]
    found = sorted(path.resolve() for path in folder.glob("*") if path.suffix.lower() in _ENDINGS)
    if not found:
        raise FileNotFoundError(f"{folder}: no folder with pictures ({', '.join(_ENDINGS)})")
    return found


def _scikit_images(folder: Path) -> list[Path]:
    from skimage import data

    return [_saved(getattr(data, name)(), folder / f"{name}.png") for name in _PHOTOGRAPHS]


def _paintings(folder: Path) -> Sequence[Path]:
    from skimage import data

    from pynst.demo import draw_painting

    return [
        _saved(draw_painting(), folder / "demo-painting.png"),
        _saved(data.immunohistochemistry(), folder / "stained-tissue.png"),
    ]


def _saved(pixels: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(pixels, path)
    return path.resolve()


def resized(path: Path, long_side: int) -> NDArray[np.uint8]:
    """Read a picture at the size that `stylize` gives it: (H, W, 3), uint8."""
    pixels = load_image(path)
    H, W = size_to_long_side(*pixels.shape[:2], long_side)
    return to_uint8(resize(pixels, H, W))
