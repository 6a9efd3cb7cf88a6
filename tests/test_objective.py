"""The whole objective: for every option its gradient is that of its value."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import MEAN, picture, random_convolutions, tiny_vgg19
from hypothesis import given, settings
from hypothesis import strategies as st

import pynst
from pynst import ImageError, Objective
from pynst.backends import open_backend
from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend, _correlate, _quads
from pynst.networks.gabor import Gabor
from pynst.networks.vgg19 import VGG19

SCALES = {
    layer: np.random.default_rng(9).uniform(0.5, 2, N)
    for layer, N in {
        "relu1_1": 4,
        "relu2_1": 8,
        "relu3_1": 16,
        "relu4_1": 32,
        "relu5_1": 32,
        "relu4_2": 32,
    }.items()
}

RAMP = np.linspace(0, 1, 30) * np.ones((37, 1))
"""A soft mask, as large as the image."""

VARIANTS = {
    "balanced": ({}, {}),
    "balanced, average, zero": ({"pooling": "average", "padding": "zero"}, {}),
    "balanced, normalised": ({"scales": SCALES}, {}),
    "paper": ({"pooling": "average", "padding": "zero", "scales": SCALES}, {"formula": "paper"}),
    "gatys-normalised": ({"pooling": "average", "scales": SCALES}, {"formula": "gatys-normalised"}),
    "gatys": ({"padding": "zero"}, {"formula": "gatys"}),
    "johnson": ({"padding": "zero"}, {"formula": "johnson", "tv_weight": 1e-3}),
    "wasserstein": ({}, {"style_loss": "wasserstein"}),
    "wasserstein, normalised": ({"scales": SCALES}, {"style_loss": "wasserstein"}),
    "neighbours": ({"scales": SCALES}, {"style_loss": "neighbours"}),
    "gentle": ({}, {"formula": "gentle"}),
    "strong": ({}, {"formula": "strong"}),
    "three style losses": ({}, {"style_loss": ["gram", "wasserstein=2", "neighbours=3"]}),
    "layer weights": (
        {},
        {"style_layers": ["relu1_2=3", "relu3_1"], "content_layers": ["relu2_2", "relu4_2=2"]},
    ),
    "one layer for both": ({}, {"style_layers": ["relu2_1"], "content_layers": ["relu2_1"]}),
    "content only": ({}, {"style_weight": 0}),
    "style only": ({}, {"content_weight": 0, "tv_weight": 0}),
    "style scale": ({}, {"style_scale": 1.7}),
    "style mask": ({}, {"style_masks": RAMP}),
    "style mask, average": ({"pooling": "average"}, {"style_masks": RAMP}),
    "style mask, gatys": ({"scales": SCALES}, {"style_masks": RAMP, "guidance": "gatys"}),
    "style source mask": ({}, {"style_source_masks": RAMP[:33, :28]}),
    "content mask": ({"scales": SCALES}, {"content_mask": RAMP, "content_mask_weight": 7}),
}  # fmt: skip


def slope_error(objective, x, seed=0):
    """Relative error of the gradient along a random direction, by central differences.

    The loss is smooth only between the kinks of ReLU and maximum; the best of several step sizes is
    free of them.
    """
    value, gradient = objective(x)
    v = np.random.default_rng(seed).standard_normal(x.shape)
    wanted = np.vdot(gradient, v)
    assert np.isfinite(value)
    errors = []
    for step in (1e-6, 1e-7, 1e-8):
        slope = (objective(x + step * v)[0] - objective(x - step * v)[0]) / (2 * step)
        errors.append(abs(slope - wanted) / abs(wanted))
    return min(errors)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradient_of_vgg19_is_that_of_the_value(name):
    network, options = VARIANTS[name]
    objective = Objective(
        picture(0, 37, 30),
        picture(1, 33, 28),
        image_size=37,
        network=tiny_vgg19(**network),
        **options,
    )
    assert slope_error(objective, picture(2, 37, 30)) < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"style_layers": {"level1": 1, "level4": 2}, "content_layers": "level2"},
        {"style_loss": "wasserstein"},
        {"style_loss": "neighbours"},
    ],
    ids=str,
)
def test_gradient_of_the_builtin_network_is_that_of_the_value(options):
    network = Gabor(ReferenceBackend())
    objective = Objective(
        picture(0, 64, 70), picture(1, 66, 65), image_size=70, network=network, **options
    )
    assert slope_error(objective, picture(2, 64, 70)) < 1e-6


def test_blended_styles_have_the_blend_of_their_gram_matrices():
    styles = [picture(1, 40, 32), picture(3, 24, 36)]
    network = tiny_vgg19()

    def target(style, **options):
        objective = Objective(picture(0, 37, 30), style, image_size=37, network=network, **options)
        return objective._targets["style"]._targets["relu2_1"][0].A, objective

    single = [target(style)[0] for style in styles]
    blended, objective = target(styles, style_blend=(3, 1))
    np.testing.assert_allclose(blended, 0.75 * single[0] + 0.25 * single[1], rtol=1e-12)
    assert slope_error(objective, picture(2, 37, 30)) < 1e-6


def test_the_terms_add_up_and_the_content_term_is_zero_at_the_content():
    objective = Objective(
        picture(0, 37, 30), picture(1, 33, 28), image_size=37, network=tiny_vgg19()
    )
    value, _ = objective(objective.content)
    terms = objective.terms
    assert terms.content < 1e-25
    assert value == terms.total == pytest.approx(terms.content + terms.style + terms.tv)
    assert sum(terms.layers.values()) == pytest.approx(terms.content + terms.style)
    assert list(terms.layers)[:2] == ["content relu4_2", "style relu1_1"]


def test_the_parts_of_a_mixed_style_loss_are_told_by_layer_and_add_up_to_the_style():
    objective = Objective(
        picture(0, 37, 30), picture(1, 33, 28), image_size=37, network=tiny_vgg19(),
        style_loss={"gram": 1, "neighbours": 3},
    )  # fmt: skip
    objective(picture(2, 37, 30))
    layers = objective.terms.layers
    parts = {
        name: sum(value for layer, value in layers.items() if layer.startswith(f"{name} "))
        for name in ("style", "neighbours")
    }
    assert min(parts.values()) > 0
    assert objective.terms.style == pytest.approx(sum(parts.values()))
    assert not objective.terms.others


@pytest.mark.parametrize("loss", ["wasserstein", "neighbours"])
def test_the_cpu_has_the_value_and_the_gradient_of_float64_for_any_number_of_threads(loss):
    x, values = picture(2, 70, 64), {}
    for backend in (ReferenceBackend(), CpuBackend(1), CpuBackend(2)):
        objective = Objective(
            picture(0, 70, 64), picture(1, 66, 65), image_size=70, network=Gabor(backend),
            style_loss=loss,
        )  # fmt: skip
        values[backend.name] = objective(x)
    (wanted, slope), (one, slope_of_one), (two, slope_of_two) = values.values()
    assert one == pytest.approx(wanted, rel=1e-6)
    assert np.linalg.norm(slope_of_one - slope) < 1e-5 * np.linalg.norm(slope)
    assert one == two
    np.testing.assert_array_equal(slope_of_one, slope_of_two)


def test_the_style_term_is_zero_at_the_style():
    style = picture(1, 37, 30)
    objective = Objective(picture(0, 37, 30), style, image_size=37, network=tiny_vgg19())
    objective(style)
    assert objective.terms.style < 1e-25


def test_relative_terms_do_not_depend_on_the_brightness_of_the_weights():
    """`balanced` is relative: doubling the first layer's output changes nothing."""
    values = []
    for factor in (1, 2):
        network = tiny_vgg19()
        convolutions = dict(network._arrays)
        weight, bias = convolutions["conv1_1"]
        convolutions["conv1_1"] = (factor * weight, factor * bias)
        for name in [*convolutions][1:]:
            convolutions[name] = (convolutions[name][0], factor * convolutions[name][1])
        network._arrays = convolutions
        objective = Objective(
            picture(0, 37, 30), picture(1, 33, 28), image_size=37, network=network
        )
        values.append(objective(picture(2, 37, 30))[0])
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("content", ["flat", "black"])
def test_flat_pictures_give_finite_losses(content):
    flat = np.full((40, 32, 3), 0.5 if content == "flat" else 0.0)
    for network in (tiny_vgg19(), Gabor(ReferenceBackend())):
        size = 40 if network.name == "vgg19" else 96
        objective = Objective(flat, flat, image_size=size, network=network)
        value, gradient = objective(objective.content + 0.01)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_the_size_is_that_of_the_content_at_image_size():
    objective = Objective(
        picture(0, 60, 40), picture(1, 30, 50), image_size=48, network=tiny_vgg19()
    )
    assert objective.shape == (48, 32, 3)
    assert objective.content.shape == objective.shape


