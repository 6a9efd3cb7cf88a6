"""One table of cases for every op of the Backend contract; tests and benchmarks both read it.

A case names its op, the logical shapes, and how to run it on any backend; `run` returns the
outputs as logical NumPy arrays. To add an op: write its runner and add its cases to `OP_CASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pynst.networks.gabor import filter_bank

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class OpCase:
    """One op at one size.

    Attributes
    ----------
    op : name of the method of `Backend`
    sizes : numbers that the runner understands, e.g. dict(C=64, N=64, H=32, W=32)
    run : (backend, rng, sizes) to outputs, by name
    tolerance : largest relative L2 error of an output against float64, for a float32 backend
    flops : floating-point operations of a direct evaluation
    nbytes : float32 bytes that must be read or written at least once
    """

    op: str
    sizes: dict[str, Any]
    run: Callable[..., Outputs]
    tolerance: float = 1e-6
    flops: float = 0.0
    nbytes: float = 0.0

    def __str__(self) -> str:
        return self.op + "-" + "-".join(f"{key}{value}" for key, value in self.sizes.items())

    def outputs(self, backend: Any, seed: int = 0) -> Outputs:
        """Run on seeded inputs, the same for every backend."""
        return self.run(backend, np.random.default_rng(seed), **self.sizes)


@dataclass
class Bench:
    """Arrays of one backend, made from logical NumPy arrays and read back as such."""

    backend: Any
    kinds: dict[int, tuple[str, tuple[int, int, int]]] = field(default_factory=dict)

    def new(self, kind: str, shape: tuple[int, int, int], values: np.ndarray | None = None) -> Any:
        block = self.backend.allocate(self.backend.nbytes(kind, shape))
        array = self.backend.view(block, 0, kind, shape)
        if values is not None:
            self.backend.upload(values, kind, array)
        return array

    def read(self, array: Any, kind: str, shape: tuple[int, int, int]) -> np.ndarray:
        return self.backend.download(array, kind, shape)


def float32(values: np.ndarray) -> np.ndarray:
    """Round to float32, so that float32 and float64 backends see the same inputs."""
    return values.astype(np.float32).astype(np.float64)


def features(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Rectified noise with channels of different strength, as real features have."""
    strength = rng.uniform(0.3, 30, (shape[0], 1, 1))
    return float32(np.maximum(rng.standard_normal(shape) + 0.3, 0) * strength)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return float32(rng.standard_normal(shape))


def layer_weights(rng: np.random.Generator, N: int, C: int) -> tuple[np.ndarray, np.ndarray]:
    weight = rng.standard_normal((N, C, 3, 3)) * np.sqrt(2 / (9 * C))
    return weight.astype(np.float32), rng.standard_normal(N).astype(np.float32)


def held(backend: Any, image: np.ndarray) -> Any:
    """An image (H, W, 3) where the backend's optimisers hold it: on its device, if it has one."""
    if not hasattr(backend, "device"):
        return image
    there = backend.empty(np.float32, image.shape)
    backend.device.copy_in(image.astype(np.float32), there)
    return there


def fetched(backend: Any, image: Any) -> np.ndarray:
    """What `held` has returned, back from there."""
    if isinstance(image, np.ndarray):
        return image
    values = np.empty(image.shape, image.dtype)
    backend.device.copy_out(image, values)
    return values


# ---- runners: one per op, forward and backward apart ---------------------------------------------


AXES = np.array([[0.5, -0.25, 1.0], [0.0, 0.7, -0.7], [0.299, 0.587, 0.114]])
MEAN = np.array([123.68, 116.779, 103.939])


def image_input(backend: Any, rng: np.random.Generator, H: int, W: int, image: str) -> Outputs:
    b = Bench(backend)
    values = float32(rng.uniform(-0.2, 1.2, (H, W, 3)))
    x = b.new("image", (3, H, W))
    given = held(backend, values) if image == "held" else values.astype(image)
    backend.image_input(given, AXES, MEAN, x)
    return {"x": b.read(x, "image", (3, H, W))}


