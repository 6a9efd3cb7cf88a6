"""What the CUDA backend takes from CuPy, and what it says where something is missing.

CuPy and the driver are played by `FakeCupy`, over the memory of the host.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from cuda_on_cpu.build import load

import pynst.backends
from pynst import BackendError, Objective, stylize
from pynst.backends import open_backend
from pynst.backends.cuda import CudaBackend
from pynst.backends.cupy_device import CupyDevice
from pynst.backends.device import DeviceArray, DeviceError
from pynst.networks.tiling import tiled

NULL_STREAM, OTHER_STREAM = 0, 7


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where a call of CUDA's runtime fails."""

    def __init__(self, name="cudaErrorLaunchFailure", text="unspecified launch failure"):
        super().__init__(f"{name}: {text}")


class OutOfMemoryError(MemoryError):
    """What CuPy's memory pool raises."""


class Memory:
    """What `cupy.cuda.alloc` returns: it gives the memory back when it is gone."""

    def __init__(self, nbytes):
        raw = np.full(nbytes + 512, 0xFF, np.uint8)
        self.values = raw[-raw.ctypes.data % 512 :][:nbytes]
        self.ptr = self.values.ctypes.data


class FakeCupy:
    """CuPy's memory, streams and graphs, as far as PyNST uses them; refuses what a GPU refuses.

    Attributes
    ----------
    calls : list of str
        Names of the calls that CuPy hands on to CUDA, so far.
    broken : str
        From this call on CUDA fails, as after a kernel that faulted.
    devices_used : set of int
        Devices on which something was done.
    """

    def __init__(self, room=2**30, current_device=0):
        self.room = room
        self.current = NULL_STREAM
        self.graph = None
        self.calls, self.broken, self.devices_used, self.streams = [], "", set(), []
        self.thread = threading.local()
        self.thread.device = current_device
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, memcpyHostToDevice=1, memcpyDeviceToHost=2,
            getDevice=self.get_device, memGetInfo=self.get_memory,
            memcpyAsync=self.memcpy, memsetAsync=self.memset, streamSynchronize=self.synchronize,
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=runtime, alloc=self.alloc, Stream=self.stream, Device=self.device,
            alloc_pinned_memory=self.alloc_pinned, get_current_stream=self.get_current_stream,
            Event=lambda disable_timing=False: FakeEvent(self), get_elapsed_time=self.elapsed,
        )  # fmt: skip

    def called(self, name):
        """Note a call, and fail if CUDA is broken from there on."""
        self.calls.append(name)
        if self.broken and self.broken in self.calls:
            raise CUDARuntimeError

    def get_device(self):
        self.called("getDevice")
        return getattr(self.thread, "device", 0)

    @contextmanager
    def device(self, index):
        before = getattr(self.thread, "device", 0)
        self.called("setDevice")
        self.thread.device = index
        try:
            yield
        finally:
            self.thread.device = before

    def get_memory(self):
        self.called("memGetInfo")
        return self.room, 2 * self.room

    def get_current_stream(self):
        self.called("getCurrentStream")
        return SimpleNamespace(ptr=self.current)

    def get_default_memory_pool(self):
        return SimpleNamespace(free_bytes=lambda: 0)

    def alloc(self, nbytes):
        self.called("malloc")
        self.devices_used.add(getattr(self.thread, "device", 0))
        if nbytes > self.room:
            raise OutOfMemoryError("Out of memory allocating bytes")
        return Memory(nbytes)

    def alloc_pinned(self, nbytes):
        self.called("hostAlloc")
        return Memory(nbytes).values

    def do(self, stream, work):
        assert stream == self.current
        self.devices_used.add(getattr(self.thread, "device", 0))
        if self.graph is None:
            work()
        else:
            self.graph.append(work)

    def memcpy(self, target, source, nbytes, kind, stream):
        self.called("memcpyAsync")
        assert kind in (1, 2)
        assert not (self.graph is not None and kind == 1), "pageable memory in a graph"
        self.do(stream, lambda: ctypes.memmove(target, source, nbytes))

    def memset(self, target, value, nbytes, stream):
        self.called("memsetAsync")
        self.do(stream, lambda: ctypes.memset(target, value, nbytes))

    def synchronize(self, stream):
        self.called("streamSynchronize")
        if self.graph is not None:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureUnsupported",
                "operation not permitted when stream is capturing",
            )

    def elapsed(self, start, end):
        self.called("eventElapsedTime")
        assert start.recorded < end.recorded < end.awaited
        return 8.0  # ms

    def stream(self, non_blocking=False):
        self.called("streamCreate")
        assert non_blocking, "a blocking stream waits for the default stream"
        return FakeStream(self)


