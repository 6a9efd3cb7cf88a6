"""Pictures in and out: files, PIL images and arrays become sRGB floats, results become files.

`pictures` is the way in, `saving` the way out. A file is opened by `pillow`, after `damage` has
looked for what Pillow does not, and decoded by `decode`; `profiles` makes the colours sRGB and
`bands` the pixels, in the `memory` there is. `arrays` knows arrays of samples, `files` paths and
formats; `png_tiff` encodes PNG and TIFF; `color` matches and keeps colours.
"""

from __future__ import annotations

from pynst.images.bands import size_to_long_side
from pynst.images.files import check_output
from pynst.images.pictures import (
    MAX_PIXELS,
    ImageLike,
    Picture,
    load_image,
    picture_size,
    read_picture,
    resize,
)
from pynst.images.saving import read_metadata, save_image, to_png, to_uint8

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "Picture",
    "check_output",
    "load_image",
    "picture_size",
    "read_metadata",
    "read_picture",
    "resize",
    "save_image",
    "size_to_long_side",
    "to_png",
    "to_uint8",
]
