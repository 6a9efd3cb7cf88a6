"""From the arrays of any known file to the VGG-19 convolutions in PyNST's one convention.

PyNST's convention: weights (N, C, 3, 3), cross-correlation, input channels R, G, B, input 255 *
sRGB - mean.

========== ===================== ======= ======= =============================== ===========
layout     names                 axes    order   input                           training
========== ===================== ======= ======= =============================== ===========
pynst      conv1_1.weight, pynst (NCHW)  RGB     255 * sRGB - mean               as recorded
keras      block1_conv1/kernel   HWCN    BGR     255 * sRGB - mean               oxford
8 bit      block1_conv1_W_q      NCHW    BGR     255 * sRGB - mean               oxford
caffe      conv1_1.weight        NCHW    BGR     255 * sRGB - mean               oxford
matconvnet conv1_1.filters       HWCN    RGB     255 * sRGB - mean of the file   oxford
torch      features.0.weight     NCHW    RGB     (sRGB - mean) / deviation       torchvision
torch      features.0.weight     NCHW    BGR     255 * sRGB - mean               oxford
========== ===================== ======= ======= =============================== ===========

The last two share their names: torchvision trained a VGG-19 of its own, and the original one was
converted to the same names. A file that cannot be told apart is refused until the caller says which
it is. Its names may follow a prefix, as in ``module.features.0.weight`` or ``vgg.0.weight``.

The 8-bit layout stores each weight as a code, and for each layer a table of the 256 numbers that
the codes stand for (``W_table``), beside the bias (``b``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynst.errors import WeightsError
from pynst.formats import open_container
from pynst.formats.common import DAMAGE, Container, DamagedFile, StoredArray, show
from pynst.weights.own_record import printable_line, read_record
from pynst.weights.strangers import describe

__all__ = [
    "OXFORD_LICENCE",
    "VGG19_CONVOLUTIONS",
    "Converted",
    "convert",
    "convert_file",
]

_PER_BLOCK = (2, 2, 4, 4, 4)
_CHANNELS = (64, 128, 256, 512, 512)


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
    # The same network as neural-style-pt saves it, with torchvision's names for the classifier.
    "dd893d447ece014ad32d71b8d32b1e0b5c09b912a2866990c286fdeebd368d74": "oxford",
}
"""SHA-256, or its published beginning, of files with torchvision's layer names -> training."""

_LARGEST_KNOWN = 1 << 30

_OXFORD_BIAS = (0.7301776, 0.0649363, 0.0342885, 0.8260386)
"""The first biases of conv1_1 in the original training: other trainings have other numbers."""

_MAX_MEAN = 1 << 20  # numbers in an average image; MatConvNet's has 224 * 224 * 3


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
    except DamagedFile as error:
        raise WeightsError(str(error)) from error
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
    for layout in (_eight_bit, _keras, _matconvnet, _caffe, _torch):
        if found := layout.find(container.arrays, layout.pattern):
            return layout.read(container, found, training, told)
    raise WeightsError(f"is not VGG-19: {describe(container)}")


# ---- finding the layers -------------------------------------------------------------------------


class _Layout(NamedTuple):
    pattern: re.Pattern[str]
    find: Callable[[Mapping[str, StoredArray], re.Pattern[str]], Found]
    read: Callable[[Container, Found, str | None, Callable[[], str | None]], Converted]


def _find(arrays: Mapping[str, StoredArray], pattern: re.Pattern[str]) -> Found:
    """Find the layers of a layout that names block, index and part: groups 1, 2 and 3."""
    found: Found = {}
    for key in arrays:
        if match := pattern.fullmatch(key):
            block, index, part = match.groups()
            _add(found, f"conv{block}_{index}", _PARTS.get(part, part), key)
    return found


_PARTS = {
    "kernel": "weight", "W": "weight", "weights": "weight", "filters": "weight",
    "b": "bias", "biases": "bias", "W_q": "weight", "W_table": "table",
}  # fmt: skip


def _find_codes(arrays: Mapping[str, StoredArray], pattern: re.Pattern[str]) -> Found:
    """Find the layers that have a table for their codes; Keras names its biases alike."""
    found = _find(arrays, pattern)
    return found if any("table" in parts for parts in found.values()) else {}


