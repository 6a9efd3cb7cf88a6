"""Calibration: mean activations over photographs, and the network that is rescaled by them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MEAN, picture, tiny_convolutions, tiny_vgg19

from pynst.backends.reference import ReferenceBackend
from pynst.errors import ImageError
from pynst.networks import calibration
from pynst.networks.calibration import calibration_pictures, clamped, mean_activations, rescaled
from pynst.networks.vgg19 import LAYERS, VGG19


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

    weights = pynst.load_weights(real_weights)
    network = VGG19(open_backend("cpu"), weights.convolutions, weights.mean, pooling="average")
    layers = [*network.style_layers, *network.content_layers]
    for layer, m in mean_activations(network, layers, calibration_pictures()).items():
        assert np.mean(m < 0.1 * np.median(m)) < 0.02, layer


def test_the_mean_activation_is_that_over_all_positions_of_all_pictures():
    network = tiny_vgg19()
    pictures = [picture(0, 20, 30), picture(1, 32, 16)]
    found = mean_activations(network, ["relu1_1", "relu3_1"], pictures)
    each = [features(network, 255 * p - network.mean, ["relu1_1", "relu3_1"]) for p in pictures]
    for layer, m in found.items():
        wanted = np.mean([F[layer].mean((1, 2)) for F in each], axis=0)
        np.testing.assert_allclose(m, wanted, rtol=1e-12)


def test_the_means_of_a_network_are_measured_once(monkeypatch):
    """And again for other weights, layers, pooling, or other pixels of the same pictures."""
    measured = []
    monkeypatch.setattr(calibration, "_MEASURED", {})
    monkeypatch.setattr(
        calibration,
        "mean_activations",
        lambda network, layers, pictures: (
            measured.append(1) or mean_activations(network, layers, pictures)
        ),
    )
    monkeypatch.setattr(calibration, "calibration_pictures", lambda folder: pictures)
    pictures = [picture(0, 20, 30)]

    def scales(sha256="abc", layers=("relu1_1",), **settings):
        network = tiny_vgg19(weights_sha256=sha256, **settings)
        return calibration.feature_scales(network, layers)["relu1_1"]

    first = scales()
    np.testing.assert_array_equal(scales(), first)
    assert len(measured) == 1
    scales("abd")
    scales(layers=("relu1_1", "relu2_1"))
    scales(pooling="average")
    pictures = [picture(1, 20, 30)]
    assert (scales() != first).any()
    assert len(measured) == 5
    for number in range(20):
        scales(str(number))
    assert len(calibration._MEASURED) == calibration._MOST_MEASURED
    scales("")
    scales("")
    assert len(measured) == 27


def test_a_mean_below_a_tenth_of_the_median_counts_as_that_tenth():
    np.testing.assert_allclose(clamped(np.array([0.0, 0.05, 1.0, 2.0, 3.0])), [0.1, 0.1, 1, 2, 3])
    assert (clamped(np.zeros(4)) > 0).all()


def test_features_of_a_rescaled_network_are_divided_by_their_powers_to_the_last_bit():
    convolutions = tiny_convolutions()
    powers = {layer: index % 5 - 1 for index, layer in enumerate(LAYERS)}
    x = 255 * picture(0, 32, 32) - np.array(MEAN)
    before, after = (
        features(VGG19(ReferenceBackend(), each, MEAN), x, LAYERS)
        for each in (convolutions, rescaled(convolutions, powers))
    )
    for layer, e in powers.items():
        np.testing.assert_array_equal(after[layer], before[layer] * 2.0**-e)


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ImageError, match="calibration: there is no picture in"):
        calibration_pictures(tmp_path)
    with pytest.raises(ImageError, match="calibration: cannot read"):
        calibration_pictures(tmp_path / "gone")


def test_each_calibration_picture_is_seen_in_the_mirror_too():
    seen = calibration_pictures()
    assert len(seen) % 2 == 0
    np.testing.assert_array_equal(seen[0][:, ::-1], seen[1])
    assert all(max(each.shape) <= 256 for each in seen)
