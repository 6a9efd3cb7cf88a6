"""`texture`: an image from noise with a picture's Gram matrices, at any size."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.backends.reference import ReferenceBackend
from pynst.experiments.textures import texture, texture_options
from pynst.networks.network import read_features
from pynst.networks.vgg19 import VGG19
from pynst.replay import read_record, replay
from pynst.weights import load_weights

pytest_plugins = ("experiments",)

SOURCE = picture(0, 40, 48)
SMALL = {"iterations": 6, "levels": 1}


@pytest.mark.parametrize("size", [(64, 48), (33, 70), (20, 17), (160, 32)])
@pytest.mark.usefixtures("tiny_weights")
def test_it_has_any_size_larger_than_the_source_too(size):
    result = texture(SOURCE, size, iterations=2, layers=["relu1_1", "pool1"])
    assert result.pixels.shape == (size[1], size[0], 3)
    assert result.history[-1][-1].content == 0
    assert [used.name for used in result.record.pictures] == ["style"]


@pytest.mark.usefixtures("tiny_weights")
def test_the_elements_keep_the_scale_of_the_source_whatever_the_size():
    for size in ((64, 48), (200, 100)):
        options = texture_options(SOURCE, size)
        assert round(options.image_size * options.style_scale) == 48
    options = texture_options(SOURCE, (200, 100), source_size=100)
    assert round(options.image_size * options.style_scale) == 100


@pytest.mark.usefixtures("tiny_weights")
def test_gram_matrices_come_near_to_those_of_the_source():
    history = texture(
        SOURCE, (48, 40), layers=["relu1_1", "pool1", "pool2"], levels=1, iterations=60
    )
    first, last = history.history[0][0], history.history[0][-1]
    assert last.style < 0.02 * first.style


@pytest.mark.usefixtures("tiny_weights")
def test_the_model_of_2015_reads_pooling_layers_and_runs_by_scipy():
    result = texture(SOURCE, (32, 32), paper=True, iterations=3)
    options = result.options
    assert (options.optimizer, options.levels, options.formula) == ("scipy", 1, "paper")
    assert list(result.history[0][0].layers) == [
        f"style {layer}" for layer in ("relu1_1", "pool1", "pool2", "pool3", "pool4")
    ]
    assert result.history[0][0].tv == 0


@pytest.mark.usefixtures("tiny_weights")
def test_a_tileable_one_has_the_same_loss_wherever_the_seam_lies():
    result = texture(SOURCE, (64, 64), tileable=True, **SMALL)
    assert result.options.padding == "circular"
    objective = pynst.Objective(None, SOURCE, result.options, backend="reference")
    value, _ = objective(result.pixels)
    rolled, _ = objective(np.roll(result.pixels, (32, 32), (0, 1)))
    assert rolled == pytest.approx(value, rel=1e-6)


@pytest.mark.usefixtures("tiny_weights")
def test_a_tileable_one_has_no_more_of_an_edge_at_the_seam_than_elsewhere():
    x = texture(SOURCE, (64, 64), tileable=True, iterations=60, levels=1).pixels
    seam = np.mean(np.abs(x[0] - x[-1]))
    inside = np.mean(np.abs(np.diff(x, axis=0)))
    assert seam < 1.5 * inside


@pytest.mark.weights
@pytest.mark.slow
def test_a_tileable_one_of_the_real_network_has_the_same_loss_when_it_is_rolled(real_weights):
    """By the float64 reference; rolled by a whole number of the deepest layer's pixels."""
    result = texture(
        picture(7, 64, 64), (64, 64), tileable=True, levels=1, iterations=10,
        weights=str(real_weights),
    )  # fmt: skip
    values = {}
    for padding in ("circular", "replicate"):
        objective = pynst.Objective(
            None, picture(7, 64, 64), result.options, backend="reference", padding=padding
        )
        values[padding] = [
            objective(np.roll(result.pixels, shift, (0, 1)))[0] for shift in ((0, 0), (32, 16))
        ]
    value, rolled = values["circular"]
    assert rolled == pytest.approx(value, rel=1e-9)
    value, rolled = values["replicate"]
    assert rolled != pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (64,)}, "size must be a width and a height"),
        ({"size": "64"}, "size must be a width and a height"),
        ({"size": (64, 4)}, "size must be a whole number of 16"),
        ({"size": (64.5, 64)}, "size must be a whole number"),
        ({"size": (64, float("nan"))}, "size must be a whole number"),
        ({"size": (2048, 20)}, "size must be at most 20 times the source, which is read at 48"),
        ({"source_size": 3}, "source_size must be a whole number of 16"),
        ({"source_size": True}, "source_size must be a whole number"),
        ({"image_size": 64}, "image_size cannot be given to a texture: size says it"),
        ({"style_scale": 2}, "style_scale cannot be given to a texture: source_size says it"),
        ({"tileable": True, "padding": "zero"}, "padding cannot be given"),
        ({"content_weight": 1}, "content_weight=1.0 needs a content picture"),
        ({"layers": "pool5"}, "unknown layer 'pool5'"),
        ({"resume": "x.npz", "tileable": True}, "tileable cannot be given with resume"),
    ],
)
@pytest.mark.usefixtures("tiny_weights")
def test_what_is_wrong_is_said_before_the_work(arguments, message):
    with pytest.raises(pynst.OptionError, match=message):
        texture(SOURCE, **arguments)


