"""What a run tells on its way, and what it gives in the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from pynst.curves import Curves, term_curves
from pynst.display import result_html
from pynst.images import save_image, to_png, to_uint8
from pynst.images.files import BinarySource, file_format, label, only_image_errors
from pynst.losses.terms import LossTerms
from pynst.options import TransferOptions
from pynst.record import Record

if TYPE_CHECKING:
    import PIL.Image
    from typing_extensions import Unpack

__all__ = ["Progress", "TransferResult"]

Pixels = NDArray[np.float64]


class _Saving(TypedDict, total=False):
    """The keywords of `TransferResult.save`."""

    format: str | None
    bits: int
    dpi: float | None
    quality: int
    record: bool
    overwrite: bool


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the image itself in place of the function that would fetch it."""
        values = [getattr(self, each.name) for each in fields(self)]
        return Progress, (*values[:-1], Still(self.image()))


@dataclass(frozen=True)
class Still:
    """A function that returns an image that is there already: `Progress.image` after pickling."""

    pixels: NDArray[np.uint8]

    def __call__(self) -> NDArray[np.uint8]:
        """Return the image."""
        return self.pixels


@dataclass(frozen=True, repr=False, eq=False)
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
        Why the run ended before its budget, one of the words of
        `pynst.optimizers.descent.StopReason`: ``"minutes"``, ``"tolerance"``, ``"callback"``,
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

    def __repr__(self) -> str:
        """One line: what a console or a debugger shows."""
        return f"<TransferResult {self._summary()}>"

    def _summary(self) -> str:
        """Size, network, loss, evaluations and seconds."""
        H, W = self.pixels.shape[:2]
        evaluations = sum(len(level) for level in self.history)
        loss = min((terms.total for level in self.history[-1:] for terms in level), default=np.nan)
        early = f", stopped early: {self.stopped_early}" if self.stopped_early else ""
        return (
            f"{W} x {H}, {self.network}, loss {loss:.4g} after {evaluations} evaluations in"
            f" {self.seconds:.1f} s{early}"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The result as `image`; as floats, of the type that is asked for, in [0, 1]."""
        if dtype is not None and np.issubdtype(dtype, np.floating):
            return self.pixels.astype(dtype, copy=copy is not False)
        return np.asarray(self.image, dtype)

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

    @overload
    def save(self, path: str | os.PathLike[str], **settings: Unpack[_Saving]) -> Path: ...

    @overload
    def save(self, path: IO[bytes], **settings: Unpack[_Saving]) -> None: ...

    def save(
        self,
        path: BinarySource,
        *,
        format: str | None = None,
        bits: int = 8,
        dpi: float | None = None,
        quality: int = 95,
        record: bool = True,
        overwrite: bool = True,
    ) -> Path | None:
        """Write the image, with its transparency where the format has any.

        Parameters
        ----------
        path : str, path or binary file
            Its extension names the format; a file without a name needs `format`.
        format, bits, dpi, quality, overwrite
            As for `pynst.save_image`.
        record : bool
            Embed what the result was made from, the paths of the pictures included, so that
            ``pynst replay`` can make it again.

        Returns
        -------
        Path or None
            `path`; None for an open file.

        Raises
        ------
        ImageError
            The file cannot be written, or its format cannot hold such an image.
        """
        with only_image_errors(f"output: cannot write {label(path)}"):
            holds_alpha = file_format(path, format).alpha
        return save_image(
            self.pixels,
            path,
            format=format,
            bits=bits,
            dpi=dpi,
            quality=quality,
            metadata=self.record.to_metadata() if record else None,
            alpha=self.alpha if holds_alpha else None,
            overwrite=overwrite,
        )

    def to_pil(self) -> PIL.Image.Image:
        """The result as a Pillow image."""
        import PIL.Image

        return PIL.Image.fromarray(self.image)

    def plot(self, axes: Any = None) -> Curves:
        """Draw the loss over the evaluations: the total and each term, with the levels marked.

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional
            Where to draw, too; without it matplotlib is not needed.

        Returns
        -------
        Curves
            A notebook shows it as a picture; its ``save("loss.svg")`` writes it.

        Examples
        --------
        >>> result.plot().save("loss.svg")  # doctest: +SKIP
        """
        curves = Curves(self._summary(), term_curves(self.history))
        if axes is not None:
            curves.draw(axes)
        return curves

    def _repr_png_(self) -> bytes:
        """Show the image where a program shows pictures, but no HTML."""
        return to_png(self.pixels)

    def _repr_html_(self) -> str:
        """Show the image in a notebook, with its settings and the curves of its loss."""
        return result_html(self.image, self._summary(), self.options, self.plot())
