"""The content term: its value is that of Eq. 1 by hand, and its gradient is that of its value."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from terms import gradient_error, inputs_of, set_and_added

from pynst.losses.content import ContentTerm, _energy_and_variance
from pynst.networks.layers import LayerChoice
from pynst.networks.network import read_features
from pynst.options.formulas import FORMULAS

H, W = 24, 32
CONTENT = picture(0, H, W)
LAYERS = (("relu1_2", 3.0), ("relu2_1", 1.0))


def term(alpha=2.0):
    return ContentTerm(alpha, LayerChoice(LAYERS, ()), FORMULAS["gatys"])


def test_the_value_is_the_weighted_mean_of_the_squared_differences():
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = term().at(network, inputs_of(content=CONTENT), H, W)
    assert targets.layers == ("relu1_2", "relu2_1")
    for layer, share in (("relu1_2", 0.75), ("relu2_1", 0.25)):
        F, P = (read_features(network, each, [layer]).download(layer) for each in (x, CONTENT))
        value, _ = set_and_added(targets, network, layer, F)
        assert value == pytest.approx(2.0 * share * np.mean((F - P) ** 2), rel=1e-9)


@pytest.mark.parametrize("layer", ["relu1_2", "relu2_1"])
def test_the_gradient_is_that_of_the_value_and_is_added(layer):
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = term().at(network, inputs_of(content=CONTENT), H, W)
    F = read_features(network, x, [layer]).download(layer)
    assert gradient_error(targets, network, layer, F) < 1e-6


def test_the_photograph_itself_has_no_loss_and_no_gradient():
    network = tiny_vgg19()
    targets = term().at(network, inputs_of(content=CONTENT), H, W)
    F = read_features(network, CONTENT, ["relu1_2"]).download("relu1_2")
    value, gradient = set_and_added(targets, network, "relu1_2", F)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 1000), (64, 4097), (33, 80_001)])
def test_block_by_block_the_bits_are_those_of_the_whole(monkeypatch, shape, dtype):
    monkeypatch.setattr("pynst.losses.content._BLOCK", 1000)
    rng = np.random.default_rng(0)
    P, s = (100 * rng.random(shape)).astype(dtype), rng.uniform(0.5, 2, shape[0])
    scaled = s[:, None] * P.astype(np.float64)
    wanted = np.mean(scaled**2), np.mean((scaled - scaled.mean(1, keepdims=True)) ** 2)
    assert _energy_and_variance(P, s) == wanted
