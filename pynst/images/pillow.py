"""What Pillow does for PyNST; the only file that imports it.

It is imported inside functions, as it costs 40 ms that ``import pynst`` need not pay. Only the
named formats are opened, and the size is checked before anything is decoded. Callers turn what
Pillow raises into an `ImageError`: it may be anything.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.files import shown
from pynst.images.arrays import Samples, from_array, quantised, upright
from pynst.images.files import check_input

if TYPE_CHECKING:
    from PIL import Image, ImageCms, ImageFile

__all__ = [
    "decode_file",
    "decode_image",
    "encode",
    "is_image",
    "read_description",
    "resize_plane",
    "srgb_profile",
]

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM")
_KNOWN = "JPEG, PNG, TIFF, WebP, BMP, GIF or PPM"
_DESCRIPTION, _ORIENTATION = 270, 274  # TIFF and EXIF tags
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_LOCK = threading.RLock()


@contextmanager
def _pillow(max_pixels: int) -> Iterator[None]:
    """Keep Pillow silent, and let it refuse more pixels than this wherever it meets them.

    Both settings belong to the process, hence the lock. Pillow warns above its limit and raises
    above twice its limit.
    """
    from PIL import Image

    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _opened(
    path: str | os.PathLike[str], name: str, max_pixels: int
) -> Iterator[ImageFile.ImageFile]:
    """Open a file as an image whose header is read and whose size is checked."""
    from PIL import Image, UnidentifiedImageError

    check_input(path, name)
    with _pillow(max_pixels), Path(path).open("rb") as file:
        try:
            image = Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not a readable {_KNOWN} file: {shown(path)}") from error
        except Image.DecompressionBombError as error:
            limit = f"more than {max_pixels} pixels"
            raise ImageError(f"{name}: {limit}, the limit: {shown(path)}") from error
        with image:
            yield image


def is_image(source: object) -> TypeGuard[Image.Image]:
    """Whether this is a PIL image."""
    if "PIL" not in sys.modules:  # then nobody can have made one
        return False
    from PIL import Image

    return isinstance(source, Image.Image)


def decode_file(
    path: str | os.PathLike[str], name: str, max_pixels: int, notes: list[str]
) -> tuple[Samples, Samples | None]:
    """Decode a file, as `decode_image` does; adds to `notes`.

    Pillow has no mode for colour of 16 bits per channel and drops the low bytes: such a file is
    decoded once more for them.
    """
    with _opened(path, name, max_pixels) as image:
        others = [_other_byte(tile.args) for tile in image.tile]
        if None in others or not others:
            decoded = _decode(image, None, name, max_pixels, notes)
        else:
            with _opened(path, name, max_pixels) as low:
                low.tile = [
                    tile._replace(args=args) for tile, args in zip(low.tile, others, strict=True)
                ]
                decoded = _decode(image, low, name, max_pixels, notes)
        _note_frames(image, notes)
    return decoded


def decode_image(
    image: Image.Image, name: str, max_pixels: int, notes: list[str]
) -> tuple[Samples, Samples | None]:
    """Decode to upright sRGB: colour of shape (H, W) or (H, W, 3), alpha of (H, W) or None."""
    with _pillow(max_pixels):
        return _decode(image, None, name, max_pixels, notes)


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


def _note_frames(image: ImageFile.ImageFile, notes: list[str]) -> None:
    with suppress(Exception):  # damage behind the first frame is none of ours
        if not getattr(image, "is_animated", False):
            return
        if image.format in ("TIFF", "MPO"):  # not counted: Pillow takes quadratic time in a TIFF
            notes.append("several pictures: the first one used")
        else:
            notes.append(f"animated: first of {getattr(image, 'n_frames', 2)} frames used")


def _decode(
    image: Image.Image, low: Image.Image | None, name: str, max_pixels: int, notes: list[str]
) -> tuple[Samples, Samples | None]:
    _check_header(image, name, max_pixels)
    icc = image.info.get("icc_profile")
    orientation = _orientation(image)
    image.load()
    if low is not None:
        low.load()
    space, colour, alpha = _channels(image, low, name)
    colour = _to_srgb(space, colour, icc, notes)
    if orientation != 1:
        notes.append("rotated by its EXIF orientation")
        remaining = _orientation(image)  # of a TIFF nothing: Pillow turns it when it loads
        colour = upright(colour, remaining)
        alpha = None if alpha is None else upright(alpha, remaining)
    return colour, alpha


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if min(height, width) < 1:
        raise ImageError(f"{name}: must have at least one pixel, got {height} x {width}")
    if height * width > max_pixels:
        raise ImageError(f"{name}: must have at most {max_pixels} pixels, got {height} x {width}")
    tags = _tags(image)
    if 2 in np.ravel(tags.get(_SAMPLE_FORMAT, 1)):
        raise ImageError(f"{name}: TIFF of signed integers is not supported")
    if tags.get(_PLANES) == 2 and max(tags.get(_BITS, (1,))) > 8:
        # Pillow takes these for 8-bit samples, and reports nothing.
        raise ImageError(f"{name}: TIFF of more than 8 bits in separate planes is not supported")


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Tags of a TIFF; none of anything else."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # damaged EXIF data: as if there were none
        value = int(image.getexif().get(_ORIENTATION, 1))
        return value if 1 <= value <= 8 else 1
    return 1


def _channels(
    image: Image.Image, low: Image.Image | None, name: str
) -> tuple[str, Samples, Samples | None]:
    """Split a loaded image: colour space ("L", "RGB", "CMYK" or "LAB"), colour and alpha."""
    key = image.info.get("transparency")
    if low is not None:
        deep = np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)
        if image.mode == "RGBA":
            return "RGB", deep[:, :, :3], deep[:, :, 3]
        return "RGB", deep, None if key is None else _unlike(np.all(deep == key, axis=2))
    white_is_zero = _tags(image).get(_PHOTOMETRIC) == 0  # Pillow inverts 8 bits, but no more
    if image.mode.startswith("I"):
        grey = _deep_grey(image, name)
        alpha = None if key is None else _unlike(grey == key)
        return "L", 65535 - grey if white_is_zero else grey, alpha
    if image.mode == "F":
        grey = from_array(np.asarray(image), name)[0]
        return "L", 1 - grey if white_is_zero else grey, None
    if image.mode in ("CMYK", "LAB"):
        return image.mode, np.asarray(image), None
    is_grey = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        mode = "L" if is_grey else "RGB"
        return mode, np.asarray(image.convert(mode)), None
    if image.mode == "La":
        image = image.convert("LA")  # Pillow knows no other way out of premultiplied grey
    rgba = np.asarray(image.convert("RGBA"))
    colour = rgba[:, :, 0] if is_grey else rgba[:, :, :3]
    return "L" if is_grey else "RGB", colour, rgba[:, :, 3]


def _unlike(transparent: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Alpha of a picture in which one colour stands for transparency."""
    return np.where(transparent, 0, 65535).astype(np.uint16)


