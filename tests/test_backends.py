"""Three questions of every op: is the oracle right, is its gradient, do the backends agree?"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from op_cases import (
    AXES,
    MEAN,
    OP_CASES,
    Bench,
    conv3x3_relu,
    conv3x3_relu_backward,
    features,
    layer_weights,
    loss_ops,
    noise,
    pixel_weights,
)
from scipy.signal import correlate

import pynst
from pynst.backends import available_backends, open_backend
from pynst.backends.base import Backend
from pynst.backends.reference import ReferenceBackend
from pynst.errors import BackendError

REFERENCE = ReferenceBackend()
NOT_OPS = {
    "nbytes", "scratch_nbytes", "allocate", "view", "upload", "download", "empty_gram",
    "upload_gram", "download_gram", "upload_scale", "upload_pixel_weights",
    "empty_losses", "download_losses", "zero", "repeated", "free_memory", "conv3x3_weights",
    "conv3x3_weights_nbytes", "device_images", "filter7x7_weights", "beside", "choose_as",
    "shape_of",
}  # fmt: skip


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30))


def test_every_op_of_the_contract_has_cases():
    ops = {name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if name[0] != "_"}
    assert ops - NOT_OPS == {case.op for case in OP_CASES}


# ---- backends against the oracle -----------------------------------------------------------------


@pytest.fixture(scope="module")
def cpu() -> Backend:
    return open_backend("cpu", threads=2)


@pytest.mark.parametrize("case", OP_CASES, ids=str)
def test_cpu_agrees_with_float64(case, cpu):
    wanted = case.outputs(REFERENCE)
    for name, found in case.outputs(cpu).items():
        assert found.shape == wanted[name].shape
        assert relative_error(found, wanted[name]) <= case.tolerance, name


@pytest.mark.parametrize("N", [20, 134, 260])
def test_pixel_weights_of_one_give_the_bits_of_none(N, cpu):
    """So that a mask that is white everywhere changes nothing."""
    ones = cpu.upload_pixel_weights(np.ones((33, 35)))
    for without, weighted in zip(
        loss_ops(cpu, N, 33, 35, None), loss_ops(cpu, N, 33, 35, ones), strict=True
    ):
        np.testing.assert_array_equal(without, weighted)


@pytest.mark.parametrize("N", [20, 134])
def test_pixels_without_weight_change_nothing(N, cpu):
    """Runs of them are skipped, and the sums of the others stay right."""
    H, W = 33, 150
    m = np.zeros((H, W))
    m[:9, 60:], m[30:, :70] = 0.5, 1.0
    wanted = loss_ops(REFERENCE, N, H, W, REFERENCE.upload_pixel_weights(m))
    for found, exact in zip(
        loss_ops(cpu, N, H, W, cpu.upload_pixel_weights(m)), wanted, strict=True
    ):
        assert relative_error(found, exact) < 2e-6


@pytest.mark.parametrize("runner", [conv3x3_relu, conv3x3_relu_backward])
@pytest.mark.parametrize(("C", "H", "W"), [(32, 100, 100), (80, 90, 90)])
def test_the_convolutions_rounding_is_noise_and_no_common_factor(runner, C, H, W, cpu):
    """A factor would pass through every layer to the loss: see inner/winograd.h on its points.

    The first size takes large tiles, the second, with fewer of them for each channel, small ones.
    """
    factors = []
    for seed in range(6):
        wanted = runner(REFERENCE, np.random.default_rng(seed), C, 32, H, W)
        for name, found in runner(cpu, np.random.default_rng(seed), C, 32, H, W).items():
            factors.append(np.sum(found.astype(float) * wanted[name]) / np.sum(wanted[name] ** 2))
    assert abs(np.mean(factors) - 1) < 1.5e-8


def test_large_features_are_equal_wherever_they_lie(cpu):
    """Beyond 24 MB they are stored past the caches, if they begin at a cache line."""
    rng, shape = np.random.default_rng(0), (4, 660, 620)
    nbytes = cpu.nbytes("features", shape)
    x, *ys = (
        cpu.view(cpu.allocate(nbytes + offset), offset, "features", shape) for offset in (0, 0, 4)
    )
    assert nbytes > 24 << 20
    assert [y.ctypes.data % 64 for y in ys] == [0, 4]
    cpu.upload(rng.standard_normal(shape), "features", x)
    weights = cpu.conv3x3_weights(*layer_weights(rng, 4, 4))
    for y in ys:
        cpu.conv3x3_relu(x, weights, y, None)
    assert ys[0].any()
    np.testing.assert_array_equal(*ys)


@pytest.mark.parametrize("case", OP_CASES, ids=str)
def test_cpu_gives_equal_bits_for_any_number_of_threads(case, cpu):
    wanted = case.outputs(cpu)
    for threads in (1, 3):
        for name, found in case.outputs(open_backend("cpu", threads=threads)).items():
            np.testing.assert_array_equal(found, wanted[name])


def test_many_threads_cut_the_gradient_of_the_style_loss_finer_to_equal_bits():
    case = next(case for case in OP_CASES if case.op.startswith("style_loss"))
    sizes = {**case.sizes, "N": 64, "H": 19, "W": 31}
    found = [
        case.run(open_backend("cpu", threads=threads), np.random.default_rng(0), **sizes)
        for threads in (1, 40)
    ]
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values)


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512", "amx", "neon"])
def test_every_instruction_set_agrees_with_float64(isa):
    script = (
        "import pynst.backends as b\n"
        "try: print(b.open_backend('cpu', threads=2).name)\n"
        "except b.BackendError as error: print('REFUSED', error); raise SystemExit\n"
        "import pytest; raise SystemExit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k',"
        f" '(agrees_with_float64 or large_features) and not every', {__file__!r}]))"
    )
    environment = {**os.environ, "PYNST_CPU_ISA": isa}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    if "REFUSED" in run.stdout:
        assert isa in run.stdout, "the refusal must name the instruction set"
        pytest.skip(f"this processor has no {isa}")
    assert run.returncode == 0, run.stdout + run.stderr
    assert isa in run.stdout.splitlines()[0]


def test_the_first_instruction_set_of_the_list_is_the_one_in_use():
    script = "from pynst import _cpu; print(_cpu.isa(), *_cpu.isas())"
    environment = {name: os.environ[name] for name in os.environ if name != "PYNST_CPU_ISA"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    used, *names = run.stdout.split()
    assert names[0] == used
    assert names[-1] in ("generic", "neon")


def test_unknown_instruction_set_is_refused_by_name():
    script = "from pynst.backends import open_backend; open_backend('cpu')"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYNST_CPU_ISA": "mmx"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode != 0
    assert "mmx" in run.stderr


# ---- what an optimiser and its caller hand over --------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cpu_computes_the_input_planes_in_float64_and_rounds_once(dtype, cpu):
    image = np.random.default_rng(4).uniform(-0.2, 1.2, (97, 89, 3)).astype(dtype)
    found, wanted = np.empty((3, 97, 89), np.float32), np.empty((3, 97, 89))
    cpu.image_input(image, AXES, MEAN, found)
    REFERENCE.image_input(image, AXES, MEAN, wanted)
    np.testing.assert_allclose(found, wanted, rtol=2.0**-24 * (1 + 1e-6), atol=1e-12)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_image_input_backward_is_the_transpose_of_image_input(name):
    """<dx, J v> = <J^T dx, v>; J v is what v adds to the planes."""
    backend, rng = open_backend(name), np.random.default_rng(5)
    b = Bench(backend)
    image, v = rng.random((31, 37, 3)), rng.standard_normal((31, 37, 3))
    planes = []
    for each in (image, image + v):
        x = b.new("image", (3, 31, 37))
        backend.image_input(each, AXES, MEAN, x)
        planes.append(b.read(x, "image", (3, 31, 37)).astype(np.float64))
    dx, gradient = noise(rng, 3, 31, 37), np.empty((31, 37, 3))
    backend.image_input_backward(b.new("image", dx.shape, dx), AXES, gradient)
    difference = np.vdot(dx, planes[1] - planes[0]) - np.vdot(gradient, v)
    size = np.linalg.norm(dx) * np.linalg.norm(planes[0])
    assert abs(difference) <= (1e-14 if name == "reference" else 1e-7) * size


IMAGE, PLANES = np.zeros((4, 5, 3)), np.zeros((3, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGE.astype(np.uint8), AXES, MEAN, PLANES),
         r"image must be float32 or float64, got uint8 of shape \(4, 5, 3\)"),
        ((IMAGE.astype(np.longdouble), AXES, MEAN, PLANES), "image must be float32 or float64"),
        ((IMAGE.astype(np.float16), AXES, MEAN, PLANES), "image must be float32 or float64"),
        ((IMAGE.astype(">f8"), AXES, MEAN, PLANES), "image must be float32 or float64"),
        ((IMAGE[:3], AXES, MEAN, PLANES), r"image must be float64 of shape \(4, 5, 3\), got"),
        ((IMAGE[..., 0], AXES, MEAN, PLANES), r"image must be float64 of shape \(4, 5, 3\), got"),
        ((IMAGE.transpose(1, 0, 2), AXES, MEAN, PLANES), r"image must be .*, got .* \(5, 4, 3\)"),
        ((np.zeros((4, 10, 3))[:, ::2], AXES, MEAN, PLANES), "image must be C-contiguous"),
        ((IMAGE, AXES.T, MEAN, PLANES), "axes must be C-contiguous"),
        ((IMAGE, AXES[:2], MEAN, PLANES), r"axes must be float64 of shape \(3, 3\), got"),
        ((IMAGE, AXES, MEAN.astype(np.float32), PLANES), r"mean must be float64 of shape \(3\,\)"),
        ((IMAGE, AXES, MEAN, PLANES.astype(float)), r"x must be float32 of shape \(3, H, W\)"),
        ((IMAGE, AXES, MEAN, PLANES[0]), r"x must be float32 of shape \(3, H, W\)"),
        ((IMAGE[:0], AXES, MEAN, PLANES[:, :0]), r"x must be float32 of shape \(3, H, W\)"),
    ],
)  # fmt: skip
def test_image_input_refuses_what_it_cannot_read(arguments, message, cpu):
    with pytest.raises(ValueError, match=f"image_input: {message}"):
        cpu.image_input(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PLANES.astype(float), AXES, IMAGE), r"dx must be float32 of shape \(3, H, W\)"),
        ((PLANES[:, ::2], AXES, IMAGE), "dx must be C-contiguous"),
        ((PLANES, AXES[0], IMAGE), r"axes must be float64 of shape \(3, 3\), got"),
        ((PLANES, AXES, IMAGE.astype(np.float16)), "gradient must be float32 or float64, got"),
        ((PLANES, AXES, IMAGE[:, :4]), r"gradient must be float64 of shape \(4, 5, 3\)"),
        ((PLANES, AXES, np.broadcast_to(0.0, (4, 5, 3))), "gradient must be C-contiguous"),
        ((PLANES, AXES, np.frombuffer(bytes(480)).reshape(4, 5, 3)), "gradient must be writable"),
    ],
)  # fmt: skip
def test_image_input_backward_refuses_what_it_cannot_read_or_write(arguments, message, cpu):
    with pytest.raises(ValueError, match=f"image_input_backward: {message}"):
        cpu.image_input_backward(*arguments)


# ---- the oracle against plain formulas -----------------------------------------------------------


def test_reference_convolution_is_scipys_correlation():
    rng = np.random.default_rng(0)
    weight, bias = layer_weights(rng, 5, 4)
    x = features(rng, 4, 6, 7)
    b = Bench(REFERENCE)
    y = b.new("features", (5, 6, 7))
    REFERENCE.conv3x3_relu(x, REFERENCE.conv3x3_weights(weight, bias), y, None)
    for n in range(5):
        z = bias[n] + sum(correlate(x[c], weight[n, c].astype(float), "same") for c in range(4))
        np.testing.assert_allclose(y[n], np.maximum(z, 0), atol=1e-12)


def test_reference_convolution_pads_with_the_edge_when_asked():
    rng = np.random.default_rng(1)
    weights = REFERENCE.conv3x3_weights(*layer_weights(rng, 2, 3))
    x, y = np.ones((3, 4, 5)), np.empty((2, 4, 5))
    REFERENCE.image_conv3x3_relu(x, weights, "replicate", y, None)
    assert np.ptp(y, axis=(1, 2)).max() < 1e-12, "a flat image has no border"
    REFERENCE.image_conv3x3_relu(x, weights, "zero", y, None)
    assert np.ptp(y, axis=(1, 2)).max() > 0.1


def test_reference_pooling_drops_the_odd_row_and_column():
    x = np.arange(15.0).reshape(1, 3, 5)
    y, choices = np.empty((1, 1, 2)), np.empty((1, 1, 2), np.uint8)
    REFERENCE.pool2x2(x, "max", y, choices)
    np.testing.assert_array_equal(y, [[[6, 8]]])
    np.testing.assert_array_equal(choices, [[[3, 3]]])
    REFERENCE.pool2x2(x, "average", y, None)
    np.testing.assert_array_equal(y, [[[3, 5]]])


def test_reference_gram_of_two_pixels_by_hand():
    F, G = np.array([[[1.0, 2.0]], [[3.0, 4.0]]]), np.empty((2, 2))
    REFERENCE.gram(F, G)
    np.testing.assert_allclose(G, np.array([[5.0, 11.0], [11.0, 25.0]]) / 2)


def test_reference_guided_gram_of_two_pixels_by_hand():
    F, G = np.array([[[1.0, 2.0]], [[3.0, 4.0]]]), np.empty((2, 2))
    REFERENCE.gram(F, G, REFERENCE.upload_pixel_weights(np.array([[1.0, 0.5]])))
    wanted = np.array([[1.0, 3.0], [3.0, 9.0]]) + 0.5 * np.array([[4.0, 8.0], [8.0, 16.0]])
    np.testing.assert_allclose(G, wanted / 1.5)


def test_reference_total_variation_by_hand():
    x = np.zeros((1, 2, 2))
    x[0, 0, 0] = 1.0
    dx, loss = np.zeros_like(x), np.empty(1)
    REFERENCE.total_variation(x, 1.0, dx, loss)
    # differences of the pixel: one to the right, one down, one diagonal; means over 4 values
    assert loss[0] == pytest.approx(2 * (1 / 12 + 1 / 12 + 1 / 48))


def test_reference_binomial_of_a_flat_image_is_flat():
    x, y = np.full((3, 6, 8), 2.0), np.empty((3, 3, 4))
    REFERENCE.binomial_down(x, y)
    np.testing.assert_allclose(y, 2.0)


@pytest.mark.parametrize(
    ("forward", "variant"),
    [
        ("image_conv3x3_relu", "zero"),
        ("image_conv3x3_relu", "replicate"),
        ("conv3x3_relu", "zero"),
        ("pool2x2", "average"),
        ("pool2x2", "max"),
        ("filter7x7", "mirror"),
        ("binomial_down", "edge"),
    ],
)
def test_reference_backward_is_the_transpose_of_forward(forward, variant):
    """<dy, J v> = <J^T dy, v>, with J taken by central differences away from the kinks."""
    rng = np.random.default_rng(2)
    C, N, H, W = 3, 6, 7, 9
    x, v, step = noise(rng, C, H, W), noise(rng, C, H, W), 1e-6
    run, back, shape = _linearise(forward, variant, rng, C, N, H, W)
    dy = noise(rng, *shape)
    run(x)  # leaves bits and choices of this x
    dx = back(dy)
    up, down = run(x + step * v), run(x - step * v)
    slope = np.vdot(dy, up - down) / (2 * step)
    assert np.vdot(dx, v) == pytest.approx(slope, rel=1e-6)


def _linearise(forward, variant, rng, C, N, H, W):
    """Forward and backward closures of one op, sharing bits and choices of the first call."""
    R = REFERENCE
    if forward == "pool2x2":
        shape = (C, H // 2, W // 2)
        choices = np.empty(shape, np.uint8)
        mode, fresh = variant, [choices]

        def run(x):
            y = np.empty(shape)
            R.pool2x2(x, mode, y, fresh.pop() if fresh else None)
            return y

        def back(dy):
            dx = np.empty((C, H, W))
            R.pool2x2_backward(dy, mode, choices, dx)
            return dx

        return run, back, shape
    if forward == "binomial_down":
        shape = (C, (H + 1) // 2, (W + 1) // 2)

        def run(x):
            y = np.empty(shape)
            R.binomial_down(x, y)
            return y

        def back(dy):
            dx = np.empty((C, H, W))
            R.binomial_down_backward(dy, dx)
            return dx

        return run, back, shape
    if forward == "filter7x7":
        weights = R.filter7x7_weights(rng.standard_normal((N // 2, 7, 7)), np.array([0, 1, 2]))
    else:
        weights = R.conv3x3_weights(*layer_weights(rng, N, C))
    padding = [variant] if forward == "image_conv3x3_relu" else []
    shape, fresh_bits = (N, H, W), [np.empty((N, H, W), bool)]
    bits = fresh_bits[0]

    def run(x):
        y = np.empty(shape)
        getattr(R, forward)(x, weights, *padding, y, fresh_bits.pop() if fresh_bits else None)
        return y

    def back(dy):
        dx = np.zeros((C, H, W))
        getattr(R, f"{forward}_backward")(dy, bits, weights, *padding, dx)
        return dx

    return run, back, shape


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("op", ["content_loss", "style_loss", "total_variation"])
def test_reference_loss_gradient_is_that_of_its_value(op, weighted):
    rng = np.random.default_rng(3)
    N, H, W = 3, 5, 6
    x, v, P = noise(rng, N, H, W), noise(rng, N, H, W), noise(rng, N, H, W)
    A, scale = np.cov(noise(rng, N, 50)), rng.uniform(0.5, 2, N)
    m = pixel_weights(REFERENCE, rng, H, W, weighted)

    def value(x):
        gradient, loss = np.zeros_like(x), np.empty(1)
        if op == "content_loss":
            REFERENCE.content_loss(x, P, 0.3, scale, gradient, loss, m)
        elif op == "style_loss":
            G = np.empty((N, N))
            REFERENCE.gram(x, G, m)
            REFERENCE.style_loss(x, G, A, 0.3, scale, gradient, loss, m)
        else:
            REFERENCE.total_variation(x, 0.3, gradient, loss)
        return loss[0], gradient

    step = 1e-6
    slope = (value(x + step * v)[0] - value(x - step * v)[0]) / (2 * step)
    assert np.vdot(value(x)[1], v) == pytest.approx(slope, rel=1e-6)


# ---- choosing a backend --------------------------------------------------------------------------


def test_available_backends_tells_what_and_why():
    found = available_backends()
    assert found["cpu"].startswith("cpu (")
    assert found["reference"] == "reference"
    assert set(found) == {"cpu", "cuda", "reference"}


def test_a_backend_that_is_not_available_says_why():
    if not available_backends()["cuda"].startswith("not available"):
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(BackendError, match="cuda"):
        open_backend("cuda")


def test_threads_are_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "3 threads" in open_backend("cpu").name
    assert "1 thread" in open_backend("cpu", threads=1).name


def test_public_names_reach_the_backends():
    assert pynst.available_backends is available_backends
