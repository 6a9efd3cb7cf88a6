"""VGG-19's table and walk."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import CHANNELS, picture, tiny_vgg19

from pynst import Objective, OptionError
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.networks.vgg19 import LAYERS


def features(network, x, layers):
    H, W = x.shape[:2]
    workspace = network.workspace(H, W, layers, gradient=False)
    network.backend.upload(np.moveaxis(x, 2, 0), "image", workspace["x"])
    network.forward(workspace, layers)
    return {
        layer: network.backend.download(workspace[layer], "features", network.shape(layer, H, W))
        for layer in layers
    }


def test_the_table_has_16_convolutions_in_5_blocks():
    assert len(LAYERS) == 16
    assert LAYERS[0] == "relu1_1"
    assert LAYERS[-1] == "relu5_4"
    assert [sum(layer.startswith(f"relu{b}") for layer in LAYERS) for b in range(1, 6)] == [
        2,
        2,
        4,
        4,
        4,
    ]


def test_shapes_halve_from_block_to_block_and_round_down():
    network = tiny_vgg19()
    for block, N in CHANNELS.items():
        assert network.shape(f"relu{block}_1", 37, 50) == (N, 37 >> (block - 1), 50 >> (block - 1))


def test_features_have_the_shapes_and_are_rectified():
    network = tiny_vgg19()
    x = 255 * picture(0, 37, 50) - network.mean
    for layer, F in features(network, x, LAYERS).items():
        assert F.shape == network.shape(layer, 37, 50)
        assert F.min() == 0 < F.max()


def test_the_walk_ends_at_the_deepest_layer_asked_for():
    network = tiny_vgg19()
    plan = network.plan(32, 32, ["relu2_1"], gradient=True)
    assert "relu2_1" in plan.buffers
    assert "relu2_2" not in plan.buffers


def test_only_what_the_losses_read_is_kept_for_the_way_back():
    network = tiny_vgg19(pooling="max")
    plan = network.plan(64, 64, network.style_layers, gradient=True)
    last = max(buffer.last for buffer in plan.buffers.values())
    for layer in LAYERS[:13]:
        assert f"bits {layer}" in plan.buffers
    for name, buffer in plan.buffers.items():
        if buffer.kind == "features" and buffer.last - buffer.first > 1:
            assert name in network.style_layers
    assert "relu1_2" not in plan.buffers, "pooled at once, never stored"
    assert plan.buffers["x"].last == last
    assert sum(name.startswith("choices") for name in plan.buffers) == 4


def test_average_pooling_keeps_nothing():
    network = tiny_vgg19(pooling="average")
    plan = network.plan(64, 64, network.style_layers, gradient=True)
    assert not any(name.startswith("choices") for name in plan.buffers)


def test_unknown_layers_are_refused_by_name():
    with pytest.raises(OptionError, match="unknown layer 'relu6_1'"):
        tiny_vgg19().plan(32, 32, ["relu6_1"], gradient=False)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("backend", [ReferenceBackend, CpuBackend])
def test_a_pooling_layer_has_the_pooled_features_of_its_relu(pooling, backend):
    network = tiny_vgg19(backend(), pooling=pooling)
    x = 255 * picture(0, 33, 38) - network.mean
    pooled = features(network, x, ["pool1", "pool2"])
    for layer, F in features(network, x, ["relu1_2", "relu2_2"]).items():
        h, w = F.shape[1] // 2, F.shape[2] // 2
        quads = F[:, : 2 * h, : 2 * w].reshape(len(F), h, 2, w, 2)
        expected = quads.max((2, 4)) if pooling == "max" else quads.mean((2, 4))
        np.testing.assert_allclose(pooled[f"pool{layer[4]}"], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("layers", [["pool1"], ["relu1_2", "pool1", "pool2"], ["pool2", "relu3_1"]])
def test_losses_at_pooling_layers_have_the_gradient_of_their_value(pooling, layers):
    objective = Objective(
        picture(3, 17, 21),
        picture(1, 18, 16),
        network=tiny_vgg19(pooling=pooling),
        image_size=21,
        content_layers=layers,
        style_layers=layers,
    )
    x, step = picture(2, 17, 21), 1e-7
    _, gradient = objective(x)
    rng = np.random.default_rng(0)
    for _ in range(4):
        direction = rng.standard_normal(x.shape)
        ahead, behind = objective(x + step * direction)[0], objective(x - step * direction)[0]
        slope = (ahead - behind) / (2 * step)
        assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-4)
    assert {f"style {layer}" for layer in layers} <= set(objective.terms.layers)


def test_a_pooling_that_is_read_is_still_done_with_its_convolution():
    plan = tiny_vgg19().plan(64, 64, ["pool1", "pool2"], gradient=True)
    assert "relu1_2" not in plan.buffers
    assert plan.buffers["pool1"].shape == (4, 32, 32)


def test_the_last_pooling_is_no_layer():
    with pytest.raises(OptionError, match="unknown layer 'pool5'"):
        tiny_vgg19().plan(64, 64, ["pool5"], gradient=True)