def _find_positions(arrays: Mapping[str, StoredArray], pattern: re.Pattern[str]) -> Found:
    """Find the layers by their places in torchvision's chain, below the prefix that has most.

    A file may hold the chain below any prefix, and the classifier's or another network's numbered
    layers below others.
    """
    layers = _positions()
    below: dict[str, Found] = {}
    for key in arrays:
        match = pattern.fullmatch(key)
        layer = match and layers.get(int(match["position"]))
        if match and layer:
            _add(below.setdefault(match["prefix"], {}), layer, match["part"], key)
    complete = [prefix for prefix, found in below.items() if len(found) >= _NEEDED]
    if len(complete) > 1:
        raise WeightsError(
            f"is ambiguous: it holds a network below {show(complete[0])} and {show(complete[1])}"
        )
    return max(below.values(), key=len, default={})


def _positions() -> dict[int, str]:
    """Place of each layer in torchvision's chain of convolutions, ReLUs and poolings."""
    places, position = {}, 0
    for layer in VGG19_CONVOLUTIONS:
        if position and layer.endswith("_1"):
            position += 1  # the pooling before each block
        places[position] = layer
        position += 2
    return places


def _add(found: Found, layer: str, part: str, key: str) -> None:
    if part in found.setdefault(layer, {}):
        raise WeightsError(f"is ambiguous: {show(found[layer][part])} and {show(key)}")
    found[layer][part] = key


def _arrays(
    container: Container, found: Found, axes: tuple[int, ...], *, codes: bool = False
) -> Pairs:
    """Read the layers, transposed to (N, C, 3, 3), after their shapes have been compared."""
    names = list(VGG19_CONVOLUTIONS)
    present = [name for name in names if found.get(name, {}).keys() >= {"weight", "bias"}]
    if len(present) < _NEEDED or present != names[: len(present)]:
        raise WeightsError(f"is not VGG-19: {describe(container)}")
    for name in present:
        N, C = VGG19_CONVOLUTIONS[name]
        wanted = [(N, C, 3, 3)[axes.index(i)] for i in range(4)]
        _check(container, found[name]["weight"], "u" if codes else "f", tuple(wanted))
        _check(container, found[name]["bias"], "f", (N,), (1, N), (N, 1))
    return {
        name: (
            container.arrays[found[name]["weight"]].read().transpose(axes),
            container.arrays[found[name]["bias"]].read().reshape(-1),
        )
        for name in present
    }


def _check(container: Container, key: str, kind: str, *shapes: tuple[int, ...]) -> None:
    """Refuse an array of another shape or type than a layer's, before it is read."""
    array = container.arrays[key]
    if array.shape not in shapes or array.dtype.kind != kind:
        numbers = "floats" if kind == "f" else "8-bit codes"
        raise WeightsError(
            f"is not VGG-19: {show(key)} must be {numbers} of shape {shapes[0]},"
            f" is {array.dtype.name} of shape {show(array.shape)}; {describe(container)}"
        )


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


def _oxford(
    arrays: Pairs, source: str, *, bgr: bool = True, mean: tuple[float, float, float] = _OXFORD_MEAN
) -> Converted:
    """Layers of the original training, whose first one is for BGR in most files."""
    return Converted(_single(arrays, bgr=bgr), mean, source, "oxford", OXFORD_LICENCE, None)


def _read_keras(container: Container, found: Found, *_: object) -> Converted:
    return _oxford(_arrays(container, found, (3, 2, 0, 1)), "Keras applications VGG-19 (ImageNet)")


def _read_eight_bit(container: Container, found: Found, *_: object) -> Converted:
    arrays = _arrays(container, found, (0, 1, 2, 3), codes=True)
    for name, (weight, bias) in arrays.items():
        key = found[name].get("table")
        if key is None or weight.dtype != np.uint8:
            raise WeightsError(f"is not VGG-19: {name} has no table of its 8-bit codes")
        _check(container, key, "f", (256,))
        arrays[name] = container.arrays[key].read()[weight], bias
    return _oxford(arrays, "VGG-19 (ImageNet), 8 bit")


