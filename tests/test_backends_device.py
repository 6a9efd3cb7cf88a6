"""What the CUDA backend takes from CuPy, and what it says where something is missing.

CuPy and the driver are played by `FakeCupy`, over the memory of the host.
"""

from __future__ import annotations

import ctypes
import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from cuda_on_cpu.build import load

from pynst import BackendError, Objective, stylize
from pynst.backends.cuda import CudaBackend
from pynst.backends.device import CupyDevice, DeviceArray

NULL_STREAM, OTHER_STREAM = 0, 7


class CudaError(RuntimeError):
    pass


class Memory:
    """What `cupy.cuda.alloc` returns: it gives the memory back when it is gone."""

    def __init__(self, nbytes):
        raw = np.full(nbytes + 512, 0xFF, np.uint8)
        self.values = raw[-raw.ctypes.data % 512 :][:nbytes]
        self.ptr = self.values.ctypes.data


class FakeCupy:
    """CuPy's memory, streams and graphs, as far as PyNST uses them; refuses what a GPU refuses."""

    def __init__(self, room=2**30):
        self.room = room
        self.current = NULL_STREAM
        self.graph = None
        runtime = SimpleNamespace(
            CUDARuntimeError=CudaError, memcpyHostToDevice=1, memcpyDeviceToHost=2,
            getDevice=lambda: 0, memGetInfo=lambda: (self.room, 2 * self.room),
            memcpyAsync=self.memcpy, memsetAsync=self.memset, streamSynchronize=self.synchronize,
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=runtime, alloc=self.alloc, Stream=self.stream,
            alloc_pinned_memory=lambda nbytes: Memory(nbytes).values,
            get_current_stream=lambda: SimpleNamespace(ptr=self.current),
        )  # fmt: skip

    def get_default_memory_pool(self):
        return SimpleNamespace(free_bytes=lambda: 0)

    def alloc(self, nbytes):
        if nbytes > self.room:
            raise MemoryError("out of memory allocating bytes")
        return Memory(nbytes)

    def do(self, stream, work):
        assert stream == self.current
        if self.graph is None:
            work()
        else:
            self.graph.append(work)

    def memcpy(self, target, source, nbytes, kind, stream):
        assert kind in (1, 2)
        assert not (self.graph is not None and kind == 1), "pageable memory in a graph"
        self.do(stream, lambda: ctypes.memmove(target, source, nbytes))

    def memset(self, target, value, nbytes, stream):
        self.do(stream, lambda: ctypes.memset(target, value, nbytes))

    def synchronize(self, stream):
        if self.graph is not None:
            raise CudaError("operation not permitted when stream is capturing")

    def stream(self, non_blocking=False):
        assert non_blocking, "a blocking stream waits for the default stream"
        return FakeStream(self)


class FakeStream:
    def __init__(self, cupy):
        self._cupy = cupy

    def __enter__(self):
        self._before, self._cupy.current = self._cupy.current, OTHER_STREAM

    def __exit__(self, *exception):
        self._cupy.current = self._before

    def begin_capture(self):
        self._cupy.graph = []

    def end_capture(self):
        graph, self._cupy.graph = self._cupy.graph, None
        return SimpleNamespace(launch=lambda: [work() for work in graph])


class FakeCore:
    """The compiled module with a driver and a device; its launches go by FakeCupy's stream."""

    architectures = "80-real 90"

    def __init__(self, module, cupy, **found):
        self._module, self._cupy = module, cupy
        self.CudaError = module.CudaError
        found = {"driver": 13000, "built": 13000, "count": 1, "capability": (9, 0), **found}
        self.driver_version = lambda: found["driver"]
        self.runtime_version = lambda: found["built"]
        self.device_count = lambda: found["count"]
        self.device = lambda index: {"name": "NVIDIA X", "capability": found["capability"]}

    def __getattr__(self, name):
        op = getattr(self._module, name)
        if name.endswith("_scratch"):
            return op
        return lambda *arguments: self._cupy.do(arguments[-1], lambda: op(*arguments))


@pytest.fixture(scope="module")
def module():
    return load()


@pytest.fixture
def machine(module, monkeypatch):
    """Makes a machine; what is given stands for properties of it, or for a module of that name."""
    really = importlib.import_module

    def make(cupy=None, **found):
        cupy = cupy or FakeCupy()
        core = FakeCore(module, cupy, **found)
        parts = {"pynst._cuda": core, "cupy": cupy, **found}

        def import_module(name):
            part = parts.get(name) or really(name)
            if isinstance(part, Exception):
                raise part
            return part

        monkeypatch.setattr(importlib, "import_module", import_module)
        return cupy

    return make


def test_the_backend_names_device_and_precision(machine):
    machine()
    assert CudaBackend(device=CupyDevice()).name == "cuda (NVIDIA X, fast)"
    assert CudaBackend("accurate", "simt", CupyDevice()).name == "cuda (NVIDIA X, accurate, simt)"


