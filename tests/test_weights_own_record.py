"""The record inside a file of this package's own: one that lies, or is none, is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import weights_files as files
from conftest import MEAN, tiny_convolutions
from weights_files import assert_tiny, tiny_table  # noqa: F401

from pynst.errors import WeightsError
from pynst.weights import (
    VGG19Weights,
    load_weights,
)


def tiny_weights(**changes):
    settings = {"source": "a test", "training": "oxford", "licence": "none", **changes}
    return VGG19Weights(tiny_convolutions(), MEAN, **settings)


@pytest.fixture
def stored(tmp_path, tiny_table):  # noqa: F811
    """Write bytes to a file and return its path."""

    def write(data: bytes, name: str = "weights.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def own_arrays(**changes):
    weights = tiny_weights()
    record = {
        "format": 1,
        "mean": list(MEAN),
        "source": "a test",
        "training": "oxford",
        "licence": "none",
        "sha256": weights.sha256,
        **changes,
    }
    arrays = {"pynst": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    for name, (weight, bias) in weights.convolutions.items():
        arrays |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return arrays


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "numbers do not have the recorded checksum"),
        ({"mean": [1.0, 2.0, 3.0]}, "numbers do not have the recorded checksum"),
        ({"format": 2}, "a newer PyNST may read it"),
        ({"mean": [1.0, 2.0]}, "mean must be three floats"),
        ({"mean": "abc"}, "mean must be three floats"),
        ({"mean": [1.0, 2.0, 1e400]}, "mean must be three numbers in 0..255"),
        ({"training": "mine"}, "training must be one of"),
        ({"source": 3}, "source must be a line of text, is 3"),
        ({"source": "a\nb"}, "source must be a line of text"),
        ({"licence": "\x1b[2J"}, "licence must be a line of text"),
        ({"source": "x" * 201}, "source must be a line of text"),
    ],
)
def test_a_record_that_lies_is_refused(stored, changes, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(stored(files.npz(own_arrays(**changes))))


@pytest.mark.parametrize(
    "record",
    [
        np.frombuffer(b"[1]", np.uint8),
        np.frombuffer(b"{", np.uint8),
        np.frombuffer(b"[" * 10000, np.uint8),
        np.zeros(1 << 15, np.uint8),
        np.zeros((2, 2), np.uint8),
        np.zeros(4, np.float32),
    ],
)
def test_a_record_that_is_none_is_refused(stored, record):
    arrays = own_arrays() | {"pynst": record}
    with pytest.raises(WeightsError):
        load_weights(stored(files.npz(arrays)))