@pytest.mark.parametrize(
    ("x", "found"),
    [
        (np.zeros((37, 30, 1)), r"float64 \(37, 30, 1\)"),
        (np.zeros((1, 30, 3)), r"float64 \(1, 30, 3\)"),
        (np.zeros((37, 30, 3), np.uint8), "uint8"),
        ([[0.0]], "list"),
    ],
)
def test_an_image_of_another_shape_or_type_is_refused(x, found):
    objective = Objective(
        picture(0, 37, 30), picture(1, 33, 28), image_size=37, network=tiny_vgg19()
    )
    with pytest.raises(ImageError, match=rf"x must be a floating array of shape .*got {found}"):
        objective(x)


def test_any_floating_image_is_taken_however_it_lies_in_memory():
    objective = Objective(
        picture(0, 37, 30), picture(1, 33, 28), image_size=37,
        network=tiny_vgg19(open_backend("cpu", threads=2)),
    )  # fmt: skip
    image = picture(2, 37, 30).astype(np.float16)  # exact in all types
    value, gradient = objective(image.astype(np.float64))
    shifted = np.zeros(image.size * 8 + 1, np.uint8)[1:].view(np.float64).reshape(image.shape)
    shifted[...] = image
    frozen = image.astype(np.float64)
    frozen.flags.writeable = False
    for x in (
        image, image.astype(np.float32), image.astype(np.longdouble), image.astype(">f8"),
        image.astype(np.float64, order="F"), np.repeat(image, 2, axis=1)[:, ::2],
        image.astype(np.float32)[::-1, ::-1][::-1, ::-1], shifted, frozen,
    ):  # fmt: skip
        before = x.copy()
        other_value, other_gradient = objective(x)
        assert other_value == value
        np.testing.assert_array_equal(other_gradient, gradient)
        np.testing.assert_array_equal(x, before)
    assert gradient.dtype == np.float64
    assert gradient.flags.c_contiguous