def image_input_backward(
    backend: Any, rng: np.random.Generator, H: int, W: int, image: str
) -> Outputs:
    b = Bench(backend)
    dx = b.new("image", (3, H, W), noise(rng, 3, H, W))
    gradient = np.full((H, W, 3), np.nan)
    if image == "held":
        gradient = held(backend, gradient)
    backend.image_input_backward(dx, AXES, gradient)
    return {"gradient": fetched(backend, gradient)}


def conv3x3_relu(backend: Any, rng: np.random.Generator, C: int, N: int, H: int, W: int) -> Outputs:
    b = Bench(backend)
    weights = backend.conv3x3_weights(*layer_weights(rng, N, C))
    x = b.new("features", (C, H, W), features(rng, C, H, W))
    y, bits = b.new("features", (N, H, W)), b.new("bits", (N, H, W))
    backend.conv3x3_relu(x, weights, y, bits)
    values = b.read(y, "features", (N, H, W))
    unkept = b.new("features", (N, H, W))
    backend.conv3x3_relu(x, weights, unkept, None)
    np.testing.assert_array_equal(values, b.read(unkept, "features", (N, H, W)))
    np.testing.assert_array_equal(values > 0, b.read(bits, "bits", (N, H, W)))
    return {"y": values}


def conv3x3_relu_backward(
    backend: Any, rng: np.random.Generator, C: int, N: int, H: int, W: int
) -> Outputs:
    b = Bench(backend)
    weights = backend.conv3x3_weights(*layer_weights(rng, N, C))
    dy = b.new("features", (N, H, W), noise(rng, N, H, W))
    bits = b.new("bits", (N, H, W), rng.random((N, H, W)) < 0.5)
    dx = b.new("features", (C, H, W))
    backend.conv3x3_relu_backward(dy, bits, weights, dx)
    return {"dx": b.read(dx, "features", (C, H, W))}


def image_conv3x3_relu(
    backend: Any, rng: np.random.Generator, N: int, H: int, W: int, padding: str
) -> Outputs:
    b = Bench(backend)
    weights = backend.conv3x3_weights(*layer_weights(rng, N, 3))
    x = b.new("image", (3, H, W), 100 * noise(rng, 3, H, W))
    y, bits = b.new("features", (N, H, W)), b.new("bits", (N, H, W))
    backend.image_conv3x3_relu(x, weights, padding, y, bits)
    values = b.read(y, "features", (N, H, W))
    np.testing.assert_array_equal(values > 0, b.read(bits, "bits", (N, H, W)))
    return {"y": values}


def image_conv3x3_relu_backward(
    backend: Any, rng: np.random.Generator, N: int, H: int, W: int, padding: str
) -> Outputs:
    b = Bench(backend)
    weights = backend.conv3x3_weights(*layer_weights(rng, N, 3))
    dy = b.new("features", (N, H, W), noise(rng, N, H, W))
    bits = b.new("bits", (N, H, W), rng.random((N, H, W)) < 0.5)
    dx = b.new("image", (3, H, W))
    backend.image_conv3x3_relu_backward(dy, bits, weights, padding, dx)
    return {"dx": b.read(dx, "image", (3, H, W))}


