"""The canvas of the demo: averaging, blending, and noise that is the same at every size."""

from __future__ import annotations

import numpy as np

from pynst.demo.canvas import Noise, average, mix, smoothstep


def test_samples_are_averaged_into_pixels_and_rounded():
    samples = np.zeros((4, 2, 3), np.float32)
    samples[:2, :, 0] = [[1, 0], [0, 1]]
    samples[2:, :, 1] = 1
    np.testing.assert_array_equal(average(samples, 2), [[[128, 0, 0]], [[0, 255, 0]]])


def test_a_smooth_step_rises_from_0_to_1_and_falls_the_other_way_round():
    x = np.array([-1.0, 0.0, 0.5, 1.0, 9.0], np.float32)
    np.testing.assert_allclose(smoothstep(0, 1, x), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(1, 0, x), [1, 1, 0.5, 0, 0])


def test_a_blend_goes_from_the_first_colour_to_the_second():
    a, b = np.zeros((3, 3)), np.ones((3, 3))
    np.testing.assert_allclose(mix(a, b, np.array([0, 0.25, 1]))[:, 0], [0, 0.25, 1])


def test_noise_is_smooth_within_its_range_and_depends_on_its_seed_alone():
    x = np.linspace(-5, 5, 1001)
    noise = Noise(3)(x, x / 3)
    assert np.abs(noise).max() <= 1
    assert noise.std() > 0.2
    assert np.abs(np.diff(noise)).max() < 0.05
    np.testing.assert_array_equal(noise, Noise(3)(x, x / 3))
    assert np.abs(noise - Noise(4)(x, x / 3)).max() > 0.5


def test_fractal_noise_stays_in_the_range_of_noise():
    x = np.linspace(-5, 5, 1001)
    assert np.abs(Noise(3).fractal(x, 2 * x, octaves=6)).max() <= 1
