"""Decoding a WebP of one frame in 8 bytes per pixel and its file, where Pillow takes 12.

Pillow decodes every WebP as an animation, for which libwebp keeps two frames beside the one that it
hands out. The same library decodes a single frame straight into memory that is given to it; it is
asked for that through ctypes, in the very copy of the library that Pillow came with.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

__all__ = ["bytes_per_pixel", "release_decoder"]

_PLAIN, _ANIMATION = 8, 12  # bytes per pixel, measured
_FLAGS, _ANIMATED = 20, 2
"""Place of the flags in a file whose first part is called VP8X, and the one of an animation."""


def bytes_per_pixel(image: Any) -> int:
    """Bytes per pixel that `release_decoder` and the loading of a Pillow image take at the peak."""
    return _PLAIN if _is_plain(image) else _ANIMATION


def release_decoder(image: Any) -> None:
    """Decode the first frame of a Pillow image now, and let go of the decoder and its frames.

    Pillow would keep them while it copies the pixels, and longer.

    Raises
    ------
    OSError
        The data of a file of one frame is damaged; of an animation, Pillow raises what it does.
    """
    if image.tile != [] or getattr(image, "_decoder", None) is None:
        return
    if _is_plain(image):
        image._decoder = None  # it holds the file, which is read anew
        frame = _decoded(image), 0, 0
    else:
        frame = image._get_next()
        image._decoder = None
    image._get_next, image._reset = lambda: frame, lambda: None


def _is_plain(image: Any) -> bool:
    """Whether a file has one frame and no animation, and the library can be asked directly."""
    if _library() is None or image.rawmode not in ("RGBX", "RGBA") or image.fp is None:
        return False
    image.fp.seek(0)
    head = image.fp.read(_FLAGS + 1)
    return head[12:16] != b"VP8X" or not head[_FLAGS] & _ANIMATED


def _decoded(image: Any) -> bytes:
    """Decode the one frame of a file as R, G, B, A."""
    image.fp.seek(0)
    data = image.fp.read()
    width, height = image.size
    pixels = ctypes.create_string_buffer(4 * width * height)
    library = _library()
    assert library is not None
    if not library.WebPDecodeRGBAInto(data, len(data), pixels, len(pixels), 4 * width):
        raise OSError("failed to decode the WebP file")
    return pixels.raw


@cache
def _library() -> Any:
    """The libwebp that Pillow uses, or None where its functions cannot be seen from outside."""
    try:
        from PIL import _webp

        library = ctypes.CDLL(_webp.__file__)
        decode = library.WebPDecodeRGBAInto
    except (ImportError, AttributeError, OSError):
        return None
    decode.restype = ctypes.c_void_p
    decode.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
    ]
    return library