# ---- the C++ core against float64, with the same ReLU masks and the same maxima ------------------


class Recorder:
    """Wraps a backend and keeps the bits and choices of every forward op, in order."""

    def __init__(self, backend):
        self._backend = backend
        self.kept = []

    def __getattr__(self, name):
        op = getattr(self._backend, name)
        kept = {"conv3x3_relu": 1, "image_conv3x3_relu": 1, "pool2x2": 1, "conv3x3_relu_pool": 2}
        if name not in kept:
            return op

        def recorded(*arguments):
            op(*arguments)
            masks = arguments[-kept[name] :]
            self.kept += [self.copy(array) for array in masks if array is not None]

        return recorded

    def copy(self, array):
        return array.copy()


class SameMasks(ReferenceBackend):
    """The oracle, made to take the masks and maxima that another backend found.

    One ReLU that flips its sign moves the gradient by 1e-4 and says nothing of the kernels.
    """

    def __init__(self, recorder):
        self._download = recorder._backend.download
        self._kept = iter(recorder.kept)

    def _forced(self, z, y, bits):
        bits[...] = self._download(next(self._kept), "bits", y.shape)
        y[...] = z * bits

    def image_conv3x3_relu(self, x, weights, padding, y, bits):
        if bits is None:
            return super().image_conv3x3_relu(x, weights, padding, y, bits)
        mode = "constant" if padding == "zero" else "edge"
        return self._forced(_correlate(np.pad(x, ((0, 0), (1, 1), (1, 1)), mode), weights), y, bits)

    def conv3x3_relu(self, x, weights, y, bits):
        if bits is None:
            return super().conv3x3_relu(x, weights, y, bits)
        return self._forced(_correlate(np.pad(x, ((0, 0), (1, 1), (1, 1))), weights), y, bits)

    def pool2x2(self, x, mode, y, choices):
        if choices is None:
            return super().pool2x2(x, mode, y, choices)
        choices[...] = self._download(next(self._kept), "choices", y.shape)
        y[...] = np.take_along_axis(_quads(x), choices[None].astype(int), 0)[0]
        return None