def _read_caffe(container: Container, found: Found, *_: object) -> Converted:
    arrays = _arrays(container, found, (0, 1, 2, 3))
    return _oxford(arrays, "VGG-19 (ImageNet) with Caffe's layer names")


def _read_matconvnet(container: Container, found: Found, *_: object) -> Converted:
    arrays = _arrays(container, found, (3, 2, 0, 1))
    mean = _OXFORD_MEAN
    if "mean" in container.arrays:
        image = container.arrays["mean"]
        small = math.prod(image.shape) <= _MAX_MEAN
        if image.dtype.kind != "f" or image.shape[-1:] != (3,) or not small:
            raise WeightsError(f"the average image has the shape {show(image.shape)}, not (..., 3)")
        red, green, blue = image.read().reshape(-1, 3).mean(axis=0, dtype=np.float64)
        # An average of 224 x 224 equal pixels is off by 1e-10: not worth a mean of its own.
        mean = (round(float(red), 6), round(float(green), 6), round(float(blue), 6))
    return _oxford(arrays, "MatConvNet VGG-19 (ImageNet)", bgr=False, mean=mean)


def _read_torch(
    container: Container, found: Found, training: str | None, told: Callable[[], str | None]
) -> Converted:
    arrays = _arrays(container, found, (0, 1, 2, 3))
    if training is None:
        training = "oxford" if _is_oxford(container, arrays) else told()
    if training == "oxford":
        return _oxford(arrays, "Caffe VGG-19 (ImageNet) with torchvision's layer names")
    if training != "torchvision":
        raise WeightsError(
            "has torchvision's layer names, but is neither torchvision's published file nor a known"
            " conversion of the original: on the command line, bring it to PyNST's format with"
            ' "pynst weights import FILE --training oxford" (or torchvision); in Python, say'
            ' training="torchvision" or training="oxford"'
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


def _is_oxford(container: Container, arrays: Pairs) -> bool:
    """Whether a file with torchvision's names is the original training, by what it holds."""
    # The converted original kept the classifier's numbering of an early torchvision.
    if any(re.fullmatch(r"(.*\.)?classifier\.1\.weight", name) for name in container.arrays):
        return True
    bias = arrays["conv1_1"][1][: len(_OXFORD_BIAS)]
    return bool(np.allclose(bias.astype(np.float64), _OXFORD_BIAS, rtol=0.01, atol=0))


_eight_bit = _Layout(
    re.compile(r"block([1-5])_conv([1-4])_(W_q|W_table|b)"), _find_codes, _read_eight_bit
)
_keras = _Layout(
    re.compile(r"(?:.*/)?block([1-5])_conv([1-4])(?:_\d+)?[/_.](kernel|bias|W|b)(?:_\d+)?(?::0)?"),
    _find,
    _read_keras,
)
_caffe = _Layout(
    re.compile(r"(?:.*[/.])?conv([1-5])_([1-4])[/_.](weights?|bias|biases)"), _find, _read_caffe
)
_matconvnet = _Layout(re.compile(r"conv([1-5])_([1-4])\.(filters|biases)"), _find, _read_matconvnet)
_torch = _Layout(
    re.compile(r"(?P<prefix>(?:.*\.)?)(?P<position>\d{1,2})\.(?P<part>weight|bias)"),
    _find_positions,
    _read_torch,
)


# ---- PyNST's own file ---------------------------------------------------------------------------


def _own(arrays: Mapping[str, StoredArray]) -> Converted:
    """PyNST's own file: already in the convention; its record says the rest."""
    record = read_record(arrays["pynst"])
    found = _find(arrays, _caffe.pattern)
    convolutions = _single(
        _arrays(Container("PyNST", dict(arrays)), found, (0, 1, 2, 3)), bgr=False
    )
    red, green, blue = record["mean"]
    return Converted(
        convolutions,
        (float(red), float(green), float(blue)),
        *(printable_line(record, key) for key in ("source", "training", "licence", "sha256")),
    )


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
