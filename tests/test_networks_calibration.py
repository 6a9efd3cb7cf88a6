"""Calibration: mean activations over photographs, and the network that is rescaled by them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_convolutions, tiny_vgg19

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


def test_features_of_a_normalised_network_follow_from_those_of_the_original():
    """Dividing features by constants in the loss is the network with rescaled filters."""
    original = tiny_vgg19(pooling="average")
    x = 255 * picture(0, 40, 40) - original.mean
    F = features(original, x, LAYERS)
    m = {layer: values.mean((1, 2)) + 0.1 for layer, values in F.items()}
    rescaled = tiny_vgg19(pooling="average")
    arrays, previous = {}, np.ones(3)
    for layer in LAYERS:
        weight, bias = tiny_convolutions()[layer.replace("relu", "conv")]
        arrays[layer.replace("relu", "conv")] = (
            weight * previous[None, :, None, None] / m[layer][:, None, None, None],
            bias / m[layer],
        )
        previous = m[layer]
    rescaled._arrays = arrays
    for layer, values in features(rescaled, x, LAYERS).items():
        np.testing.assert_allclose(
            values, F[layer] / m[layer][:, None, None], rtol=1e-9, atol=1e-12
        )


@pytest.mark.weights
def test_the_calibration_photographs_excite_nearly_every_filter(real_weights):
    """Few filters lie below the floor: the photographs are enough for the means to be means."""
    import pynst
    from pynst.backends import open_backend
    from pynst.networks.calibration import calibration_pictures, mean_activations
    from pynst.networks.vgg19 import VGG19

    weights = pynst.load_weights(real_weights)
    network = VGG19(open_backend("cpu"), weights.convolutions, weights.mean, pooling="average")
    layers = [*network.style_layers, *network.content_layers]
    for layer, m in mean_activations(network, layers, calibration_pictures()).items():
        assert np.mean(m < 0.1 * np.median(m)) < 0.02, layer
