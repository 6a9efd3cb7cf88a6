"""Pictures and files that the image tests share, among them some that Pillow cannot write."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, features

from pynst.images import read_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (11, 14, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (11, 14), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (11, 14), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (11, 14, 3), dtype=np.uint16)
RGBA16 = RNG.integers(0, 65536, (11, 14, 4), dtype=np.uint16)
SLOPE = np.linspace(0, 255, 11 * 14).reshape(11, 14).astype(np.uint8)
SMOOTH = np.dstack([SLOPE, SLOPE[::-1], 255 - SLOPE])


def saved(image, tmp_path, file_format, **settings):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    path = tmp_path / "picture"
    image.save(path, file_format, **settings)
    return path


def over_white(colour, alpha):
    return colour * alpha + 1 - alpha


def chunk(kind, body):
    """A chunk of a PNG, with its checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def png(width, height, bits, colour_type, data, *chunks, interlaced=False):
    """A PNG of given IDAT chunks, sound or not; `chunks` stand before them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *(chunk(*each) for each in chunks),
        *(chunk(b"IDAT", piece) for piece in data), chunk(b"IEND", b""),
    ])  # fmt: skip


def flat_png(width, height, bits, colour_type):
    """A black PNG, of about one byte for a thousand pixels or fewer."""
    channels = {0: 1, 2: 3, 6: 4}[colour_type]
    row, packer = bytes(1 + (width * channels * bits + 7) // 8), zlib.compressobj(9)
    pieces = [packer.compress(row) for _ in range(height)]
    return png(width, height, bits, colour_type, [b"".join(pieces) + packer.flush()])


def png16(samples, *chunks, interlaced=False):
    """Write a PNG of 16 bits per channel, without filters."""
    samples = np.atleast_3d(samples)
    height, width, channels = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    # Adam7: seven pictures one after the other; first row and column, step of rows and columns
    passes = [
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]  # fmt: skip
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [samples]
    rows = [b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part]
    data = [zlib.compress(b"".join(rows))]
    return png(width, height, 16, kind, data, *chunks, interlaced=interlaced)


def loaded(data, tmp_path):
    (tmp_path / "picture").write_bytes(data)
    return read_picture(tmp_path / "picture", "content")


def icc_profile(space, tags):
    """Put an ICC profile of version 2 together, after the standard."""
    white = struct.pack(">4x3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    tags = {"wtpt": b"XYZ " + white, "cprt": b"text\0\0\0\0none\0"} | tags
    tags["desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name.encode(), at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    illuminant = struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    fields = struct.pack(">4s4s4s4s", b"mntr", space.encode(), b"XYZ ", bytes(4)) + bytes(8)
    header = struct.pack(">I4sI", at + len(body), bytes(4), 0x02100000) + fields
    header += b"acsp" + bytes(28) + illuminant
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries, gamma):
    curve = b"curv" + struct.pack(">4xIH", 1, round(gamma * 256))
    tags = {
        f"{name}XYZ": b"XYZ " + struct.pack(">4x3i", *(round(v * 65536) for v in xyz))
        for name, xyz in zip("rgb", primaries, strict=True)
    }
    return icc_profile("RGB ", tags | dict.fromkeys(("rTRC", "gTRC", "bTRC"), curve))


# Primaries relative to the illuminant D50; the columns of each matrix to XYZ.
SRGB = np.array(
    [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.7141]]
)
DISPLAY_P3 = np.array(
    [[0.51512, 0.2412, -0.00105], [0.29198, 0.69225, 0.04189], [0.1571, 0.06657, 0.78407]]
)
LINEAR_GREY = icc_profile("GRAY", {"kTRC": b"curv" + bytes(8)})
MUTED = (80 + SMOOTH * 0.4).astype(np.uint8)  # inside sRGB, whatever the primaries


def encoded(file_format, image=None, **settings):
    file = io.BytesIO()
    (image or Image.fromarray(SMOOTH)).save(file, file_format, **settings)
    return file.getvalue()


def small_files():
    """Valid files, two or three of each format."""
    rgba = Image.fromarray(np.dstack([SLOPE, SLOPE]))
    frames = {"save_all": True, "append_images": [Image.fromarray(SMOOTH[::-1])]}
    exif = Image.Exif()
    exif[274] = 6
    files = {
        "png": encoded("PNG", exif=exif.tobytes()),
        "png alpha": encoded("PNG", rgba),
        "png palette": encoded("PNG", Image.fromarray(SMOOTH).quantize(16), transparency=3),
        "png animated": encoded("PNG", **frames),
        "jpeg": encoded("JPEG", exif=exif.tobytes()),
        "jpeg progressive": encoded("JPEG", progressive=True),
        "jpeg cmyk": encoded("JPEG", Image.fromarray(SMOOTH).convert("CMYK")),
        "tiff": encoded("TIFF"),
        "tiff lzw": encoded("TIFF", compression="tiff_lzw"),
        "tiff deflate": encoded("TIFF", rgba, compression="tiff_deflate"),
        "webp": encoded("WEBP"),
        "webp lossless": encoded("WEBP", rgba, lossless=True),
        "webp animated": encoded("WEBP", **frames),
        "bmp": encoded("BMP"),
        "bmp palette": encoded("BMP", Image.fromarray(SMOOTH).quantize(16)),
        "gif": encoded("GIF"),
        "gif animated": encoded("GIF", **frames),
        "tga": encoded("TGA"),
        "tga run lengths": encoded("TGA", rgba.convert("RGBA"), compression="tga_rle"),
        "tiff fax": encoded("TIFF", Image.fromarray(SLOPE > 100), compression="group4"),
        "ppm": encoded("PPM"),
        "ppm text": b"P3 4 3 255\n" + b" ".join(b"%d" % value for value in range(36)) + b"\n",
    }
    if features.check("avif"):  # Pillow may be built without
        files["avif"] = encoded("AVIF", exif=exif.tobytes())
        files["avif alpha"] = encoded("AVIF", rgba.convert("RGBA"))
    if features.check("jpg_2000"):
        files["jpeg 2000"] = encoded("JPEG2000")
        files["jpeg 2000 codestream"] = encoded("JPEG2000", rgba, no_jp2=True)
    return files


FILES = small_files()


def repaired(data):
    """Give the chunks of a PNG right checksums, so that damage passes the first check."""
    if not data.startswith(b"\x89PNG"):
        return data
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        parts += [data[at:end], struct.pack(">I", zlib.crc32(data[at + 4 : end]))]
        at = end + 4
    return b"".join(parts) + data[at:]
