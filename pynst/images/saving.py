"""Pictures out: an image becomes a file, whole or not at all, and its metadata come back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.files import shown, write_whole
from pynst.images import pillow
from pynst.images.arrays import Samples, from_array, quantised
from pynst.images.files import (
    BinarySource,
    FileFormat,
    check_dpi,
    check_fit,
    check_output,
    check_writable,
    file_format,
    label,
    only_image_errors,
    write_to,
)
from pynst.images.png_tiff import encode_png, encode_tiff
from pynst.images.profiles import srgb_profile

__all__ = ["read_metadata", "save_image", "to_png", "to_uint8"]

_MOST_PIXELS = 32768**2  # of the largest picture that PyNST makes


@overload
def save_image(
    image: NDArray[Any],
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    quality: int = 95,
    bits: int = 8,
    dpi: float | None = None,
    metadata: Mapping[str, str] | None = None,
    alpha: NDArray[Any] | None = None,
    overwrite: bool = True,
) -> Path: ...


@overload
def save_image(
    image: NDArray[Any],
    path: IO[bytes],
    *,
    format: str | None = None,
    quality: int = 95,
    bits: int = 8,
    dpi: float | None = None,
    metadata: Mapping[str, str] | None = None,
    alpha: NDArray[Any] | None = None,
    overwrite: bool = True,
) -> None: ...


def save_image(
    image: NDArray[Any],
    path: BinarySource,
    *,
    format: str | None = None,
    quality: int = 95,
    bits: int = 8,
    dpi: float | None = None,
    metadata: Mapping[str, str] | None = None,
    alpha: NDArray[Any] | None = None,
    overwrite: bool = True,
) -> Path | None:
    """Write an image to a file, whole or not at all: on any failure an old file stays as it was.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3) or (H, W)
        sRGB: uint8, uint16, or floating point in [0, 1].
    path : str, path or binary file
        Where to write. The file at a path appears whole or not at all; an open file is written to
        from its present position and stays open.
    format : str, optional
        "png", "tif", "tiff", "jpg", "jpeg", "webp" or "bmp". Default: the extension of `path`, or
        of the name of the open file, says which; a file without a name, such as ``io.BytesIO``,
        needs this argument.
    quality : int
        Quality of JPEG (always without chroma subsampling) and WebP, 1 to 100.
    bits : {8, 16}
        Bits per channel; 16 for PNG and TIFF only.
    dpi : float, optional
        Pixels per inch when printed, 1 to 10 000; WebP cannot hold it and goes without.
    metadata : mapping of str to str, optional
        Stored as JSON under the key "pynst", see `read_metadata`; BMP cannot hold it and goes
        without.
    alpha : ndarray of shape (H, W), optional
        Opacity, of the same types as `image`; for PNG, WebP and TIFF only.
    overwrite : bool
        Whether an existing file may be replaced; an open file is written to in any case.

    Returns
    -------
    Path or None
        `path`; None for an open file.

    Raises
    ------
    ImageError
        And nothing else.

    Notes
    -----
    Every format but BMP says that its colours are sRGB: PNG by its sRGB chunk, the others by an
    embedded profile. Equal arguments give equal bytes.
    """
    with only_image_errors(f"output: cannot write {label(path)}"):
        if quality not in range(1, 101):
            raise ImageError(f"output: quality must be an integer from 1 to 100, got {quality!r}")
        check_dpi(dpi)
        colour, fourth = from_array(image, "image")
        if fourth is not None:
            raise ImageError(f"image: must have shape (H, W, 3), got {image.shape}; see alpha")
        found = _checked(path, format, bits, alpha is not None, colour.shape[:2], overwrite)
        samples = _with_alpha(colour, alpha, bits)
        data = _encoded(samples, found.name, quality, _description(metadata), dpi)
        if not isinstance(path, str | os.PathLike):
            write_to(path, data)
            return None
        try:
            write_whole(data, path, overwrite=overwrite)
        except FileExistsError:
            raise ImageError(f"output: exists already: {shown(path)}") from None
    return Path(path)


def _checked(
    path: BinarySource,
    format: str | None,
    bits: int,
    alpha: bool,
    size: tuple[int, ...],
    overwrite: bool,
) -> FileFormat:
    """Find the format, and check before encoding that it and the place take the image."""
    if isinstance(path, str | os.PathLike):
        check_output(path, bits=bits, alpha=alpha, size=size, format=format)
        if not overwrite and Path(path).exists():
            raise ImageError(f"output: exists already: {shown(path)}")
        return file_format(path, format)
    check_writable(path)
    found = file_format(path, format)
    check_fit(found, path, bits=bits, alpha=alpha, size=size)
    return found


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


def read_metadata(path: BinarySource) -> dict[str, str]:
    """Get back the metadata that `save_image` stored.

    Parameters
    ----------
    path : str, path or binary file
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
    with only_image_errors(f"image: cannot read {label(path)}"):
        # Nothing is decoded, so that PyNST's own pictures may be larger than any that it reads.
        text = pillow.read_description(path, _MOST_PIXELS)
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


def _encoded(
    samples: Samples, format_name: str, quality: int, description: str, dpi: float | None
) -> bytes:
    """Encode in the named format."""
    if format_name == "PNG":
        return encode_png(samples, description, dpi)
    if format_name == "TIFF":
        return encode_tiff(samples, description, srgb_profile(), dpi)
    return pillow.encode(samples, format_name, quality, description, dpi)