def test_an_aspect_beside_a_content_picture_is_refused():
    with pytest.raises(pynst.OptionError, match=r"aspect=.* together with a content picture"):
        pynst.stylize(SOURCE, SOURCE, aspect=(2, 1), network="builtin")


@pytest.mark.usefixtures("tiny_weights")
def test_the_memory_is_forecast_for_the_size_of_the_result(monkeypatch):
    monkeypatch.setenv("PYNST_MEMORY", "400000000")
    with pytest.raises(pynst.BackendError, match="would fit"):
        texture(SOURCE, (8192, 8192), source_size=512)


@pytest.mark.usefixtures("tiny_weights")
def test_it_goes_on_from_a_checkpoint_to_the_same_bits(tmp_path):
    settings = {"size": (48, 32), "tileable": True, "iterations": 10, "levels": 1}
    whole = texture(SOURCE, **settings)
    path = tmp_path / "run.npz"

    def stop(progress):
        if progress.iteration == 6:
            raise KeyboardInterrupt

    with pytest.raises(pynst.Interrupted):
        texture(SOURCE, **settings, checkpoint=path, callback=stop)
    again = texture(SOURCE, resume=path)
    np.testing.assert_array_equal(again.pixels, whole.pixels)


@pytest.mark.usefixtures("tiny_weights")
def test_replay_makes_it_again(tmp_path):
    pynst.save_image(SOURCE, tmp_path / "source.png", bits=16)
    result = texture(tmp_path / "source.png", (40, 24), tileable=True, layers=["pool1"], **SMALL)
    result.save(tmp_path / "t.png")
    assert replay(read_record(tmp_path / "t.png")).same


def copies(x: np.ndarray, source: np.ndarray) -> float:
    """The largest normalised cross-correlation of a part of x with any part of the source."""
    side = 24
    part = x[20 : 20 + side, 20 : 20 + side].mean(2)
    part = (part - part.mean()) / part.std()
    best = 0.0
    grey = source.mean(2)
    for i in range(grey.shape[0] - side):
        for j in range(grey.shape[1] - side):
            there = grey[i : i + side, j : j + side]
            best = max(best, float(np.mean(part * (there - there.mean())) / there.std()))
    return best


LAYERS = ("relu1_1", "relu2_1", "relu3_1")


def judged(real_weights, used, count, side=64, **settings):
    """A texture from some layers, and its Gram errors by the reference, as shares of the start."""
    source = picture(7, side, side)
    weights = load_weights(real_weights)
    judge, read = (
        VGG19(ReferenceBackend(), weights.convolutions, weights.mean),
        (*LAYERS, "relu4_1"),
    )

    def grams(image):
        return read_features(judge, image, read).grams(dict.fromkeys(read))

    x = texture(
        source, (side, side), layers=used, levels=1, iterations=count, weights=str(real_weights),
        **settings,
    ).pixels  # fmt: skip
    A, G, start = grams(source), grams(x), grams(np.random.default_rng(0).random(source.shape))
    errors = {
        layer: np.sum((G[layer] - A[layer]) ** 2) / np.sum((start[layer] - A[layer]) ** 2)
        for layer in read
    }
    return source, x, errors


@pytest.mark.weights
@pytest.mark.slow
def test_more_layers_bring_deeper_unused_ones_nearer_and_the_texture_is_no_copy(real_weights):
    _, _, few = judged(real_weights, LAYERS[:1], 200)
    source, x, many = judged(real_weights, LAYERS, 200)
    assert many["relu4_1"] < few["relu4_1"]
    assert copies(x, source) < 0.9


@pytest.mark.weights
@pytest.mark.slow
def test_total_variation_is_what_holds_gram_matrices_off_those_of_the_source(real_weights):
    """A run that starts at the source itself, where no Gram matrix is wrong, leaves it."""
    _, _, errors = judged(real_weights, LAYERS, 300, init=picture(7, 64, 64))
    assert max(errors[layer] for layer in LAYERS) > 1e-3, errors


@pytest.mark.weights
@pytest.mark.slow
def test_without_total_variation_every_used_gram_matrix_is_within_a_thousandth(real_weights):
    """With 64 pixels a side, relu3_1 has as many positions as channels: it takes ten times more."""
    _, _, errors = judged(real_weights, LAYERS, 300, side=96, tv_weight=0)
    assert all(errors[layer] <= 1e-3 for layer in LAYERS), errors


def test_no_module_hides_a_public_function():
    """An imported module becomes an attribute of the package, over a function of its name."""
    import importlib

    for name in ("figure", "reconstruct", "stylize", "sweep", "texture"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"pynst.{name}")
        assert callable(getattr(pynst, name))