def errors_with_equal_masks(make_network, backend, size, **options):
    """Relative errors of the loss and of the gradient of a backend against the forced oracle."""
    recorder = backend if isinstance(backend, Recorder) else Recorder(backend)
    found = []
    for each in (recorder, None):
        network = make_network(SameMasks(recorder) if each is None else recorder)
        objective = Objective(
            picture(0, size, size - 7),
            picture(1, size, size),
            image_size=size,
            network=network,
            **options,
        )
        found.append(objective(picture(2, *objective.shape[:2])))
    (value, gradient), (wanted, wanted_gradient) = found
    distance = np.linalg.norm(gradient - wanted_gradient) / np.linalg.norm(wanted_gradient)
    return abs(value / wanted - 1), distance


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [64, 129])
def test_cpu_closure_agrees_with_float64_when_masks_are_equal(size, pooling):
    value_error, gradient_error = errors_with_equal_masks(
        lambda backend: tiny_vgg19(backend, pooling=pooling), open_backend("cpu", threads=2), size
    )
    assert value_error < 1e-6
    assert gradient_error < 1e-5


@pytest.mark.weights
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [64, 128, 256])
def test_cpu_closure_agrees_with_float64_on_the_real_weights(size, pooling, real_weights):
    weights = pynst.load_weights(real_weights)
    value_error, gradient_error = errors_with_equal_masks(
        lambda backend: VGG19(backend, weights.convolutions, weights.mean, pooling=pooling),
        open_backend("cpu", threads=2),
        size,
    )
    assert value_error < 1e-6
    assert gradient_error < 1e-5


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("size", [64, 128, 256])
def test_cpu_closure_agrees_with_float64_on_random_weights(size, pooling):
    """Harder than real weights: deep features of two pictures differ by a third of their size."""
    value_error, gradient_error = errors_with_equal_masks(
        lambda backend: VGG19(backend, random_convolutions(), MEAN, pooling=pooling),
        open_backend("cpu", threads=2),
        size,
    )
    assert value_error < 1e-6
    assert gradient_error < 1e-5


@settings(max_examples=8, deadline=None)
@given(st.integers(16, 40), st.integers(16, 40), st.sampled_from(["max", "average"]))
def test_cpu_objective_is_near_the_oracle_at_any_size(H, W, pooling):
    """Loose, since masks may differ: a wrong kernel is off by far more."""
    found = []
    for backend in (ReferenceBackend(), open_backend("cpu", threads=2)):
        network = tiny_vgg19(backend, pooling=pooling)
        objective = Objective(
            picture(0, H, W), picture(1, W, H), image_size=max(H, W), network=network
        )
        found.append(objective(picture(2, *objective.shape[:2])))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    error = np.linalg.norm(found[1][1] - found[0][1]) / np.linalg.norm(found[0][1])
    assert error < 3e-2


def test_public_objective_is_this_one():
    assert pynst.Objective is Objective


def test_calls_from_several_threads_give_the_values_of_their_own_images():
    objective = Objective(picture(0, 48, 64), picture(1, 48, 48), network="builtin", image_size=64)
    images = [picture(seed, 48, 64) for seed in range(2, 6)]
    wanted = [objective(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for found in [pool.map(objective, images) for _ in range(8)]:
            for (value, gradient), (right, slope) in zip(found, wanted, strict=True):
                assert value == right
                np.testing.assert_array_equal(gradient, slope)
