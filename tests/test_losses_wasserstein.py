"""The Wasserstein term: SciPy's distance, its gradient, and what it tells apart."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from conftest import picture, tiny_vgg19
from terms import gradient_error, inputs_of, set_and_added

from pynst import BackendError, Objective, TransferOptions, stylize
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.images.masks import carried_down
from pynst.inputs import read_inputs
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
    found = joined._targets["relu1_1"][0].distance
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


# ---- masks ---------------------------------------------------------------------------------------

RAMP = np.linspace(0, 1, W) * np.ones((H, 1))
PAINTINGS = [pixels for pixels, _ in STYLES]


def masked(guidance="area", **options):
    """The targets of two regions on the tiny network."""
    options = TransferOptions(image_size=W, **options)
    inputs = read_inputs(picture(0, H, W), PAINTINGS, options)
    of_regions = WassersteinTerm(2.0, LayerChoice(LAYERS, ()), FORMULAS["balanced"], guidance)
    return of_regions.at(tiny_vgg19(), inputs, H, W)


def values_of(targets, layer, F):
    """The losses of both regions at a layer, and the gradient of their sum."""
    dF, losses = np.zeros_like(F), np.zeros(2)
    targets.add(layer, F, dF, losses)
    return losses, dF


@pytest.mark.parametrize("guidance", ["area", "gatys"])
def test_the_value_with_masks_is_that_of_the_weighted_moments(guidance):
    network, x = tiny_vgg19(), picture(1, H, W)
    targets = masked(guidance, style_masks=[RAMP, "rest"])
    assert targets.layers == ("relu1_1", "relu1_1", "relu2_1", "relu2_1")
    for layer, weight in (("relu1_1", 0.25), ("relu2_1", 0.75)):
        F = read_features(network, x, [layer]).download(layer).astype(np.float64)
        losses, _ = values_of(targets, layer, F)
        for loss, mask, painting in zip(losses, (RAMP, 1 - RAMP), PAINTINGS, strict=True):
            m = carried_down(mask, *F.shape[1:])
            m, share = (m, m.mean()) if guidance == "area" else (m**2, 0.5)
            P = read_features(network, painting, [layer]).download(layer)
            of_painting = moments_of(P.reshape(len(P), -1).astype(np.float64))
            pixels, factors = F.reshape(len(F), -1), m.reshape(-1)
            of_image = Moments(
                np.average(pixels, axis=1, weights=factors),
                np.cov(pixels, bias=True, aweights=factors).reshape(len(F), len(F)),
            )
            s = network.scales.get(layer, np.ones(len(F)))
            value, _, _ = Distance(of_painting, s)(of_image)
            energy = np.sum(s**2 * (np.diag(of_painting.covariance) + of_painting.mean**2))
            assert loss == pytest.approx(share * 2.0 * weight * value / energy, rel=1e-5)


@pytest.mark.parametrize("layer", ["relu1_1", "relu2_1"])
def test_the_gradient_with_masks_is_that_of_the_values(layer):
    targets = masked(style_masks=[RAMP, "rest"], style_source_masks=[RAMP[:, ::-1], "all"])
    F = read_features(tiny_vgg19(), picture(1, H, W), [layer]).download(layer).astype(np.float64)
    direction = np.random.default_rng(5).standard_normal(F.shape)
    step = 1e-5 * np.abs(F).max()
    above, below = (
        values_of(targets, layer, F + sign * step * direction)[0].sum() for sign in (1, -1)
    )
    found = np.sum(values_of(targets, layer, F)[1] * direction)
    assert found == pytest.approx((above - below) / (2 * step), rel=1e-6)


def test_a_mask_that_is_white_everywhere_changes_no_bit():
    settings = {"style_loss": "wasserstein", "image_size": W, "network": tiny_vgg19()}
    x = picture(4, H, W)
    found = [
        Objective(x, PAINTINGS[0], **settings, style_masks=masks)(x)
        for masks in (None, [np.ones((H, W))])
    ]
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_source_mask_leaves_the_frame_of_a_painting_out():
    """The mask is one pixel narrower than what has no frame, as relu1_1 sees its neighbours."""
    framed, inside = PAINTINGS[0].copy(), np.ones((H, W))
    framed[:, :8], inside[:, :9] = 0, 0
    found = {}
    for name, painting in (("plain", PAINTINGS[0]), ("framed", framed)):
        for mask in (None, inside):
            options = TransferOptions(
                image_size=W, style_source_masks=None if mask is None else [mask]
            )
            inputs = read_inputs(picture(0, H, W), painting, options)
            targets = term(layers=(("relu1_1", 1.0),)).at(tiny_vgg19(), inputs, H, W)
            F = np.zeros((4, H, W))
            found[name, mask is None] = set_and_added(targets, tiny_vgg19(), "relu1_1", F)[0]
    assert found["framed", False] == pytest.approx(found["plain", False], rel=1e-12)
    assert found["framed", True] != pytest.approx(found["plain", True], rel=1e-3)


def test_swapping_masks_swaps_what_the_regions_are_pulled_to():
    """Flat paintings, one dark and one light: the steepest descent darkens the dark one's half."""
    left = np.zeros((H, W))
    left[:, : W // 2] = 1
    x, paintings = np.full((H, W, 3), 0.5), [np.full((H, W, 3), grey) for grey in (0.1, 0.9)]
    for mask in (left, 1 - left):
        objective = Objective(
            x, paintings, style_loss="wasserstein", network=tiny_vgg19(), image_size=W,
            style_layers=["relu1_1"], style_masks=[mask, "rest"],
        )  # fmt: skip
        found = []
        for step in (0.0, 0.02):
            dark = mask[..., None] > 0.5
            objective(np.where(dark, x - step, x + step))
            found.append(objective.terms.style)
        assert found[1] < found[0]


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
