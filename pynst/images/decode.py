"""Decoding by Pillow: files and PIL images of every mode become samples in sRGB.

Nothing is decoded before its size, and the memory that this takes, are known to be in bounds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.files import shown
from pynst.images import webp
from pynst.images.arrays import Samples, from_array
from pynst.images.bands import Stored, reading_size
from pynst.images.damage import check_png_data, libtiff_reports, reason
from pynst.images.files import BinarySource, label
from pynst.images.jpeg2000 import halvings
from pynst.images.memory import check_room
from pynst.images.pillow import opened, settings
from pynst.images.profiles import is_grey_profile, to_srgb

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["decode_file", "decode_image"]

_ORIENTATION = 274  # TIFF and EXIF tag
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_CORE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # per pixel; others: 4
_MAYBE_SEVERAL = {"GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO", "HEIF"}
_WHOLE_FRAMES = {"WEBP": 12, "AVIF": 16, "HEIF": 16, "JPEG2000": 24}
"""Bytes per pixel, measured, that decoders take which cannot decode row by row, beside the file."""


def decode_file(
    source: BinarySource, name: str, max_pixels: int, long_side: int | None, notes: list[str]
) -> Stored:
    """Decode a file; adds to `notes`.

    Pillow has no mode for colour of 16 bits per channel and drops the low bytes: such a file is
    decoded once more for them. A large JPEG or JPEG 2000 picture of which no more than `long_side`
    pixels are needed is decoded at a fraction of its size.
    """
    what = f"{name}: cannot read {label(source)}"
    low = None
    with opened(source, name, max_pixels) as image:
        _check_header(image, name, max_pixels)
        others = [_other_byte(tile.args) for tile in image.tile]
        is_deep = bool(others) and None not in others
        is_grey = _is_grey(image)
        height, width = image.height, image.width
        fraction = _at_a_fraction(image, long_side)
        decoding = _decoding_bytes(image, is_deep, height * width, fraction)
        check_room(decoding, (height, width), long_side, what)
        before = _orientation_of_tiff(image)
        _check_undecoded(image, what)
        _load(image, what)
    if is_deep:
        with opened(source, name, max_pixels) as low:
            low.tile = [
                tile._replace(args=args) for tile, args in zip(low.tile, others, strict=True)
            ]
            _load(low, what)
    with settings(max_pixels):
        rows, orientation = _managed(_Decoded(image, low, is_grey, name), before, notes)
    if image.format in _MAYBE_SEVERAL and _may_be_animated(image):
        _note_frames(source, name, max_pixels, notes)
    first_sample = 0.5 if image.format == "JPEG2000" else fraction / 2
    return Stored((height, width), rows, orientation, fraction, first_sample)


def decode_image(
    image: Image.Image, name: str, max_pixels: int, long_side: int | None, notes: list[str]
) -> Stored:
    """Decode a PIL image; adds to `notes`."""
    what = f"{name}: cannot read PIL image"
    with settings(max_pixels):
        _check_header(image, name, max_pixels)
        is_grey = _is_grey(image)
        before = _orientation_of_tiff(image)
        pixels = image.height * image.width
        undecoded = _decoding_bytes(image, False, pixels, 1, is_own=False)
        decoding = undecoded if getattr(image, "tile", None) else 0
        check_room(decoding, (image.height, image.width), long_side, what)
        _check_undecoded(image, what)
        _load(image, what, is_own=False)
        rows, orientation = _managed(_Decoded(image, None, is_grey, name), before, notes)
        return Stored((image.height, image.width), rows, orientation)


def _check_undecoded(image: Image.Image, what: str) -> None:
    """Check the data of a PNG that is not decoded yet."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None and getattr(image, "tile", None):
        check_png_data(file, what)


def _load(image: Image.Image, what: str, *, is_own: bool = True) -> None:
    """Decode an image completely; raise an ImageError each time if it is damaged.

    Pillow raises only once: after a failure it takes the image for decoded, with whatever part of
    it there is. `is_own` says that nobody else will use the image.
    """
    tiles = list(getattr(image, "tile", []))
    if tiles and getattr(image, "fp", None) is None:
        raise ImageError(f"{what}: its file is closed, or was found damaged before")
    try:
        if is_own and image.format == "WEBP":
            webp.release_decoder(image)
        with ExitStack() as stack:
            is_tiff = image.format == "TIFF"
            reports = stack.enter_context(libtiff_reports()) if is_tiff else []
            image.load()
        if reports:
            raise OSError("broken data stream")
    except Exception as error:
        image.tile = tiles  # type: ignore[attr-defined]
        raise ImageError(f"{what}: {shown(reason(error))}") from error


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if min(height, width) < 1:
        raise ImageError(f"{name}: must have at least one pixel, got {height} x {width}")
    if height * width > max_pixels:
        raise ImageError(f"{name}: at most {max_pixels} pixels, got {height} x {width}")
    tags = _tags(image)
    if 2 in np.ravel(tags.get(_SAMPLE_FORMAT, 1)):
        raise ImageError(f"{name}: TIFF of signed integers is not supported")
    if tags.get(_PLANES) == 2 and max(tags.get(_BITS, (1,))) > 8:
        # Pillow takes these for 8-bit samples, and reports nothing.
        raise ImageError(f"{name}: TIFF of more than 8 bits in separate planes is not supported")


