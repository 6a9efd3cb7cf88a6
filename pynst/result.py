"""What a run tells on its way, and what it gives in the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pynst.images import save_image, to_png, to_uint8
from pynst.images.files import FORMATS
from pynst.losses.terms import LossTerms
from pynst.options import TransferOptions
from pynst.record import Record

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Progress", "TransferResult"]

Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after one evaluation of the objective.

    Attributes
    ----------
    level, levels : int
        From 1, coarse to fine.
    iteration, iterations : int
        Evaluations at this level, done and allowed.
    fraction : float
        Share of the whole run's work that is done, in [0, 1]; work is evaluations times pixels.
    terms : LossTerms
        The loss of this evaluation.
    seconds : float
        Since the start of the run.
    left : float or None
        Forecast of the seconds to go, from the third evaluation on.
    image : callable
        The best image of this level so far, (H, W, 3) uint8; made only when called.
    """

    level: int
    levels: int
    iteration: int
    iterations: int
    fraction: float
    terms: LossTerms
    seconds: float
    left: float | None
    image: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class TransferResult:
    """A finished, or early stopped, style transfer.

    Attributes
    ----------
    pixels : ndarray (H, W, 3), float64
        The result, sRGB in [0, 1].
    alpha : ndarray (H, W) or None
        The content's opacity, where it is not opaque throughout and ``keep_alpha`` is set.
    history : tuple of tuple of LossTerms
        One tuple per level, coarse to fine, with one entry per evaluation.
    options : TransferOptions
        The settings; with the same pictures they give this result again.
    record : Record
        All that the result was made from; `save` embeds it.
    seconds : float
        Wall time.
    peak_bytes : int or None
        Largest resident memory of this process so far; None where the system does not tell.
    stopped_early : str
        Why the run ended before its budget: ``"minutes"``, ``"tolerance"``, ``"callback"``,
        ``"interrupted"``, ``"diverged"``, ``"converged"``, ``"error"``; empty if it did not.
    restarts : int
        How often the line search failed and the optimiser began afresh.
    """

    pixels: Pixels
    alpha: Pixels | None
    history: tuple[tuple[LossTerms, ...], ...]
    options: TransferOptions
    record: Record
    seconds: float
    peak_bytes: int | None
    stopped_early: str = ""
    restarts: int = 0

    @property
    def network(self) -> str:
        """``"vgg19"`` or ``"builtin"``: which one was used."""
        return self.record.network

    @property
    def backend(self) -> str:
        """``"cpu (avx512, 2 threads)"``, ..."""
        return self.record.backend

    @property
    def weights_source(self) -> str:
        """Whose VGG-19 weights were used; empty for the built-in network."""
        return self.record.weights_source

    @property
    def weights_sha256(self) -> str:
        """Checksum of the numbers of the VGG-19 weights; empty for the built-in network."""
        return self.record.weights_sha256

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to read the pictures: ``"content: converted from CMYK"``, ..."""
        return tuple(f"{used.name}: {note}" for used in self.record.pictures for note in used.notes)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The result as (H, W, 3) uint8, sRGB."""
        return to_uint8(self.pixels)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        bits: int = 8,
        quality: int = 95,
        record: bool = True,
        overwrite: bool = True,
    ) -> Path:
        """Write the image, with its transparency where the format has any.

        Parameters
        ----------
        path : str or path
            Its extension names the format.
        bits, quality, overwrite
            As for `pynst.save_image`.
        record : bool
            Embed what the result was made from, the paths of the pictures included, so that
            ``pynst replay`` can make it again.

        Raises
        ------
        ImageError
            The file cannot be written, or its format cannot hold such an image.
        """
        known = FORMATS.get(Path(path).suffix.lower())
        return save_image(
            self.pixels,
            path,
            bits=bits,
            quality=quality,
            metadata=self.record.to_metadata() if record else None,
            alpha=self.alpha if known is not None and known.alpha else None,
            overwrite=overwrite,
        )

    def to_pil(self) -> PIL.Image.Image:
        """The result as a Pillow image."""
        import PIL.Image

        return PIL.Image.fromarray(self.image)

    def _repr_png_(self) -> bytes:
        """Show the image in a notebook."""
        return to_png(self.pixels)
