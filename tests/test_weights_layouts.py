"""Files of every known layout come to one convention, and no others do."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import weights_files as files
from conftest import MEAN, tiny_convolutions
from weights_files import assert_tiny, tiny_table

from pynst.errors import WeightsError
from pynst.weights import VGG19Weights, layouts, list_sources, load_weights

__all__ = ["tiny_table"]


@pytest.fixture
def stored(tmp_path, tiny_table):
    """Write bytes to a file and return its path."""

    def write(data: bytes, name: str = "weights.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


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
    assert weights.sha256 == VGG19Weights(tiny_convolutions(), MEAN).sha256
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


# ---- torchvision's names: prefixes, and whose training it is -------------------------------------


def prefixed(prefix: str, *, classifier: str = "") -> dict[str, np.ndarray]:
    """The tiny network with torchvision's names below a prefix; BGR, as the original is."""
    arrays = files.torch_arrays(bgr=True)
    dense = arrays.pop("classifier.0.weight")
    renamed = {f"{prefix}{name.removeprefix('features.')}": arrays[name] for name in arrays}
    return {**renamed, **({classifier: dense} if classifier else {})}


PREFIXES = (
    "features.", "module.features.", "model.features.", "vgg.features.", "net.features.",
    "model.module.vgg19.features.", "vgg.", "module.", "",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_state_dicts_with_a_prefix_are_read(stored, prefix):
    path = stored(files.pth(prefixed(prefix, classifier="classifier.3.weight")))
    assert_tiny(load_weights(path, training="oxford").convolutions)
    # The converted original kept another numbering of its classifier, whatever the prefix.
    path = stored(files.pth(prefixed(prefix, classifier="model.classifier.1.weight")))
    assert load_weights(path).training == "oxford"


def test_two_networks_in_one_file_are_ambiguous_and_a_head_is_none(stored):
    both = {**prefixed("student.features."), **prefixed("teacher.features.")}
    with pytest.raises(WeightsError, match=r"ambiguous: .* below 'student.features.' and 'teacher"):
        load_weights(stored(files.pth(both)), training="oxford")
    head = {f"head.{n}.weight": np.ones((2, 2), np.float32) for n in (0, 2, 5)}
    path = stored(files.pth({**head, **prefixed("vgg.")}))
    assert_tiny(load_weights(path, training="oxford").convolutions)


def test_the_original_training_is_known_by_its_first_biases(stored):
    arrays = prefixed("model.features.")
    arrays["model.features.0.bias"] = np.array(layouts._OXFORD_BIAS, np.float16)
    assert load_weights(stored(files.pth(arrays))).training == "oxford"
    arrays["model.features.0.bias"] = np.array([0.73, 0.06, 0.03, -0.82], np.float32)
    with pytest.raises(WeightsError, match="neither torchvision's published file"):
        load_weights(stored(files.pth(arrays)))


def test_the_file_of_neural_style_pt_is_known(stored):
    known = "dd893d447ece014ad32d71b8d32b1e0b5c09b912a2866990c286fdeebd368d74"
    assert layouts._KNOWN_FILES[known] == "oxford"


def test_the_question_whose_training_it_is_can_be_answered_in_every_command(stored):
    with pytest.raises(WeightsError) as caught:
        load_weights(stored(files.pth(prefixed("vgg."))))
    assert '"pynst weights import FILE --training oxford" (or torchvision)' in str(caught.value)
    assert 'in Python, say training="torchvision" or training="oxford"' in str(caught.value)


def test_an_average_image_that_unpacks_to_gigabytes_is_refused(stored):
    arrays = {}
    for name, (weight, bias) in tiny_convolutions().items():
        arrays[f"{name}.filters"] = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        arrays[f"{name}.biases"] = bias
    arrays["mean"] = np.zeros((2_000_000, 3), np.float32)
    with pytest.raises(WeightsError, match=r"the average image has the shape \(2000000, 3\)"):
        load_weights(stored(files.npz(arrays, compressed=True)))


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


def test_layout_sources_are_the_titles_of_the_manifest(stored):
    made = {load_weights(stored(make())).source for make in LAYOUTS.values()}
    for training in ("oxford", "torchvision"):
        path = stored(files.pth(files.torch_arrays()))
        made.add(load_weights(path, training=training).source)
    made.add(load_weights(stored(files.wheel())).source)
    titles = {source.title for source in list_sources()}
    assert titles <= made
    assert layouts.OXFORD_LICENCE in {source.licence for source in list_sources()}
