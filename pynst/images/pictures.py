"""Pictures in: files, PIL images and arrays become float pixels in sRGB, and are resized.

Pictures come from outside and may be malformed: every problem with one is reported as an
`ImageError`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.files import shown
from pynst.images import pillow
from pynst.images.arrays import Samples, from_array, to_unit
from pynst.images.bands import Stored, assembled, reading_size
from pynst.images.decode import decode_file, decode_image
from pynst.images.files import BinarySource, is_readable, label, only_image_errors
from pynst.images.memory import check_room

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "Picture",
    "load_image",
    "picture_size",
    "read_picture",
    "resize",
]

ImageLike: TypeAlias = "str | os.PathLike[str] | IO[bytes] | Image.Image | NDArray[Any]"
"""What is taken as a picture: a path, an open file, a PIL image or an array; see `load_image`."""

MAX_PIXELS = 200_000_000
"""Default limit of height x width: a larger picture is refused before it is decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as the network sees it, and what was done to get there.

    Attributes
    ----------
    samples : ndarray of shape (H, W, 3)
        sRGB, upright: float64 in [0, 1], or as it was stored, uint8 or uint16, where the picture is
        large; where it was transparent, composited over white.
    alpha : ndarray of shape (H, W) or None
        float64 in [0, 1], 0 is transparent; None where the picture is opaque throughout.
    notes : tuple of str
        What a user may want to know, e.g. ``"animated: first of 12 frames used"``.
    source : str
        The path, also of an open file that has one, or ``"file"``, ``"PIL image"`` or ``"array"``.
    size : tuple of int
        Height and width of the whole picture, upright. `samples` has this size unless the picture
        was reduced while it was read.
    """

    samples: Samples
    alpha: NDArray[np.float64] | None
    notes: tuple[str, ...]
    source: str
    size: tuple[int, int]

    @property
    def pixels(self) -> NDArray[np.float64]:
        """The samples as float64 in [0, 1]: a copy where they are stored otherwise."""
        return self.samples if self.samples.dtype == np.float64 else to_unit(self.samples)


def load_image(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float64]:
    """Read a picture as a float array in sRGB.

    Parameters
    ----------
    source : str, path, binary file, PIL.Image.Image or ndarray
        A JPEG, PNG, TIFF, WebP, BMP, GIF, PPM, AVIF, JPEG 2000 or TGA file, or HEIC where the
        package pillow-heif is installed: its path, or an open binary file that can seek, which is
        read from its beginning and stays open. Or a PIL image of any mode. Or an array of shape
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the fourth channel being alpha: uint8, uint16, or
        floating point in [0, 1], without masked values.
    max_pixels : int
        A larger file or PIL image is refused before it is decoded.

    Returns
    -------
    ndarray of shape (H, W, 3)
        float64, sRGB in [0, 1], a copy.

    Raises
    ------
    ImageError
        The file is missing, damaged, too large for the memory at hand, or of another format, or the
        array has a wrong shape, type or range.
    OptionError
        PYNST_MEMORY is not a size of memory.

    Notes
    -----
    EXIF orientation is honoured, an ICC profile is converted to sRGB (relative colorimetric, black
    point compensation), transparency is composited over white, and of an animation or a file of
    several pictures the first is taken. CMYK without a profile is converted by the plain formula,
    R = (1 - C)(1 - K) and so on, which is 18 to 32 levels of 255 from what a printing profile
    gives.

    Precision: grey and RGB(A) PNG and TIFF files of 16 bits per channel keep all of them, unless an
    ICC profile other than sRGB has to be converted. All else is read with 8 bits per channel: such
    conversions, 16-bit CMYK, 16-bit grey with alpha, 16-bit colour PPM and JPEG 2000, AVIF of 10
    and 12 bits, 16-bit premultiplied alpha, and 16-bit RGB that comes as a PIL image, which has no
    such mode.

    Memory: 24 bytes per pixel for the result and 8 for an alpha, and while decoding up to 12 more
    (AVIF 16, JPEG 2000 24; of these and of WebP the decoders keep whole frames, and the file).
    Where less than that is available, the picture is refused before it is decoded.
    """
    return read_picture(source, "image", max_pixels=max_pixels).pixels


def read_picture(
    source: ImageLike,
    name: str,
    *,
    max_pixels: int = MAX_PIXELS,
    long_side: int | None = None,
) -> Picture:
    """Read a picture with its alpha, and with notes on what was done; see `load_image`.

    Parameters
    ----------
    source, max_pixels
        As for `load_image`.
    name : str
        What the picture is, e.g. ``"content"`` or ``"style 2"``: error messages begin with it.
    long_side : int, optional
        The most pixels along the longer side that will be needed. A picture of more than 16
        megapixels that is at least six times larger is then reduced to three times this size while
        it is read, which is noted; `load_image` says what memory the full picture takes. The pixels
        depend on nothing but the picture and `long_side`.

    Returns
    -------
    Picture

    Raises
    ------
    ImageError, OptionError
        See `load_image`.
    """
    notes: list[str] = []
    with only_image_errors(f"{name}: cannot read {_label(source)}"):
        stored = _stored(source, name, max_pixels, long_side, notes)
        size = reading_size(*stored.size, long_side)
        pixels, alpha = assembled(stored, size)
    if size != stored.size:
        notes.append(f"reduced to {pixels.shape[1]} x {pixels.shape[0]} while reading")
    if alpha is not None:
        notes.append("alpha composited over white")
    whole = stored.size if stored.orientation <= 4 else stored.size[::-1]
    return Picture(pixels, alpha, tuple(notes), _origin(source), whole)


def picture_size(source: BinarySource, name: str) -> tuple[int, int]:
    """Read height and width of a picture file as stored, before any rotation; decodes nothing.

    Raises
    ------
    ImageError
        As for `read_picture`, as far as the header of the file tells.
    """
    with (
        only_image_errors(f"{name}: cannot read {_label(source)}"),
        pillow.opened(source, name, MAX_PIXELS) as image,
    ):
        return image.height, image.width


def _label(source: ImageLike) -> str:
    """Name a source for a message."""
    if isinstance(source, np.ndarray):
        return "array"
    return "PIL image" if pillow.is_image(source) else label(source)


def _origin(source: ImageLike) -> str:
    """Say where a picture comes from: an open file has a path only if that still leads to it."""
    name = getattr(source, "name", None) if is_readable(source) else None
    if isinstance(name, str):
        return shown(name) if Path(name).is_file() else "file"
    return _label(source)


def _stored(
    source: ImageLike, name: str, max_pixels: int, long_side: int | None, notes: list[str]
) -> Stored:
    """Decode a picture, whatever it comes as; adds to `notes`."""
    if isinstance(source, np.ndarray):
        colour, alpha = from_array(source, name)
        check_room(0, colour.shape[:2], long_side, f"{name}: cannot read array")
        return Stored(
            colour.shape[:2],
            lambda first, last: (colour[first:last], None if alpha is None else alpha[first:last]),
        )
    if isinstance(source, str | os.PathLike) or is_readable(source):
        return decode_file(source, name, max_pixels, long_side, notes)
    if pillow.is_image(source):
        return decode_image(source, name, max_pixels, long_side, notes)
    wanted = "a path, a PIL image or a NumPy array"
    raise ImageError(f"{name}: must be {wanted}, got {type(source).__name__}")


def resize(pixels: Samples, height: int, width: int) -> NDArray[np.float64]:
    """Resize by bicubic convolution, widened to the scale when shrinking so that nothing aliases.

    Parameters
    ----------
    pixels : ndarray of shape (H, W) or (H, W, C)
        Floating point in [0, 1], uint8 or uint16; computed in float32, channel by channel.
    height, width : int
        The new size, at least 1.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, C)
        float64, clipped to [0, 1] as bicubic interpolation overshoots at edges. An exact copy if
        the size is that of `pixels`.

    Raises
    ------
    ImageError
        A size is below 1 or does not fit in memory.
    """
    if min(height, width) < 1:
        raise ImageError(f"resize: height and width must be at least 1, got {height} x {width}")
    if pixels.shape[:2] == (height, width):
        return pixels.astype(np.float64) if pixels.dtype.kind == "f" else to_unit(pixels)
    planes = pixels.reshape(*pixels.shape[:2], -1)
    with only_image_errors(f"resize: cannot resize {pixels.shape} to {height} x {width}"):
        result = np.empty((height, width, planes.shape[2]))
        for c in range(planes.shape[2]):
            plane = planes[:, :, c]
            plane = plane if plane.dtype.kind == "f" else to_unit(plane)
            result[:, :, c] = pillow.resize_plane(plane, height, width)
    np.clip(result, 0.0, 1.0, out=result)
    return result.reshape(height, width, *pixels.shape[2:])
