"""Opening a network: which one a run gets, and what belongs to VGG-19 alone."""

from __future__ import annotations

import logging

import pytest
from conftest import MEAN, picture, tiny_convolutions

from pynst import OptionError, WeightsError, stylize

CONTENT, STYLE = picture(0, 70, 90), picture(1, 80, 66)


def total(history, which=-1):
    return history[which][-1].total


@pytest.fixture
def tiny_weights(monkeypatch):
    """Make the tiny network the one that is found."""
    import pynst.networks.open
    from pynst.weights import VGG19Weights

    weights = VGG19Weights(convolutions=tiny_convolutions(), mean=MEAN, source="random")
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights)


def test_auto_says_that_it_uses_the_builtin_filters_and_why(caplog):
    with caplog.at_level(logging.WARNING, "pynst"):
        result = stylize(CONTENT, STYLE, image_size=90, iterations=2)
    assert result.network == "builtin"
    assert len(caplog.records) == 1
    assert "PYNST_WEIGHTS" in caplog.text


def test_vgg19_without_weights_is_an_error_not_another_network():
    for options in ({"network": "vgg19"}, {"formula": "gatys"}, {"pooling": "average"}):
        with pytest.raises(WeightsError):
            stylize(CONTENT, STYLE, image_size=90, iterations=2, **options)


def test_the_builtin_network_refuses_what_belongs_to_vgg19():
    for options in (
        {"formula": "paper"},
        {"pooling": "max"},
        {"weights": "x.npz"},
        {"normalised": True},
    ):
        with pytest.raises(OptionError, match="belongs to VGG-19"):
            stylize(CONTENT, STYLE, network="builtin", **options)


def test_auto_takes_vgg19_where_its_weights_are(tiny_weights):
    result = stylize(CONTENT, STYLE, image_size=64, iterations=4)
    assert result.network == "vgg19"
    assert total(result.history) < result.history[0][0].total
