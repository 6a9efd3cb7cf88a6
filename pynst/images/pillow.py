"""Opening, resizing and encoding by Pillow; `decode` and `profiles` are the other files to use it.

Pillow is imported inside functions, as it costs 40 ms that ``import pynst`` need not pay. Only the
named formats are opened, and the size is checked before anything is decoded.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from pynst.errors import ImageError
from pynst.files import shown
from pynst.images.arrays import Samples
from pynst.images.damage import check_png_structure, reason
from pynst.images.files import BinarySource, binary_input, label
from pynst.images.profiles import srgb_profile

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = ["encode", "is_image", "opened", "read_description", "resize_plane", "settings"]

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
_KNOWN = "JPEG, PNG, TIFF, WebP, BMP, GIF, PPM, AVIF, JPEG 2000 or TGA"
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"II+\0": "TIFF", b"MM\0+": "TIFF", b"GIF8": "GIF", b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}  # fmt: skip
_TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_READ_WHOLE = {"WEBP", "AVIF", "HEIF", "JPEG2000"}  # formats whose files Pillow may read at once
_LONGEST_WHOLE, _LONGEST = 1 << 29, 1 << 32  # bytes of such files, 512 MB, and of others, 4 GB
_LONGEST_TEXT = 1 << 24  # bytes of an unpacked text or ICC profile of a PNG: 16 MB
_DESCRIPTION = 270  # TIFF and EXIF tag
_LOCK = threading.RLock()
_SILENT = logging.NullHandler()  # without any handler, errors would go to standard error


@contextmanager
def settings(max_pixels: int) -> Iterator[None]:
    """Set Pillow's settings of the process as PyNST needs them, and put them back.

    Pillow is kept silent, refuses more pixels than `max_pixels` wherever it meets them (it warns
    above its limit and raises above twice its limit), reads ICC profiles of more than 1 MB, and
    reports truncated files even where the program at large tolerates them.
    """
    from PIL import Image, ImageFile, PngImagePlugin

    wanted: list[tuple[Any, str, Any]] = [
        (Image, "MAX_IMAGE_PIXELS", (max_pixels + 1) // 2),
        (ImageFile, "LOAD_TRUNCATED_IMAGES", False),
        (PngImagePlugin, "MAX_TEXT_CHUNK", _LONGEST_TEXT),
    ]
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("PIL").addHandler(_SILENT)
        before = [(module, name, getattr(module, name)) for module, name, _ in wanted]
        try:
            for module, name, value in wanted:
                setattr(module, name, value)
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)


@contextmanager
def opened(source: BinarySource, name: str, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open a file as an image whose header is read and whose size is checked."""
    from PIL import Image, UnidentifiedImageError

    with settings(max_pixels), binary_input(source, name) as file:
        formats = _formats(file, source, name)
        what = f"{name}: cannot read {label(source)}"
        check_png_structure(file, what)
        file.seek(0)
        try:
            image = Image.open(file, formats=formats)
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: {_unidentified(file, source)}") from error
        except Image.DecompressionBombError as error:
            limit = f"more than {max_pixels} pixels"
            raise ImageError(f"{name}: {limit}, the limit: {label(source)}") from error
        except Exception as error:
            raise ImageError(f"{what}: {shown(reason(error))}") from error
        with image:
            yield image


def _formats(file: IO[bytes], source: BinarySource, name: str) -> list[str]:
    """List the formats that Pillow may try; refuses files that no picture of its kind needs."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 18))
    footer = file.read(18)
    file.seek(0)
    head = file.read(12)
    formats = list(_FORMATS)
    # A TGA has no signature at its beginning: nearly any file would do.
    suffix = Path(os.fsdecode(source)).suffix if isinstance(source, str | os.PathLike) else ""
    if footer == b"TRUEVISION-XFILE.\0" or suffix.lower() in _TGA_SUFFIXES:
        formats.append("TGA")
    if _is_heif(head) and _registered_heif():
        formats.append("HEIF")
    whole = head[:4] == b"RIFF" or head[4:8] in (b"ftyp", b"jP  ") or head[:2] == b"\xff\x4f"
    limit = _LONGEST_WHOLE if whole else _LONGEST
    if length > limit:
        raise ImageError(
            f"{name}: the file has {length} bytes, more than the {limit} that are read of its"
            f" format: {label(source)}"
        )
    return formats


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _registered_heif() -> bool:
    """Teach Pillow to open HEIC, if the package for that is installed."""
    with suppress(Exception):
        importlib.import_module("pillow_heif").register_heif_opener()
        return True
    return False


def _unidentified(file: IO[bytes], source: BinarySource) -> str:
    """Say why no format fits."""
    file.seek(0)
    head = file.read(12)
    if _is_heif(head) and not _registered_heif():
        needed = "a HEIC picture, which is read only where pillow-heif is installed"
        return f"{needed} (pip install pillow-heif): {label(source)}"
    kinds = [kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)]
    if head[4:8] == b"ftyp":
        kinds = ["HEIC"] if _is_heif(head) else ["AVIF"] if head[8:12] == b"avif" else []
    if kinds:
        what = f"not a readable {kinds[0]} file; it is damaged, cut off or of a rare kind"
        return f"{what}: {label(source)}"
    return f"not a readable {_KNOWN} file: {label(source)}"


def is_image(source: object) -> TypeGuard[Image.Image]:
    """Whether this is a PIL image."""
    if "PIL" not in sys.modules:  # then nobody can have made one
        return False
    from PIL import Image

    return isinstance(source, Image.Image)


def resize_plane(
    plane: NDArray[np.floating[Any]],
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Resize one channel (H, W), or a box of it, by bicubic convolution, in float32.

    `box` is left, top, right and bottom in pixels; the kernel reaches beyond it where `plane` does.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box))


def encode(
    samples: Samples, format_name: str, quality: int, description: str, dpi: float | None = None
) -> bytes:
    """Encode uint8 samples (H, W, 3), or (H, W, 4) for WebP, as "JPEG", "WEBP" or "BMP".

    `description` goes into EXIF unless empty; BMP has room for neither that nor a profile. `dpi`
    is pixels per inch when printed, which WebP cannot say.
    """
    from PIL import Image

    exif = Image.Exif()
    if description:
        exif[_DESCRIPTION] = description
    tagged = {"icc_profile": srgb_profile(), "exif": exif.tobytes() if description else b""}
    density = {} if dpi is None else {"dpi": (dpi, dpi)}
    arguments: dict[str, dict[str, Any]] = {
        # 4:4:4; not optimised, as Pillow then fails on noise: it reserves 2 bytes per pixel
        "JPEG": {"quality": quality, "subsampling": 0, **tagged, **density},
        # exact: the colours of transparent pixels are kept too
        "WEBP": {"quality": quality, "exact": True, **tagged},
        "BMP": density,
    }
    file = io.BytesIO()
    with settings(samples.size):
        Image.fromarray(samples).save(file, format_name, **arguments[format_name])
    return file.getvalue()


def read_description(source: BinarySource, max_pixels: int) -> str:
    """Read the description in the header, whoever wrote it; "None" if there is none."""
    with opened(source, "image", max_pixels) as image:
        is_png = image.format == "PNG"
        return str(image.info.get("pynst") if is_png else image.getexif().get(_DESCRIPTION))
