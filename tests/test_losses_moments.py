"""Mean and covariance of features: NumPy's, on each backend that has them; the way back as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.backends.windows import Part, WindowsBackend
from pynst.losses.moments import Averages
from pynst.networks.network import upload_features

BACKENDS = {"reference": ReferenceBackend(), "cpu": CpuBackend(2)}


def made(N, H, W, seed=0):
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal((N, H, W)) + 0.5, 0).astype(np.float32)


def weights(H, W):
    """Weights of pixels, of which some are 0."""
    m = np.random.default_rng(7).random((H, W))
    m[m < 0.3] = 0
    m[0, 0] = 1
    return m


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(N=st.integers(1, 40), H=st.integers(1, 70), W=st.integers(1, 9))
def test_they_are_numpys(name, weighted, N, H, W):
    backend, F, m = BACKENDS[name], made(N, H, W), weights(H, W) if weighted else None
    averages = Averages(backend, N, m)
    averages.read(upload_features(backend, F))
    found = averages.moments()
    pixels = F.reshape(N, -1).astype(np.float64)
    factors = np.ones(H * W) if m is None else m.reshape(-1)
    mean = np.average(pixels, axis=1, weights=factors)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5, atol=1e-6)
    wanted = np.cov(pixels, bias=True, aweights=factors).reshape(N, N)
    np.testing.assert_allclose(found.covariance, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(N=st.integers(1, 40), H=st.integers(1, 20), W=st.integers(1, 9))
def test_the_way_back_adds_a_product_and_a_vector(name, weighted, N, H, W):
    backend, F, before = BACKENDS[name], made(N, H, W), made(N, H, W, 1)
    m = weights(H, W) if weighted else None
    rng = np.random.default_rng(2)
    D, d = rng.standard_normal((N, N)), rng.standard_normal(N)
    D += D.T
    dF = upload_features(backend, before)
    Averages(backend, N, m).add(upload_features(backend, F), D, d, dF)
    wanted = before + (1 if m is None else m) * (np.tensordot(D, F, 1) + d[:, None, None])
    found = backend.download(dF, "features", (N, H, W))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    if name == "cpu":
        assert not dF.transpose(0, 3, 1, 2).reshape(-1, H, W)[N:].any()  # lanes beyond N stay zero


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BACKENDS)
def test_of_windows_they_are_those_of_the_whole_image(name, weighted):
    inner, N, H, W = BACKENDS[name], 19, 40, 23
    backend, F = WindowsBackend(inner, type(None)), made(N, H, W)
    m = weights(H, W) if weighted else None
    factors = np.ones((H, W)) if m is None else m
    whole, windows = Averages(inner, N, m), Averages(backend, N, m)
    whole.read(upload_features(inner, F))
    rng = np.random.default_rng(2)
    D, d = rng.standard_normal((N, N)), rng.standard_normal(N)
    D += D.T
    for values in (True, False):
        for core, first, last in ((slice(0, 11), 0, 14), (slice(2, 14), 9, W), (slice(3, 3), 8, W)):
            array, place = upload_features(inner, F[:, :, first:last]), slice(first, last)
            part = Part(array, (slice(0, H), core), (slice(0, H), place), H * W, not first, values)
            windows.read(part)
            if not values:
                dF = upload_features(inner, np.ones(F[:, :, first:last].shape, np.float32))
                windows.add(part, D, d, dF)
                added = np.tensordot(D, F[:, :, first:last], 1) + d[:, None, None]
                wanted = 1 + factors[:, place] * added
                found = inner.download(dF, "features", wanted.shape)
                np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    for found, wanted in zip(windows.moments(), whole.moments(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
