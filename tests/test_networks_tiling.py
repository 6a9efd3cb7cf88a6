"""Tiles: the loss and the gradient of an image walked in windows are those of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from hypothesis import given, settings
from hypothesis import strategies as st

import pynst.networks.tiling as tiling
from pynst import BackendError, Objective, OptionError
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.networks.gabor import Gabor
from pynst.networks.network import read_features
from pynst.networks.tiling import TiledWorkspace, halo, tiled, windows

SHALLOW = {"style_layers": ["relu1_1", "relu2_1", "relu3_1"], "content_layers": ["relu3_2"]}
LEVELS = {"style_layers": ["level1", "level2"], "content_layers": ["level2"]}

CASES = {
    "balanced, maximum": (lambda backend: tiny_vgg19(backend), SHALLOW),
    "gatys, average, zeros": (
        lambda backend: tiny_vgg19(backend, pooling="average", padding="zero"),
        {"formula": "gatys", **SHALLOW},
    ),
    "poolings as layers": (
        lambda backend: tiny_vgg19(backend),
        {"style_layers": ["relu1_2", "pool1", "pool2"], "content_layers": ["pool2"]},
    ),
    "builtin": (Gabor, LEVELS),
}


def share(seed, H, W):
    """A soft mask (H, W) that is 0 in some corners and 1 in others."""
    return np.clip(3 * picture(seed, H, W)[:, :, 0] - 1, 0, 1)


def left(H, W):
    """A mask that is white on the left third, and black on the other two."""
    return np.repeat(np.arange(W)[None] < W // 3, H, 0).astype(float)


SIZE = 96, 112
STYLE = 52, 90
MASKS = {
    "a part without style": {"style_masks": [left(*SIZE)]},
    "two regions": {"style_masks": [share(5, *SIZE), "rest"]},
    "of a painting": {"style_source_masks": [left(*STYLE)]},
    "of the content": {"content_mask": share(6, *SIZE), "content_mask_weight": 5},
    "nothing of the content": {"content_mask": left(*SIZE), "content_mask_weight": 0},
    "all of them": {
        "style_masks": [share(5, *SIZE), "rest"], "style_source_masks": [share(7, *STYLE), "all"],
        "content_mask": left(*SIZE), "content_mask_weight": 2, "guidance": "gatys",
    },
    "a region of a few pixels": {
        "style_masks": [np.pad(np.ones((6, 6)), [(40, SIZE[0] - 46), (61, SIZE[1] - 67)]), "rest"],
    },
}  # fmt: skip


def both(network, H, W, tile, style=STYLE, **options):
    """The same objective without and with tiles, with as many paintings as there are masks."""
    masks = options.get("style_masks") or options.get("style_source_masks") or [None]
    styles = [picture(1 + 10 * i, *style) for i in range(len(masks))]
    return [
        Objective(picture(0, H, W), styles, image_size=max(H, W), network=each, **options)
        for each in (network, tiled(network, tile))
    ]


def differences(plain, tiles, x):
    """Relative differences of the values and of the gradients."""
    (value, gradient), (other, other_gradient) = plain(x), tiles(x)
    return (
        abs(other - value) / abs(value),
        np.linalg.norm(other_gradient - gradient) / np.linalg.norm(gradient),
    )


@pytest.mark.parametrize(
    ("name", "H", "W", "tile"),
    [
        *((name, 96, 112, 32) for name in CASES if name != "builtin"),
        ("balanced, maximum", 61, 107, 24),
        ("gatys, average, zeros", 130, 45, 64),
        ("builtin", 37, 51, 20),
    ],
)
def test_loss_and_gradient_are_those_of_the_whole_image(name, H, W, tile):
    make, options = CASES[name]
    plain, tiles = both(make(ReferenceBackend()), H, W, tile, style=(45, 40), **options)
    value, gradient = differences(plain, tiles, picture(2, H, W))
    assert value < 1e-12
    assert gradient < 1e-12
    for layer, term in plain.terms.layers.items():
        assert tiles.terms.layers[layer] == pytest.approx(term, rel=1e-12, abs=1e-300)
    assert tiles.terms.tv == pytest.approx(plain.terms.tv, rel=1e-12)


def test_the_deepest_style_layer_of_the_paper_is_exact_too():
    plain, tiles = both(tiny_vgg19(), 187, 211, 64)
    assert max(differences(plain, tiles, picture(2, 187, 211))) < 1e-12


@pytest.mark.parametrize(
    ("name", "loss"),
    [*((name, "gram") for name in MASKS), ("all of them", "wasserstein")],
)
def test_with_masks_tiles_are_exact_too(name, loss):
    options = {**SHALLOW, **MASKS[name], "style_loss": loss}
    plain, tiles = both(tiny_vgg19(), *SIZE, 32, **options)
    assert max(differences(plain, tiles, picture(2, *SIZE))) < 1e-12
    for layer, term in plain.terms.layers.items():
        assert tiles.terms.layers[layer] == pytest.approx(term, rel=1e-12, abs=1e-300)


def test_regions_from_maps_of_flat_colours_are_exact_too():
    image, painting = (np.zeros((*size, 3)) for size in (SIZE, STYLE))
    image[30:, 50:], painting[:, 40:] = 1, 1
    maps = {"regions": image, "style_regions": [painting]}
    plain, tiles = both(tiny_vgg19(), *SIZE, 32, **SHALLOW, **maps)
    assert max(differences(plain, tiles, picture(2, *SIZE))) < 1e-12


@pytest.mark.parametrize("loss", ["wasserstein", "neighbours", {"gram": 1, "wasserstein": 2}])
def test_with_other_style_losses_tiles_are_exact_too(loss):
    plain, tiles = both(tiny_vgg19(), *SIZE, 32, **SHALLOW, style_loss=loss)
    x = picture(2, *SIZE)
    assert max(differences(plain, tiles, x)) < 1e-9, "neighbours are found in 32 bits"
    if loss != "neighbours":
        assert max(differences(plain, tiles, x)) < 1e-12
    assert tiles.terms.style == pytest.approx(plain.terms.style, rel=1e-9)


def test_a_white_mask_is_none_to_the_bit():
    network, x = tiny_vgg19(CpuBackend(1)), picture(2, *SIZE)
    white = {"style_masks": [np.ones(SIZE)], "style_source_masks": [np.ones(STYLE)]}
    _, none = both(network, *SIZE, 32, **SHALLOW)
    _, masked = both(network, *SIZE, 32, **SHALLOW, **white)
    assert none(x)[0] == masked(x)[0]
    np.testing.assert_array_equal(none(x)[1], masked(x)[1])


@pytest.mark.parametrize(
    "options",
    [MASKS["all of them"], {"style_loss": "wasserstein"}, {"style_loss": ["gram", "wasserstein"]}],
    ids=["masks", "wasserstein", "wasserstein and gram"],
)
def test_masks_and_other_losses_differ_by_rounding_in_32_bits(options):
    plain, tiles = both(tiny_vgg19(CpuBackend(2)), *SIZE, 32, **SHALLOW, **options)
    value, gradient = differences(plain, tiles, picture(2, *SIZE))
    assert value < 2e-5
    assert gradient < 2e-2


@settings(max_examples=12)
@given(
    H=st.integers(33, 100),
    W=st.integers(33, 100),
    tile=st.integers(16, 60),
    pooling=st.sampled_from(["max", "average"]),
    layer=st.sampled_from(["relu1_1", "relu2_2", "pool2", "relu3_3"]),
)
def test_any_size_and_any_tile_are_exact(H, W, tile, pooling, layer):
    options = {"style_layers": [layer, "relu2_1"], "content_layers": [layer]}
    plain, tiles = both(tiny_vgg19(pooling=pooling), H, W, tile, **options)
    assert max(differences(plain, tiles, picture(2, H, W))) < 1e-11


@pytest.mark.parametrize("name", ["balanced, maximum", "gatys, average, zeros", "builtin"])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_halo_that_is_one_step_of_the_grid_narrower_is_wrong(monkeypatch, name, gradient):
    """The halo is as wide as it must be: neither pass is right with a narrower one."""
    make, options = CASES[name]

    def narrower(network, layers, *, gradient):
        width, grid = halo(network, layers, gradient=gradient)
        return (width - grid if gradient is which else width), grid

    which = gradient
    monkeypatch.setattr(tiling, "halo", narrower)
    H, W, tile = (37, 51, 20) if name == "builtin" else (96, 112, 32)
    plain, tiles = both(make(ReferenceBackend()), H, W, tile, style=(45, 40), **options)
    value, slope = differences(plain, tiles, picture(2, H, W))
    assert (slope if gradient else value) > 1e-9


@pytest.mark.parametrize("name", CASES)
def test_in_32_bits_tiles_differ_by_rounding(name):
    make, options = CASES[name]
    plain, tiles = both(make(CpuBackend(1)), 128, 150, 48, **options)
    value, gradient = differences(plain, tiles, picture(2, 128, 150))
    assert value < 2e-5, "the features of the photograph are kept in 16 bits"
    # A ReLU or a maximum that rounding flips moves the gradient around it; most pixels see none.
    assert gradient < 2e-2
    x = picture(2, 128, 150)
    off = np.abs(tiles(x)[1] - plain(x)[1]) / np.abs(plain(x)[1]).max()
    assert np.median(off) < 1e-4


def test_the_bits_do_not_depend_on_the_number_of_threads():
    found = [
        both(tiny_vgg19(CpuBackend(threads)), 120, 100, 32, **SHALLOW)[1](picture(2, 120, 100))
        for threads in (1, 2, 3)
    ]
    for value, gradient in found[1:]:
        assert value == found[0][0]
        np.testing.assert_array_equal(gradient, found[0][1])


def test_a_picture_that_is_smaller_than_a_tile_keeps_its_bits():
    plain, tiles = both(tiny_vgg19(CpuBackend(1)), 64, 50, 64, **SHALLOW)
    assert not isinstance(tiles._workspace, TiledWorkspace)
    x = picture(2, 64, 50)
    assert plain(x)[0] == tiles(x)[0]
    np.testing.assert_array_equal(plain(x)[1], tiles(x)[1])


@pytest.mark.parametrize("backend", [ReferenceBackend(), CpuBackend(1)], ids=["reference", "cpu"])
def test_features_read_in_windows_are_those_of_the_whole_picture(backend):
    network, layers = tiny_vgg19(backend), ["relu1_1", "relu3_2"]
    image = picture(3, 70, 93)
    whole, parts = (read_features(each, image, layers) for each in (network, tiled(network, 32)))
    for layer in layers:
        scale = np.abs(whole.download(layer)).max()
        np.testing.assert_allclose(
            parts.download(layer), whole.download(layer), rtol=1e-5, atol=1e-5 * scale
        )
        copied = backend.download(parts.copy(layer), "features", network.shape(layer, 70, 93))
        half = isinstance(backend, CpuBackend)
        assert copied.dtype == (np.float16 if half else np.float64)
        np.testing.assert_allclose(copied, parts.download(layer), rtol=1 / 2048 if half else 0)


@pytest.mark.parametrize("backend", [ReferenceBackend(), CpuBackend(1)], ids=["reference", "cpu"])
def test_gram_matrices_read_in_windows_are_those_of_the_whole_picture(backend):
    network, layers = tiny_vgg19(backend), ["relu1_1", "relu2_2", "relu3_2"]
    image, found = picture(3, 70, 93), []
    for each in (network, tiled(network, 32)):
        m = {layer: share(4, *network.shape(layer, 70, 93)[1:]) for layer in layers[1:]}
        weights = {layer: each.backend.upload_pixel_weights(m[layer]) for layer in m}
        found.append(read_features(each, image, layers).grams({"relu1_1": None, **weights}))
    for layer, G in found[0].items():
        in_windows = found[1][layer]
        np.testing.assert_allclose(in_windows, G, rtol=1e-5, atol=1e-6 * np.abs(G).max())
        np.testing.assert_array_equal(in_windows, in_windows.T)


def test_features_that_are_too_large_for_half_precision_are_kept_as_they_are():
    network = tiny_vgg19(CpuBackend(1))
    image = picture(3, 70, 93)
    plain = read_features(network, image, ["relu1_1"]).download("relu1_1")
    image[60:, 80:] *= 1e5 / plain.max()  # in one of the last windows only
    whole, parts = (
        read_features(each, image, ["relu1_1"]) for each in (network, tiled(network, 32))
    )
    wanted = whole.download("relu1_1")
    assert wanted.max() > np.finfo(np.float16).max
    copied = network.backend.download(parts.copy("relu1_1"), "features", wanted.shape)
    np.testing.assert_allclose(copied, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(copied.max(), wanted.max(), rtol=1e-5)


@settings(max_examples=40)
@given(
    H=st.integers(1, 150), W=st.integers(1, 150), tile=st.integers(1, 200),
    grid=st.sampled_from([1, 4, 16]), steps=st.integers(0, 5),
)  # fmt: skip
def test_cores_cover_every_pixel_once_and_windows_begin_on_the_grid(H, W, tile, grid, steps):
    seen = np.zeros((H, W), int)
    for window in windows(H, W, tile, grid, steps * grid):
        seen[window.core] += 1
        for core, area, length in zip(window.core, window.area, (H, W), strict=True):
            assert 0 <= area.start <= core.start < core.stop <= area.stop <= length
            assert core.stop - core.start <= -(-tile // grid) * grid
            assert area.start % grid == core.start % grid == 0
            assert area.stop == length or area.stop % grid == 0
            assert core.start - area.start == min(steps * grid, core.start)
    assert (seen == 1).all()


def test_the_halos_of_the_paper_are_80_and_160_pixels():
    layers = ["relu1_1", "relu4_2", "relu5_1"]
    assert halo(tiny_vgg19(), layers, gradient=False) == (80, 16)
    assert halo(tiny_vgg19(), layers, gradient=True) == (160, 16)
    assert halo(tiny_vgg19(), ["relu3_2"], gradient=False) == (16, 4)
    assert halo(tiny_vgg19(), ["relu3_2"], gradient=True) == (32, 4)


def test_the_plan_is_what_the_workspace_takes_and_smaller_than_the_plain_one():
    network = tiny_vgg19(CpuBackend(1))
    layers = [*network.style_layers, *network.content_layers]
    walked = tiled(network, 64)
    plan = walked.plan(700, 900, layers, gradient=True)
    workspace = walked.workspace(700, 900, layers, gradient=True)
    whole = network.plan(700, 900, layers, gradient=True)
    assert workspace._block.nbytes == plan.nbytes < whole.nbytes / 2


def test_an_op_that_knows_no_windows_says_so():
    network = tiled(tiny_vgg19(), 32)
    workspace = network.workspace(64, 64, ["relu1_1"], gradient=False)
    with pytest.raises(BackendError, match="tile: zero cannot be computed over windows"):
        network.backend.zero(workspace["relu1_1"])


def test_joined_borders_have_no_windows():
    with pytest.raises(OptionError, match="tile=64 and padding='circular' exclude each other"):
        tiled(tiny_vgg19(padding="circular"), 64)
