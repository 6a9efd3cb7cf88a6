"""Colour management: pictures of any colour space and profile become sRGB, by Little CMS."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pynst.images.arrays import Samples, quantised

if TYPE_CHECKING:
    from PIL import Image, ImageCms

__all__ = ["is_grey_profile", "srgb_profile", "to_srgb"]

Conversion: TypeAlias = "Callable[[Image.Image], Image.Image]"


def to_srgb(space: str, icc: bytes | None, notes: list[str]) -> Callable[[Samples], Samples] | None:
    """Make the function that converts samples to sRGB by an ICC profile, at 8 bits.

    `space` is "L", "RGB", "CMYK" or "LAB". Returns None where the samples are sRGB already; adds to
    `notes` what is done.
    """
    convert = _by_profile(space, icc, notes) if icc or space == "LAB" else None
    if space in ("L", "RGB"):
        if convert is None:
            return None
        notes.append("ICC profile converted to sRGB")
    elif convert is None:
        notes.append(f"converted from {space} without an ICC profile: colours are approximate")
    else:
        notes.append(f"converted from {space}")

    def converted(colour: Samples) -> Samples:
        from PIL import Image

        size = colour.shape[1::-1]
        image = Image.frombytes(space, size, quantised(colour, 8).tobytes())
        return np.asarray(image.convert("RGB") if convert is None else convert(image))

    return converted


def _by_profile(space: str, icc: bytes | None, notes: list[str]) -> Conversion | None:
    """Make the conversion by a profile; None if it is damaged or amounts to sRGB."""
    try:
        return _conversion(space, icc)
    except Exception:  # Little CMS, like Pillow, raises many things on damaged profiles
        notes.append("damaged or unfitting ICC profile ignored")
        return None


def is_grey_profile(icc: bytes | None) -> bool:
    """Whether an ICC profile is for pictures of one channel."""
    return icc is not None and icc[16:20] == b"GRAY"


def _conversion(space: str, icc: bytes | None) -> Conversion | None:
    """Make the conversion to sRGB, tried out on one pixel; None if it amounts to sRGB."""
    from PIL import Image, ImageCms

    if space == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
    profile_space = profile.profile.xcolor_space.strip()
    mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}[profile_space]
    source = "RGB" if (space, mode) == ("L", "RGB") else space
    # Little CMS tabulates a grey curve so coarsely that dark tones are 10 levels off.
    flags = ImageCms.Flags
    exactness = flags.NOOPTIMIZE if source == "L" else flags.HIGHRESPRECALC
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        source,  # refused by Little CMS if the profile is for another one
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags.BLACKPOINTCOMPENSATION | exactness,
    )
    if mode in ("L", "RGB") and _changes_nothing(transform, mode):
        return None

    def convert(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(
            image if image.mode == source else image.convert(source), transform
        )
        assert converted is not None  # it is None only for conversions in place
        return converted

    convert(Image.new(space, (1, 1)))
    return convert


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether greys, or colours on a grid of 18 per axis, stay within one level of 255."""
    from PIL import Image, ImageCms

    ramp = np.arange(0, 256, 15, dtype=np.uint8)
    grid = [ramp] * 3 if mode == "L" else np.meshgrid(ramp, ramp, ramp)
    probe = np.stack([np.ravel(axis) for axis in grid], axis=-1)[None]
    image = Image.fromarray(probe).convert(mode)
    result = ImageCms.applyTransform(image, transform)
    return bool(np.abs(np.asarray(result).astype(int) - probe).max() <= 1)


def srgb_profile() -> bytes:
    """Make the ICC profile of sRGB, the same bytes each time; empty if Pillow cannot."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    except ImportError:
        return b""
    birthday = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # in place of the time of this call
    return profile[:24] + birthday + profile[36:]
