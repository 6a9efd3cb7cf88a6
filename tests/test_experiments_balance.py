"""The paper's alpha / beta: each reading is a balance of content and style."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.experiments.balance import PLAIN, READINGS, balanced, kappa_of

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
