"""How often a JPEG 2000 picture can be halved by its decoder, which so takes less memory.

The file holds the picture at half its size with what the whole one has beyond that, and the half
again as a quarter and the rest, and so on; a decoder may stop at any of them. Sample (i, j) of the
picture at 1/f of its size lies where sample (f i, f j) of the whole one is: at the upper left of
the f x f samples that it stands for, not in their middle.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

__all__ = ["halvings"]

_MOST_BOXES, _MOST_SEGMENTS = 100, 1000  # looked at; what programs write has about ten of each
_LONGEST = 1 << 32  # bytes of a file
_CODESTREAM = b"\xff\x4f\xff\x51"  # its first marker, and that of its first segment, the size
_SIZE, _CODING, _CODING_OF_ONE, _TILE = 0xFF51, 0xFF52, 0xFF53, 0xFF90
"""Markers, in the standard's words SIZ, COD, COC and SOT."""


def halvings(file: IO[bytes], size: tuple[int, int], wanted: tuple[int, int]) -> int:
    """Find how often Pillow may halve a picture while it decodes it.

    Parameters
    ----------
    file : binary file
        Its position is moved.
    size, wanted : tuple of int
        Height and width of the picture, and the least that are needed of them.

    Returns
    -------
    int
        At least 0. The decoder rounds the sizes up, Pillow expects them rounded to the nearest:
        the number is one with which both are the same.
    """
    levels = 0
    with suppress(struct.error):  # a header that is cut off
        _go_to_codestream(file)
        levels = _levels(_main_header(file), size)
    fitting = [
        count
        for count in range(1, min(levels, max(size).bit_length()) + 1)
        if all(
            _rounded_up(side, count) == _rounded(side, count) >= least
            for side, least in zip(size, wanted, strict=True)
        )
    ]
    return max(fitting, default=0)


def _rounded_up(side: int, count: int) -> int:
    return -(-side >> count)


def _rounded(side: int, count: int) -> int:
    return (side + (1 << (count - 1))) >> count


def _go_to_codestream(file: IO[bytes]) -> None:
    """Go behind the first marker of the codestream, which is the file or in one of its boxes."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        if head.startswith(_CODESTREAM):
            break
        length, kind, long_length = struct.unpack(">I4sQ", head)
        if kind == b"jp2c":
            place += 16 if length == 1 else 8
            break
        length = long_length if length == 1 else length
        if not 8 <= length <= _LONGEST:
            break
        place += length
    file.seek(place + 2)


def _main_header(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Read the segments before the first tile: the marker of each, and what it holds."""
    for _ in range(_MOST_SEGMENTS):
        marker, length = struct.unpack(">HH", file.read(4))
        if marker == _TILE or length < 2:
            return
        yield marker, file.read(length - 2)


def _levels(segments: Iterator[tuple[int, bytes]], size: tuple[int, int]) -> int:
    """Count how often every channel is halved in the file.

    That is 0 unless the picture begins at the origin of its grid and all channels have its size:
    else the samples of a reduced picture lie elsewhere.
    """
    marker, body = next(segments, (0, b""))
    width, height, *origins, channels = struct.unpack_from(">2x4I8x2IH", body)
    steps = struct.unpack_from(f">{'x2B' * channels}", body, 36)
    if marker != _SIZE or (height, width) != size or any(origins) or set(steps) != {1}:
        return 0
    index = ">2xB" if channels < 257 else ">3xB"
    found: list[int] = []
    for marker, body in segments:
        if marker in (_CODING, _CODING_OF_ONE):
            found += struct.unpack_from(">5xB" if marker == _CODING else index, body)
    return min(found, default=0)