def conv3x3_relu_pool(
    backend: Any, rng: np.random.Generator, C: int, N: int, H: int, W: int, mode: str
) -> Outputs:
    b = Bench(backend)
    weights = backend.conv3x3_weights(*layer_weights(rng, N, C))
    x = b.new("features", (C, H, W), features(rng, C, H, W))
    pooled = (N, H // 2, W // 2)
    y, bits = b.new("features", pooled), b.new("bits", (N, H, W))
    choices = b.new("choices", pooled) if mode == "max" else None
    backend.conv3x3_relu_pool(x, weights, mode, y, bits, choices)
    values = b.read(y, "features", pooled)
    unkept = b.new("features", pooled)
    backend.conv3x3_relu_pool(x, weights, mode, unkept, None, None)
    np.testing.assert_array_equal(values, b.read(unkept, "features", pooled))
    # the two ops apart give the same masks, to the bit
    full, bits_apart = b.new("features", (N, H, W)), b.new("bits", (N, H, W))
    backend.conv3x3_relu(x, weights, full, bits_apart)
    np.testing.assert_array_equal(
        b.read(bits, "bits", (N, H, W)), b.read(bits_apart, "bits", (N, H, W))
    )
    if choices is not None:
        apart = b.new("choices", pooled)
        backend.pool2x2(full, mode, b.new("features", pooled), apart)
        np.testing.assert_array_equal(
            b.read(choices, "choices", pooled), b.read(apart, "choices", pooled)
        )
    return {"y": values}


def conv3x3_relu_pool_backward(
    backend: Any, rng: np.random.Generator, C: int, N: int, H: int, W: int, mode: str
) -> Outputs:
    b = Bench(backend)
    weights = backend.conv3x3_weights(*layer_weights(rng, N, C))
    pooled = (N, H // 2, W // 2)
    dy = b.new("features", pooled, noise(rng, *pooled))
    bits = b.new("bits", (N, H, W), rng.random((N, H, W)) < 0.5)
    choices = None
    if mode == "max":
        choices = b.new("choices", pooled, rng.integers(0, 4, pooled).astype(np.uint8))
    dx = b.new("features", (C, H, W))
    backend.conv3x3_relu_pool_backward(dy, bits, mode, choices, weights, dx)
    return {"dx": b.read(dx, "features", (C, H, W))}


def pool2x2(backend: Any, rng: np.random.Generator, C: int, H: int, W: int, mode: str) -> Outputs:
    b = Bench(backend)
    pooled = (C, H // 2, W // 2)
    # few distinct values, so that ties occur and the first of equals must win
    x = b.new("features", (C, H, W), np.floor(features(rng, C, H, W)))
    y = b.new("features", pooled)
    choices = b.new("choices", pooled) if mode == "max" else None
    backend.pool2x2(x, mode, y, choices)
    found = {"y": b.read(y, "features", pooled)}
    if choices is not None:
        found["choices"] = b.read(choices, "choices", pooled).astype(float)
    return found


def pool2x2_backward(
    backend: Any, rng: np.random.Generator, C: int, H: int, W: int, mode: str
) -> Outputs:
    b = Bench(backend)
    pooled = (C, H // 2, W // 2)
    dy = b.new("features", pooled, noise(rng, *pooled))
    choices = None
    if mode == "max":
        choices = b.new("choices", pooled, rng.integers(0, 4, pooled).astype(np.uint8))
    dx = b.new("features", (C, H, W), noise(rng, C, H, W))
    backend.pool2x2_backward(dy, mode, choices, dx)
    return {"dx": b.read(dx, "features", (C, H, W))}


def filter7x7(backend: Any, rng: np.random.Generator, H: int, W: int) -> Outputs:
    b = Bench(backend)
    weights = backend.filter7x7_weights(*filter_bank())
    shape = (2 * len(filter_bank()[1]), H, W)
    x = b.new("image", (3, H, W), 100 * noise(rng, 3, H, W))
    y, bits = b.new("features", shape), b.new("bits", shape)
    backend.filter7x7(x, weights, y, bits)
    values = b.read(y, "features", shape)
    np.testing.assert_array_equal(values > 0, b.read(bits, "bits", shape))
    return {"y": values}


def filter7x7_backward(backend: Any, rng: np.random.Generator, H: int, W: int) -> Outputs:
    b = Bench(backend)
    weights = backend.filter7x7_weights(*filter_bank())
    shape = (2 * len(filter_bank()[1]), H, W)
    dy = b.new("features", shape, noise(rng, *shape))
    bits = b.new("bits", shape, rng.random(shape) < 0.5)
    dx = b.new("image", (3, H, W), noise(rng, 3, H, W))
    backend.filter7x7_backward(dy, bits, weights, dx)
    return {"dx": b.read(dx, "image", (3, H, W))}


def binomial_down(backend: Any, rng: np.random.Generator, H: int, W: int) -> Outputs:
    b = Bench(backend)
    x = b.new("image", (3, H, W), noise(rng, 3, H, W))
    half = (3, (H + 1) // 2, (W + 1) // 2)
    y = b.new("image", half)
    backend.binomial_down(x, y)
    return {"y": b.read(y, "image", half)}


def binomial_down_backward(backend: Any, rng: np.random.Generator, H: int, W: int) -> Outputs:
    b = Bench(backend)
    half = (3, (H + 1) // 2, (W + 1) // 2)
    dy = b.new("image", half, noise(rng, *half))
    dx = b.new("image", (3, H, W), noise(rng, 3, H, W))
    backend.binomial_down_backward(dy, dx)
    return {"dx": b.read(dx, "image", (3, H, W))}


def pixel_weights(backend: Any, rng: np.random.Generator, H: int, W: int, wanted: bool) -> Any:
    """Factors as a mask has them, with zeros and ones among them; None where none are wanted."""
    m = float32(np.clip(rng.uniform(-0.5, 1.5, (H, W)), 0, 1))
    m[-1, -1] = 0.25
    return backend.upload_pixel_weights(m) if wanted else None


def gram(
    backend: Any, rng: np.random.Generator, N: int, H: int, W: int, weighted: bool = False
) -> Outputs:
    b = Bench(backend)
    F = b.new("features", (N, H, W), features(rng, N, H, W))
    G = backend.empty_gram(N)
    backend.gram(F, G, pixel_weights(backend, rng, H, W, weighted))
    values = backend.download_gram(G)
    np.testing.assert_array_equal(values, values.T)
    return {"G": values}


def content_loss(
    backend: Any,
    rng: np.random.Generator,
    N: int,
    H: int,
    W: int,
    scaled: bool,
    weighted: bool = False,
) -> Outputs:
    b = Bench(backend)
    F = b.new("features", (N, H, W), features(rng, N, H, W))
    P = b.new("features", (N, H, W), features(rng, N, H, W))
    dF = b.new("features", (N, H, W), noise(rng, N, H, W))
    scale = backend.upload_scale(float32(rng.uniform(0.1, 3, N))) if scaled else None
    losses = backend.empty_losses(2)
    m = pixel_weights(backend, rng, H, W, weighted)
    backend.content_loss(F, P, 0.37, scale, dF, losses[1:2], m)
    return {
        "loss": backend.download_losses(losses)[1:],
        "dF": b.read(dF, "features", (N, H, W)),
    }


def style_loss(
    backend: Any,
    rng: np.random.Generator,
    N: int,
    H: int,
    W: int,
    scaled: bool,
    weighted: bool = False,
) -> Outputs:
    b = Bench(backend)
    F = b.new("features", (N, H, W), features(rng, N, H, W))
    dF = b.new("features", (N, H, W), noise(rng, N, H, W))
    square = rng.standard_normal((2, N, N))
    G, A = (float32(each + each.T) for each in square)
    scale = backend.upload_scale(float32(rng.uniform(0.1, 3, N))) if scaled else None
    losses = backend.empty_losses(2)
    m = pixel_weights(backend, rng, H, W, weighted)
    backend.style_loss(
        F, backend.upload_gram(G), backend.upload_gram(A), 0.37, scale, dF, losses[1:2], m
    )
    return {
        "loss": backend.download_losses(losses)[1:],
        "dF": b.read(dF, "features", (N, H, W)),
    }


def style_ahead(
    backend: Any,
    rng: np.random.Generator,
    N: int,
    H: int,
    W: int,
    scaled: bool,
    weighted: bool = False,
) -> Outputs:
    """The style loss whose Gram matrix is computed ahead of it."""
    b = Bench(backend)
    F = b.new("features", (N, H, W), features(rng, N, H, W))
    dF = b.new("features", (N, H, W), noise(rng, N, H, W))
    A = float32(np.cov(noise(rng, N, 2 * N + 2)).reshape(N, N))
    scale = backend.upload_scale(float32(rng.uniform(0.1, 3, N))) if scaled else None
    losses, G = backend.empty_losses(2), backend.empty_gram(N)
    m = pixel_weights(backend, rng, H, W, weighted)
    given = G, backend.upload_gram(float32((A + A.T) / 2)), 0.01 / N, scale
    backend.style_ahead(F, *given, m)
    backend.style_loss(F, *given, dF, losses[1:2], m)
    values = backend.download_gram(G)
    np.testing.assert_array_equal(values, values.T)
    return {
        "G": values,
        "loss": backend.download_losses(losses)[1:],
        "dF": b.read(dF, "features", (N, H, W)),
    }


def loss_ops(backend: Any, N: int, H: int, W: int, m: Any) -> list[np.ndarray]:
    """G, dF and the losses of the ops that take pixel weights, with these."""
    rng, b, shape = np.random.default_rng(N), Bench(backend), (N, H, W)
    F, P = (b.new("features", shape, features(rng, *shape)) for _ in range(2))
    dF, G = b.new("features", shape, noise(rng, *shape)), backend.empty_gram(N)
    A, losses = backend.upload_gram(np.cov(noise(rng, N, 50))), backend.empty_losses(2)
    backend.gram(F, G, m)
    backend.content_loss(F, P, 1e-3, None, dF, losses[:1], m)
    backend.style_loss(F, G, A, 1e-6, None, dF, losses[1:], m)
    return [
        backend.download_gram(G),
        b.read(dF, "features", shape),
        backend.download_losses(losses),
    ]


def total_variation(
    backend: Any, rng: np.random.Generator, H: int, W: int, circular: bool
) -> Outputs:
    b = Bench(backend)
    x = b.new("image", (3, H, W), noise(rng, 3, H, W))
    dx = b.new("image", (3, H, W), noise(rng, 3, H, W))
    losses = backend.empty_losses(1)
    backend.total_variation(x, 2.7, dx, losses, circular)
    return {"loss": backend.download_losses(losses), "dx": b.read(dx, "image", (3, H, W))}


def wrap(
    backend: Any, rng: np.random.Generator, C: int, H: int, W: int, kind: str, larger: bool
) -> Outputs:
    b = Bench(backend)
    if kind == "image":
        C = 3
    given = noise(rng, C, H, W)
    values = given > 0 if kind == "bits" else given.astype(np.float16).astype(np.float64)
    change = 2 if larger else -2
    shape = C, H + change, W + change
    y = b.new(kind, shape)
    backend.wrap(b.new(kind, (C, H, W), values), kind, y)
    return {"y": b.read(y, kind, shape).astype(np.float64)}


# ---- the table: edges, odd sizes, sizes beside every tile, and real VGG-19 layers ----------------


LONG = 3000, 200
"""Rows and columns of a long picture; with few channels, so that the tests stay quick."""


def _winograd(C: int, H: int, W: int) -> float:
    """Tolerance of a 3x3 convolution: many tiles may be larger ones, which round more coarsely,
    2.6 times as much; with few channels less of it adds up.
    """
    if H * W <= 3000:
        return 3e-6
    return 5e-6 if C <= 128 else 8e-6


def _cases() -> list[OpCase]:
    cases = []
    for H, W in [(1, 1), (3, 200), (7, 11), (53, 61), (64, 64), (131, 127), LONG]:
        for run, flops, images in (
            (image_input, 21.0, ("float32", "float64", "held")),
            (image_input_backward, 18.0, ("float64", "held")),
        ):
            for image in images:
                sizes = {"H": H, "W": W, "image": image}
                cases.append(OpCase(run.__name__, sizes, run, 1e-6, flops * H * W, 24.0 * H * W))
    for C, N, H, W in [
        (4, 8, 1, 1), (8, 4, 2, 3), (16, 16, 5, 4), (20, 40, 7, 13), (32, 48, 17, 9),
        (64, 64, 3, 61), (64, 128, 33, 31), (128, 128, 24, 18), (256, 512, 12, 10),
        (512, 512, 6, 7), (80, 48, 16, 16), (32, 20, 53, 61), (40, 48, 73, 79), (264, 260, 53, 57),
        (404, 68, 57, 53), (4, 4, *LONG),
    ]:  # fmt: skip
        sizes = {"C": C, "N": N, "H": H, "W": W}
        flops, nbytes = 18.0 * C * N * H * W, 4.0 * (C + N) * H * W + 36.0 * C * N
        for run in (conv3x3_relu, conv3x3_relu_backward):
            cases.append(OpCase(run.__name__, sizes, run, _winograd(C, H, W), flops, nbytes))
    for C, N, H, W in [
        (4, 8, 2, 2), (16, 20, 5, 7), (64, 64, 33, 18), (128, 128, 24, 31), (64, 16, 16, 16),
        (16, 36, 61, 53), (48, 40, 79, 73), (4, 4, *LONG),
    ]:  # fmt: skip
        for mode in ("average", "max"):
            sizes = {"C": C, "N": N, "H": H, "W": W, "mode": mode}
            flops, nbytes = 18.0 * C * N * H * W, 4.0 * (C + N / 4) * H * W + 36.0 * C * N
            for run in (conv3x3_relu_pool, conv3x3_relu_pool_backward):
                cases.append(OpCase(run.__name__, sizes, run, _winograd(C, H, W), flops, nbytes))
    for N, H, W in [
        (4, 1, 1), (8, 2, 3), (64, 5, 16), (64, 17, 33), (64, 40, 47), (16, 16, 16), (4, *LONG),
    ]:  # fmt: skip
        for padding in ("zero", "replicate"):
            sizes = {"N": N, "H": H, "W": W, "padding": padding}
            flops, nbytes = 54.0 * N * H * W, 4.0 * (3 + N) * H * W
            for run in (image_conv3x3_relu, image_conv3x3_relu_backward):
                cases.append(OpCase(run.__name__, sizes, run, 1e-6, flops, nbytes))
    for C, H, W in [(4, 2, 2), (16, 3, 5), (20, 9, 4), (64, 31, 33), (128, 16, 48), (4, *LONG)]:
        for mode in ("average", "max"):
            sizes = {"C": C, "H": H, "W": W, "mode": mode}
            for run in (pool2x2, pool2x2_backward):
                cases.append(
                    OpCase(run.__name__, sizes, run, 1e-6, 4.0 * C * H * W, 5.0 * C * H * W)
                )
    for C, H, W in [(4, 1, 1), (4, 3, 4), (20, 5, 3), (64, 17, 33), (300, 6, 7)]:
        for kind in ("image", "features", "bits"):
            for larger in (True, False) if H > 2 else (True,):
                sizes = {"C": C, "H": H, "W": W, "kind": kind, "larger": larger}
                cases.append(OpCase("wrap", sizes, wrap, 0.0, 0.0, 8.0 * C * H * W))
    for H, W in [(3, 3), (5, 9), (16, 16), (16, 17), (31, 40), (64, 50)]:
        sizes = {"H": H, "W": W}
        for run in (filter7x7, filter7x7_backward):
            cases.append(
                OpCase(run.__name__, sizes, run, 2e-6, 2.0 * 67 * 49 * H * W, 4.0 * 137 * H * W)
            )
    for H, W in [(1, 1), (3, 5), (8, 9), (31, 40), (64, 50), LONG]:
        sizes = {"H": H, "W": W}
        for run in (binomial_down, binomial_down_backward):
            cases.append(OpCase(run.__name__, sizes, run, 1e-6, 24.0 * H * W, 15.0 * H * W))
    for N, H, W in [
        (1, 1, 1),
        (4, 3, 5),
        (20, 7, 11),
        (64, 33, 31),
        (72, 9, 17),
        (128, 13, 11),
        (134, 20, 21),
        (256, 16, 18),
        (512, 5, 7),
        (48, 16, 16),
        (4, *LONG),
    ]:
        sizes = {"N": N, "H": H, "W": W}
        of_pixels = {"weighted": True}
        for weighted in ({}, of_pixels):
            gram_flops, M = N * (N + 1.0) * H * W, H * W
            cases.append(OpCase("gram", sizes | weighted, gram, 1e-6, gram_flops, 4.0 * N * M))
        for factors in ({"scaled": False}, {"scaled": True}, {"scaled": True, **of_pixels}):
            cases.append(
                OpCase("content_loss", sizes | factors, content_loss, 1e-6,
                       5.0 * N * H * W, 16.0 * N * H * W)
            )  # fmt: skip
            cases.append(
                OpCase("style_loss", sizes | factors, style_loss, 1e-6,
                       2.0 * N * N * H * W, 12.0 * N * H * W)
            )  # fmt: skip
            cases.append(
                OpCase("style_ahead", sizes | factors, style_ahead, 1e-6, gram_flops, 4.0 * N * M)
            )  # fmt: skip
    for H, W in [(1, 1), (1, 7), (6, 1), (9, 16), (16, 16), (33, 50), (53, 61), LONG]:
        for circular in (False, True):
            sizes = {"H": H, "W": W, "circular": circular}
            cases.append(
                OpCase("total_variation", sizes, total_variation, 1e-6, 60.0 * H * W, 36.0 * H * W)
            )
    return cases


OP_CASES = _cases()
