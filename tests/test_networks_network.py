"""Images in and features out: what every network is given, and what is read of it."""

from __future__ import annotations

import numpy as np
from conftest import picture

from pynst.networks.network import read_features, upload_image, upload_scale

H, W = 24, 32


def layer_of(network):
    return network.style_layers[1]


def test_the_gram_matrix_is_that_of_the_features_per_pixel(tiny_network):
    layer = layer_of(tiny_network)
    features = read_features(tiny_network, picture(0, H, W), [layer])
    F = features.download(layer)
    assert F.shape == tiny_network.shape(layer, H, W)
    F = F.reshape(len(F), -1)
    G = features.grams({layer: None})[layer]
    np.testing.assert_allclose(G, F @ F.T / F.shape[1], rtol=1e-12, atol=1e-12)


def test_a_copy_of_features_stays_as_it_was(tiny_network):
    layer, backend = layer_of(tiny_network), tiny_network.backend
    features = read_features(tiny_network, picture(0, H, W), [layer])
    before, copied = features.download(layer).copy(), features.copy(layer)
    backend.zero(features._workspace[layer])
    assert not features.download(layer).any()
    shape = tiny_network.shape(layer, H, W)
    np.testing.assert_array_equal(backend.download(copied, "features", shape), before)


def test_an_image_is_uploaded_as_axes_times_255_image_minus_mean(tiny_network):
    image = picture(0, H, W)
    wanted = np.moveaxis((255 * image - tiny_network.mean) @ tiny_network.input_axes.T, 2, 0)
    turned = np.asfortranarray(image)
    for given in (image, turned, image[::-1][::-1]):
        workspace = tiny_network.workspace(H, W, [layer_of(tiny_network)], gradient=False)
        upload_image(tiny_network, given, workspace["x"])
        found = tiny_network.backend.download(workspace["x"], "image", (3, H, W))
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_layer_without_factors_has_none_to_upload(tiny_network):
    for layer in tiny_network.layers:
        assert (upload_scale(tiny_network, layer) is None) == (layer not in tiny_network.scales)
