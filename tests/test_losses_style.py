"""The style term: its value is that of Eq. 3 to 5, and its gradient is that of its value."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from terms import gradient_error, inputs_of, set_and_added

from pynst import ImageError
from pynst.losses.style import GramTerm
from pynst.networks.layers import LayerChoice
from pynst.networks.network import read_features
from pynst.options.formulas import FORMULAS

H, W = 24, 32
STYLES = ((picture(2, H, W), 0.25), (picture(3, H, W), 0.75))  # of the image's size: not resized
LAYERS = (("relu1_1", 1.0), ("relu2_1", 3.0))


def term(beta=2.0, layers=LAYERS):
    return GramTerm(beta, LayerChoice(layers, ()), FORMULAS["paper"], style_scale=1.0)


def gram(F):
    """F F^T / M of features (N, h, w)."""
    F = F.reshape(len(F), -1).astype(np.float64)
    return F @ F.T / F.shape[1]


def test_the_value_is_that_of_the_blended_gram_matrices():
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = term().at(network, inputs_of(styles=STYLES), H, W)
    assert targets.layers == ("relu1_1", "relu2_1")
    for layer, w in (("relu1_1", 0.25), ("relu2_1", 0.75)):
        F = read_features(network, x, [layer]).download(layer)
        A = sum(
            share * gram(read_features(network, pixels, [layer]).download(layer))
            for pixels, share in STYLES
        )
        wanted = 2.0 * w * np.sum((gram(F) - A) ** 2) / (4 * len(F) ** 2)  # Eq. 4 and 5
        value, _ = set_and_added(targets, network, layer, F)
        assert value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1"])
def test_the_gradient_is_that_of_the_value_and_is_added(layer):
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = term().at(network, inputs_of(styles=STYLES), H, W)
    F = read_features(network, x, [layer]).download(layer)
    assert gradient_error(targets, network, layer, F) < 1e-6


def test_a_painting_that_is_too_small_for_a_layer_is_refused_by_name():
    few = ((picture(2, 12, 48), 1.0),)
    with pytest.raises(ImageError, match=r"style: 32 x 8 pixels are too few for layer relu5_1"):
        term(layers=(("relu5_1", 1.0),)).at(tiny_vgg19(), inputs_of(styles=few), 32, 32)
