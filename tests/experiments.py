"""What the tests of the paper's experiments share: a tiny VGG-19 in place of the real one."""

from __future__ import annotations

import pytest
from conftest import MEAN, picture, tiny_convolutions

import pynst.networks.open


@pytest.fixture
def tiny_weights(monkeypatch):
    """Random weights in place of a file, and one small photograph for a normalised network."""
    from pynst.weights import VGG19Weights

    weights = VGG19Weights(convolutions=tiny_convolutions(), mean=MEAN, source="random")
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights)
    monkeypatch.setattr(
        pynst.networks.calibration, "calibration_pictures", lambda folder=None: [picture(9, 32, 32)]
    )
