"""Which terms a run has: no content or no style is an empty list, not a weight of 0."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture, tiny_vgg19

from pynst import Objective, OptionError, TransferOptions, stylize
from pynst.inputs import read_inputs
from pynst.losses.table import TERMS, loss_terms

CONTENT, STYLE = picture(0, 40, 60), picture(1, 50, 40)
FAST = {"network": "builtin", "image_size": 80, "levels": 1}


def names(content, style, **options):
    made = TransferOptions(**options)
    inputs = read_inputs(content, style, made)
    return [term.name for term in loss_terms(made, tiny_vgg19(), inputs)]


@pytest.mark.parametrize(
    ("content", "style", "options", "wanted"),
    [
        (CONTENT, STYLE, {}, ["content", "style", "tv"]),
        (CONTENT, STYLE, {"tv_weight": 0}, ["content", "style"]),
        (CONTENT, STYLE, {"content_weight": 0}, ["style", "tv"]),
        (CONTENT, None, {}, ["content", "tv"]),
        (CONTENT, None, {"style_weight": 0}, ["content", "tv"]),
        (None, STYLE, {}, ["style", "tv"]),
        (None, STYLE, {"formula": "paper"}, ["style"]),
        (CONTENT, STYLE, {"style_loss": "wasserstein"}, ["content", "wasserstein", "tv"]),
        (CONTENT, STYLE, {"style_loss": "neighbours=3"}, ["content", "neighbours", "tv"]),
        (None, STYLE, {"style_loss": ["wasserstein", "gram"]}, ["style", "wasserstein", "tv"]),
    ],
)
def test_a_run_has_the_terms_that_its_pictures_and_weights_allow(content, style, options, wanted):
    assert names(content, style, **options) == wanted


def test_the_terms_are_in_the_order_of_the_table():
    every = ["neighbours", "wasserstein", "gram"]
    assert names(CONTENT, STYLE, style_loss=every) == list(TERMS)


def test_the_style_weight_is_shared_among_the_style_losses():
    options = TransferOptions(style_loss={"gram": 1, "neighbours": 3}, style_weight=8)
    inputs = read_inputs(CONTENT, STYLE, options)
    terms = {term.name: term for term in loss_terms(options, tiny_vgg19(), inputs)}
    assert (terms["style"].beta, terms["neighbours"].beta) == (2, 6)


@pytest.mark.parametrize("network", ["vgg19", "builtin"])
@pytest.mark.parametrize(("content", "style"), [(None, STYLE), (CONTENT, None)])
def test_nothing_left_to_do_is_refused(content, style, network):
    missing = {"style_weight": 0} if content is None else {"content_weight": 0}
    with pytest.raises(OptionError, match="nothing would be left to do"):
        names(content, style, **missing)


def test_a_content_alone_is_reconstructed():
    result = stylize(
        CONTENT, None, style_weight=0, init="noise", iterations=40, variables="pixels", **FAST
    )
    start = np.random.default_rng(0).random(result.pixels.shape)
    wanted = Objective(CONTENT, None, network="builtin", image_size=80).content
    error = lambda x: np.abs(x - wanted).mean()  # noqa: E731
    assert error(result.pixels) < 0.4 * error(start)
    assert all(terms.style == 0 for terms in result.history[0])
    assert {name.split()[0] for name in result.history[0][0].layers} == {"content"}


def test_a_style_alone_gives_a_texture_of_the_size_that_is_asked_for():
    result = stylize(None, STYLE, iterations=20, **FAST)
    assert result.image.shape == (80, 64, 3)
    assert result.history[0][-1].style < 0.2 * result.history[0][0].style
    assert result.history[0][-1].content == 0
    assert [used.name for used in result.record.pictures] == ["style"]
