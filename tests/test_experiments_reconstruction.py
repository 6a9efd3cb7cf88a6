"""`reconstruct`: an image from noise that has a picture's features at a layer."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.backends.reference import ReferenceBackend
from pynst.experiments.reconstruction import reconstruct, reconstruction_options
from pynst.images import resize
from pynst.networks.network import read_features
from pynst.networks.vgg19 import VGG19
from pynst.replay import read_record, replay
from pynst.weights import load_weights

pytest_plugins = ("experiments",)

PHOTO = picture(0, 40, 56)


def decibels(x, p):
    return -10 * np.log10(np.mean((x - p) ** 2))


@pytest.mark.usefixtures("tiny_weights")
def test_there_is_no_style_and_the_start_is_noise():
    result = reconstruct(PHOTO, "relu1_2", image_size=48, iterations=30, tv_weight=0)
    assert result.pixels.shape == (34, 48, 3)
    first, last = result.history[0][0], result.history[0][-1]
    assert first.style == last.style == 0
    assert last.content < 0.1 * first.content
    assert [used.name for used in result.record.pictures] == ["content"]


@pytest.mark.usefixtures("tiny_weights")
def test_the_layer_is_conv4_2_unless_another_is_named():
    assert reconstruction_options().content_layers == (("relu4_2", 1.0),)
    assert reconstruction_options({"pool2": 2, "conv3_1": 1}).content_layers == (
        ("pool2", 2.0), ("relu3_1", 1.0),
    )  # fmt: skip
    result = reconstruct(PHOTO, "pool1", image_size=32, iterations=3)
    assert list(result.history[0][0].layers) == ["content pool1"]


def test_the_papers_reconstruction_is_eq_1_alone_by_scipy():
    options = reconstruction_options("conv2_2", paper=True)
    assert (options.formula, options.optimizer, options.levels, options.init) == (
        "paper", "scipy", 1, "noise",
    )  # fmt: skip
    assert options.tv_weight is None  # the formula's, which is 0


@pytest.mark.usefixtures("tiny_weights")
def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(pynst.OptionError, match="unknown layer 'relu9_1'"):
        reconstruct(PHOTO, "conv9_1")
    with pytest.raises(pynst.OptionError, match="content_layers cannot be given beside layer"):
        reconstruct(PHOTO, content_layers="conv1_1")


@pytest.mark.usefixtures("tiny_weights")
def test_a_seed_gives_the_same_image_and_another_seed_another_one():
    settings = {"image_size": 32, "iterations": 4}
    one, same = (reconstruct(PHOTO, "relu2_1", seed=3, **settings) for _ in range(2))
    other = reconstruct(PHOTO, "relu2_1", seed=4, **settings)
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert np.abs(one.pixels - other.pixels).max() > 0.1


@pytest.mark.usefixtures("tiny_weights")
def test_it_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path):
    settings = {"image_size": 32, "iterations": 12}
    whole = reconstruct(PHOTO, "relu2_1", **settings)
    path = tmp_path / "run.npz"

    def stop(progress):
        if progress.iteration == 7:
            raise KeyboardInterrupt

    with pytest.raises(pynst.Interrupted):
        reconstruct(PHOTO, "relu2_1", checkpoint=path, callback=stop, **settings)
    again = reconstruct(PHOTO, resume=path)
    np.testing.assert_array_equal(again.pixels, whole.pixels)
    assert again.history == whole.history
    with pytest.raises(pynst.OptionError, match="layer cannot be given with resume"):
        reconstruct(PHOTO, "relu1_1", resume=path)


@pytest.mark.usefixtures("tiny_weights")
def test_replay_makes_it_again(tmp_path):
    pynst.save_image(PHOTO, tmp_path / "photo.png", bits=16)
    result = reconstruct(tmp_path / "photo.png", "relu1_2", image_size=32, iterations=5)
    result.save(tmp_path / "d.png")
    again = replay(read_record(tmp_path / "d.png"))
    assert again.same
    assert not again.differences


def smooth(seed: int) -> np.ndarray:
    """A random picture without noise in its pixels, of which the network sees little."""
    return np.clip(resize(np.random.default_rng(seed).random((12, 12, 3)), 64, 64), 0, 1)


@pytest.mark.weights
@pytest.mark.slow
def test_deeper_layers_keep_less_of_the_pixels(real_weights):
    """Fig. 1: judged by the features that the float64 reference finds."""
    photo = smooth(5)
    found, weights = {}, load_weights(real_weights)
    judge = VGG19(ReferenceBackend(), weights.convolutions, weights.mean)
    noise = np.random.default_rng(0).random((64, 64, 3))
    for layer in ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2"):
        result = reconstruct(photo, layer, weights=str(real_weights), image_size=64, iterations=200)
        F, P, start = (
            read_features(judge, image, [layer]).download(layer)
            for image in (result.pixels, photo, noise)
        )
        assert np.sum((F - P) ** 2) < 0.02 * np.sum((start - P) ** 2), layer
        found[layer] = decibels(result.pixels, photo)
    assert found["relu1_2"] > 30
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert len(set(found.values())) == 5


@pytest.mark.weights
@pytest.mark.slow
def test_what_a_noisy_picture_loses_is_the_share_of_total_variation(real_weights):
    """The minimum itself lies below 30 dB: a run that starts at the picture ends there as well."""
    photo, found = picture(5, 64, 64), {}
    for name, settings in {
        "noise": {},
        "picture": {"init": photo},
        "less of it": {"tv_weight": 0.1},
    }.items():
        result = reconstruct(
            photo, "conv1_2", weights=str(real_weights), image_size=64, iterations=250, **settings
        )
        found[name] = decibels(result.pixels, photo), result.history[-1][-1].total
    assert found["noise"] == pytest.approx(found["picture"], rel=1e-3)
    assert found["noise"][0] < 30
    assert found["less of it"][0] > found["noise"][0] + 0.8


@pytest.mark.weights
@pytest.mark.slow
def test_two_seeds_at_a_deep_layer_give_two_images_and_neither_is_the_original(real_weights):
    photo = picture(5, 64, 64)
    one, other = (
        reconstruct(
            photo, "conv5_2", weights=str(real_weights), image_size=64, iterations=100, seed=seed
        ).pixels
        for seed in (0, 1)
    )
    for a, b in ((one, other), (one, photo), (other, photo)):
        assert np.sqrt(np.mean((a - b) ** 2)) > 10 / 255
