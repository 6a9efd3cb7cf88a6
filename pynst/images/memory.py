"""Memory that a picture takes while it is read, compared with what there is before that."""

from __future__ import annotations

from pynst.errors import ImageError
from pynst.images.bands import reading_size
from pynst.machine import available_memory

__all__ = ["check_room"]

_SMALL = 64_000_000  # bytes that are not asked for: the check of the whole run counts them
_BANDS = 32_000_000  # bytes of the bands in between
_RESULT = 32  # bytes per pixel: float64 colour and alpha


def check_room(decoding: int, size: tuple[int, int], long_side: int | None, what: str) -> None:
    """Refuse a picture of `size` (height, width) for which there is not enough memory.

    `decoding` is what the decoder takes, in bytes; `what` begins the message.
    """
    height, width = reading_size(*size, long_side)
    needed = decoding + height * width * _RESULT + _BANDS
    if needed <= _SMALL:
        return
    room = available_memory()
    if room is not None and needed > room:
        raise ImageError(
            f"{what}: it has {size[0]} x {size[1]} pixels, reading it takes"
            f" {_shown(needed)} of memory, available are {_shown(room)}"
        )


def _shown(count: int) -> str:
    return f"{max(0, count) / 1e6:.0f} MB"
