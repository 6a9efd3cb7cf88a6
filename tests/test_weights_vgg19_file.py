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
    cache_directory,
    find_weights,
    layouts,
    list_sources,
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


# ---- one convention for all layouts -------------------------------------------------------------

LAYOUTS = {
    "keras npz": lambda: files.npz(files.keras_arrays()),
    "keras h5": lambda: files.keras_h5(files.keras_arrays("/", "kernel:0", "bias:0")),
    "caffe npz": lambda: files.npz(files.caffe_arrays(), compressed=True),
    "caffe pth": lambda: files.pth(files.caffe_arrays()),
    "caffe legacy pth": lambda: files.legacy_pth(files.caffe_arrays()),
    "caffe safetensors": lambda: files.safetensors(files.caffe_arrays()),
    "matconvnet": files.matconvnet,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_one_network_gives_the_same_weights(stored, layout):
    weights = load_weights(stored(LAYOUTS[layout]()))
    assert_tiny(weights.convolutions)
    np.testing.assert_array_equal(weights.mean, MEAN)
    assert weights.training == "oxford"
    assert weights.sha256 == tiny_weights().sha256
    assert "Oxford" in weights.licence


def test_torchvision_and_pynst_compute_the_same_first_layer(stored):
    # Both conventions, carried out on one picture: torchvision's on (x - mean) / deviation, PyNST's
    # on 255 x - mean. Zero padding pads zeros after the mean is subtracted, in both.
    arrays = files.torch_arrays()
    weights = load_weights(stored(files.pth(arrays)), training="torchvision")
    assert weights.training == "torchvision"
    assert "torchvision" in weights.source
    x = np.random.default_rng(2).random((3, 3, 3))  # (H, W, RGB): one position of a 3 x 3 filter
    their_input = (x - files.TORCHVISION_MEAN) / files.TORCHVISION_DEVIATION
    theirs = np.einsum("nchw,hwc->n", arrays["features.0.weight"].astype(float), their_input)
    ours = np.einsum(
        "nchw,hwc->n", weights.convolutions["conv1_1"][0].astype(float), 255 * x - weights.mean
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    others = [name for name in weights.convolutions if name != "conv1_1"]
    for name in others:
        np.testing.assert_array_equal(weights.convolutions[name][0], tiny_convolutions()[name][0])


def test_torchvision_names_alone_do_not_say_whose_weights_they_are(stored):
    path = stored(files.pth(files.torch_arrays(bgr=True)))
    with pytest.raises(WeightsError, match='say training="torchvision" or training="oxford"'):
        load_weights(path)
    assert_tiny(load_weights(path, training="oxford").convolutions)


def test_the_classifier_of_the_converted_original_tells_it_apart(stored):
    arrays = files.torch_arrays(bgr=True)
    arrays["classifier.1.weight"] = arrays.pop("classifier.0.weight")
    weights = load_weights(stored(files.pth(arrays)))
    assert weights.training == "oxford"
    assert_tiny(weights.convolutions)


@pytest.mark.parametrize("training", ["oxford", "torchvision"])
def test_a_published_file_is_known_by_its_checksum(stored, monkeypatch, training):
    data = files.pth(files.torch_arrays())
    known = {hashlib.sha256(data).hexdigest()[:8]: training}
    monkeypatch.setattr("pynst.weights.layouts._KNOWN_FILES", known)
    assert load_weights(stored(data)).training == training


def test_a_training_that_contradicts_the_file_is_refused(stored):
    path = stored(files.npz(files.keras_arrays()))
    assert load_weights(path, training="oxford").training == "oxford"
    with pytest.raises(WeightsError, match="is of the training oxford, not 'torchvision'"):
        load_weights(path, training="torchvision")
    with pytest.raises(WeightsError, match=r"training must be .*, got 'mine'"):
        load_weights(path, training="mine")


def test_half_and_double_precision_become_single(stored):
    arrays = {name: array.astype("f2") for name, array in files.caffe_arrays().items()}
    weights = load_weights(stored(files.safetensors(arrays)))
    np.testing.assert_array_equal(
        weights.convolutions["conv4_2"][0], arrays["conv4_2.weight"].astype("f4")
    )
    arrays = {name: array.astype(">f8") for name, array in files.caffe_arrays().items()}
    assert_tiny(load_weights(stored(files.npz(arrays))).convolutions)


def test_numbers_too_large_for_single_precision_are_refused(stored):
    arrays = {name: array.astype("f8") for name, array in files.caffe_arrays().items()}
    arrays["conv2_2.weight"][0, 0, 0, 0] = 1e300
    with pytest.raises(WeightsError, match="conv2_2: weight holds numbers that are not finite"):
        load_weights(stored(files.npz(arrays)))


def test_a_file_up_to_conv5_1_is_enough_and_one_layer_less_is_not(stored):
    arrays = files.caffe_arrays()
    for name in ("conv5_4", "conv5_3", "conv5_2"):
        del arrays[f"{name}.weight"], arrays[f"{name}.bias"]
    weights = load_weights(stored(files.npz(arrays)))
    assert list(weights.convolutions)[-1] == "conv5_1"
    assert len(weights.convolutions) == 13
    del arrays["conv5_1.bias"]
    with pytest.raises(WeightsError, match="is not VGG-19: it holds 13 3 x 3 convolutions"):
        load_weights(stored(files.npz(arrays)))


def test_a_gap_in_the_network_is_refused(stored):
    arrays = files.caffe_arrays()
    del arrays["conv5_2.weight"]
    with pytest.raises(WeightsError, match="is not VGG-19"):
        load_weights(stored(files.npz(arrays)))


def test_other_networks_are_named(stored):
    with pytest.raises(WeightsError, match="is not VGG-19: it looks like VGG-16"):
        load_weights(stored(files.pth(files.vgg16_arrays())))
    arrays = files.torch_arrays()
    del arrays["features.5.weight"]
    arrays["features.1.running_mean"] = np.ones(4, np.float32)
    with pytest.raises(WeightsError, match="batch normalisation"):
        load_weights(stored(files.pth(arrays)))
    with pytest.raises(WeightsError, match=r"it holds 1 arrays \('x' ...\) and no 3 x 3"):
        load_weights(stored(files.npz({"x": np.ones(3, "f4")})))


def test_the_real_table_is_compared_without_the_patch(tmp_path):
    path = tmp_path / "tiny.npz"
    path.write_bytes(files.npz(files.keras_arrays()))
    with pytest.raises(WeightsError, match=r"must be floats of shape \(3, 3, 3, 64\)"):
        load_weights(path)


def test_one_array_of_a_wrong_shape_or_type_is_named(stored):
    arrays = files.caffe_arrays()
    arrays["conv3_2.bias"] = arrays["conv3_2.bias"][:-1]
    with pytest.raises(WeightsError, match=r"'conv3_2.bias' must be floats of shape \(16,\)"):
        load_weights(stored(files.npz(arrays)))
    arrays = files.caffe_arrays()
    arrays["conv3_2.bias"] = np.ones(16, np.int64)
    with pytest.raises(WeightsError, match=r"'conv3_2.bias' must be floats .* is int64"):
        load_weights(stored(files.npz(arrays)))


def test_two_arrays_for_one_layer_are_refused(stored):
    arrays = files.keras_arrays()
    arrays["block1_conv1/kernel:0"] = arrays["block1_conv1_kernel"]
    with pytest.raises(WeightsError, match="ambiguous"):
        load_weights(stored(files.safetensors(arrays)))


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


def test_infinite_numbers_raise_no_warning(stored):
    arrays = files.caffe_arrays()
    arrays["conv1_1.weight"] = arrays["conv1_1.weight"].astype("f8")
    arrays["conv1_1.weight"][0] = np.array([np.nan, np.inf, -np.inf]).reshape(3, 1, 1)
    with pytest.raises(WeightsError, match="conv1_1: weight holds numbers that are not finite"):
        load_weights(stored(files.npz(arrays)))


def test_a_huge_file_is_not_read_to_its_end_to_know_it(stored, monkeypatch):
    monkeypatch.setattr("pynst.weights.layouts._LARGEST_KNOWN", 1000)
    data = files.pth(files.torch_arrays())
    monkeypatch.setattr(
        "pynst.weights.layouts._KNOWN_FILES", {hashlib.sha256(data).hexdigest(): "oxford"}
    )
    with pytest.raises(WeightsError, match="say training="):
        load_weights(stored(data))


def test_the_cache_is_the_users_unless_named(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("PYNST_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory().name.lower() in ("pynst", "cache")
    if sys.platform.startswith("linux"):
        assert cache_directory() == tmp_path / "xdg" / "pynst"


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


def test_layout_sources_are_the_titles_of_the_manifest(stored):
    made = {load_weights(stored(make())).source for make in LAYOUTS.values()}
    for training in ("oxford", "torchvision"):
        path = stored(files.pth(files.torch_arrays()))
        made.add(load_weights(path, training=training).source)
    titles = {source.title for source in list_sources()}
    assert titles <= made
    assert layouts.OXFORD_LICENCE in {source.licence for source in list_sources()}


def test_the_saved_file_has_an_ordinary_mode(tmp_path):
    save_weights(tiny_weights(), tmp_path / "own.npz")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "own.npz").stat().st_mode) == 0o666 & ~mask
