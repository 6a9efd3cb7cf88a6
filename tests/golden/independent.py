"""The objective of PyNST a second time, in PyTorch with autograd, to check formulas and gradients.

It shares no code with the package: written from the formulas alone, in float64, for reading.

Notation: F, P are feature maps (N channels, M pixels) of the generated and the content image,
G = F F^T / M, A the same of the style image (with its own M); for several styles
A = sum_s b_s A_s, with sum_s b_s = 1.

    loss = sum_content k_c c_l mean((F - P)^2) + sum_style k_l sum_ij (G - A)^2_ij
         + tv_weight TV9(x)

k_c and k_l are what the published variants differ in: see `content_constant` and `style_constant`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Features = Mapping[str, Tensor]
Network = Callable[[Tensor], Features]


@dataclass(frozen=True)
class Formula:
    """What a published variant prescribes besides k_c and k_l."""

    alpha: float
    beta: float
    tv_weight: float
    normalised: bool
    pooling: str
    padding: str


FORMULAS = {
    "balanced": Formula(0.06, 1.0, 1.0, False, "max", "replicate"),
    "paper": Formula(1.0, 1e3, 0.0, True, "average", "zero"),
    "gatys-normalised": Formula(1e6, 2e8, 0.0, True, "average", "zero"),
    "gatys": Formula(1.0, 1e3, 0.0, False, "max", "zero"),
    "johnson": Formula(5.0, 100.0, 0.0, False, "max", "zero"),
}

# ---- VGG-19 --------------------------------------------------------------------------------------

MEAN_RGB = (123.68, 116.779, 103.939)
CONVOLUTIONS = (2, 2, 4, 4, 4)  # per block; each block but the first starts with a 2 x 2 pooling


def vgg19(
    weights: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], pooling: str, padding: str
) -> Network:
    """Layers relu1_1, ... of an image (H, W, 3) in [0, 1], each (N, H, W), as far as weights go.

    `weights` holds "conv1_1" and so on: weight (N, C, 3, 3) for RGB input and bias (N,). `padding`
    is that of conv1_1, after the mean was subtracted; other convolutions are padded with zeros.
    """
    pool: Any = {"average": functional.avg_pool2d, "max": functional.max_pool2d}[pooling]
    tensors = {name: tuple(map(as_tensor, pair)) for name, pair in weights.items()}

    def features(x: Tensor) -> Features:
        y = (255 * x - torch.tensor(MEAN_RGB, dtype=x.dtype)).permute(2, 0, 1)[None]
        found: dict[str, Tensor] = {}
        for block, count in enumerate(CONVOLUTIONS, 1):
            if block > 1:
                y = pool(y, 2)  # floors an odd size
            for i in range(1, count + 1):
                if f"conv{block}_{i}" not in tensors:
                    return found
                weight, bias = tensors[f"conv{block}_{i}"]
                replicate = padding == "replicate" and (block, i) == (1, 1)
                y = functional.pad(y, (1, 1, 1, 1), mode="replicate" if replicate else "constant")
                y = torch.relu(functional.conv2d(y, weight, bias))
                found[f"relu{block}_{i}"] = y[0]
        return found

    return features


# ---- the built-in filters ------------------------------------------------------------------------

COLOUR_AXES = {"L": (1, 1, 1), "RG": (1, 0, -1), "BY": (1, -2, 1)}
BANDS = {  # wavelength and normalisation of the band-pass filters, normalisation of the low-pass
    "L": (((3.0, 11.5), (5.5, 31.0)), 160.0),
    "RG": (((5.5, 9.0),), 62.0),
    "BY": (((5.5, 8.5),), 55.0),
}


def gabor_bank() -> tuple[Tensor, Tensor]:
    """The 67 filters (67, 7, 7), and the colour plane 0..2 that each one reads.

    Like all weights they are float32 numbers: rounded once, then used in float64.
    """
    y, x = np.mgrid[-3:4, -3:4].astype(np.float64)
    envelope = np.exp(-(x**2 + y**2) / (2 * (7 / 3.6) ** 2))
    filters, planes = [], []
    for plane, (bands, low_pass) in enumerate(BANDS.values()):
        for wavelength, normalisation in bands:
            for orientation in np.pi * np.arange(8) / 8:
                along = x * np.cos(orientation) + y * np.sin(orientation)
                for phase in (0.0, np.pi / 2):
                    w = envelope * np.cos(2 * np.pi * along / wavelength + phase)
                    w -= envelope * w.sum() / envelope.sum()
                    filters.append(w / np.linalg.norm(w) / normalisation)
                    planes.append(plane)
        filters.append(envelope / np.linalg.norm(envelope) / low_pass)
        planes.append(plane)
    return as_tensor(np.array(filters, np.float32)), torch.tensor(planes)


def builtin(levels: int = 5) -> Network:
    """Layers level1, level2, ... of an image (H, W, 3) in [0, 1], each (134, H, W)."""
    filters, planes = gabor_bank()
    axes = torch.tensor(list(COLOUR_AXES.values()), dtype=filters.dtype)
    axes = axes / axes.norm(dim=1, keepdim=True)
    tap = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=filters.dtype) / 8
    blur = torch.outer(tap, tap).expand(3, 1, 4, 4)

    def features(x: Tensor) -> Features:
        image = torch.einsum("pc,hwc->phw", axes, 255 * x - 117)
        found: dict[str, Tensor] = {}
        for level in range(1, levels + 1):
            padded = mirrored(mirrored(image[None], 2), 3)
            z = functional.conv2d(padded[:, planes], filters[:, None], groups=len(filters))[0]
            found[f"level{level}"] = torch.stack((z, -z), dim=1).flatten(0, 1).relu()
            if level < levels:
                padded = functional.pad(
                    image[None],
                    (1, 1 + image.shape[2] % 2, 1, 1 + image.shape[1] % 2),
                    mode="replicate",
                )
                image = functional.conv2d(padded, blur, stride=2, groups=3)[0]
        return found

    return features


def mirrored(image: Tensor, axis: int) -> Tensor:
    """Three pixels more at both ends of an axis, mirrored; the edge pixel is repeated."""
    n = image.shape[axis]
    order = [2, 1, 0, *range(n), n - 1, n - 2, n - 3]
    return image.index_select(axis, torch.tensor(order))


# ---- the loss ------------------------------------------------------------------------------------


def as_tensor(array: NDArray[Any]) -> Tensor:
    return torch.tensor(array, dtype=torch.float64)


def matrix(features: Tensor, scale: NDArray[Any] | None) -> Tensor:
    """(N, H, W) to F (N, M), in a normalised network divided by its per-channel constant."""
    F = features.flatten(1)
    return F if scale is None else F / as_tensor(scale)[:, None]


def gram(F: Tensor) -> Tensor:
    return F @ F.T / F.shape[1]


def total_variation(x: Tensor) -> Tensor:
    """TV9, from four differences of x; its last row and column are repeated once."""
    y = functional.pad(x.permute(2, 0, 1)[None], (0, 1, 0, 1), mode="replicate")[0]
    here, right, below, diagonal = y[:, :-1, :-1], y[:, :-1, 1:], y[:, 1:, :-1], y[:, 1:, 1:]
    a, b, c, d = right - here, below - here, diagonal - here, below - right
    square = [difference.square().mean() for difference in (a, b, c, d)]
    return 2 * (square[0] / 3 + square[1] / 3 + square[2] / 12 + square[3] / 12)


def content_constant(formula: str, alpha: float, P: Tensor) -> float:
    """k_c. Paper, Eq. 1: alpha / 2 sum (F - P)^2 = alpha N M / 2 mean((F - P)^2)."""
    if formula == "balanced":
        variance = float((P - P.mean(dim=1, keepdim=True)).square().mean())
        return alpha / max(variance, 1e-3 * float(P.square().mean()), 1e-12)
    return alpha * P.numel() / 2 if formula == "paper" else alpha


def style_constant(formula: str, beta: float, relative: float, count: int, A: Tensor) -> float:
    """k_l of one of `count` layers, `relative` being its weight divided by the mean weight.

    Paper, Eq. 4 and 5, style image of the content's size: w_l / (4 N^2 M^2) sum (F F^T - A A^T)^2
    = w_l / (4 N^2) sum (G - A)^2 with both Grams divided by M; w_l = 1 / 5 = relative / count.
    """
    N = len(A)
    if formula == "balanced":
        return beta * relative / count / max(float(A.square().sum()), 1e-12)
    if formula == "paper":
        return beta * relative / count / (4 * N**2)
    return beta * relative / (N**2 if formula == "gatys-normalised" else N**4)


@dataclass(frozen=True)
class Setting:
    """What defines a loss besides the pictures; `scales` holds the constants of the layers."""

    formula: str
    network: Network
    alpha: float
    beta: float
    tv_weight: float
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    scales: Mapping[str, NDArray[Any]]


def evaluate(
    setting: Setting,
    content: NDArray[Any],
    styles: Sequence[NDArray[Any]],
    blend: Sequence[float],
    x: NDArray[Any],
) -> tuple[dict[str, float], NDArray[Any]]:
    """Value of each term ("total", "content", "style", "tv", and each layer) and d total / d x."""
    image = as_tensor(x).requires_grad_()
    F = setting.network(image)
    with torch.no_grad():
        content_features = setting.network(as_tensor(content))
        style_features = [setting.network(as_tensor(style)) for style in styles]

    terms: dict[str, Tensor] = {}
    for layer, weight in setting.content_layers.items():
        scale = setting.scales.get(layer)
        P = matrix(content_features[layer], scale)
        k = content_constant(setting.formula, setting.alpha, P)
        c = weight / math.fsum(setting.content_layers.values())
        terms[f"content {layer}"] = k * c * (matrix(F[layer], scale) - P).square().mean()
    for layer, weight in setting.style_layers.items():
        scale = setting.scales.get(layer)
        grams = [gram(matrix(features[layer], scale)) for features in style_features]
        shares = as_tensor(np.array(blend) / math.fsum(blend))
        A = torch.einsum("s,sij->ij", shares, torch.stack(grams))
        count = len(setting.style_layers)
        relative = weight * count / math.fsum(setting.style_layers.values())
        k = style_constant(setting.formula, setting.beta, relative, count, A)
        terms[f"style {layer}"] = k * (gram(matrix(F[layer], scale)) - A).square().sum()
    terms["tv"] = setting.tv_weight * total_variation(image)

    total = torch.stack(list(terms.values())).sum()
    values = {name: term.item() for name, term in terms.items()}
    values["content"] = math.fsum(v for name, v in values.items() if name.startswith("content "))
    values["style"] = math.fsum(v for name, v in values.items() if name.startswith("style "))
    values["total"] = total.item()
    (gradient,) = torch.autograd.grad(total, image)
    return values, gradient.numpy()
