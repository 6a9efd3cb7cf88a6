"""VGG19Weights, and loading, saving, finding and verifying files."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import weights_files as files
from conftest import MEAN, tiny_convolutions
from weights_files import assert_tiny, tiny_table  # noqa: F401

from pynst.errors import WeightsError
from pynst.weights import (
    VGG19_CONVOLUTIONS,
    VGG19Weights,
    load_weights,
    save_weights,
    verify_weights,
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


# ---- VGG19Weights -------------------------------------------------------------------------------


def test_the_table_is_that_of_the_paper():
    table = VGG19_CONVOLUTIONS
    assert table is VGG19_CONVOLUTIONS
    assert len(table) == 16
    assert table["conv1_1"] == (64, 3)
    assert table["conv3_1"] == (256, 128)
    assert table["conv5_4"] == (512, 512)
    numbers = sum(N * (9 * C + 1) for N, C in table.values())
    assert numbers == 20_024_384  # of the 143 667 240 of VGG-19 with its classifier


def test_convolutions_are_put_in_the_order_of_the_network():
    shuffled = dict(reversed(tiny_convolutions().items()))
    weights = VGG19Weights(shuffled, MEAN)
    assert list(weights.convolutions) == list(VGG19_CONVOLUTIONS)


def test_the_checksum_is_of_the_numbers_and_the_mean_alone():
    weights = tiny_weights()
    digest = hashlib.sha256(np.asarray(MEAN, "<f4").tobytes())
    for weight, bias in tiny_convolutions().values():
        digest.update(weight.tobytes() + bias.tobytes())
    assert weights.sha256 == digest.hexdigest()
    assert tiny_weights(source="another", licence="another").sha256 == weights.sha256
    changed = tiny_convolutions()
    changed["conv5_4"][1][-1] += 1e-6
    assert VGG19Weights(changed, MEAN).sha256 != weights.sha256
    assert VGG19Weights(tiny_convolutions(), (1.0, 2.0, 3.0)).sha256 != weights.sha256


def test_fortran_order_does_not_change_the_checksum():
    convolutions = {
        name: (np.asfortranarray(weight), bias)
        for name, (weight, bias) in tiny_convolutions().items()
    }
    assert VGG19Weights(convolutions, MEAN).sha256 == tiny_weights().sha256


def _without(name):
    return {key: value for key, value in tiny_convolutions().items() if key != name}


def _changed(name, weight=None, bias=None):
    convolutions = tiny_convolutions()
    old = convolutions[name]
    convolutions[name] = (old[0] if weight is None else weight, old[1] if bias is None else bias)
    return convolutions


@pytest.mark.parametrize(
    ("convolutions", "message"),
    [
        ({}, "convolutions must be conv1_1 and on"),
        (_without("conv1_1"), "convolutions must be conv1_1 and on"),
        (_without("conv3_2"), "convolutions must be conv1_1 and on"),
        (_changed("conv1_1", weight=np.ones((4, 3, 3, 3))), "must be float32 .*got float64"),
        (_changed("conv1_1", weight=np.ones((4, 1, 3, 3), "f4")), r"\(4, 3, 3, 3\), got float32"),
        (_changed("conv2_1", bias=np.ones((8, 1), "f4")), r"conv2_1: bias must be .*\(8, 1\)"),
        (_changed("conv2_1", bias=np.full(8, np.nan, "f4")), "conv2_1: bias .*not finite"),
        (_changed("conv2_1", weight=np.full((8, 4, 3, 3), np.inf, "f4")), "not finite"),
        (_changed("conv2_1", weight=np.zeros((8, 4, 3, 3), "f4")), "all weights are zero"),
    ],
)
def test_arrays_that_are_no_such_network_are_refused(convolutions, message):
    with pytest.raises(WeightsError, match=message):
        VGG19Weights(convolutions, MEAN)


@pytest.mark.parametrize("mean", [(1.0, 2.0, 300.0), (float("nan"), 1.0, 2.0), (-1.0, 1.0, 2.0)])
def test_a_mean_outside_the_range_of_pixels_is_refused(mean):
    with pytest.raises(WeightsError, match="mean must be three numbers"):
        VGG19Weights(tiny_convolutions(), mean)


def test_an_unknown_training_is_refused():
    with pytest.raises(WeightsError, match=r"training must be one of .*'mine'"):
        tiny_weights(training="mine")


# ---- PyNST's own file ---------------------------------------------------------------------------


def test_saving_and_loading_keeps_everything(tmp_path, tiny_table):  # noqa: F811
    path = tmp_path / "own.npz"
    weights = tiny_weights(training="torchvision")
    save_weights(weights, path)
    loaded = load_weights(path)
    assert_tiny(loaded.convolutions)
    assert loaded.path == path
    for field in ("mean", "source", "training", "licence", "sha256"):
        assert getattr(loaded, field) == getattr(weights, field)
    loaded.convolutions["conv1_1"][0][:] = 0  # the arrays are the caller's


def test_equal_weights_give_equal_bytes_that_numpy_reads(tmp_path):
    save_weights(tiny_weights(), tmp_path / "a.npz")
    save_weights(tiny_weights(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        record = json.loads(arrays["pynst"].tobytes())
        np.testing.assert_array_equal(arrays["conv4_1.weight"], tiny_convolutions()["conv4_1"][0])
    assert record == {
        "format": 1,
        "mean": list(MEAN),
        "source": "a test",
        "training": "oxford",
        "licence": "none",
        "sha256": tiny_weights().sha256,
    }


def test_importing_a_file_and_its_own_copy_have_one_checksum(stored, tmp_path):
    imported = load_weights(stored(files.pth(files.caffe_arrays())))
    save_weights(imported, tmp_path / "own.npz")
    assert load_weights(tmp_path / "own.npz").sha256 == imported.sha256


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    path.write_bytes(b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"own.npz: cannot be written: No space left on device"):
        save_weights(tiny_weights(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_saving_where_there_is_no_directory_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="cannot be written"):
        save_weights(tiny_weights(), tmp_path / "none" / "own.npz")


# ---- files that are no weights ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x00", "in no format that PyNST reads"),
        (b"nothing of interest", "in no format that PyNST reads"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x93NUMPY\x01\x00v\x00", "a single NumPy array"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x80\x04\x95\x00\x00", "a Python pickle"),
        (b"sys_info".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "tar archive"),
    ],
)
def test_what_is_no_weights_file_is_named(stored, data, message):
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(stored(data))
    assert "weights.bin" in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        load_weights(tmp_path / "none.npz")
    with pytest.raises(WeightsError, match=r"Is a directory|not a regular file|Permission"):
        load_weights(tmp_path)
    with pytest.raises(WeightsError, match="null"):
        load_weights("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_that_nobody_writes_to_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="not a regular file"):
        load_weights(tmp_path / "pipe")


def test_control_characters_of_a_name_do_not_reach_the_message(tmp_path):
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "a\x1b[2Jb")
    assert str(caught.value).isprintable()


# ---- verify, find -------------------------------------------------------------------------------


def test_verify_says_what_a_file_is(tmp_path, tiny_table):  # noqa: F811
    path = tmp_path / "own.npz"
    save_weights(tiny_weights(), path)
    report = verify_weights(path)
    for part in ("own.npz: VGG-19 with 16 convolutions", "a test", "training: oxford"):
        assert part in report
    assert tiny_weights().sha256 in report
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"own.npz"):
        verify_weights(path)


def test_importing_the_module_loads_no_downloader():
    heavy = "{'pooch', 'requests', 'scipy', 'h5py'}"
    script = f"import sys, pynst.weights.vgg19_file; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# ---- the real network ---------------------------------------------------------------------------


@pytest.mark.weights
def test_the_real_file_loads_and_survives_its_own_format(real_weights, tmp_path):
    weights = load_weights(real_weights)
    shapes = {name: weight.shape[:2] for name, (weight, _) in weights.convolutions.items()}
    assert shapes == dict(VGG19_CONVOLUTIONS)
    assert weights.mean == (123.68, 116.779, 103.939)
    save_weights(weights, tmp_path / "own.npz")
    assert load_weights(tmp_path / "own.npz").sha256 == weights.sha256


@pytest.mark.weights
def test_the_first_layer_of_the_real_file_sees_green_most(real_weights):
    # Luminance is mostly green, so the filters are: this tells RGB from BGR no further than the
    # middle channel, but it does tell channels from rows.
    weight, _ = load_weights(real_weights).convolutions["conv1_1"]
    energy = (weight.astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    assert energy.argmax() == 1


def test_the_saved_file_has_an_ordinary_mode(tmp_path):
    save_weights(tiny_weights(), tmp_path / "own.npz")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "own.npz").stat().st_mode) == 0o666 & ~mask