class FakeEvent:
    def __init__(self, cupy):
        self._cupy = cupy

    def record(self):
        self._cupy.called("eventRecord")
        self.recorded = len(self._cupy.calls)

    def synchronize(self):
        self._cupy.called("eventSynchronize")
        self.awaited = len(self._cupy.calls)


class FakeStream:
    """A stream that can be captured; others that wait for it become branches of the graph."""

    def __init__(self, cupy):
        self._cupy = cupy
        self.ptr = OTHER_STREAM + len(cupy.streams)
        cupy.streams.append(self)
        self.waits_for = set()

    def __enter__(self):
        self._before, self._cupy.current = self._cupy.current, self.ptr

    def __exit__(self, *exception):
        self._cupy.current = self._before

    def record(self, event):
        self._cupy.called("eventRecord")
        event.stream = self
        return event

    def wait_event(self, event):
        self._cupy.called("streamWaitEvent")
        self.waits_for.add(event.stream)

    def begin_capture(self):
        self._cupy.called("streamBeginCapture")
        self._cupy.graph = []

    def end_capture(self):
        graph, self._cupy.graph = self._cupy.graph, None
        self._cupy.called("streamEndCapture")
        branches = {each for each in self._cupy.streams if self in each.waits_for}
        if branches - self.waits_for:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnjoined", "there are unjoined branches")

        def launch():
            self._cupy.called("graphLaunch")
            self._cupy.devices_used.add(getattr(self._cupy.thread, "device", 0))
            for work in graph:
                work()

        return SimpleNamespace(launch=launch)


class FakeCore:
    """The compiled module with a driver and a device; its launches go by FakeCupy's stream."""

    architectures = "80-real 90"

    def __init__(self, module, cupy, **found):
        self._module, self._cupy = module, cupy
        self.CudaError = module.CudaError
        self.EvaluationEnd = module.EvaluationEnd
        found = {"driver": 13000, "built": 13000, "count": 1, "capability": (9, 0), **found}
        self.driver_version = lambda: found["driver"]
        self.runtime_version = lambda: found["built"]
        self.device_count = lambda: found["count"]
        names = ["NVIDIA X", "NVIDIA Y"]
        self.device = lambda index: {"name": names[index], "capability": found["capability"]}
        self.conv3x3_most_clustered = module.conv3x3_most_clustered

    def __getattr__(self, name):
        op = getattr(self._module, name)
        if name.endswith(("_scratch", "_coefficients")) or not callable(op):
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
    with pytest.raises(BackendError, match=r"an op failed on NVIDIA X: .*operation not permitted"):
        device.capture(device.synchronize)
    assert cupy.graph is None
    assert cupy.current == NULL_STREAM
    device.synchronize()


def evaluate_thrice():
    """Everything that PyNST asks of CuPy: memory, copies, launches, a graph, the answer."""
    backend = CudaBackend(device=CupyDevice())
    x, y = (backend.view(backend.allocate(4096), 0, "image", (3, 8, 8)) for _ in range(2))
    backend.upload(np.ones((3, 8, 8)), "image", x)
    losses = backend.empty_losses(1)
    evaluation = backend.repeated(losses)

    def walk():
        cleared = backend.beside(lambda: backend.zero(y))
        cleared()
        backend.total_variation(x, 1.0, y, losses)

    for _ in range(3):
        evaluation(walk)
    assert backend.free_memory() > 0
    assert backend.device.seconds(walk, repeats=4) == 2e-3
    return backend.download_losses(losses)


CALLS = [
    "getDevice", "malloc", "memsetAsync", "getCurrentStream", "streamSynchronize", "memcpyAsync",
    "hostAlloc", "streamCreate", "streamBeginCapture", "streamEndCapture", "graphLaunch",
    "memGetInfo", "eventRecord", "eventSynchronize", "eventElapsedTime",
    "streamWaitEvent",
]  # fmt: skip


def test_the_calls_that_may_fail_are_all_that_are_made(machine):
    cupy = machine()
    np.testing.assert_array_equal(evaluate_thrice(), 0)
    assert set(cupy.calls) == set(CALLS)


