"""The neighbours term: the nearest features by a loop, and their loss."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from terms import gradient_error, set_and_added

from pynst import OptionError, stylize
from pynst.inputs import read_inputs
from pynst.losses import neighbours
from pynst.losses.neighbours import NeighboursTerm, nearest
from pynst.networks.layers import LayerChoice
from pynst.networks.network import read_features
from pynst.options import TransferOptions
from pynst.options.formulas import FORMULAS

H, W = 24, 32
CONTENT, STYLE = picture(0, H, W), picture(2, H, W)
LAYERS = (("relu1_1", 1.0), ("relu2_1", 3.0))
RNG = np.random.default_rng(0)


def term(beta=2.0, layers=LAYERS):
    return NeighboursTerm(beta, LayerChoice(layers, ()), FORMULAS["balanced"])


def targets_of(network, style=STYLE, **settings):
    options = TransferOptions(style_loss="neighbours")
    return term(**settings).at(network, read_inputs(CONTENT, style, options), H, W)


def one_by_one(photograph, painting):
    """For each pixel of the photograph, the features of the painting at the greatest cosine."""
    F, P = (each.reshape(len(each), -1).astype(np.float64) for each in (photograph, painting))
    f, p = (each - each.mean(1, keepdims=True) for each in (F, P))
    p /= np.linalg.norm(p, axis=0)  # the length of f[:, j] does not change which is nearest
    found = np.empty_like(F)
    for j in range(F.shape[1]):
        found[:, j] = P[:, int(np.argmax(f[:, j] @ p))]
    return found.reshape(photograph.shape)


def features(N, h, w):
    return RNG.random((N, h, w)).astype(np.float32)


@pytest.mark.parametrize("cosines", [1, 100, 2**20])
def test_the_nearest_are_those_of_a_loop_however_many_are_compared_at_a_time(cosines, monkeypatch):
    monkeypatch.setattr(neighbours, "_COSINES", cosines)
    photograph, painting = features(5, 6, 7), features(5, 4, 9)
    ones = np.ones((5, 1), np.float32)
    np.testing.assert_array_equal(
        nearest(photograph, painting, ones), one_by_one(photograph, painting).astype(np.float32)
    )


def test_channels_are_compared_with_their_factors():
    photograph, painting = features(5, 6, 7), features(5, 4, 9)
    scale = RNG.uniform(0.1, 10, (5, 1)).astype(np.float32)
    found = nearest(photograph, painting, scale) * scale[..., None]
    wanted = one_by_one(photograph * scale[..., None], painting * scale[..., None])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_of_a_large_painting_a_grid_is_looked_through(monkeypatch):
    monkeypatch.setattr(neighbours, "_CANDIDATES", 20)
    photograph, painting = features(5, 6, 7), features(5, 8, 9)  # 72 pixels: every second
    ones = np.ones((5, 1), np.float32)
    np.testing.assert_array_equal(
        nearest(photograph, painting, ones), nearest(photograph, painting[:, ::2, ::2], ones)
    )


def test_a_picture_is_its_own_nearest():
    painting = features(5, 6, 7)
    found = nearest(painting, painting, np.ones((5, 1), np.float32))
    np.testing.assert_array_equal(found, painting)


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_flat_pictures_have_nearest_features_as_well(value):
    flat = np.full((5, 3, 4), value, np.float32)
    other, ones = features(5, 6, 7), np.ones((5, 1), np.float32)
    assert np.isfinite(nearest(flat, other, ones)).all()
    np.testing.assert_allclose(nearest(other, flat, ones), value)


def test_the_value_is_the_mean_squared_difference_over_the_variance_of_the_nearest():
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = targets_of(network)
    for layer, share in LAYERS:
        F, f, p = (
            read_features(network, each, [layer]).download(layer) for each in (x, CONTENT, STYLE)
        )
        P = one_by_one(f.astype(np.float32), p.astype(np.float32))
        V = np.mean((P - P.mean((1, 2), keepdims=True)) ** 2)
        value, _ = set_and_added(targets, network, layer, F)
        assert value == pytest.approx(2.0 * share / 4 * np.mean((F - P) ** 2) / V, rel=1e-4)


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1"])
def test_the_gradient_is_that_of_the_value_and_is_added(layer):
    network = tiny_vgg19()
    F = read_features(network, picture(1, H, W), [layer]).download(layer)
    assert gradient_error(targets_of(network), network, layer, F) < 1e-6


def test_several_paintings_are_blended_by_their_shares():
    network = tiny_vgg19()
    options = TransferOptions(style_loss="neighbours", style_blend=(3, 1))
    other = picture(4, H, W)
    P = (
        term().at(network, read_inputs(CONTENT, style, options_of), H, W)._targets["relu2_1"].P
        for style, options_of in (
            ([STYLE, other], options),
            (STYLE, TransferOptions(style_loss="neighbours")),
            (other, TransferOptions(style_loss="neighbours")),
        )
    )
    blended, first, second = P
    np.testing.assert_allclose(blended, 0.75 * first + 0.25 * second, rtol=1e-5, atol=1e-6)


def test_it_needs_a_photograph():
    with pytest.raises(OptionError, match="style_loss='neighbours' needs a content picture"):
        stylize(None, STYLE, network="builtin", style_loss="neighbours")
    with pytest.raises(OptionError, match="needs a content picture"):
        read_inputs(None, STYLE, TransferOptions(style_loss=["gram=9", "neighbours=1"]))
    with pytest.raises(OptionError, match="formula='gentle' needs a content picture, got None"):
        read_inputs(None, STYLE, TransferOptions(formula="gentle"))


@pytest.mark.parametrize("style", [np.full((40, 40, 3), 0.4), np.zeros((40, 40, 3))])
def test_a_flat_painting_gives_a_picture(style):
    result = stylize(picture(0, 40, 48), style, network="builtin", image_size=48, iterations=3,
                     levels=1, threads=1, style_loss="neighbours")  # fmt: skip
    assert np.isfinite(result.pixels).all()