def test_an_objective_runs_eagerly_recorded_and_replayed_through_cupy(machine):
    cupy = machine()
    device = CupyDevice()
    recorded = []
    record = device.capture
    device.capture = lambda work: recorded.append(record(work)) or recorded[-1]
    objective = Objective(
        picture(0, 32, 27), picture(1, 32, 32), image_size=32,
        network=tiny_vgg19(CudaBackend("accurate", device=device)),
    )  # fmt: skip
    x = picture(2, *objective.shape[:2])
    found = [objective(x) for _ in range(3)]
    assert len(recorded) == 1
    assert cupy.current == NULL_STREAM
    assert found[1][0] == found[2][0]
    np.testing.assert_array_equal(found[1][1], found[2][1])
    wanted, gradient = Objective(
        picture(0, 32, 27), picture(1, 32, 32), image_size=32, network=tiny_vgg19()
    )(x)
    assert found[2][0] == pytest.approx(wanted, rel=1e-5)
    assert np.linalg.norm(found[2][1] - gradient) < 3e-2 * np.linalg.norm(gradient)


def test_an_error_while_recording_ends_the_recording(machine):
    cupy = machine()
    device = CupyDevice()
    with pytest.raises(BackendError, match="an op failed on NVIDIA X: operation not permitted"):
        device.capture(device.synchronize)
    assert cupy.graph is None
    assert cupy.current == NULL_STREAM
    device.synchronize()


def test_out_of_memory_says_how_much_was_asked_for_and_is_free(machine):
    machine(FakeCupy(room=8 * 10**6))
    backend = CudaBackend(device=CupyDevice())
    assert backend.free_memory() == 8 * 10**6
    with pytest.raises(
        BackendError,
        match=r"out of memory on NVIDIA X: 64 MB were asked for, 8 of 16 MB are free; a smaller"
        r" image_size needs less",
    ):
        backend.allocate(64 * 10**6)


def test_a_run_that_does_not_fit_on_the_device_is_refused_before_it_begins(machine, monkeypatch):
    machine(FakeCupy(room=8 * 10**6))
    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", CupyDevice)
    pictures = picture(0, 40, 40), picture(1, 40, 40)
    with pytest.raises(
        BackendError,
        match=r"image_size=400 needs about .* and 8 MB are free on cuda \(NVIDIA X, fast\);"
        r" image_size=\d+ would fit$",
    ):
        stylize(*pictures, network="builtin", backend="cuda", image_size=400, iterations=1)


def test_a_launch_that_fails_names_the_op(machine, module):
    machine()
    backend = CudaBackend(device=CupyDevice())

    def refuse(*arguments):
        raise module.CudaError("pool2x2: an illegal memory access was encountered")

    backend.device.core.pool2x2 = refuse
    with pytest.raises(BackendError, match="cuda: pool2x2: an illegal memory access"):
        backend.pool2x2(None, "max", None, None)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"pynst._cuda": ImportError("No module named 'pynst._cuda'")},
         r"built without its CUDA core \(No module.*PYNST_CUDA=ON"),
        ({"driver": 0}, "no NVIDIA driver was found on this machine"),
        ({"driver": 12040}, r"driver goes up to CUDA 12\.4, and PyNST was built with CUDA 13\.0"),
        ({"count": 0}, "finds no device .*CUDA_VISIBLE_DEVICES"),
        ({"cupy": ImportError("No module named 'cupy'")},
         r"CuPy cannot be imported \(No module.*pip install 'pynst-stylize\[cuda13\]'"),
        ({"cupy": ImportError("no"), "built": 12080}, r"pip install 'pynst-stylize\[cuda12\]'"),
        ({"cupy": RuntimeError("its folder is damaged")}, "its folder is damaged"),
        ({"capability": (7, 0)}, r"NVIDIA X has compute capability 7\.0, PyNST needs 7\.5"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_what_helps(machine, found, message):
    machine(**found)
    with pytest.raises(BackendError, match=f"backend 'cuda' is not available: .*{message}"):
        CupyDevice()


def test_a_module_without_code_for_the_device_says_how_to_build_it(machine, module, monkeypatch):
    machine(capability=(8, 6))

    def refuse(self, name):
        def launch(*arguments):
            raise module.CudaError(f"{name}: no kernel image is available for execution")

        return launch

    monkeypatch.setattr(FakeCore, "__getattr__", refuse)
    with pytest.raises(
        BackendError,
        match=r"compute capability 8\.6, and PyNST was built for 80-real 90 \(gradient_scale_begin:"
        r" no kernel image.*PYNST_CUDA_ARCHITECTURES=86",
    ):
        CupyDevice()


def test_a_driver_that_fails_is_quoted(machine, module, monkeypatch):
    machine()
    core = importlib.import_module("pynst._cuda")

    def fail():
        raise module.CudaError("device_count: initialization error")

    monkeypatch.setattr(core, "device_count", fail)
    with pytest.raises(BackendError, match="device_count: initialization error"):
        CupyDevice()


def test_arrays_are_seen_by_other_libraries(machine):
    machine()
    device = CupyDevice()
    block = device.allocate(48)
    array = DeviceArray(block.owner, block.pointer, np.float32, (3, 4))
    assert array.__cuda_array_interface__ == {
        "shape": (3, 4), "typestr": "<f4", "data": (block.pointer, False), "version": 3
    }  # fmt: skip