def test_windows_need_no_other_calls_and_keep_little_of_the_host_in_flight(machine):
    class Watched(CupyDevice):
        most = 0

        def copy_in(self, values, out):
            super().copy_in(values, out)
            self.most = max(self.most, sum(each.nbytes for each in self._in_flight))

    cupy = machine()
    device = Watched()
    objective = Objective(
        picture(0, 40, 44), picture(1, 52, 50), image_size=44, style_layers=["relu1_1", "relu2_1"],
        content_layers=["relu2_2"], network=tiled(tiny_vgg19(CudaBackend(device=device)), 16),
    )  # fmt: skip
    device.most, x = 0, picture(2, 40, 44)
    assert objective(x)[0] == pytest.approx(objective(x)[0], rel=1e-3)
    assert set(cupy.calls) < set(CALLS)
    assert "streamBeginCapture" not in cupy.calls
    assert 0 < device.most < objective._workspace.plan.nbytes
    assert not device._in_flight


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_call_of_cupy_is_a_backend_error_that_names_the_device(machine, call):
    cupy = machine()
    cupy.broken = call
    with pytest.raises(BackendError, match=r"cudaErrorLaunchFailure") as raised:
        evaluate_thrice()
    device = "the current device" if call == "getDevice" else "NVIDIA X"
    assert device in str(raised.value)
    assert cupy.graph is None


@pytest.mark.parametrize("call", ["getDevice", "malloc", "getCurrentStream", "streamSynchronize"])
def test_auto_leaves_a_busy_or_failing_device_with_one_warning(machine, monkeypatch, caplog, call):
    cupy = machine()
    cupy.broken = call
    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", CupyDevice)
    pynst.backends._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "pynst"):
        for _ in range(2):
            cupy.calls.clear()
            assert open_backend("auto").name.startswith("cpu (")
    [record] = caplog.records
    assert "computing on the CPU: backend 'cuda' is not available" in record.message
    assert "cudaErrorLaunchFailure: unspecified launch failure" in record.message
    with pytest.raises(DeviceError, match="cudaErrorLaunchFailure"):
        open_backend("cuda")


def test_auto_says_that_the_device_is_full(machine, monkeypatch, caplog):
    machine(FakeCupy(room=1))
    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", CupyDevice)
    pynst.backends._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "pynst"):
        assert open_backend("auto").name.startswith("cpu (")
    assert "out of memory on NVIDIA X" in caplog.text


def test_a_machine_without_a_device_is_no_warning(machine, monkeypatch, caplog):
    machine(count=0)
    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", CupyDevice)
    with caplog.at_level(logging.WARNING, "pynst"):
        assert open_backend("auto").name.startswith("cpu (")
    assert not caplog.records


def test_a_backend_stays_on_its_device_whatever_device_a_thread_has(machine):
    cupy = machine(FakeCupy(current_device=1))
    backend = CudaBackend(device=CupyDevice())
    assert backend.name == "cuda (NVIDIA Y, fast)"
    found = []

    def work():
        x = backend.view(backend.allocate(4096), 0, "image", (3, 8, 8))
        y = backend.view(backend.allocate(4096), 0, "image", (3, 4, 4))
        backend.upload(np.ones((3, 8, 8)), "image", x)
        backend.device.capture(lambda: backend.binomial_down(x, y))()
        found.append(backend.download(y, "image", (3, 4, 4)))
        found.append(cupy.get_device())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], 1)
    assert found[1] == 0, "the thread has its own device again"
    assert cupy.devices_used == {1}


def test_a_branch_has_a_stream_of_its_own_until_it_is_joined(machine):
    cupy = machine()
    device = CupyDevice()
    streams = []

    def work():
        joined = device.beside(lambda: streams.append(device.stream))
        streams.append(device.stream)
        joined()

    device.capture(work)
    assert len({*streams, NULL_STREAM}) == 3
    with pytest.raises(BackendError, match="there are unjoined branches"):
        device.capture(lambda: device.beside(lambda: None))
    device.beside(lambda: streams.append(device.stream))()
    assert streams[-1] == NULL_STREAM, "nothing is captured: at once"
    assert cupy.current == NULL_STREAM


def test_work_is_timed_as_a_graph_that_repeats_it(machine):
    cupy = machine()
    device = CupyDevice()
    done = []
    cupy.calls.clear()
    device.seconds(lambda: device._cupy.do(device.stream, lambda: done.append(1)), repeats=5)
    assert len(done) == 1 + 5 + 5, "once before, then the graph to warm up and to be timed"
    assert cupy.calls.count("graphLaunch") == 2


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
        match=r"compute capability 8\.6, and PyNST was built for 80-real 90 \(evaluation_end:"
        r" no kernel image.*PYNST_CUDA_ARCHITECTURES=86",
    ):
        CupyDevice()


def test_a_kernel_image_apart_other_failures_of_the_first_launch_are_quoted(machine, monkeypatch):
    machine()
    core = importlib.import_module("pynst._cuda")

    def fail(*arguments):
        raise core.CudaError("evaluation_end: the launch timed out")

    monkeypatch.setattr(core, "evaluation_end", fail, raising=False)
    with pytest.raises(DeviceError, match=r"NVIDIA X cannot be used now: .*the launch timed"):
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
