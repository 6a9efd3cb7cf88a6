"""Joined borders: an image that is rolled round has features, losses and gradients rolled round."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from scipy.optimize import approx_fprime

from pynst.backends.circular import circular
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.forecast import forecast_memory
from pynst.networks.network import read_features
from pynst.networks.open import open_network
from pynst.objective import Objective
from pynst.options import TransferOptions

pytest_plugins = ("experiments",)

BACKENDS = {"reference": ReferenceBackend, "cpu": CpuBackend}


def network(name="reference", **settings):
    return tiny_vgg19(circular(BACKENDS[name]()), padding="circular", **settings)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_features_of_a_rolled_image_are_rolled(name, pooling):
    here, layers = network(name, pooling=pooling), ["relu1_1", "relu1_2", "pool2", "relu3_2"]
    x = picture(0, 32, 48)
    before = read_features(here, x, layers)
    after = read_features(here, np.roll(x, (16, -8), (0, 1)), layers)
    for layer in layers:
        scale = 32 // before.download(layer).shape[1]
        rolled = np.roll(before.download(layer), (16 // scale, -8 // scale), (1, 2))
        np.testing.assert_allclose(after.download(layer), rolled, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", BACKENDS)
def test_loss_and_gradient_of_a_rolled_image_are_those_of_the_image(name):
    objective = Objective(
        None, picture(1, 48, 64), network=network(name), image_size=64, tv_weight=3
    )
    x = picture(2, 48, 64)
    value, gradient = objective(x)
    rolled_value, rolled_gradient = objective(np.roll(x, (16, 32), (0, 1)))
    assert rolled_value == pytest.approx(value, rel=1e-6)
    expected = np.roll(gradient, (16, 32), (0, 1))
    assert np.abs(rolled_gradient - expected).max() < 2e-3 * np.abs(gradient).max()


def test_without_joined_borders_a_rolled_image_has_another_loss():
    objective = Objective(
        None, picture(1, 32, 32), network=tiny_vgg19(), image_size=32, style_layers=["relu2_1"]
    )
    x = picture(2, 32, 32)
    rolled, _ = objective(np.roll(x, (16, 16), (0, 1)))
    assert rolled != pytest.approx(objective(x)[0], rel=1e-4)


def test_the_gradient_is_that_of_the_loss_by_finite_differences():
    objective = Objective(
        picture(3, 17, 21),
        picture(1, 18, 16),
        network=network(pooling="average"),
        image_size=21,
        content_layers=["pool1"],
        style_layers=["relu1_1", "relu2_1"],
        tv_weight=2,
    )
    x = picture(2, 17, 21)
    _, gradient = objective(x)
    rng, step = np.random.default_rng(0), 1e-6
    for _ in range(5):
        direction = rng.standard_normal(x.shape)
        ahead, behind = objective(x + step * direction)[0], objective(x - step * direction)[0]
        slope = (ahead - behind) / (2 * step)
        assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(("H", "W"), [(1, 1), (2, 3), (5, 7), (16, 18)])
def test_the_cpu_does_every_op_as_the_reference_does(H, W):
    """Odd and tiny sizes, where a pooling drops a row or the border is the image itself."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, make in BACKENDS.items():
        backend = circular(make())
        rng = np.random.default_rng(0)

        def new(kind, shape, values=None, backend=backend):
            block = backend.allocate(-(-backend.nbytes(kind, shape) // 256) * 256)
            out = backend.view(block, 0, kind, shape)
            if values is None:
                backend.zero(out)
            else:
                backend.upload(values, kind, out)
            return out

        def read(array, kind, shape, backend=backend):
            return np.array(backend.download(array, kind, shape))  # of one pixel it may be a view

        weights = backend.conv3x3_weights(
            rng.standard_normal((20, 18, 3, 3)).astype(np.float32), np.full(20, 0.1, np.float32)
        )
        first = backend.conv3x3_weights(
            rng.standard_normal((20, 3, 3, 3)).astype(np.float32), np.full(20, 0.1, np.float32)
        )
        x = new("features", (18, H, W), rng.standard_normal((18, H, W)))
        image = new("image", (3, H, W), rng.standard_normal((3, H, W)))
        dy = new("features", (20, H, W), rng.standard_normal((20, H, W)))
        y, bits = new("features", (20, H, W)), new("bits", (20, H, W))
        dx, dimage = new("features", (18, H, W)), new("image", (3, H, W))
        loss = backend.empty_losses(1)
        found = arrays[name] = []
        backend.conv3x3_relu(x, weights, y, bits)
        found.append(read(y, "features", (20, H, W)))
        backend.conv3x3_relu_backward(dy, bits, weights, dx)
        found.append(read(dx, "features", (18, H, W)))
        backend.image_conv3x3_relu(image, first, "circular", y, bits)
        found.append(read(y, "features", (20, H, W)))
        backend.image_conv3x3_relu_backward(dy, bits, first, "circular", dimage)
        found.append(read(dimage, "image", (3, H, W)))
        backend.total_variation(image, 5.0, dimage, loss)
        found += [read(dimage, "image", (3, H, W)), backend.download_losses(loss)]
    for ours, theirs in zip(arrays["cpu"], arrays["reference"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_total_variation_across_the_seam_is_counted_by_hand():
    backend = circular(ReferenceBackend())
    x, dx, loss = np.zeros((1, 1, 4)), np.zeros((1, 1, 4)), np.zeros(1)
    x[0, 0, 0] = 1.0
    backend.total_variation(x, 1.0, dx, loss)
    # Four pixels in a ring of one row: two of the differences to the right are 1, none of those to
    # the row below, which is the row itself, and two along each of the diagonals.
    assert loss[0] == pytest.approx(2 * (2 / 3 + 2 / 12 + 2 / 12) / 4)

    def value(flat):
        here = np.zeros(1)
        backend.total_variation(flat.reshape(x.shape), 1.0, np.zeros_like(x), here)
        return float(here[0])

    start = np.array([1.0, 0.3, -0.2, 0.6])
    dx[...] = 0
    backend.total_variation(start.reshape(x.shape), 1.0, dx, loss)
    np.testing.assert_allclose(dx.ravel(), approx_fprime(start, value, 1e-7), atol=1e-5)


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_every_backend_that_can_be_asked_for_can_join_borders(padding):
    options = TransferOptions(network="vgg19", backend="reference", padding=padding)
    opened = open_network(options)
    assert opened.backend.name == "reference"
    assert isinstance(opened.backend, ReferenceBackend) == (padding == "zero")


@pytest.mark.parametrize("name", BACKENDS)
def test_the_copies_of_a_walk_are_forecast_to_the_byte(name):
    """Of the largest convolution, which the forecast counts beside the network's own plan."""
    here, layers, size = network(name), ["relu1_1", "relu2_1", "relu3_1"], (40, 56)
    objective = Objective(None, picture(1, *size), network=here, image_size=56, style_layers=layers)
    objective(picture(2, *size))
    plain = BACKENDS[name]()
    forecast = max(
        here.backend.scratch_nbytes(*op)
        - plain.scratch_nbytes(op.op, op.C, op.N, op.H + 2, op.W + 2)
        for op in here.ops(*size, layers)
    )
    used = sum(block.nbytes for block in here.backend._blocks.values())
    assert used == pytest.approx(forecast, abs=3 * 256)


def test_the_forecast_of_a_run_counts_the_copies():
    settings = {"image_size": 512, "style_layers": ["relu1_1", "relu2_1"]}
    plain, joined = (
        forecast_memory(tiny_vgg19(backend), TransferOptions(**settings), None, [(512, 512)]).total
        for backend in (CpuBackend(), circular(CpuBackend()))
    )
    features = CpuBackend().nbytes("features", (4, 512, 512))
    assert joined - plain > 3 * features


def test_memory_is_kept_from_one_evaluation_to_the_next():
    here = network("cpu")
    objective = Objective(None, picture(1, 32, 32), network=here, image_size=32)
    x = picture(2, 32, 32)
    objective(x)
    blocks = list(map(id, here.backend._blocks.values()))
    objective(x)
    assert list(map(id, here.backend._blocks.values())) == blocks
