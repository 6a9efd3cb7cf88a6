"""The gallery: each picture is a command, and the record of its run lies in the picture.

``python docs/gallery/pictures.py`` runs the commands anew and stores what they made;
``python docs/gallery/pictures.py inputs`` draws and stores the pictures that they start from.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FOLDER", "INPUTS", "PICTURES", "ROW", "Picture", "make", "make_row"]

FOLDER = Path(__file__).resolve().parent
_SIDE = 320  # long side of the inputs, pixels
_QUALITY = 80  # of the JPEG files: all of them stay under 600 kB


@dataclass(frozen=True)
class Picture:
    """One picture of the gallery.

    Attributes
    ----------
    name : str
        The file is ``name.jpg``.
    command : str
        What made it, run in this folder, without ``-o``.
    shows : str
        What there is to see in it.
    """

    name: str
    command: str
    shows: str


INPUTS = {
    "scene": "drawn by `pynst demo`",
    "painting": "drawn by `pynst demo`",
    "cat": "Chelsea, by Stéfan van der Walt, CC0, from scikit-image",
    "coffee": "a cup of coffee, by Rachel Michetti, CC0, from scikit-image",
    "gravel": "gravel, CC0, from scikit-image",
    "astronaut": "Eileen Collins, by NASA, public domain, from scikit-image",
    "face": "a mask of her face, white inside",
}
"""The pictures that the commands start from, and where they come from."""

PICTURES = [
    Picture(
        "balanced", "pynst scene.jpg painting.jpg --image-size 320",
        "The default. Houses, bridge and sky stay in place; the strokes are the painting's.",
    ),
    Picture(
        "gentle", "pynst scene.jpg painting.jpg --image-size 320 --formula gentle",
        "Half of the style term looks for similar places in the painting: things stay whole.",
    ),
    Picture(
        "strong", "pynst scene.jpg painting.jpg --image-size 320 --formula strong",
        "A third of the content's weight: the strokes take over.",
    ),
    Picture(
        "large-strokes", "pynst scene.jpg painting.jpg --image-size 320 --style-scale 1.6",
        "The painting is read 1.6 times as large, so its strokes are larger.",
    ),
    Picture(
        "own-colours", "pynst scene.jpg painting.jpg --image-size 320 --preserve-color",
        "The photograph keeps its colours, and takes the strokes alone.",
    ),
    Picture(
        "cat-painted", "pynst cat.jpg painting.jpg --image-size 320",
        "A photograph with fur and eyes, under the default setting.",
    ),
    Picture(
        "cat-gentle",
        "pynst cat.jpg painting.jpg --image-size 320 --formula gentle --content-weight 0.12",
        "For a face: `gentle`, and twice the content's weight.",
    ),
    Picture(
        "face-kept", "pynst astronaut.jpg painting.jpg --image-size 320 --keep-mask face.jpg",
        "A mask keeps the face as it was, with a soft edge.",
    ),
    Picture(
        "coffee-painted", "pynst coffee.jpg painting.jpg --image-size 320 --style-loss wasserstein",
        "Mean and covariance are compared in place of Gram matrices.",
    ),
    Picture(
        "gravel-texture", "pynst texture gravel.jpg --size 256x256 --tileable --seed 1",
        "No photograph at all: a texture out of noise, whose copies fit together without a seam.",
    ),
    Picture(
        "filters", "pynst scene.jpg painting.jpg --image-size 320 --network builtin",
        "The built-in filters, which need no weights: palette and strokes, no large shapes.",
    ),
]  # fmt: skip
"""In the order of the page."""

ROW = ("astronaut", "face", "face-kept")
"""What stands side by side in ``docs/masks.jpg``."""


def make(picture: Picture) -> Path:
    """Run the command of one picture, and store its result with its record as a JPEG file."""
    import pynst
    from pynst.images import read_metadata

    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made.png"
        words = [*shlex.split(picture.command)[1:], "-o", os.fspath(made), "--quiet"]
        subprocess.run([sys.executable, "-m", "pynst", *words], cwd=FOLDER, check=True)
        return pynst.save_image(
            pynst.load_image(made), FOLDER / f"{picture.name}.jpg",
            quality=_QUALITY, metadata=read_metadata(made),
        )  # fmt: skip


def _make_inputs() -> None:
    """Draw the demo's pictures, and take over the photographs of scikit-image."""
    import skimage.data

    import pynst
    from pynst.demo import draw_painting, draw_scene
    from pynst.images import resize

    height = round(_SIDE * 3 / 4)
    pictures = {
        "scene": draw_scene(_SIDE, height),
        "painting": draw_painting(_SIDE, height),
        "cat": pynst.load_image(skimage.data.chelsea()),
        "coffee": pynst.load_image(skimage.data.coffee()),
        "gravel": pynst.load_image(skimage.data.gravel()[:256, :256]),
        "astronaut": pynst.load_image(skimage.data.astronaut()),
        "face": _ellipse(_SIDE, center=(141, 64), radii=(41, 60)),
    }
    for name, image in pictures.items():
        pixels = pynst.load_image(image)
        H, W = pixels.shape[:2]
        scale = min(1, _SIDE / max(H, W))
        pixels = resize(pixels, round(H * scale), round(W * scale)).clip(0, 1)
        pynst.save_image(pixels, FOLDER / f"{name}.jpg", quality=_QUALITY)


def _ellipse(side: int, center: tuple[int, int], radii: tuple[int, int]) -> NDArray[np.float64]:
    """A mask (H, W, 3): white within an ellipse, black outside, and a ramp of a few pixels."""
    y, x = np.mgrid[:side, :side]
    distance = np.hypot((x - center[0]) / radii[0], (y - center[1]) / radii[1])
    return np.repeat(np.clip((1.05 - distance) / 0.1, 0, 1)[..., None], 3, axis=2)


def make_row() -> Path:
    """Put what the page of masks begins with side by side: photograph, mask, result."""
    import pynst
    from pynst.demo import compose_sheet

    row = [pynst.load_image(FOLDER / f"{name}.jpg") for name in ROW]
    sheet = compose_sheet([[np.round(255 * image).astype(np.uint8) for image in row]])
    return pynst.save_image(sheet, FOLDER.parent / "masks.jpg", quality=_QUALITY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    names = [each.name for each in PICTURES]
    parser.add_argument("names", nargs="*", help=f"inputs, or some of {', '.join(names)}")
    asked = parser.parse_args().names or names
    if "inputs" in asked:
        _make_inputs()
    for each in PICTURES:
        if each.name in asked:
            print(make(each))
    if "face-kept" in asked:
        print(make_row())
