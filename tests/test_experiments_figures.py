"""`figure`: the figures of the paper as contact sheets."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.demo import draw_painting, draw_scene
from pynst.experiments.figures import FIGURES, figure
from pynst.options.formulas import FORMULAS

pytest_plugins = ("experiments",)

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)
SMALL = {"image_size": 32, "iterations": 2}


def small_figure(number, *pictures, **settings):
    return figure(number, *(pictures or (CONTENT, STYLE)), **{**SMALL, **settings})


def options_of(sheet):
    return {name: found.result.options for name, found in sheet.results.items()}


@pytest.mark.usefixtures("tiny_weights")
def test_figure_1_has_a_row_of_contents_and_a_row_of_growing_sets_of_style_layers():
    sheet = small_figure(1)
    assert sheet.rows[0] == tuple(f"content conv{i}_2" for i in range(1, 6))
    options = options_of(sheet)
    for name in sheet.rows[0]:
        layer = name.replace("content conv", "relu")
        assert options[name].content_layers == ((layer, 1.0),)
        assert sheet.results[name].terms.style == 0
        assert sheet.results[name].image.shape == (26, 32, 3)
    counts = [len(options[name].style_layers) for name in sheet.rows[1]]
    assert counts == [1, 2, 3, 4, 5]
    for name in sheet.rows[1]:
        assert sheet.results[name].terms.content == 0
        assert sheet.results[name].image.shape == (32, 26, 3)
    assert {each.init for each in options.values()} == {"noise"}


@pytest.mark.usefixtures("tiny_weights")
def test_figure_1_to_the_letter_has_no_total_variation():
    sheet = small_figure(1, paper=True)
    assert {each.formula for each in options_of(sheet).values()} == {"paper"}
    assert {found.terms.tv for found in sheet.results.values()} == {0}


@pytest.mark.usefixtures("tiny_weights")
def test_figure_3_has_a_cell_per_painting_with_the_captions_ratio():
    sheet = small_figure(3, CONTENT, [STYLE, CONTENT, STYLE, CONTENT])
    assert [len(row) for row in sheet.rows] == [3, 1]
    alphas = [each.content_weight for each in options_of(sheet).values()]
    assert np.allclose(np.array(alphas) / alphas[0], [1, 0.8, 5, 0.5])


@pytest.mark.usefixtures("tiny_weights")
def test_figure_4_goes_from_little_content_to_much():
    sheet = small_figure(4, iterations=25)
    names = sheet.rows[0]
    terms = [sheet.results[name].terms for name in names]
    alphas = [options.content_weight for options in options_of(sheet).values()]
    content = [t.content / alpha for t, alpha in zip(terms, alphas, strict=True)]
    assert alphas == sorted(alphas)
    assert content == sorted(content, reverse=True)
    assert [t.style for t in terms] == sorted(t.style for t in terms)
    settings = sheet.results["ratio 0.001"].settings
    assert settings["alpha/beta"] == "0.001 (plain)"
    assert settings["as means"] == "2"


@pytest.mark.weights
@pytest.mark.slow
def test_figure_4_of_the_real_network_trades_content_for_style_step_by_step(real_weights):
    """Fig. 4: with alpha / beta the content's error falls and the style's rises, strictly."""
    sheet = figure(
        4, draw_scene(64, 64), draw_painting(64, 64), image_size=64, iterations=60,
        weights=str(real_weights),
    )  # fmt: skip
    alphas = [options.content_weight for options in options_of(sheet).values()]
    terms = [sheet.results[name].terms for name in sheet.rows[0]]
    contents = np.array([t.content / alpha for t, alpha in zip(terms, alphas, strict=True)])
    styles = np.array([t.style for t in terms])
    assert (np.diff(alphas) > 0).all()
    assert (np.diff(contents) < 0).all(), contents
    assert (np.diff(styles) > 0).all(), styles


@pytest.mark.usefixtures("tiny_weights")
def test_figure_5_compares_a_low_content_layer_with_a_high_one():
    options = options_of(small_figure(5))
    assert [each.content_layers[0][0] for each in options.values()] == ["relu2_2", "relu4_2"]


@pytest.mark.usefixtures("tiny_weights")
def test_figure_6_starts_from_content_style_and_noise():
    sheet = small_figure(6, seeds=5)
    assert [len(row) for row in sheet.rows] == [2, 4, 1]
    options = list(options_of(sheet).values())
    assert [each.init for each in options] == ["content", "style", *["noise"] * 5]
    assert [each.seed for each in options[2:]] == [0, 1, 2, 3, 4]
    one, other = sheet.results["noise 0"], sheet.results["noise 1"]
    assert np.abs(one.image.astype(int) - other.image).max() > 10


@pytest.mark.usefixtures("tiny_weights")
def test_figure_7_starts_from_the_content():
    (options,) = options_of(small_figure(7)).values()
    assert options.init == "content"


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("paper", [False, True])
def test_every_cell_but_figure_1s_has_the_papers_loss_and_on_request_its_way_to_the_minimum(paper):
    for number in set(FIGURES) - {1}:
        for options in options_of(small_figure(number, paper=paper)).values():
            way = ("scipy", 1) if paper else ("lbfgs", None)
            assert (options.optimizer, options.levels, options.network) == (*way, "vgg19")
            formula = FORMULAS[options.formula]
            assert (formula.normalised, formula.pooling, formula.tv_weight) == (True, "average", 0)


@pytest.mark.usefixtures("tiny_weights")
def test_without_pictures_it_takes_the_two_that_the_demo_draws():
    sheet = figure(5, image_size=32, iterations=1)
    assert sheet.results["conv2_2"].image.shape == (24, 32, 3)
    assert not sheet.failed


@pytest.mark.usefixtures("tiny_weights")
def test_a_figure_goes_on_with_the_cells_that_are_missing(tmp_path):
    def stop(progress):
        if progress.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        small_figure(6, folder=tmp_path, callback=stop)
    assert len(caught.value.sheet.results) == 2
    seen = []
    sheet = small_figure(6, folder=tmp_path, callback=lambda progress: seen.append(progress.number))
    assert set(seen) == {3, 4, 5, 6}
    assert len(sheet.results) == 6


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((2,), {}, "figure must be one of 1, 3, 4, 5, 6, 7, got 2"),
        ((4, CONTENT), {}, "figure 4 needs a style picture"),
        ((4, None, STYLE), {}, "figure 4 needs a content picture"),
        ((4, CONTENT, [STYLE, STYLE]), {}, "figure 4 has one style picture, got 2"),
        ((4, CONTENT, STYLE), {"ratios": [-1.0]}, "ratios must be positive numbers"),
        ((5, CONTENT, STYLE), {"ratios": [1.0, 2.0]}, "this figure has one ratio, got 2"),
        ((6, CONTENT, STYLE), {"seeds": 0}, "seeds must be a whole number of at least 1"),
        ((6, CONTENT, STYLE), {"reading": "x"}, "reading must be one of plain, sums, means"),
        ((6, CONTENT, STYLE), {"sead": 1}, "unknown option 'sead'"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(arguments, settings, message):
    with pytest.raises(pynst.OptionError, match=message):
        figure(*arguments, **settings)


def test_without_weights_it_ends_at_once_and_says_how_to_get_them():
    with pytest.raises(pynst.WeightsError):
        small_figure(6)
