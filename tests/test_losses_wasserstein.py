"""The Wasserstein term: SciPy's distance, its gradient, and what it tells apart."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from conftest import picture, tiny_vgg19
from terms import gradient_error, inputs_of, set_and_added

from pynst import BackendError, Objective, stylize
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.losses import wasserstein
from pynst.losses.moments import Moments
from pynst.losses.wasserstein import Distance, WassersteinTerm
from pynst.networks.gabor import Gabor
from pynst.networks.layers import LayerChoice
from pynst.networks.network import read_features
from pynst.options.formulas import FORMULAS

H, W = 24, 32
STYLES = ((picture(2, H, W), 0.25), (picture(3, H, W), 0.75))  # of the image's size: not resized
LAYERS = (("relu1_1", 1.0), ("relu2_1", 3.0))
RNG = np.random.default_rng(0)


def term(beta=2.0, layers=LAYERS):
    return WassersteinTerm(beta, LayerChoice(layers, ()), FORMULAS["balanced"])


def moments_of(F):
    """Moments of features (N, M)."""
    return Moments(F.mean(1), np.cov(F, bias=True).reshape(len(F), len(F)))


def scipys(image, painting):
    """The squared distance by its formula."""
    root = scipy.linalg.sqrtm(painting.covariance)
    both = scipy.linalg.sqrtm(root @ image.covariance @ root)
    trace = np.trace(image.covariance + painting.covariance - 2 * both)
    return float(np.sum((image.mean - painting.mean) ** 2) + trace.real)


@pytest.fixture
def exact(monkeypatch):
    """All directions, and next to no noise."""
    monkeypatch.setattr(wasserstein, "_KEPT", 1.0)
    monkeypatch.setattr(wasserstein, "_NOISE", 1e-9)


@pytest.mark.parametrize("N", [1, 2, 7, 20])
def test_the_distance_is_scipys(N, exact):
    F, P = RNG.random((N, 50)) ** 2, RNG.random((N, 60))
    scale = RNG.uniform(0.5, 2, N)
    found, _, _ = Distance(moments_of(P), scale)(moments_of(F))
    wanted = scipys(moments_of(scale[:, None] * F), moments_of(scale[:, None] * P))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_the_small_part_that_is_left_out_changes_little():
    F, P = RNG.random((20, 50)) ** 2, RNG.random((20, 60))
    found, _, _ = Distance(moments_of(P), np.ones(20))(moments_of(F))
    assert found == pytest.approx(scipys(moments_of(F), moments_of(P)), rel=0.05)


def test_equal_gram_matrices_of_other_moments_are_told_apart():
    """The values 1 and 1, and 0 and the root of 2: the same mean square, another mean."""
    flat, split = np.ones((1, 4)), np.sqrt([[0.0, 2.0, 0.0, 2.0]])
    assert flat @ flat.T == pytest.approx(split @ split.T)
    value, _, _ = Distance(Moments(np.ones(1), np.zeros((1, 1))), np.ones(1))(
        Moments(split.mean(1), np.array([[split.var()]]))
    )
    assert value > 0.1


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1"])
def test_the_gradient_is_that_of_the_value_and_is_added(layer):
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = term().at(network, inputs_of(styles=STYLES), H, W)
    F = read_features(network, x, [layer]).download(layer)
    assert gradient_error(targets, network, layer, F) < 1e-6


def test_the_gradient_holds_where_pixels_are_fewer_than_channels():
    network = tiny_vgg19()
    targets = term(layers=(("relu4_1", 1.0),)).at(network, inputs_of(styles=STYLES), H, W)
    F = read_features(network, picture(1, H, W), ["relu4_1"]).download("relu4_1")
    assert F[0].size < len(F)
    assert gradient_error(targets, network, "relu4_1", F) < 1e-6


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("style", [STYLES, ((np.full((H, W, 3), 0.3), 1.0),)], ids=["", "flat"])
def test_a_flat_image_has_a_finite_gradient(value, style):
    network = tiny_vgg19()
    targets = term().at(network, inputs_of(styles=style), H, W)
    F = read_features(network, np.full((H, W, 3), value), ["relu2_1"]).download("relu2_1")
    loss, gradient = set_and_added(targets, network, "relu2_1", F)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_a_black_painting_wants_features_of_zero():
    """Its own distance from features is their mean square."""
    F = RNG.random((5, 30))
    value, D, d = Distance(Moments(np.zeros(5), np.zeros((5, 5))), np.ones(5))(moments_of(F))
    assert value == pytest.approx(np.sum(np.mean(F**2, axis=1)), rel=1e-4)
    np.testing.assert_allclose(D @ F + d[:, None], F, rtol=1e-3, atol=1e-3)


def test_the_blend_has_the_moments_of_all_pixels_together():
    network = tiny_vgg19()
    halves = [picture(2, H, W), picture(3, H, W)]
    joined = term().at(network, inputs_of(styles=[(each, 0.5) for each in halves]), H, W)
    found = joined._targets["relu1_1"].distance
    F = np.hstack([
        read_features(network, each, ["relu1_1"]).download("relu1_1").reshape(4, -1)
        for each in halves
    ])  # fmt: skip
    value, _, _ = found(moments_of(F))
    apart, _, _ = found(moments_of(F[:, : H * W]))
    assert abs(value) < 0.02 * abs(apart)


def test_the_painting_itself_has_next_to_no_loss_and_a_descent_finds_it():
    style = picture(1, 48, 40)
    network = Gabor(CpuBackend(1))
    settings = {"style_loss": "wasserstein", "image_size": 48, "network": network}
    objective = Objective(picture(0, 48, 40), style, **settings)
    objective(style)
    assert objective.terms.style < 0.01
    result = stylize(
        None, style, style_loss="wasserstein", network="builtin", image_size=48, iterations=30,
        levels=1, threads=1,
    )  # fmt: skip
    first, last = result.history[0][0].style, result.history[0][-1].style
    assert last < 0.2 * first


def test_it_is_refused_on_cuda():
    with pytest.raises(BackendError, match="style_loss='wasserstein' is not available on CUDA"):
        stylize(picture(0, 40, 40), picture(1, 40, 40), network="builtin", backend="cuda",
                style_loss=["gram", "wasserstein"])  # fmt: skip


def test_it_is_refused_with_a_network_on_a_device():
    class Device(ReferenceBackend):
        name = "a device"

        def free_memory(self):
            return 10**9

    with pytest.raises(BackendError, match="style_loss='wasserstein' is not available on a device"):
        Objective(picture(0, 40, 40), picture(1, 40, 40), image_size=40,
                  network=tiny_vgg19(Device()), style_loss="wasserstein")  # fmt: skip
