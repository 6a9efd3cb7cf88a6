"""Files that h5py and torch themselves write; skipped where they are not installed."""

from __future__ import annotations

import collections
import io
from typing import Any

import numpy as np
import pytest
import weights_files as files
from weights_files import assert_tiny, tiny_table

from pynst.errors import WeightsError
from pynst.weights.layouts import convert_file

__all__ = ["tiny_table"]

pytestmark = pytest.mark.usefixtures("tiny_table")


def load(data: bytes):
    return convert_file(io.BytesIO(data), None)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="h5py is not installed")


def state(torch):
    """The tiny network as a state dict, with the attribute that modules add."""
    tensors = ((name, torch.from_numpy(array)) for name, array in files.caffe_arrays().items())
    result: Any = collections.OrderedDict(tensors)
    result._metadata = collections.OrderedDict(conv={"version": 1})
    return result


def saved(torch, value, **settings) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **settings)
    return file.getvalue()


BOTH = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])


@BOTH
def test_a_state_dict_of_torch_is_read(torch, new):
    data = saved(torch, state(torch), _use_new_zipfile_serialization=new)
    assert_tiny(load(data).convolutions)


@BOTH
def test_a_checkpoint_of_torch_is_read(torch, new):
    parameters = {name: torch.nn.Parameter(value) for name, value in state(torch).items()}
    optimiser = torch.optim.Adam(parameters.values())
    value = {"epoch": 3, "state_dict": parameters, "optimizer": optimiser.state_dict()}
    data = saved(torch, value, _use_new_zipfile_serialization=new)
    assert_tiny(load(data).convolutions)


@BOTH
def test_views_and_channels_last_of_torch_are_read(torch, new):
    value = state(torch)
    weight = value["conv2_1.weight"]
    value["conv2_1.weight"] = weight.to(memory_format=torch.channels_last)
    both = torch.cat([value["conv1_1.bias"], value["conv1_2.bias"]])
    value["conv1_1.bias"], value["conv1_2.bias"] = both[:4], both[4:]
    data = saved(torch, value, _use_new_zipfile_serialization=new)
    assert_tiny(load(data).convolutions)


@BOTH
@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
def test_number_types_of_torch_are_read(torch, new, kind):
    value = {name: getattr(tensor, kind)() for name, tensor in state(torch).items()}
    got = load(saved(torch, value, _use_new_zipfile_serialization=new)).convolutions
    want = value["conv3_2.weight"].float().numpy()
    np.testing.assert_array_equal(got["conv3_2"][0], want)


@BOTH
def test_a_whole_model_of_torch_is_refused(torch, new):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    data = saved(torch, model, _use_new_zipfile_serialization=new)
    with pytest.raises(WeightsError, match=r"save its state_dict\(\) instead"):
        load(data)


def test_protocol_4_of_torch_is_read(torch):
    assert_tiny(load(saved(torch, state(torch), pickle_protocol=4)).convolutions)


def test_torch_reads_what_the_tests_write(torch):
    for data in (files.pth(files.caffe_arrays()), files.legacy_pth(files.caffe_arrays())):
        got = torch.load(io.BytesIO(data), weights_only=True)
        np.testing.assert_array_equal(
            got["conv5_4.bias"].numpy(), files.caffe_arrays()["conv5_4.bias"]
        )


@pytest.mark.parametrize("version", ["earliest", "latest", "v108", "v110"])
def test_a_file_of_h5py_is_read(h5py, version):
    file = io.BytesIO()
    arrays = files.keras_arrays("/", "kernel:0", "bias:0")
    with h5py.File(file, "w", libver=version) as writer:
        blocks = [writer.create_group(f"block{block}") for block in range(1, 6)]
        for path, array in arrays.items():
            # Groups of more than eight members are of another kind in the newer versions.
            data = blocks[int(path[5]) - 1].create_dataset(path, data=array)
            data.parent.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
        writer.attrs["layer_names"] = [b"x" * 20] * 22
        writer["link"] = h5py.SoftLink("/nowhere")
        writer["text"] = "not a number"
        writer["whole"] = np.arange(3)
    assert_tiny(load(file.getvalue()).convolutions)


def test_a_file_as_keras_writes_it_with_h5py_is_read(h5py):
    file = io.BytesIO()
    with h5py.File(file, "w") as writer:
        for path, array in files.keras_arrays("/", "kernel:0", "bias:0").items():
            group = writer.require_group(path.split("/")[0])
            data = group.create_dataset(path, array.shape, dtype=array.dtype)
            data[:] = array
        for layer in ("input_1", "block1_pool", "block2_pool", "block3_pool"):
            writer.create_group(layer).attrs["weight_names"] = []
        writer.attrs["backend"] = b"tensorflow"
    assert_tiny(load(file.getvalue()).convolutions)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ({"compression": "gzip"}, "compressed or lies in another file"),
        ({"chunks": True}, "stored in chunks"),
        ({"external": "elsewhere.bin"}, "compressed or lies in another file"),
    ],
)
def test_unusual_storage_of_h5py_is_refused(h5py, tmp_path, monkeypatch, storage, message):
    monkeypatch.chdir(tmp_path)  # where the external file is made
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as writer:
        writer.create_dataset("a", data=np.ones((4, 4), np.float32), **storage)
    with pytest.raises(WeightsError, match=message):
        load(path.read_bytes())


def test_many_members_in_a_newer_file_of_h5py_are_refused(h5py):
    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as writer:
        for path, array in files.keras_arrays("/", "kernel:0", "bias:0").items():
            writer[path] = array
    with pytest.raises(WeightsError, match="write it with h5py's default libver"):
        load(file.getvalue())


def test_h5py_reads_what_the_tests_write(h5py):
    arrays = files.keras_arrays("/", "kernel:0", "bias:0")
    with h5py.File(io.BytesIO(files.keras_h5(arrays))) as file:
        for path, array in arrays.items():
            np.testing.assert_array_equal(file[path][()], array)
