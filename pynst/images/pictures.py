"""Pictures in and out: files, PIL images and arrays become sRGB floats, results become files.

Pictures come from outside and may be malformed: every problem with one is reported as an
`ImageError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.files import shown, write_whole
from pynst.images import pillow
from pynst.images.arrays import Samples, from_array, quantised, to_unit
from pynst.images.files import FORMATS, check_output, only_image_errors
from pynst.images.png_tiff import encode_png, encode_tiff

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "Picture",
    "load_image",
    "read_metadata",
    "read_picture",
    "resize",
    "save_image",
    "size_to_long_side",
    "to_png",
    "to_uint8",
]

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any]"
"""What is taken as a picture: a path, a PIL image or an array; see `load_image`."""

MAX_PIXELS = 200_000_000
"""Default limit of height x width: a larger picture is refused before it is decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as the network sees it, and what was done to get there.

    Attributes
    ----------
    pixels : ndarray of shape (H, W, 3)
        float64, sRGB in [0, 1], upright; where it was transparent, composited over white.
    alpha : ndarray of shape (H, W) or None
        float64 in [0, 1], 0 is transparent; None where the picture is opaque throughout.
    notes : tuple of str
        What a user may want to know, e.g. ``"animated: first of 12 frames used"``.
    source : str
        The path, ``"PIL image"`` or ``"array"``.
    """

    pixels: NDArray[np.float64]
    alpha: NDArray[np.float64] | None
    notes: tuple[str, ...]
    source: str


def load_image(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float64]:
    """Read a picture as a float array in sRGB.

    Parameters
    ----------
    source : str, path, PIL.Image.Image or ndarray
        A JPEG, PNG, TIFF, WebP, BMP, GIF or PPM file; a PIL image of any mode; or an array of shape
        (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the fourth channel being alpha: uint8, uint16, or
        floating point in [0, 1].
    max_pixels : int
        A larger file or PIL image is refused before it is decoded. Reading takes up to 36 bytes of
        memory per pixel, however small the file.

    Returns
    -------
    ndarray of shape (H, W, 3)
        float64, sRGB in [0, 1], a copy.

    Raises
    ------
    ImageError
        The file is missing, damaged, too large or of another format, or the array has a wrong
        shape, type or range. No other exception leaves this function.

    Notes
    -----
    EXIF orientation is honoured, an ICC profile is converted to sRGB (relative colorimetric, black
    point compensation), transparency is composited over white, and of an animation or a file of
    several pictures the first is taken.

    Precision: grey and RGB(A) PNG and TIFF files of 16 bits per channel keep all of them, unless an
    ICC profile other than sRGB has to be converted. All else is read with 8 bits per channel: such
    conversions, 16-bit CMYK, 16-bit grey with alpha, 16-bit colour PPM, 16-bit premultiplied alpha,
    and 16-bit RGB that comes as a PIL image, which has no such mode.
    """
    return read_picture(source, "image", max_pixels=max_pixels).pixels


def read_picture(source: ImageLike, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture with its alpha, and with notes on what was done; see `load_image`.

    Parameters
    ----------
    source, max_pixels
        As for `load_image`.
    name : str
        What the picture is, e.g. ``"content"`` or ``"style 2"``: error messages begin with it.

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        And nothing else.
    """
    if isinstance(source, str | os.PathLike):
        label = shown(source)
    else:
        label = "array" if isinstance(source, np.ndarray) else "PIL image"
    notes: list[str] = []
    with only_image_errors(f"{name}: cannot read {label}"):
        if isinstance(source, np.ndarray):
            colour, alpha = from_array(source, name)
        elif isinstance(source, str | os.PathLike):
            colour, alpha = pillow.decode_file(source, name, max_pixels, notes)
        elif pillow.is_image(source):
            colour, alpha = pillow.decode_image(source, name, max_pixels, notes)
        else:
            wanted = "a path, a PIL image or a NumPy array"
            raise ImageError(f"{name}: must be {wanted}, got {type(source).__name__}")
        pixels, opacity = _over_white(colour, alpha)
    if opacity is not None:
        notes.append("alpha composited over white")
    return Picture(pixels, opacity, tuple(notes), label)


def _over_white(
    colour: Samples, alpha: Samples | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Float pixels (H, W, 3), and the alpha if anything is transparent."""
    pixels = to_unit(colour)
    opacity = None if alpha is None else to_unit(alpha)
    if opacity is not None and opacity.min() == 1.0:
        opacity = None
    if opacity is not None:
        weight = opacity if pixels.ndim == 2 else opacity[:, :, None]
        pixels *= weight
        pixels += 1.0 - weight
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels, opacity


def resize(pixels: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float64]:
    """Resize by bicubic convolution, widened to the scale when shrinking so that nothing aliases.

    Parameters
    ----------
    pixels : ndarray of shape (H, W) or (H, W, C)
        Floating point in [0, 1]; computed in float32, channel by channel.
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
        return pixels.astype(np.float64)
    planes = pixels.reshape(*pixels.shape[:2], -1)
    with only_image_errors(f"resize: cannot resize {pixels.shape} to {height} x {width}"):
        result = np.empty((height, width, planes.shape[2]))
        for c in range(planes.shape[2]):
            result[:, :, c] = pillow.resize_plane(planes[:, :, c], height, width)
    np.clip(result, 0.0, 1.0, out=result)
    return result.reshape(height, width, *pixels.shape[2:])


def size_to_long_side(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Size of the same aspect whose longer side is `long_side`.

    Parameters
    ----------
    height, width, long_side : int
        Pixels, at least 1.

    Returns
    -------
    tuple of int
        Height and width, rounded half up, at least 1.
    """
    longest = max(height, width)
    h, w = ((2 * side * long_side + longest) // (2 * longest) for side in (height, width))
    return max(1, h), max(1, w)


def save_image(
    image: NDArray[Any],
    path: str | os.PathLike[str],
    *,
    quality: int = 95,
    bits: int = 8,
    metadata: Mapping[str, str] | None = None,
    alpha: NDArray[Any] | None = None,
    overwrite: bool = True,
) -> Path:
    """Write an image to a file, whole or not at all: on any failure an old file stays as it was.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3) or (H, W)
        sRGB: uint8, uint16, or floating point in [0, 1].
    path : str or path
        Its extension names the format: .png, .tif, .tiff, .jpg, .jpeg, .webp or .bmp.
    quality : int
        Of JPEG (always without chroma subsampling) and WebP, 1 to 100.
    bits : {8, 16}
        Bits per channel; 16 for PNG and TIFF only.
    metadata : mapping of str to str, optional
        Stored as JSON under the key "pynst", see `read_metadata`; BMP cannot hold it and goes
        without.
    alpha : ndarray of shape (H, W), optional
        Opacity, of the same types as `image`; for PNG, WebP and TIFF only.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ImageError
        And nothing else.

    Notes
    -----
    Every format but BMP says that its colours are sRGB: PNG by its sRGB chunk, the others by an
    embedded profile. Equal arguments give equal bytes.
    """
    with only_image_errors(f"output: cannot write {shown(path)}"):
        if quality not in range(1, 101):
            raise ImageError(f"output: quality must be an integer from 1 to 100, got {quality!r}")
        colour, fourth = from_array(image, "image")
        if fourth is not None:
            raise ImageError(f"image: must have shape (H, W, 3), got {image.shape}; see alpha")
        check_output(path, bits=bits, alpha=alpha is not None, size=colour.shape[:2])
        target = Path(path)
        if not overwrite and target.exists():
            raise ImageError(f"output: exists already: {shown(path)}")
        samples = _with_alpha(colour, alpha, bits)
        format_name = FORMATS[target.suffix.lower()].name
        data = _encoded(samples, format_name, quality, _description(metadata))
        try:
            write_whole(data, target, overwrite=overwrite)
        except FileExistsError:
            raise ImageError(f"output: exists already: {shown(path)}") from None
    return target


def to_uint8(pixels: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Round floats to 8 bits, clipping to [0, 1].

    Parameters
    ----------
    pixels : ndarray
        Floating point, finite, sRGB in [0, 1].

    Returns
    -------
    ndarray of the same shape
        uint8.
    """
    result: NDArray[np.uint8] = quantised(np.clip(pixels, 0.0, 1.0), 8)
    return result


def to_png(pixels: NDArray[np.floating[Any]]) -> bytes:
    """Encode floats of shape (H, W, 3) in [0, 1] as a PNG of 8 bits per channel, tagged as sRGB."""
    return encode_png(to_uint8(pixels))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Get back the metadata that `save_image` stored.

    Parameters
    ----------
    path : str or path
        A PNG, JPEG, WebP or TIFF file; only its header is read.

    Returns
    -------
    dict
        Empty if the file holds none of PyNST's.

    Raises
    ------
    ImageError
        The file is missing or not an image.
    """
    with only_image_errors(f"image: cannot read {shown(path)}"):
        text = pillow.read_description(path, MAX_PIXELS)
        try:
            found = json.loads(text)["pynst"]
            return {str(key): str(value) for key, value in found.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}  # a description that someone else wrote


def _description(metadata: Mapping[str, str] | None) -> str:
    """ASCII JSON of the metadata; empty if there is none."""
    if not metadata:
        return ""
    strings = [text for pair in metadata.items() for text in pair]
    if not all(isinstance(text, str) for text in strings):
        raise ImageError("output: metadata must map str to str, got other types")
    return json.dumps({"pynst": dict(metadata)})


def _with_alpha(colour: Samples, alpha: Samples | None, bits: int) -> Samples:
    """Integer samples (H, W, 3), or (H, W, 4) where there is an alpha."""
    samples = quantised(colour, bits)
    if samples.ndim == 2:
        samples = np.repeat(samples[:, :, None], 3, axis=2)
    if alpha is None:
        return samples
    opacity = from_array(alpha, "alpha")[0]
    if opacity.shape != samples.shape[:2]:
        wanted = f"must have the shape of the image, {samples.shape[:2]}"
        raise ImageError(f"alpha: {wanted}, got {alpha.shape}")
    return np.dstack([samples, quantised(opacity, bits)])


def _encoded(samples: Samples, format_name: str, quality: int, description: str) -> bytes:
    """Encode in the named format."""
    if format_name == "PNG":
        return encode_png(samples, description)
    if format_name == "TIFF":
        return encode_tiff(samples, description, pillow.srgb_profile())
    return pillow.encode(samples, format_name, quality, description)
