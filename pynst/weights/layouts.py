"""From the arrays of any known file to the VGG-19 convolutions in PyNST's one convention.

PyNST's convention: weights (N, C, 3, 3), cross-correlation, input channels R, G, B, input 255 *
sRGB - mean.

========== ===================== ======= ======= =============================== ===========
layout     names                 axes    order   input                           training
========== ===================== ======= ======= =============================== ===========
pynst      conv1_1.weight, pynst (NCHW)  RGB     255 * sRGB - mean               as recorded
keras      block1_conv1/kernel   HWCN    BGR     255 * sRGB - mean               oxford
caffe      conv1_1.weight        NCHW    BGR     255 * sRGB - mean               oxford
matconvnet conv1_1.filters       HWCN    RGB     255 * sRGB - mean of the file   oxford
torch      features.0.weight     NCHW    RGB     (sRGB - mean) / deviation       torchvision
torch      features.0.weight     NCHW    BGR     255 * sRGB - mean               oxford
========== ===================== ======= ======= =============================== ===========

The last two share their names: torchvision trained a VGG-19 of its own, and the original one was
converted to the same names. A file that cannot be told apart is refused until the caller says which
it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynst.errors import WeightsError
from pynst.formats import open_container
from pynst.formats.common import DAMAGE, Container, StoredArray, show

__all__ = [
    "OXFORD_LICENCE",
    "VGG19_CONVOLUTIONS",
    "Converted",
    "convert",
    "convert_file",
]

_PER_BLOCK = (2, 2, 4, 4, 4)
_CHANNELS = (64, 128, 256, 512, 512)
_OTHERS = {"VGG-11": (1, 1, 2, 2, 2), "VGG-13": (2, 2, 2, 2, 2), "VGG-16": (2, 2, 3, 3, 3)}


def _table() -> dict[str, tuple[int, int]]:
    table, C = {}, 3
    for block, (count, N) in enumerate(zip(_PER_BLOCK, _CHANNELS, strict=True), 1):
        for index in range(1, count + 1):
            table[f"conv{block}_{index}"] = (N, C)
            C = N
    return table


VGG19_CONVOLUTIONS: Mapping[str, tuple[int, int]] = _table()
"""(N, C), output and input channels, of the 16 convolutions of VGG-19, in their order."""

_NEEDED = 13  # up to conv5_1, the deepest that style transfer looks at by default

OXFORD_LICENCE = "CC BY 4.0, Karen Simonyan and Andrew Zisserman, University of Oxford"
_TORCHVISION_LICENCE = "as torchvision's (BSD 3-Clause); trained on ImageNet"

_OXFORD_MEAN = (123.68, 116.779, 103.939)  # R, G, B
_TORCHVISION_MEAN = (0.485, 0.456, 0.406)
_TORCHVISION_DEVIATION = (0.229, 0.224, 0.225)

_KNOWN_FILES = {
    "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44": "torchvision",
    "d01eb7cb": "oxford",
}
"""SHA-256, or its published beginning, of files with torchvision's layer names -> training."""

_LARGEST_KNOWN = 1 << 30


class Converted(NamedTuple):
    """Convolutions in PyNST's convention, with where they come from."""

    convolutions: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    mean: tuple[float, float, float]
    source: str
    training: str
    licence: str
    sha256: str | None
    """What PyNST's own file says of itself; None for other layouts."""


Pairs = dict[str, tuple[NDArray[Any], NDArray[Any]]]
"""conv1_1 ... -> (weight, bias) in the number type of the file."""

Found = dict[str, dict[str, str]]
"""conv1_1 ... -> "weight" and "bias" -> the name in the file."""


def convert_file(file: BinaryIO, training: str | None) -> Converted:
    """Read VGG-19 from an open file of any known format and layout."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by VGG19Weights
            return convert(open_container(file), training, lambda: _known(file))
    except DAMAGE as error:
        kind = type(error).__name__
        raise WeightsError(f"damaged or truncated ({kind}: {show(str(error))})") from error


def convert(
    container: Container, training: str | None, told: Callable[[], str | None]
) -> Converted:
    """Bring the arrays of a file to PyNST's convention.

    Parameters
    ----------
    container : Container
        What a reader found.
    training : {"oxford", "torchvision"} or None
        What the caller says of a file with torchvision's layer names.
    told : callable
        Asked only for such a file, when the caller does not know: whose it is by its checksum, or
        None.
    """
    converted = _convert(container, training, told)
    if training not in (None, converted.training):
        raise WeightsError(f"is of the training {converted.training}, not {show(training)}")
    return converted


def _convert(
    container: Container, training: str | None, told: Callable[[], str | None]
) -> Converted:
    if "pynst" in container.arrays:
        return _own(container.arrays)
    for layout in (_keras, _matconvnet, _caffe, _torch):
        found = _find(container.arrays, layout.pattern, layout.name)
        if found:
            return layout.read(container, found, training, told)
    raise WeightsError(f"is not VGG-19: {_describe(container)}")


# ---- finding the layers -------------------------------------------------------------------------


class _Layout(NamedTuple):
    pattern: re.Pattern[str]
    name: Callable[[re.Match[str]], tuple[str, str] | None]
    read: Callable[[Container, Found, str | None, Callable[[], str | None]], Converted]


def _find(
    arrays: Mapping[str, StoredArray],
    pattern: re.Pattern[str],
    name: Callable[[re.Match[str]], tuple[str, str] | None],
) -> Found:
    found: Found = {}
    for key in arrays:
        match = pattern.fullmatch(key)
        named = match and name(match)
        if named:
            layer, part = named
            if part in found.setdefault(layer, {}):
                raise WeightsError(f"is ambiguous: {show(found[layer][part])} and {show(key)}")
            found[layer][part] = key
    return found


def _by_block(match: re.Match[str]) -> tuple[str, str]:
    block, index, part = match.groups()
    return f"conv{block}_{index}", "bias" if part.startswith("b") else "weight"


def _by_position(match: re.Match[str]) -> tuple[str, str] | None:
    """Name the layer at a place in torchvision's chain of convolutions, ReLUs and poolings."""
    position = 0
    for layer in VGG19_CONVOLUTIONS:
        if position and layer.endswith("_1"):
            position += 1  # the pooling before each block
        if position == int(match[1]):
            return layer, match[2]
        position += 2
    return None


