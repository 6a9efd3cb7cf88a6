"""`stylize` from end to end, on both networks."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MEAN, picture, tiny_convolutions
from hypothesis import given, settings
from hypothesis import strategies as st

import pynst
import pynst.run
from pynst import ImageError, Interrupted, PyNSTError, stylize
from pynst.optimizers import OPTIMIZERS
from pynst.optimizers.pyramid import FIRST, LATER

CONTENT, STYLE = picture(0, 70, 90), picture(1, 80, 66)
FAST = {"network": "builtin", "image_size": 90, "iterations": 5}


def total(history, which=-1):
    return history[which][-1].total


def test_the_loss_falls_and_the_result_is_a_picture_of_the_size():
    result = stylize(CONTENT, STYLE, network="builtin", image_size=90, iterations=40)
    assert result.image.shape == (70, 90, 3)
    assert result.image.dtype == np.uint8
    first, best = result.history[0][0].total, min(terms.total for terms in result.history[0])
    assert best < 0.4 * first
    assert (result.network, result.stopped_early, len(result.history)) == ("builtin", "", 1)
    assert result.backend.startswith("cpu")
    assert result.peak_bytes is None or result.peak_bytes > 2**20


def test_levels_go_from_coarse_to_fine_and_keep_what_was_reached():
    sizes = []

    def callback(progress):
        if progress.iteration == 1:
            sizes.append((progress.level, progress.levels, progress.image().shape[1]))

    result = stylize(
        picture(0, 180, 200), STYLE, network="builtin", image_size=200, quality="draft",
        levels=2,
        callback=callback,
    )  # fmt: skip
    assert sizes == [(1, 2, 100), (2, 2, 200)]
    assert [len(level) for level in result.history] == [24, 19]
    assert total(result.history) < 0.5 * result.history[0][0].total


@pytest.mark.parametrize("optimizer", ["lbfgs", "scipy"])
def test_levels_after_the_first_give_the_finest_variables_more(optimizer, monkeypatch):
    given, minimise = [], OPTIMIZERS[optimizer]

    def noted(*args, **kwargs):
        given.append(kwargs.get("pyramid"))
        return minimise(*args, **kwargs)

    monkeypatch.setitem(OPTIMIZERS, optimizer, noted)
    options = {"optimizer": optimizer, **FAST, "levels": 3, "image_size": 360}
    stylize(CONTENT, STYLE, **{**options, "iterations": 2})
    assert given == [FIRST, LATER, LATER]
    given.clear()
    stylize(CONTENT, STYLE, optimizer=optimizer, variables="pixels", **FAST)
    assert given == [None]


def test_equal_settings_give_equal_bits():
    runs = [stylize(CONTENT, STYLE, init="noise", seed=3, **FAST) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].pixels, runs[1].pixels)
    other = stylize(CONTENT, STYLE, init="noise", seed=4, **FAST)
    assert np.any(other.pixels != runs[0].pixels)


def test_a_network_that_needs_grain_gets_it_at_the_start_alone():
    starts = []

    def callback(progress):
        if progress.iteration == 1:
            starts.append(progress.image())

    flat = np.full((64, 64, 3), 0.5)
    for seed in (1, 1, 2):
        stylize(flat, STYLE, seed=seed, callback=callback, **{**FAST, "image_size": 64})
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.any(starts[0] != starts[2])
    assert 0.04 < (starts[0] / 255).std() < 0.06
    stylize(flat, STYLE, init=flat, callback=callback, **{**FAST, "image_size": 64})
    assert np.ptp(starts[-1]) == 0


def test_grain_is_only_where_a_style_will_be():
    starts = []
    flat, mask = np.full((64, 64, 3), 0.5), np.zeros((64, 64))
    mask[:, :32] = 1
    changes = [{"style_masks": [mask]}, {"style_masks": [mask, "rest"]}, {"style_weight": 0}]
    for change in changes:
        styles = [STYLE] * len(change.get("style_masks", "1"))
        stylize(
            flat, styles, callback=lambda progress: starts.append(progress.image().astype(float)),
            **{**FAST, "image_size": 64, "iterations": 1}, **change,
        )  # fmt: skip
    assert starts[0][:, 34:].std() == 0 < 10 < starts[0][:, :30].std()
    assert starts[1][:, 34:].std() > 10
    assert starts[2].std() == 0


@pytest.mark.parametrize("init", ["content", "style", "noise", STYLE], ids=lambda v: str(v)[:7])
def test_every_start_works(init):
    result = stylize(CONTENT, STYLE, init=init, **FAST)
    assert np.isfinite(total(result.history))


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "scipy"])
def test_every_optimiser_lowers_the_loss(optimizer):
    result = stylize(CONTENT, STYLE, optimizer=optimizer, **{**FAST, "iterations": 20})
    assert min(terms.total for terms in result.history[0]) < 0.8 * result.history[0][0].total


def test_keeping_the_colours_keeps_the_chrominance_of_the_content():
    kept = stylize(CONTENT, STYLE, preserve_color=True, **FAST).pixels
    free = stylize(CONTENT, STYLE, **FAST).pixels
    colour = lambda x: x - x.mean(2, keepdims=True)  # noqa: E731
    distance = lambda x: np.abs(colour(x) - colour(CONTENT)).mean()  # noqa: E731
    assert distance(kept) < 0.5 * distance(free)


def test_files_arrays_and_pillow_images_are_the_same_pictures(tmp_path):
    path = tmp_path / "content.png"
    pynst.save_image(CONTENT, path)
    loaded = pynst.load_image(path)
    results = [
        stylize(content, STYLE, **FAST).pixels
        for content in (path, str(path), loaded, np.rint(255 * loaded).astype(np.uint8))
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-6)


def test_the_result_saves_shows_and_converts(tmp_path):
    result = stylize(CONTENT, STYLE, **FAST)
    np.testing.assert_array_equal(
        np.rint(255 * pynst.load_image(result.save(tmp_path / "r.png"))), result.image
    )
    assert result.to_pil().size == (90, 70)
    assert result._repr_png_().startswith(b"\x89PNG")


def test_the_callback_sees_every_evaluation_and_may_stop():
    seen = []

    def callback(progress):
        seen.append(progress)
        if len(seen) == 4:
            raise StopIteration

    result = stylize(CONTENT, STYLE, callback=callback, **{**FAST, "iterations": 50})
    assert result.stopped_early == "callback"
    assert [p.iteration for p in seen] == [1, 2, 3, 4]
    assert seen[-1].iterations == 50
    assert 0 < seen[0].fraction < seen[-1].fraction <= 1
    assert seen[0].image().dtype == np.uint8


def test_ctrl_c_carries_the_best_image_so_far():
    def callback(progress):
        if progress.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        stylize(CONTENT, STYLE, callback=callback, **FAST)
    assert caught.value.result.image.shape == (70, 90, 3)
    assert caught.value.result.stopped_early == "interrupted"
    assert isinstance(caught.value, KeyboardInterrupt)


def test_ctrl_c_while_the_best_image_is_being_kept_loses_nothing(monkeypatch):
    keep, kept = pynst.run.Run._take_best, []

    def interrupted(run):
        kept.append(run)
        if len(kept) == 1:
            raise KeyboardInterrupt
        keep(run)

    monkeypatch.setattr(pynst.run.Run, "_take_best", interrupted)
    with pytest.raises(Interrupted) as caught:
        stylize(CONTENT, STYLE, **{**FAST, "levels": 1})
    assert caught.value.result.image.shape == (70, 90, 3)
    assert len(kept) == 2


def test_an_error_in_a_callback_is_not_swallowed():
    def callback(progress):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stylize(CONTENT, STYLE, callback=callback, **FAST)


def test_time_is_a_limit():
    result = stylize(CONTENT, STYLE, minutes=0, **FAST)
    assert result.stopped_early == "minutes"
    assert result.image.shape == (70, 90, 3)
    assert len(result.history[0]) == 1


def test_no_improvement_is_a_limit():
    result = stylize(CONTENT, STYLE, tolerance=0.9, **{**FAST, "iterations": 500})
    assert result.stopped_early == "tolerance"
    assert len(result.history[0]) < 500


# ---- the choice of the network -------------------------------------------------------------------


@pytest.fixture
def tiny_weights(monkeypatch):
    """Make the tiny network the one that is found."""
    import pynst.networks.open
    from pynst.weights import VGG19Weights

    weights = VGG19Weights(convolutions=tiny_convolutions(), mean=MEAN, source="random")
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights)


@pytest.mark.parametrize("formula", ["paper", "gatys-normalised", "gatys", "johnson"])
def test_every_published_formula_runs_from_end_to_end(tiny_weights, formula):
    result = stylize(CONTENT, STYLE, image_size=64, iterations=8, levels=1, formula=formula)
    assert min(terms.total for terms in result.history[0]) < result.history[0][0].total


def test_the_papers_setting_runs(tiny_weights):
    result = stylize(CONTENT, STYLE, pynst.TransferOptions.paper(image_size=64, iterations=12))
    assert len(result.history) == 1
    assert total(result.history) < 0.5 * result.history[0][0].total


@pytest.mark.weights
@pytest.mark.slow
def test_the_real_network_paints(real_weights):
    result = stylize(CONTENT, STYLE, weights=str(real_weights), image_size=96, iterations=25)
    assert result.network == "vgg19"
    assert total(result.history) < 0.45 * result.history[0][0].total


# ---- anything a user may pass --------------------------------------------------------------------


@settings(max_examples=25)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40),
    st.integers(16, 48), st.sampled_from(["level1", "level2", "level3"]), st.booleans(),
)  # fmt: skip
def test_any_size_gives_a_picture_or_an_image_error(h, w, sh, sw, size, layer, keep):
    rng = np.random.default_rng(0)
    content = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    style = rng.integers(0, 256, (sh, sw, 3), dtype=np.uint8)
    try:
        result = stylize(
            content, style, network="builtin", image_size=size, iterations=2, preserve_color=keep,
            content_layers=layer, style_layers=[layer],
        )  # fmt: skip
    except PyNSTError as error:
        assert isinstance(error, ImageError)
        assert "too few" in str(error)
    else:
        assert max(result.image.shape[:2]) == size


# ---- masks ---------------------------------------------------------------------------------------

LEFT = np.repeat([[1.0, 0.0]], 45, axis=1) * np.ones((70, 1))


def test_masks_that_are_white_everywhere_give_the_bits_of_none():
    white = np.ones((70, 90))
    options = {**FAST, "image_size": 150, "levels": 2, "match_color": "symmetric"}
    plain = stylize(CONTENT, [STYLE, CONTENT], **options)
    masked = stylize(CONTENT, [STYLE, CONTENT], style_masks=[white, "all"], content_mask=white,
                     content_mask_weight=1, **options)  # fmt: skip
    np.testing.assert_array_equal(plain.pixels, masked.pixels)
    assert plain.history == masked.history


def test_where_no_mask_is_there_is_no_style_at_all():
    """Beyond the reach of the features, which is 3 pixels at the first level."""
    objective = pynst.Objective(
        CONTENT, STYLE, network="builtin", image_size=90, content_weight=0, tv_weight=0,
        style_layers="level1", style_masks=LEFT,
    )  # fmt: skip
    _, gradient = objective(CONTENT)
    assert not gradient[:, 48:].any()
    assert np.abs(gradient[:, :45]).min(axis=2).mean() > 0


def test_what_the_keep_mask_shows_is_the_content_itself():
    plain = stylize(CONTENT, STYLE, **FAST)
    kept = stylize(CONTENT, STYLE, keep_mask=LEFT, **FAST)
    np.testing.assert_allclose(kept.pixels[:, :40], CONTENT[:, :40], atol=1e-12)
    np.testing.assert_array_equal(kept.pixels[:, 50:], plain.pixels[:, 50:])
    edge = kept.pixels[:, 40:50]
    assert np.abs(edge - CONTENT[:, 40:50]).max() > 0.01
    assert kept.history == plain.history


def test_a_content_mask_keeps_its_inside_nearer_to_the_content():
    options = {**FAST, "iterations": 30, "content_weight": 0.02}
    plain = stylize(CONTENT, STYLE, **options).pixels
    held = stylize(CONTENT, STYLE, content_mask=LEFT, content_mask_weight=40, **options).pixels
    distance = lambda x, part: np.abs(x - CONTENT)[:, part].mean()  # noqa: E731
    inside, outside = slice(0, 35), slice(55, 90)
    gained = distance(held, inside) / distance(plain, inside)
    assert gained < 0.8 * distance(held, outside) / distance(plain, outside)


def test_two_halves_with_the_same_painting_are_as_near_to_it_as_the_whole():
    texture = np.random.default_rng(0).random((128, 128, 3))
    half = np.repeat([[1.0, 0.0]], 64, axis=1) * np.ones((128, 1))
    settings = {
        "network": "builtin", "image_size": 128, "content_weight": 0, "tv_weight": 0,
        "style_layers": ["level1", "level2"],
    }  # fmt: skip
    run = {**settings, "iterations": 60, "init": "noise", "seed": 1}
    halves = stylize(texture, [texture] * 2, style_masks=[half, "rest"], **run)
    whole = stylize(texture, texture, **run)
    loss = pynst.Objective(texture, texture, **settings)
    first, best, reached = (
        loss(x)[0]
        for x in (np.random.default_rng(1).random((128, 128, 3)), whole.pixels, halves.pixels)
    )
    assert reached - best < 0.05 * (first - best)