def _deep_grey(image: Image.Image, name: str) -> NDArray[np.uint16]:
    """Grey of 12 or 16 bits, whichever integer mode Pillow keeps it in, as 16 bits."""
    bits = max(_tags(image).get(_BITS, (16,)))
    grey = np.asarray(image)
    if bits not in (12, 16) or grey.min() < 0 or grey.max() > 65535:
        raise ImageError(f"{name}: grey integers must be unsigned, of 8, 12 or 16 bits")
    if bits == 12:
        grey = (grey.astype(np.uint32) * 65535 + 2047) // 4095
    return grey.astype(np.uint16)


# ------------------------------------------------------------------------------- colour management


def _to_srgb(space: str, colour: Samples, icc: bytes | None, notes: list[str]) -> Samples:
    """Convert by the ICC profile, at 8 bits; what is sRGB already is returned as it is."""
    if space in ("L", "RGB") and not icc:
        return colour
    from PIL import Image

    image = Image.frombytes(space, colour.shape[1::-1], quantised(colour, 8).tobytes())
    result = None
    if icc or space == "LAB":
        try:
            result = _by_profile(image, icc)
        except Exception:  # the profile is the part of a file that is damaged unnoticed
            notes.append("damaged or unfitting ICC profile ignored")
    if space not in ("L", "RGB"):
        notes.append(f"converted from {space}")
        result = result or image.convert("RGB")
    elif result is None or result is image:
        return colour
    else:
        notes.append("ICC profile converted to sRGB")
    return np.asarray(result)


