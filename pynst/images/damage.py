"""Damage in picture files: the checks that Pillow leaves out, and words for what it reports.

Pillow stops reading a PNG at its last pixel and so never looks at the checksums of its pixel data;
libtiff reports some damage to standard error only.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from pynst.errors import ImageError

__all__ = ["check_png_data", "check_png_structure", "libtiff_reports", "reason"]

_PIECE = 1 << 20  # bytes that are read or unpacked at a time
_LONGEST_CHUNK = 1 << 26  # bytes of a chunk that holds no pixels, e.g. a text: 64 MB
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WORDS = {
    "image file is truncated": "the file ends before the picture is complete",
    "Truncated File Read": "the file ends before the picture is complete",
    "buffer is not large enough": "the file ends before the picture is complete",
    "not enough image data": "the file ends before the picture is complete",
    "Expected to read": "the file ends before the picture is complete",
    "cannot load this image": "the file is damaged",
    "Operation on closed": "the file is closed",
    "closed file": "the file is closed",
    "broken PNG file": "the PNG file is damaged",
    "decoder error": "the picture data is damaged",
    "broken data stream": "the picture data is damaged",
    "decoding error": "the picture data is damaged",
    "codec configuration": "the picture is stored in a way that Pillow cannot decode",
    "buffer overrun": "the picture data is damaged",
    "could not create decoder object": "the file is damaged or ends too early",
    "failed to read next frame": "the picture data is damaged",
    "failed to decode next frame": "the picture data is damaged",
    "Failed to decode frame": "the picture data is damaged",
    "unrecognized data stream": "the picture data is damaged",
    "MAX_TEXT_CHUNK": "its ICC profile or a text takes more than 16 MB",
    "MAX_TEXT_MEMORY": "its texts take more than 64 MB",
}
"""What Pillow says, or a part of it, and what it means."""
# void handler(const char* module, const char* format, va_list); the last is not looked at
_MessageHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


def reason(error: Exception) -> str:
    """Say in words why a file cannot be decoded, given what Pillow raised."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:  # the operating system's own words
        return error.strerror
    text = str(error).split("\n")[0][:200]
    for part, words in _WORDS.items():
        if part in text:
            return words
    if text and isinstance(error, OSError):  # a sentence, e.g. "Unsupported BMP compression (9)"
        return text
    return "the file is damaged, or of a kind that Pillow cannot decode"


# ---------------------------------------------------------------------------------------------- PNG


def check_png_structure(file: IO[bytes], what: str) -> None:
    """Check the chunks of a PNG that hold no pixels: Pillow unpacks them, or keeps them whole.

    `what` begins the message, e.g. ``"content: cannot read photo.png"``. A file of another format
    passes.
    """
    profiles = 0
    for kind, length in _chunks(file):
        profiles += kind == b"iCCP"
        if profiles > 1:
            raise ImageError(f"{what}: the PNG file has more than one ICC profile")
        if kind == b"IEND":
            return
        if length > _LONGEST_CHUNK and kind.isalpha() and kind not in (b"IDAT", b"fdAT"):
            raise ImageError(f"{what}: the PNG file has a chunk of {length} bytes without pixels")


def check_png_data(file: IO[bytes], what: str) -> None:
    """Check both checksums of the pixel data of a PNG, and that it is all there.

    Each IDAT chunk has a checksum, and so has the zlib stream that they hold together. The stream
    is unpacked piece by piece and thrown away, at most as much of it as the header announces. The
    position of `file` is kept.
    """
    before = file.tell()
    try:
        _check_stream(file, what)
    except zlib.error as error:
        detail = str(error).rpartition(": ")[2]  # "incorrect data check"
        raise ImageError(f"{what}: the picture data is damaged ({detail})") from error
    finally:
        file.seek(before)


def _check_stream(file: IO[bytes], what: str) -> None:
    stream = zlib.decompressobj()
    room, started = 0, False
    for kind, length in _chunks(file):
        if kind == b"IHDR":
            room = _unpacked_bytes(file.read(13)) + _PIECE
        if kind != b"IDAT":
            if started:
                break
            continue
        started, checksum = True, zlib.crc32(b"IDAT")
        for piece in _pieces(file, length, what):
            checksum = zlib.crc32(piece, checksum)
            room -= _unpack(stream, piece, room)
        if checksum != int.from_bytes(file.read(4), "big"):
            raise ImageError(f"{what}: the picture data is damaged (wrong checksum of a chunk)")
    if started and not stream.eof:
        raise ImageError(f"{what}: the picture data is damaged (it does not end where it should)")


def _unpack(stream: Any, piece: bytes, room: int) -> int:
    """Unpack a piece of a zlib stream and count what it gives, to little more than `room` bytes."""
    count = 0
    while piece and not stream.eof and count <= room:
        count += len(stream.decompress(piece, _PIECE))
        piece = stream.unconsumed_tail
    return count


def _pieces(file: IO[bytes], length: int, what: str) -> Iterator[bytes]:
    """Read `length` bytes, piece by piece."""
    while length:
        piece = file.read(min(length, _PIECE))
        if not piece:
            raise ImageError(f"{what}: the file ends before the picture is complete")
        length -= len(piece)
        yield piece


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk of a PNG, with `file` at its data; none of other files."""
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        return
    at = 8
    while len(head := file.read(8)) == 8:
        kind, length = head[4:], int.from_bytes(head[:4], "big")
        yield kind, length
        at += 12 + length
        file.seek(at)


def _unpacked_bytes(header: bytes) -> int:
    """Bytes of the filtered rows of a PNG, a little more where it is interlaced."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour_type = header[8], header[9]
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour_type, 4)
    rows = height * (1 + (width * bits + 7) // 8)
    # Adam7: at most 15/8 rows for each row, each with a filter byte and up to a byte of padding
    return rows if header[12] == 0 else rows + 4 * height + 64


# --------------------------------------------------------------------------------------------- TIFF


@contextmanager
def libtiff_reports() -> Iterator[list[bytes]]:
    """Collect the errors that libtiff reports, up to 8, rather than have them on standard error.

    Where a fax-compressed TIFF is damaged these are all there is: the decoder goes on with white.
    libtiff has one handler of messages for the whole process, which Pillow leaves as it is. It is
    replaced here, in the copy of libtiff that is loaded, and put back; to redirect standard error
    would swallow what other threads write. Where the library cannot be found, e.g. because it is
    part of Pillow's own module, nothing is collected and the messages appear.
    """
    reports: list[bytes] = []

    def collect(_module: bytes | None, template: bytes | None, _arguments: int | None) -> None:
        if len(reports) < 8:
            reports.append(template or b"")

    handler = _MessageHandler(collect)
    with ExitStack() as handlers:
        for library in _loaded_libtiff():
            for name, new in (("Error", ctypes.cast(handler, ctypes.c_void_p)), ("Warning", None)):
                set_handler = getattr(library, f"TIFFSet{name}Handler")
                set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
                handlers.callback(set_handler, set_handler(new))
        yield reports


def _loaded_libtiff() -> list[ctypes.CDLL]:
    """Every libtiff that this process has loaded; on systems other than Linux none is found."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
        paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libtiff" in line}
        return [ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW) for path in sorted(paths)]
    except (OSError, AttributeError, IndexError):
        return []