def _decoding_bytes(
    image: Image.Image, is_deep: bool, pixels: int, fraction: int, *, is_own: bool = True
) -> int:
    """Bytes that decoding takes at its peak; the file has `pixels` of which a fraction is made.

    `is_own` is as for `_load`.
    """
    decoded = pixels // fraction**2
    if is_own and image.format == "WEBP":
        return decoded * webp.bytes_per_pixel(image) + _bytes_of_file(image)
    if image.format in _WHOLE_FRAMES:
        return decoded * _WHOLE_FRAMES[image.format] + _bytes_of_file(image)
    core = decoded * _CORE_BYTES.get(image.mode, 4)
    if image.format in ("JPEG", "MPO") and image.info.get("progressive"):
        return core + pixels * 2 * len(image.getbands())  # all coefficients are kept
    if image.format == "TIFF":
        core *= 2  # strips of any height, and a turned copy
    return 2 * core if is_deep else core


def _bytes_of_file(image: Any) -> int:
    """Length of the file of an image, of which decoders of whole frames keep a copy."""
    file = getattr(image, "fp", None)
    if file is None:
        return 0
    place = file.tell()
    length: int = file.seek(0, os.SEEK_END)
    file.seek(place)
    return length


def _at_a_fraction(image: Any, long_side: int | None) -> int:
    """Let a large JPEG or JPEG 2000 picture be decoded at 1/2, 1/4, ... of its size.

    What is decoded has at least twice the size that it is reduced to. A JPEG 2000 picture is halved
    once even where less is left, since its decoder takes more than 12 bytes per pixel otherwise.
    Returns the 2, 4, ..., or 1.
    """
    size = image.height, image.width
    wanted = reading_size(*size, long_side)
    if wanted == size:
        return 1
    twice = 2 * wanted[0], 2 * wanted[1]
    if image.format in ("JPEG", "MPO"):
        image.draft(None, twice[::-1])
        return next(n for n in (1, 2, 4, 8) if -(-size[1] // n) == image.width)
    if image.format == "JPEG2000" and image.mode not in ("P", "PA"):  # these hold no colours
        count = halvings(image.fp, size, twice) or min(1, halvings(image.fp, size, wanted))
        image.reduce = count
        return 1 << count
    return 1


def _other_byte(args: Any) -> Any:
    """Turn decoder arguments into those that keep the other byte of 16-bit samples, or None.

    Pillow keeps the high byte of little-endian ("16L"), big-endian ("16B") or native ("16N")
    samples: asked for the opposite byte order, it keeps the low one.
    """
    rawmode, *rest = args if isinstance(args, tuple) else (args,)
    mode, _, order = str(rawmode).partition(";")
    native = "16L" if sys.byteorder == "little" else "16B"
    other = {"16L": "16B", "16B": "16L"}.get(native if order == "16N" else order)
    if mode not in ("RGB", "RGBX", "RGBA") or other is None:
        return None
    return (f"{mode};{other}", *rest) if rest else f"{mode};{other}"


def _may_be_animated(image: Any) -> bool:
    """Whether a loaded image can have more frames; those kept whole are counted at the opening."""
    return image.format not in _WHOLE_FRAMES or getattr(image, "is_animated", True)


def _note_frames(source: BinarySource, name: str, max_pixels: int, notes: list[str]) -> None:
    """Note if there are more pictures than the first; counting them needs the file once more."""
    # What is damaged behind the first picture does not matter.
    with suppress(Exception), opened(source, name, max_pixels) as image:
        if not getattr(image, "is_animated", False):
            return
        if image.format in ("TIFF", "MPO"):  # not counted: Pillow takes quadratic time in a TIFF
            notes.append("several pictures: the first one used")
        else:
            notes.append(f"animated: first of {getattr(image, 'n_frames', 2)} frames used")


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Tags of a TIFF; none of anything else."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _orientation_of_tiff(image: Image.Image) -> int:
    """EXIF orientation of a TIFF that is not loaded yet: Pillow turns it upright as it loads."""
    return _known(_tags(image).get(_ORIENTATION, 1))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of a loaded image.

    Pillow looks for EXIF data behind the pixels of a PNG, and would decode them for that.
    """
    with suppress(Exception):  # damaged EXIF data: as if there were none
        return _known(image.getexif().get(_ORIENTATION, 1))
    return 1


def _known(orientation: Any) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _is_grey(image: Image.Image) -> bool:
    """Whether the picture is grey, though Pillow may decode it as RGB.

    Pillow has no grey mode for WebP and AVIF, nor for grey with alpha of 16 bits in a PNG. Of the
    first two only the profile tells.
    """
    if image.mode in ("1", "L", "LA", "La"):
        return True
    if image.format in ("WEBP", "AVIF"):
        return is_grey_profile(image.info.get("icc_profile"))
    args = [tile.args for tile in getattr(image, "tile", [])]
    return image.format == "PNG" and "LA;16B" in args


# ----------------------------------------------------------------------------------------- channels


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """A loaded image, and where it has 16 bits per channel, a second one with their low bytes."""

    image: Image.Image
    low: Image.Image | None
    is_grey: bool
    name: str

    @property
    def space(self) -> str:
        """Colour space of the samples: "L", "RGB", "CMYK" or "LAB"."""
        if self.image.mode in ("CMYK", "LAB"):
            return self.image.mode
        is_deep_grey = self.image.mode == "F" or self.image.mode.startswith("I")
        return "L" if self.is_grey or is_deep_grey else "RGB"

    def rows(self, first: int, last: int) -> tuple[Samples, Samples | None]:
        """Colour and alpha of some rows."""
        box = (0, first, self.image.width, last)
        band = self.image.crop(box)
        key = self.image.info.get("transparency")
        if self.low is not None:
            return _deep_colour(band, self.low.crop(box), key)
        if band.mode == "F" or band.mode.startswith("I"):
            return self._deep_grey(band, key)
        if band.mode in ("CMYK", "LAB"):
            return np.asarray(band), None
        mode = "L" if self.is_grey else "RGB"
        if not band.has_transparency_data:
            return np.asarray(band.convert(mode)), None
        if band.mode == "La":
            band = band.convert("LA")  # Pillow converts premultiplied grey to nothing else
        if band.mode == "RGBA" and self.is_grey:
            band = band.convert("LA")
        rgba = np.asarray(band.convert("RGBA"))
        return rgba[:, :, 0] if self.is_grey else rgba[:, :, :3], rgba[:, :, 3]

    def _deep_grey(self, band: Image.Image, key: Any) -> tuple[Samples, Samples | None]:
        """Grey of more than 8 bits: floating point, or 12 or 16 bits as 16."""
        white_is_zero = _tags(self.image).get(_PHOTOMETRIC) == 0  # Pillow inverts only 8 bits
        if band.mode == "F":
            grey = from_array(np.asarray(band), self.name)[0]
            return 1 - grey if white_is_zero else grey, None
        bits = max(_tags(self.image).get(_BITS, (16,)))
        grey = np.asarray(band)
        if bits not in (12, 16) or grey.min() < 0 or grey.max() > 65535:
            raise ImageError(f"{self.name}: grey integers must be unsigned, of 8, 12 or 16 bits")
        if bits == 12:
            grey = (grey.astype(np.uint32) * 65535 + 2047) // 4095
        grey = grey.astype(np.uint16)
        alpha = None if key is None else _unlike(grey == key)
        return 65535 - grey if white_is_zero else grey, alpha


def _deep_colour(
    high: Image.Image, low: Image.Image, key: Any
) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """Colour and alpha of 16 bits, of which `high` and `low` have a byte each."""
    deep = np.asarray(high).astype(np.uint16) << 8 | np.asarray(low)
    if high.mode == "RGBA":
        return deep[:, :, :3], deep[:, :, 3]
    return deep, None if key is None else _unlike(np.all(deep == key, axis=2))


def _unlike(transparent: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Alpha of a picture in which one colour stands for transparency."""
    return np.where(transparent, 0, 65535).astype(np.uint16)


def _managed(
    decoded: _Decoded, before: int, notes: list[str]
) -> tuple[Callable[[int, int], tuple[Samples, Samples | None]], int]:
    """Put colour management behind the rows of a loaded image; find its orientation.

    `before` is what `_orientation_of_tiff` found. Adds to `notes` what is done.
    """
    image = decoded.image
    convert = to_srgb(decoded.space, image.info.get("icc_profile"), notes)
    orientation = _orientation(image)
    if orientation != 1 or before != 1:
        notes.append("rotated by its EXIF orientation")

    def rows(first: int, last: int) -> tuple[Samples, Samples | None]:
        with settings(image.width * image.height):
            colour, alpha = decoded.rows(first, last)
            return colour if convert is None else convert(colour), alpha

    return rows, orientation
