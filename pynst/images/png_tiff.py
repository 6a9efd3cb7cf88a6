"""PNG and TIFF as bytes, with 8 or 16 bits per channel.

Pillow cannot write colour of 16 bits per channel, so PyNST encodes these two formats itself, at
either depth. This needs no more than NumPy and zlib.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pynst.images.arrays import Samples

__all__ = ["encode_png", "encode_tiff"]

_BAND = 1 << 20  # bytes of samples that are filtered and compressed at a time
_CLASSIC = 1 << 32  # bytes that a TIFF's offsets reach; a longer file is a BigTIFF
_INCH = 0.0254  # metres

# ---------------------------------------------------------------------------------------------- PNG


def encode_png(samples: Samples, description: str = "", dpi: float | None = None) -> bytes:
    """Encode samples as PNG, tagged as sRGB.

    Parameters
    ----------
    samples : ndarray of shape (H, W, 3) or (H, W, 4)
        uint8 or uint16.
    description : str
        ASCII, stored as iTXt under the keyword "pynst" unless empty.
    dpi : float, optional
        Pixels per inch when printed; PNG stores whole pixels per metre.
    """
    height, width, channels = samples.shape
    bits = 8 * samples.itemsize
    colour_type = {3: 2, 4: 6}[channels]
    parts = [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)),
        _chunk(b"sRGB", b"\x00"),  # rendering intent: perceptual
        _chunk(b"gAMA", struct.pack(">I", 45455)),  # for readers that do not know sRGB
    ]
    if dpi is not None:
        per_metre = round(dpi / _INCH)
        parts.append(_chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)))
    if description:
        parts.append(_chunk(b"iTXt", b"pynst\0\0\0\0\0" + description.encode("ascii")))
    parts.extend(_chunk(b"IDAT", data) for data in _png_data(samples))
    parts.append(_chunk(b"IEND", b""))
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Put length and checksum around the data of a chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_data(samples: Samples) -> Iterator[bytes]:
    """Filter and compress the samples band by band."""
    height, width, channels = samples.shape
    pixel_bytes = channels * samples.itemsize
    rows = max(1, _BAND // (width * pixel_bytes))
    compressor = zlib.compressobj(6)
    above = np.zeros((1, width * pixel_bytes), np.uint8)
    for row in range(0, height, rows):
        band = samples[row : row + rows].astype(samples.dtype.newbyteorder(">"), order="C")
        band_bytes = band.view(np.uint8).reshape(len(band), -1)
        filtered = _png_filtered(band_bytes, np.vstack([above, band_bytes[:-1]]), pixel_bytes)
        if data := compressor.compress(filtered.tobytes()):
            yield data
        above = band_bytes[-1:]
    yield compressor.flush()


def _png_filtered(
    x: NDArray[np.uint8], above: NDArray[np.uint8], pixel_bytes: int
) -> NDArray[np.uint8]:
    """Filter each row with the PNG filter that leaves the smallest differences; its number leads.

    The five filters predict a byte from its neighbours: as zero, the one to the left (a), the one
    above (b), the mean of these two, and Paeth's choice of a, b or the one above left (c),
    whichever is nearest to a + b - c.
    """
    b = above.astype(np.int16)
    a, c = np.zeros_like(b), np.zeros_like(b)
    a[:, pixel_bytes:], c[:, pixel_bytes:] = x[:, :-pixel_bytes], above[:, :-pixel_bytes]
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((to_a <= to_b) & (to_a <= to_c), a, np.where(to_b <= to_c, b, c))
    candidates = [x - p.astype(np.uint8) for p in (np.zeros_like(b), a, b, (a + b) >> 1, paeth)]
    costs = [
        np.abs(d.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for d in candidates
    ]
    best = np.argmin(costs, axis=0).astype(np.uint8)
    chosen = np.choose(best[:, None], candidates)
    return np.hstack([best[:, None], chosen])


# --------------------------------------------------------------------------------------------- TIFF


def encode_tiff(
    samples: Samples, description: str, profile: bytes, dpi: float | None = None
) -> bytes:
    """Encode samples as a little-endian baseline TIFF: strips, horizontal differences, Deflate.

    A file that would be longer than 4 GB is a BigTIFF, which is the same with offsets of 8 bytes.

    Parameters
    ----------
    samples : ndarray of shape (H, W, 3) or (H, W, 4)
        uint8 or uint16.
    description : str
        ASCII, stored as ImageDescription unless empty.
    profile : bytes
        ICC profile.
    dpi : float, optional
        Pixels per inch when printed; 72 without, since the standard demands a number.
    """
    height, width, channels = samples.shape
    rows = max(1, _BAND // (width * channels * samples.itemsize))
    strips = [_tiff_strip(samples[row : row + rows]) for row in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    # Descriptions, profile and directory follow the strips, and must be reached too.
    rest = len(description) + len(profile) + 32 * len(strips) + 4096
    big = sum(sizes) + rest >= _CLASSIC
    offsets = np.cumsum([16 if big else 8, *sizes])  # the strips follow the header
    resolution = [round(100 * (72 if dpi is None else dpi)), 100]
    tags = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [8 * samples.itemsize] * channels),
        (259, "H", [8]),  # compression: Deflate
        (262, "H", [2]),  # photometric interpretation: RGB
        *([(270, "s", description.encode("ascii") + b"\0")] if description else []),
        (273, "Q" if big else "I", offsets[:-1].tolist()),
        (277, "H", [channels]),
        (278, "I", [rows]),
        (279, "I", sizes),
        (282, "II", resolution),
        (283, "II", resolution),
        (284, "H", [1]),  # samples of a pixel lie side by side
        (296, "H", [2]),
        (305, "s", b"PyNST\0"),
        (317, "H", [2]),  # predictor: horizontal differences
        *([(338, "H", [2])] if channels == 4 else []),  # the extra sample: alpha, not premultiplied
        *([(34675, "B", profile)] if profile else []),
    ]
    directory_at = int(offsets[-1]) + -int(offsets[-1]) % 8  # on a whole word
    header = (
        struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory_at)
        if big
        else struct.pack("<2sHI", b"II", 42, directory_at)
    )
    padding = bytes(directory_at - int(offsets[-1]))
    return b"".join([header, *strips, padding, _tiff_directory(tags, directory_at, big)])


def _tiff_strip(strip: Samples) -> bytes:
    """Compress the differences between neighbouring pixels of a row."""
    little = strip.astype(strip.dtype.newbyteorder("<"), order="C")
    little[:, 1:] -= strip[:, :-1]  # modulo 2**bits, as the standard has it
    return zlib.compress(little.tobytes(), 6)


def _tiff_directory(tags: list[tuple[int, str, list[int] | bytes]], start: int, big: bool) -> bytes:
    """Build the directory at `start`: entries of one size, and behind them the longer values.

    Counts and offsets have 4 bytes, in a BigTIFF 8.
    """
    types = {"B": (7, 1), "s": (2, 1), "H": (3, 2), "I": (4, 4), "II": (5, 8), "Q": (16, 8)}
    word, room = ("Q", 8) if big else ("I", 4)
    entries, extra = [struct.pack("<Q" if big else "<H", len(tags))], b""
    extra_at = start + len(entries[0]) + (4 + 2 * room) * len(tags) + room
    for tag, kind, values in tags:
        code, size = types[kind]
        data = (
            values
            if isinstance(values, bytes)
            else struct.pack(f"<{len(values)}{kind[0]}", *values)
        )
        entries.append(struct.pack(f"<HH{word}", tag, code, len(data) // size))
        if len(data) <= room:
            entries.append(data.ljust(room, b"\0"))
        else:
            entries.append(struct.pack(f"<{word}", extra_at + len(extra)))
            extra += data + b"\0" * (len(data) % 2)
    return b"".join([*entries, struct.pack(f"<{word}", 0), extra])
