"""Where the weights lie: the argument, the environment, the cache."""

from __future__ import annotations

import sys

import pytest

from pynst.errors import WeightsError
from pynst.weights import cache_directory, find_weights


def test_find_weights_looks_at_the_argument_then_the_environment_then_the_cache(
    tmp_path, monkeypatch
):
    cached = tmp_path / "cache" / "vgg19.npz"
    assert find_weights(None) is None
    cached.parent.mkdir()
    cached.touch()
    assert find_weights(None) == cached
    named = tmp_path / "named.npz"
    monkeypatch.setenv("PYNST_WEIGHTS", str(named))
    with pytest.raises(WeightsError, match=r"PYNST_WEIGHTS: there is no file .*named.npz"):
        find_weights(None)
    named.touch()
    assert find_weights(None) == named
    explicit = tmp_path / "explicit.npz"
    with pytest.raises(WeightsError, match=r"weights: there is no file .*explicit.npz"):
        find_weights(explicit)
    explicit.touch()
    assert find_weights(str(explicit)) == explicit
    monkeypatch.setenv("PYNST_WEIGHTS", "")
    assert find_weights() == cached
    for name in ("~nobody-of-this-name/x.npz", "a\0b", "x" * 5000):
        with pytest.raises(WeightsError, match="weights: there is no file"):
            find_weights(name)


def test_the_cache_is_the_users_unless_named(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("PYNST_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory().name.lower() in ("pynst", "cache")
    if sys.platform.startswith("linux"):
        assert cache_directory() == tmp_path / "xdg" / "pynst"
