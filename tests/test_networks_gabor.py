"""The built-in network: its filters by formula, its pyramid by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pynst import OptionError
from pynst.backends.reference import ReferenceBackend
from pynst.networks.gabor import Gabor, filter_bank


def test_the_bank_has_67_filters_on_three_colour_planes():
    weight, plane = filter_bank()
    assert weight.shape == (67, 7, 7)
    assert np.bincount(plane).tolist() == [33, 17, 17]


def test_gabor_filters_ignore_flat_areas_and_low_pass_filters_do_not():
    weight, _ = filter_bank()
    norms = np.linalg.norm(weight.reshape(67, -1), axis=1)
    sums = np.abs(weight.sum((1, 2))) / norms
    low_pass = [32, 49, 66]
    assert sums[low_pass].min() > 3
    assert np.delete(sums, low_pass).max() < 1e-5


def test_colour_axes_are_orthonormal():
    np.testing.assert_allclose(Gabor.input_axes @ Gabor.input_axes.T, np.eye(3), atol=1e-15)


def test_a_grating_excites_the_filter_of_its_orientation_and_wavelength():
    network = Gabor(ReferenceBackend())
    weight, _ = filter_bank()
    x, y = np.meshgrid(np.arange(48), np.arange(40))
    for orientation in range(8):
        angle = np.pi * orientation / 8
        planes = np.zeros((3, 40, 48))
        planes[0] = 50 * np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / 5.5)
        workspace = network.workspace(40, 48, ["level1"], gradient=False)
        workspace["x"][...] = planes
        network.forward(workspace, ["level1"])
        responses = workspace["level1"].mean((1, 2))[0::2] + workspace["level1"].mean((1, 2))[1::2]
        responses *= np.linalg.norm(weight.reshape(67, -1), axis=1) ** -1  # undo the normalisation
        strongest = int(np.argmax(responses[:32]))
        assert (strongest - 16) // 2 == orientation, "filters 16..31 have wavelength 5.5"


def test_positive_and_negative_parts_are_two_channels():
    network = Gabor(ReferenceBackend())
    x = np.random.default_rng(0).standard_normal((3, 20, 24))
    parts = []
    for sign in (1, -1):
        workspace = network.workspace(20, 24, ["level1", "level2"], gradient=False)
        workspace["x"][...] = sign * x
        network.forward(workspace, ["level1", "level2"])
        parts.append({layer: workspace[layer].copy() for layer in ("level1", "level2")})
    for layer in ("level1", "level2"):
        np.testing.assert_array_equal(parts[0][layer][0::2], parts[1][layer][1::2])


def test_levels_halve_and_round_up():
    network = Gabor(ReferenceBackend())
    assert network.shape("level3", 65, 43) == (134, 17, 11)
    assert network.smallest_side(["level1", "level5"]) == 33


def test_unknown_levels_are_refused_by_name():
    with pytest.raises(
        OptionError, match="unknown layer 'relu1_1': the built-in network has level1"
    ):
        Gabor(ReferenceBackend()).plan(32, 32, ["relu1_1"], gradient=False)