def _by_profile(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert to sRGB; `image` itself if its profile amounts to sRGB."""
    from PIL import ImageCms

    if image.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
    space = profile.profile.xcolor_space.strip()
    mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}[space]
    source = image.convert("RGB") if (image.mode, mode) == ("L", "RGB") else image
    # Little CMS tabulates a grey curve so coarsely that dark tones are 10 levels off.
    flags = ImageCms.Flags
    exactness = flags.NOOPTIMIZE if source.mode == "L" else flags.HIGHRESPRECALC
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        source.mode,  # refused by Little CMS if the profile is for another one
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags.BLACKPOINTCOMPENSATION | exactness,
    )
    if mode in ("L", "RGB") and _changes_nothing(transform, mode):
        return image
    converted = ImageCms.applyTransform(source, transform)
    assert converted is not None  # it is only for in-place conversions
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether greys, or colours on a grid of 18 per axis, stay within one level of 255."""
    from PIL import Image, ImageCms

    ramp = np.arange(0, 256, 15, dtype=np.uint8)
    grid = [ramp] * 3 if mode == "L" else np.meshgrid(ramp, ramp, ramp)
    probe = np.stack([np.ravel(axis) for axis in grid], axis=-1)[None]
    image = Image.fromarray(probe).convert(mode)
    result = ImageCms.applyTransform(image, transform)
    return bool(np.abs(np.asarray(result).astype(int) - probe).max() <= 1)


# ----------------------------------------------------------------------------- resizing and writing


def resize_plane(plane: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float32]:
    """Resize one channel (H, W) by bicubic convolution, in float32."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def srgb_profile() -> bytes:
    """Make the ICC profile of sRGB, the same bytes each time; empty if Pillow cannot."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    except ImportError:
        return b""
    birthday = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # else the time of this call
    return profile[:24] + birthday + profile[36:]


def encode(samples: Samples, format_name: str, quality: int, description: str) -> bytes:
    """Encode uint8 samples (H, W, 3), or (H, W, 4) for WebP, as "JPEG", "WEBP" or "BMP".

    `description` goes into EXIF unless empty; BMP has room for neither that nor a profile.
    """
    from PIL import Image

    exif = Image.Exif()
    if description:
        exif[_DESCRIPTION] = description
    tagged = {"icc_profile": srgb_profile(), "exif": exif.tobytes() if description else b""}
    settings: dict[str, dict[str, Any]] = {
        # 4:4:4; not optimised, as Pillow then fails on noise: it reserves 2 bytes per pixel
        "JPEG": {"quality": quality, "subsampling": 0, **tagged},
        "WEBP": {"quality": quality, "exact": True, **tagged},  # exact: colours under alpha 0 too
        "BMP": {},
    }
    file = io.BytesIO()
    with _pillow(samples.size):
        Image.fromarray(samples).save(file, format_name, **settings[format_name])
    return file.getvalue()


def read_description(path: str | os.PathLike[str], max_pixels: int) -> str:
    """Read the description in the header, whoever wrote it; "None" if there is none."""
    with _opened(path, "image", max_pixels) as image:
        is_png = image.format == "PNG"
        return str(image.info.get("pynst") if is_png else image.getexif().get(_DESCRIPTION))
