"""Fixtures: small networks with seeded random weights, and the real weights where at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from pynst.backends.reference import ReferenceBackend
from pynst.errors import BackendError
from pynst.networks.gabor import Gabor
from pynst.networks.vgg19 import VGG19

# Machines differ in speed: no example is judged by the time it takes.
settings.register_profile(
    "pynst",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("pynst")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Processes for ``-n auto``: each of them takes half a gigabyte at times, and many threads."""
    return min(8, os.cpu_count() or 1)


CHANNELS = {1: 4, 2: 8, 3: 16, 4: 32, 5: 32}
MEAN = (123.68, 116.779, 103.939)


def random_convolutions(seed: int = 0, width: int = 16) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """VGG-19's table with `width` times CHANNELS, random weights of the usual scale."""
    rng = np.random.default_rng(seed)
    convolutions, C = {}, 3
    for block, count in enumerate((2, 2, 4, 4, 4), 1):
        for index in range(1, count + 1):
            N = width * CHANNELS[block]
            weight = rng.standard_normal((N, C, 3, 3)) * np.sqrt(2 / (9 * C))
            bias = 0.1 * rng.standard_normal(N)
            convolutions[f"conv{block}_{index}"] = (
                weight.astype(np.float32), bias.astype(np.float32)
            )  # fmt: skip
            C = N
    return convolutions


def tiny_convolutions(seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """VGG-19's table with a sixteenth of the channels."""
    return random_convolutions(seed, width=1)


def tiny_vgg19(backend=None, **settings) -> VGG19:
    """A VGG-19 that is small enough for finite differences."""
    return VGG19(backend or ReferenceBackend(), tiny_convolutions(), MEAN, **settings)


def picture(seed: int, H: int, W: int) -> np.ndarray:
    """A smooth random picture, (H, W, 3) in [0, 1]."""
    from pynst.images import resize

    rng = np.random.default_rng(seed)
    coarse = rng.random((max(2, H // 5), max(2, W // 5), 3))
    return np.clip(resize(coarse, H, W) + 0.05 * rng.standard_normal((H, W, 3)), 0, 1)


@pytest.fixture
def pictures(tmp_path):
    """Paths of a content and a style picture."""
    from pynst.images import save_image

    paths = [tmp_path / "content.png", tmp_path / "style.jpg"]
    for seed, path in enumerate(paths):
        save_image(picture(seed, 60, 80), path)
    return [str(path) for path in paths]


@pytest.fixture(params=["vgg19", "builtin"])
def tiny_network(request):
    """Both networks on the reference backend."""
    return tiny_vgg19() if request.param == "vgg19" else Gabor(ReferenceBackend())


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The file that PYNST_TEST_WEIGHTS names."""
    path = os.environ.get("PYNST_TEST_WEIGHTS")
    if not path:
        pytest.skip("PYNST_TEST_WEIGHTS names no VGG-19 weights file")
    return Path(path)


@pytest.fixture(autouse=True)
def no_cuda_by_chance(request, monkeypatch):
    """Only tests that ask for a CUDA device see one: what "auto" takes does not depend on it."""

    def hidden():
        raise BackendError("backend 'cuda' is not available: hidden from this test")

    if "gpu" not in request.keywords:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of programs that a test starts
        monkeypatch.setattr("pynst.backends.cuda.CupyDevice", hidden)


@pytest.fixture(autouse=True)
def no_weights_at_hand(monkeypatch, tmp_path):
    """Tests see neither the user's weights nor the user's cache, and download nothing."""
    monkeypatch.delenv("PYNST_WEIGHTS", raising=False)
    monkeypatch.delenv("PYNST_MEMORY", raising=False)
    monkeypatch.setenv("PYNST_OFFLINE", "1")
    monkeypatch.setenv("PYNST_TUNE", "0")  # tests of tuning switch it on
    monkeypatch.setenv("PYNST_CACHE_DIR", str(tmp_path / "cache"))
