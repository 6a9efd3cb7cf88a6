"""The style term: its value is that of Eq. 3 to 5, and its gradient is that of its value."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from terms import gradient_error, inputs_of, set_and_added

from pynst import ImageError, Objective, TransferOptions
from pynst.images.masks import carried_down
from pynst.inputs import read_inputs
from pynst.losses.style import GramTerm, layers_of_region
from pynst.networks.layers import LayerChoice
from pynst.networks.network import read_features
from pynst.options.formulas import FORMULAS

H, W = 24, 32
STYLES = ((picture(2, H, W), 0.25), (picture(3, H, W), 0.75))  # of the image's size: not resized
LAYERS = (("relu1_1", 1.0), ("relu2_1", 3.0))


def term(beta=2.0, layers=LAYERS):
    return GramTerm(beta, LayerChoice(layers, ()), FORMULAS["paper"])


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


# ---- masks ---------------------------------------------------------------------------------------

RAMP = np.linspace(0, 1, W) * np.ones((H, 1))
PAINTINGS = [pixels for pixels, _ in STYLES]


def masked_inputs(**options):
    options = TransferOptions(image_size=W, **options)
    return read_inputs(picture(0, H, W), PAINTINGS, options)


def guided(F, m):
    """The Gram matrix of features (N, h, w) whose pixels have weights (h, w), and their mean."""
    F, m = F.reshape(len(F), -1).astype(np.float64), m.reshape(-1)
    return (F * m) @ F.T / m.sum(), m.mean()


@pytest.mark.parametrize("guidance", ["area", "gatys"])
def test_the_value_with_masks_is_that_of_the_guided_gram_matrices(guidance):
    network, x = tiny_vgg19(), picture(1, H, W)
    masked = GramTerm(2.0, LayerChoice(LAYERS, ()), FORMULAS["paper"], guidance)
    targets = masked.at(network, masked_inputs(style_masks=[RAMP, "rest"]), H, W)
    assert targets.layers == ("relu1_1", "relu1_1", "relu2_1", "relu2_1")
    for layer, w in (("relu1_1", 0.25), ("relu2_1", 0.75)):
        F = read_features(network, x, [layer]).download(layer).astype(np.float64)
        dF, losses = np.zeros_like(F), network.backend.empty_losses(2)
        targets.add(layer, F, dF, losses)
        for loss, mask, painting in zip(losses, (RAMP, 1 - RAMP), PAINTINGS, strict=True):
            m = carried_down(mask, *F.shape[1:])
            G, share = guided(F, m if guidance == "area" else m**2)
            A = gram(read_features(network, painting, [layer]).download(layer))
            factor = share if guidance == "area" else 0.5  # lambda
            wanted = factor * 2.0 * w * np.sum((G - A) ** 2) / (4 * len(F) ** 2)
            assert loss == pytest.approx(wanted, rel=1e-6)


def test_a_source_mask_leaves_the_frame_of_a_painting_out():
    framed = [pixels.copy() for pixels in PAINTINGS]
    inside = np.zeros((H, W))
    inside[4:-4, 4:-4] = 1
    for pixels in framed:
        pixels[inside == 0] = 1.0
    network, layer = tiny_vgg19(), "relu1_1"
    options = TransferOptions(image_size=W, style_source_masks=[inside, inside])
    region = read_inputs(picture(0, H, W), framed, options).regions[0]
    found = term()._blended(network, region, W, {layer: 1.0})[layer]
    wanted = sum(
        0.5 * guided(read_features(network, pixels, [layer]).download(layer), inside)[0]
        for pixels in framed
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_on_a_ramp_the_pull_is_the_same_everywhere():
    """The masks of two paintings run into each other, and no gap is left between them.

    Both regions are pulled by the same matrix D where their paintings are the same. The pull on a
    pixel is then lambda / sum m times its share m, in both regions together as much as without
    masks: with masks taken for T it would be half of that in the middle.
    """
    same = [PAINTINGS[0]] * 2
    x, network = picture(1, H, W), tiny_vgg19()
    F = np.tile(read_features(network, x, ["relu1_1"]).download("relu1_1")[:, :1, :1], (1, H, W))
    pulls = {}
    for name, masks, guidance in (("none", None, "area"), ("area", [RAMP, "rest"], "area"),
                                  ("gatys", [RAMP, "rest"], "gatys")):  # fmt: skip
        options = TransferOptions(image_size=W, style_masks=masks)
        inputs = read_inputs(picture(0, H, W), same, options)
        one = GramTerm(2.0, LayerChoice(LAYERS[:1], ()), FORMULAS["paper"], guidance)
        targets = one.at(network, inputs, H, W)
        dF, losses = np.zeros_like(F), network.backend.empty_losses(2)
        targets.add("relu1_1", F, dF, losses[: len(targets.layers)])
        pulls[name] = dF
    np.testing.assert_allclose(pulls["area"], pulls["none"], rtol=1e-6)
    middle, end = (np.abs(pulls["gatys"][:, 0, at]).sum() for at in (W // 2, 0))
    assert middle < 0.6 * end, "the published form has the gap"


def test_swapping_masks_swaps_what_the_regions_are_pulled_to():
    """Gradient descent brings the Gram matrix of each region nearer to its own painting."""
    left = np.repeat([[1.0, 0.0]], W // 2, axis=1) * np.ones((H, 1))
    network, layer = tiny_vgg19(), "relu1_1"
    A = [gram(read_features(network, each, [layer]).download(layer)) for each in PAINTINGS]

    def nearest(masks):
        objective = Objective(
            picture(0, H, W), PAINTINGS, image_size=W, network=network, content_weight=0,
            tv_weight=0, style_layers=[layer], style_masks=masks,
        )  # fmt: skip
        x = objective.content
        for _ in range(150):
            value, gradient = objective(x)
            x = x - value / np.vdot(gradient, gradient) * gradient
        F = read_features(network, x, [layer]).download(layer)
        found = [guided(F, mask)[0] for mask in (left, 1 - left)]
        return [int(np.argmin([np.linalg.norm(G - each) for each in A])) for G in found]

    assert nearest([left, "rest"]) == [0, 1]
    assert nearest(["rest", left]) == [1, 0]


def test_a_larger_canvas_around_a_region_does_not_change_the_pull_on_it():
    network, layer = tiny_vgg19(), "relu1_1"
    F = read_features(network, picture(1, H, W), [layer]).download(layer).astype(np.float64)
    wide = np.concatenate([F, read_features(network, picture(4, H, W), [layer]).download(layer)], 2)
    pulls = []
    for features, width in ((F, W), (wide, 2 * W)):
        mask = np.zeros((H, width))
        mask[:, :W] = 0.5
        inputs = read_inputs(
            picture(0, H, width), PAINTINGS[0], TransferOptions(image_size=width, style_masks=mask,
                                                                style_scale=W / width)
        )  # fmt: skip
        targets = term(layers=LAYERS[:1]).at(network, inputs, H, width)
        dF, losses = np.zeros_like(features), network.backend.empty_losses(1)
        targets.add(layer, features, dF, losses)
        pulls.append(dF[:, :, :W] * H * width)  # all terms are means over the pixels
    np.testing.assert_allclose(pulls[0], pulls[1], rtol=1e-6)


def test_a_region_with_less_than_a_pixel_at_a_layer_has_no_style_there(caplog):
    spot = np.zeros((64, 64))
    spot[20:24, 20:24] = 1  # 16 pixels: 4 of relu2_1, 1 of relu3_1, 1/4 of relu4_1
    layers = [f"relu{block}_1" for block in range(1, 5)]

    def objective(mask):
        return Objective(
            picture(0, 64, 64), [*PAINTINGS], image_size=64, network=tiny_vgg19(),
            style_layers=layers, style_masks=[mask, "rest"],
        )  # fmt: skip

    with caplog.at_level(logging.WARNING, "pynst"):
        found = objective(spot)
    assert found._targets["style"].layers == (
        *("relu1_1",) * 2, *("relu2_1",) * 2, *("relu3_1",) * 2, "relu4_1",
    )  # fmt: skip
    assert caplog.messages == [
        "region style 1 has few pixels of some layers at 64 x 64: relu2_1 4, relu3_1 1, relu4_1"
        " 0.25; where it has less than 1, it takes no style"
    ]
    value, gradient = found(found.content)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    weights = dict.fromkeys(layers, 0.25)
    kept = layers_of_region(tiny_vgg19(), masked_region(spot), weights, 64, 64)
    assert kept == {layer: pytest.approx(1 / 3) for layer in layers[:3]}
    small = r"region style 1: is too small for a style: it has 0.5 pixels of layer relu1_1 at 64 x"
    with pytest.raises(ImageError, match=small):
        objective(np.where(spot == spot.max(), 1 / 32, 0))


def masked_region(mask):
    options = TransferOptions(image_size=len(mask), style_masks=[mask, "rest"])
    return read_inputs(picture(0, *mask.shape), PAINTINGS, options).regions[0]
