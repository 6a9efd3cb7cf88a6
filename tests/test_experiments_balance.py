"""The paper's alpha / beta: each reading is a balance of content and style."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.experiments.balance import PLAIN, READINGS, balanced, kappa_of
from pynst.options.formulas import FORMULAS

pytest_plugins = ("experiments",)


CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.usefixtures("tiny_weights")
def test_a_ratio_means_what_its_reading_says(reading):
    """The loss of the settings is, up to one factor, that of the formula of the reading."""
    size, ratio = {"image_size": 40}, 0.01
    x = picture(3, 32, 40)
    layer = pynst.Objective(CONTENT, STYLE, network="vgg19", **size).network.shape(
        "relu4_2", 32, 40
    )
    features = int(np.prod(layer))
    kappa = kappa_of(ratio, reading, features)
    found = pynst.Objective(CONTENT, STYLE, network="vgg19", **size, **balanced(kappa))
    found(x)
    if reading == "sums":
        letter = {"formula": "paper", "content_weight": ratio, "style_weight": 1.0}
    else:
        letter = {
            "formula": "gatys-normalised",
            "content_weight": ratio * (1 if reading == "means" else PLAIN / 5 / 1e-3),
            "style_weight": 1 / 5,
        }
    wanted = pynst.Objective(CONTENT, STYLE, network="vgg19", **size, **letter)
    wanted(x)
    assert found.terms.content / found.terms.style == pytest.approx(
        wanted.terms.content / wanted.terms.style, rel=1e-6
    )


@pytest.mark.parametrize(
    ("reading", "wanted"), [("sums", 20971.52), ("means", 0.005), ("plain", 10.0)]
)
def test_the_balance_of_512_pixels_at_one_thousandth(reading, wanted):
    features = 512 * 64 * 64  # relu4_2
    assert kappa_of(1e-3, reading, features) == pytest.approx(wanted, rel=1e-12)


def test_balanced_settings_have_the_balance_that_was_asked_for():
    settings = balanced(3.0)
    formula, N = FORMULAS[settings["formula"]], 64
    k_c = formula.content_factor(settings["content_weight"], N, 100, 1.0, 1.0)
    k_l = formula.style_factor(settings["style_weight"], 1.0, 5, N, 1.0)
    assert k_c / (k_l * N**2) == pytest.approx(3.0, rel=1e-12)