def _arrays(container: Container, found: Found, axes: tuple[int, ...]) -> Pairs:
    """Read the layers, transposed to (N, C, 3, 3), after their shapes have been compared."""
    table = VGG19_CONVOLUTIONS
    names = list(table)
    present = [name for name in names if found.get(name, {}).keys() == {"weight", "bias"}]
    if len(present) < _NEEDED or present != names[: len(present)]:
        raise WeightsError(f"is not VGG-19: {_describe(container)}")
    for name in present:
        N, C = table[name]
        wanted = [(N, C, 3, 3)[axes.index(i)] for i in range(4)]
        for part, shape in (("weight", (tuple(wanted),)), ("bias", ((N,), (1, N), (N, 1)))):
            array = container.arrays[found[name][part]]
            if array.shape not in shape or array.dtype.kind != "f":
                raise WeightsError(
                    f"is not VGG-19: {show(found[name][part])} must be floats of shape {shape[0]},"
                    f" is {array.dtype.name} of shape {show(array.shape)}; {_describe(container)}"
                )
    return {
        name: (
            container.arrays[found[name]["weight"]].read().transpose(axes),
            container.arrays[found[name]["bias"]].read().reshape(-1),
        )
        for name in present
    }


def _describe(container: Container) -> str:
    """Say in a few words what a file that is not VGG-19 holds."""
    arrays = container.arrays
    if any(name.endswith("running_mean") for name in arrays):
        return "a network with batch normalisation"
    kernels = [
        array.shape
        for _, array in sorted(arrays.items(), key=lambda item: _natural(item[0]))
        if len(array.shape) == 4 and (array.shape[2:] == (3, 3) or array.shape[:2] == (3, 3))
    ]
    widths = [shape[0] if shape[2:] == (3, 3) else shape[3] for shape in kernels]
    for name, counts in _OTHERS.items():
        growth = [g for g, count in zip((1, 2, 4, 8, 8), counts, strict=True) for _ in range(count)]
        if widths and widths == [widths[0] * g for g in growth]:
            return f"it looks like {name}"
    if kernels:
        return f"it holds {len(kernels)} 3 x 3 convolutions, or they are named otherwise"
    some = ", ".join(show(name) for name in list(arrays)[:3])
    return (
        f"it holds {len(arrays)} arrays{f' ({some} ...)' if some else ''} and no 3 x 3 convolution"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which ``features.10`` comes after ``features.2``."""
    return [
        (int(piece[:9]), "") if piece.isascii() and piece.isdigit() else (-1, piece)
        for piece in re.split(r"(\d+)", name)
    ]


# ---- one function per layout --------------------------------------------------------------------


def _single(
    arrays: Pairs, *, bgr: bool
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """As float32 in C order; the first layer's input channels from BGR to RGB where asked."""
    convolutions = {}
    for name, (weight, bias) in arrays.items():
        if bgr and name == "conv1_1":
            weight = weight[:, ::-1]
        convolutions[name] = (
            np.array(weight, dtype=np.float32, order="C"),
            np.array(bias, dtype=np.float32, order="C"),
        )
    return convolutions


def _read_keras(container: Container, found: Found, *_: object) -> Converted:
    arrays = _arrays(container, found, (3, 2, 0, 1))
    source = "Keras applications VGG-19 (ImageNet)"
    convolutions = _single(arrays, bgr=True)
    return Converted(convolutions, _OXFORD_MEAN, source, "oxford", OXFORD_LICENCE, None)


def _read_caffe(container: Container, found: Found, *_: object) -> Converted:
    arrays = _arrays(container, found, (0, 1, 2, 3))
    source = "VGG-19 (ImageNet) with Caffe's layer names"
    convolutions = _single(arrays, bgr=True)
    return Converted(convolutions, _OXFORD_MEAN, source, "oxford", OXFORD_LICENCE, None)


def _read_matconvnet(container: Container, found: Found, *_: object) -> Converted:
    arrays = _arrays(container, found, (3, 2, 0, 1))
    mean = _OXFORD_MEAN
    if "mean" in container.arrays:
        image = container.arrays["mean"]
        if image.dtype.kind != "f" or image.shape[-1:] != (3,):
            raise WeightsError(f"the average image has the shape {show(image.shape)}, not (..., 3)")
        red, green, blue = image.read().reshape(-1, 3).mean(axis=0, dtype=np.float64)
        # An average of 224 x 224 equal pixels is off by 1e-10: not worth a mean of its own.
        mean = (round(float(red), 6), round(float(green), 6), round(float(blue), 6))
    source = "MatConvNet VGG-19 (ImageNet)"
    convolutions = _single(arrays, bgr=False)
    return Converted(convolutions, mean, source, "oxford", OXFORD_LICENCE, None)


def _read_torch(
    container: Container, found: Found, training: str | None, told: Callable[[], str | None]
) -> Converted:
    arrays = _arrays(container, found, (0, 1, 2, 3))
    if training is None:
        # The converted original kept the classifier's numbering of an early torchvision.
        training = "oxford" if "classifier.1.weight" in container.arrays else told()
    if training == "oxford":
        source = "Caffe VGG-19 (ImageNet) with torchvision's layer names"
        convolutions = _single(arrays, bgr=True)
        return Converted(convolutions, _OXFORD_MEAN, source, "oxford", OXFORD_LICENCE, None)
    if training != "torchvision":
        raise WeightsError(
            "has torchvision's layer names, but is neither torchvision's published file nor a known"
            ' conversion of the original: say training="torchvision" or training="oxford"'
        )
    # w ((x - mean) / deviation) = (w / (255 deviation)) (255 x - 255 mean)
    weight, bias = arrays["conv1_1"]
    deviation = 255.0 * np.reshape(_TORCHVISION_DEVIATION, (1, 3, 1, 1))
    arrays["conv1_1"] = (weight.astype(np.float64) / deviation, bias)
    red, green, blue = (255.0 * value for value in _TORCHVISION_MEAN)
    source = "torchvision VGG-19 (ImageNet)"
    convolutions = _single(arrays, bgr=False)
    return Converted(
        convolutions, (red, green, blue), source, "torchvision", _TORCHVISION_LICENCE, None
    )


_keras = _Layout(
    re.compile(r"(?:.*/)?block([1-5])_conv([1-4])(?:_\d+)?[/_.](kernel|bias|W|b)(?:_\d+)?(?::0)?"),
    _by_block,
    _read_keras,
)
_caffe = _Layout(
    re.compile(r"(?:.*[/.])?conv([1-5])_([1-4])[/_.](weights?|bias|biases)"), _by_block, _read_caffe
)
_matconvnet = _Layout(
    re.compile(r"conv([1-5])_([1-4])\.(filters|biases)"), _by_block, _read_matconvnet
)
_torch = _Layout(
    re.compile(r"(?:module\.)?(?:features\.)?(\d{1,2})\.(weight|bias)"), _by_position, _read_torch
)


# ---- PyNST's own file ---------------------------------------------------------------------------


def _own(arrays: Mapping[str, StoredArray]) -> Converted:
    """PyNST's own file: already in the convention; its record says the rest."""
    record = _record(arrays["pynst"])
    found = _find(arrays, _caffe.pattern, _caffe.name)
    convolutions = _single(
        _arrays(Container("PyNST", dict(arrays)), found, (0, 1, 2, 3)), bgr=False
    )
    red, green, blue = record["mean"]
    return Converted(
        convolutions,
        (float(red), float(green), float(blue)),
        *(_line(record, key) for key in ("source", "training", "licence", "sha256")),
    )


def _record(array: StoredArray) -> dict[str, Any]:
    if array.dtype != np.uint8 or len(array.shape) != 1 or array.shape[0] > 1 << 14:
        raise WeightsError("damaged: PyNST's record must be at most 16 KiB of uint8")
    record = json.loads(array.read().tobytes().decode())
    if not isinstance(record, dict) or record.get("format") != 1:
        raise WeightsError("is not a PyNST weights file of format 1; a newer PyNST may read it")
    mean = record.get("mean")
    if not isinstance(mean, list) or len(mean) != 3 or not all(type(m) is float for m in mean):
        raise WeightsError(f"damaged: the record's mean must be three floats, is {show(mean)}")
    return record


def _line(record: dict[str, Any], key: str) -> str:
    """Check a line of the record: printable, since it will be shown on terminals."""
    text = record.get(key)
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= 200:
        raise WeightsError(f"damaged: the record's {key} must be a line of text, is {show(text)}")
    return text


def _known(file: BinaryIO) -> str | None:
    """Training of a published file, by its checksum."""
    if file.seek(0, 2) > _LARGEST_KNOWN:
        return None
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    for known, training in _KNOWN_FILES.items():
        if digest.hexdigest().startswith(known):
            return training
    return None
