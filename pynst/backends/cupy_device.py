"""Memory, streams and graphs of a CUDA device: all that PyNST takes from CuPy.

CuPy's own arithmetic is never used: it is compiled when it is first called, and for that needs a
CUDA toolkit. So a driver and CuPy's one package are enough to run PyNST on a GPU.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from pynst.backends.device import DeviceArray, DeviceError, Repeated
from pynst.errors import BackendError
from pynst.version import __version__

__all__ = ["CupyDevice"]

_OLDEST = (7, 5)
_BYTE, _FLOAT = np.dtype(np.uint8), np.dtype(np.float32)
_NAMES_IT = "; CUDA_LAUNCH_BLOCKING=1 in the environment makes the message name it"
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def _named(
    what: str, help: str = ""
) -> Callable[
    [Callable[Concatenate[CupyDevice, _Given], _Result]],
    Callable[Concatenate[CupyDevice, _Given], _Result],
]:
    """Let a method run on its own device, whatever device is current, and name what fails."""

    def decorate(
        method: Callable[Concatenate[CupyDevice, _Given], _Result],
    ) -> Callable[Concatenate[CupyDevice, _Given], _Result]:
        @wraps(method)
        def call(device: CupyDevice, /, *given: _Given.args, **named: _Given.kwargs) -> _Result:
            try:
                if device._runtime.getDevice() == device._index:  # it nearly always is
                    return method(device, *given, **named)
                with device._cupy.cuda.Device(device._index):
                    return method(device, *given, **named)
            except device.errors as error:
                raise DeviceError(f"cuda: {what} failed on {device.name}: {error}{help}") from error

        return call

    return decorate


class CupyDevice:
    """The CUDA device that is current, through CuPy; implements `Device`.

    It stays the same device, whatever device is current in the thread that calls it.

    Raises
    ------
    BackendError
        Something is missing; the message says what, and what helps.
    DeviceError
        There is a device, which is busy, full or failing.
    """

    def __init__(self) -> None:
        self.core = _load_core()
        _need_driver(self.core)
        self._cupy = _load_cupy(self.core)
        self._runtime = self._cupy.cuda.runtime
        self._current_stream = self._cupy.cuda.get_current_stream
        self._alloc = self._cupy.cuda.alloc
        self.errors: tuple[type[Exception], ...] = (
            self._runtime.CUDARuntimeError,
            self.core.CudaError,
        )
        self.name = "the current device"
        self._in_flight: list[NDArray[Any]] = []
        self._captured: tuple[Any, Any] | None = None  # the streams of a graph and of its branches
        try:
            self._index = self._runtime.getDevice()
            found = self.core.device(self._index)
            self.name = found["name"]
            self.identity = (
                f"{self.name}, driver {_version(self.core.driver_version())}, CUDA"
                f" {_version(self.core.runtime_version())}, PyNST {__version__}"
            )
            _need_capability(self.name, found["capability"])
            self._probe(found["capability"])
            self.most_clustered = int(self.core.conv3x3_most_clustered())
        except (*self.errors, DeviceError) as error:
            reason = str(error).removeprefix("cuda: ")
            raise DeviceError(
                f"backend 'cuda' is not available: {self.name} cannot be used now: {reason}"
            ) from error

    @property
    def stream(self) -> int:
        """Handle of the stream that is current in this thread."""
        handle: int = self._current_stream().ptr
        return handle

    def launch(self, op: str, *arguments: Any) -> None:
        run = getattr(self.core, op)
        try:
            if self._runtime.getDevice() == self._index:  # it nearly always is
                run(*arguments, self._current_stream().ptr)
            else:
                with self._cupy.cuda.Device(self._index):
                    run(*arguments, self._current_stream().ptr)
        except self.errors as error:
            raise BackendError(f"cuda: {error}") from error

    @_named("asking for free memory")
    def memory(self) -> tuple[int, int]:
        free, total = self._runtime.memGetInfo()
        # what CuPy's pool holds and nobody uses can be had again
        return int(free + self._cupy.get_default_memory_pool().free_bytes()), int(total)

    def allocate(self, nbytes: int) -> DeviceArray:
        memory = self._memory(nbytes)
        return DeviceArray(memory, memory.ptr, _BYTE, nbytes)

    def empty(self, shape: tuple[int, ...]) -> DeviceArray:
        memory = self._memory(4 * math.prod(shape))
        return DeviceArray(memory, memory.ptr, _FLOAT, shape)

    def _memory(self, nbytes: int) -> Any:
        try:
            if self._runtime.getDevice() == self._index:  # it nearly always is
                return self._alloc(max(nbytes, 1))
            with self._cupy.cuda.Device(self._index):
                return self._alloc(max(nbytes, 1))
        except MemoryError as error:  # CuPy's own is one
            free, total = self.memory()
            raise DeviceError(
                f"cuda: out of memory on {self.name}: {nbytes / 1e6:.0f} MB were asked for,"
                f" {free / 1e6:.0f} of {total / 1e6:.0f} MB are free; a smaller image_size needs"
                " less"
            ) from error
        except self.errors as error:
            raise DeviceError(
                f"cuda: the allocation of memory failed on {self.name}: {error}"
            ) from error

    @_named("the allocation of pinned memory")
    def fetching(self, array: DeviceArray) -> tuple[NDArray[np.uint8], Callable[[], None]]:
        nbytes = array.nbytes
        host = np.frombuffer(self._cupy.cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)
        return host, partial(self._copy_out, array.pointer, nbytes, host.ctypes.data)

    @_named("a copy to the device")
    def copy_in(self, values: NDArray[Any], out: DeviceArray) -> None:
        # Most machines copy what is not pinned before the call returns. Where the device reads the
        # memory of the host itself it may do so later: then the values have to live until it has.
        self._in_flight.append(values)
        kind = self._runtime.memcpyHostToDevice
        self._runtime.memcpyAsync(out.pointer, values.ctypes.data, out.nbytes, kind, self.stream)

    def copy_out(self, array: DeviceArray, out: NDArray[Any]) -> None:
        self._copy_out(array.pointer, array.nbytes, out.ctypes.data)

    @_named("an op, or a copy to the host,", _NAMES_IT)
    def _copy_out(self, source: int, nbytes: int, target: int) -> None:
        runtime, stream = self._runtime, self.stream
        runtime.memcpyAsync(target, source, nbytes, runtime.memcpyDeviceToHost, stream)
        runtime.streamSynchronize(stream)
        self._in_flight.clear()

    @_named("clearing memory")
    def zero(self, array: DeviceArray) -> None:
        self._runtime.memsetAsync(array.pointer, 0, array.nbytes, self.stream)

    @_named("an op", _NAMES_IT)
    def synchronize(self) -> None:
        self._runtime.streamSynchronize(self.stream)
        self._in_flight.clear()

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        return Repeated(self, work)

    @_named("the capture of a graph")
    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        # The default stream cannot be recorded.
        stream, side = (self._cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        with stream:
            stream.begin_capture()
            self._captured = stream, side
            try:
                work()
            except BaseException:
                with suppress(self._runtime.CUDARuntimeError):
                    stream.end_capture()
                raise
            finally:
                self._captured = None
            graph = stream.end_capture()
        return partial(self._replay, graph)

    @_named("a branch of a graph")
    def beside(self, work: Callable[[], None]) -> Callable[[], None]:
        if self._captured is None:
            work()
            return _nothing
        stream, side = self._captured
        side.wait_event(self._recorded(stream))
        with side:
            work()
        return partial(self._join, stream, self._recorded(side))

    def _recorded(self, stream: Any) -> Any:
        """Return an event that is over when all is done that the stream has been given so far."""
        return stream.record(self._cupy.cuda.Event(disable_timing=True))

    @_named("a branch of a graph")
    def _join(self, stream: Any, event: Any) -> None:
        stream.wait_event(event)

    @_named("the replay of a graph")
    def _replay(self, graph: Any) -> None:
        graph.launch()

    @_named("a measurement")
    def seconds(self, work: Callable[[], None], repeats: int) -> float:
        def repeated() -> None:
            for _ in range(repeats):
                work()

        work()  # so that nothing is loaded or allocated while it is captured
        replay = self.capture(repeated)  # launched one by one, the host would be the slower one
        replay()
        start, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        start.record()
        replay()
        end.record()
        end.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, end)) / 1e3 / repeats

    def _probe(self, capability: tuple[int, int]) -> None:
        """Launch the smallest kernel, to see that the module has code for this device."""
        scale = self.allocate(16)
        self.zero(scale)
        words = DeviceArray(scale.owner, scale.pointer, np.uint32, 4)
        try:
            self.core.evaluation_end(self.core.EvaluationEnd(words), self.stream)
        except self.core.CudaError as error:
            if "kernel image" not in str(error):
                raise
            raise BackendError(
                f"backend 'cuda' is not available: {self.name} has compute capability"
                f" {_dotted(capability)}, and PyNST was built for {self.core.architectures}"
                f" ({error}); build it again with PYNST_CUDA_ARCHITECTURES="
                f"{capability[0]}{capability[1]}"
            ) from error
        self.synchronize()


def _nothing() -> None:
    """What is done already."""


def _load_core() -> Any:
    """Import the compiled module; a plain import statement would fail where it was not built."""
    try:
        return importlib.import_module("pynst._cuda")
    except ImportError as error:
        raise BackendError(
            "backend 'cuda' is not available: PyNST was built without its CUDA core"
            f" ({error}); install it again with PYNST_CUDA=ON where nvcc is, or with"
            " PYNST_NVCC=wheel PYNST_CUDA=ON, or use backend='cpu'"
        ) from error


def _need_driver(core: Any) -> None:
    """Refuse a machine without a driver, with one that is too old, or without a device."""
    driver, built = core.driver_version(), core.runtime_version()
    if driver == 0:
        raise BackendError(
            "backend 'cuda' is not available: no NVIDIA driver was found on this machine; install"
            " one, or use backend='cpu'"
        )
    if driver // 1000 < built // 1000:
        raise BackendError(
            "backend 'cuda' is not available: the NVIDIA driver goes up to CUDA"
            f" {_version(driver)}, and PyNST was built with CUDA {_version(built)}; update the"
            f" driver, or build PyNST with nvcc {_version(driver)}"
        )
    try:
        count = core.device_count()
    except core.CudaError as error:
        raise DeviceError(f"backend 'cuda' is not available: {error}") from error
    if count == 0:
        raise BackendError(
            "backend 'cuda' is not available: the NVIDIA driver finds no device (the variable"
            " CUDA_VISIBLE_DEVICES can hide one); use backend='cpu'"
        )


def _load_cupy(core: Any) -> Any:
    """Import CuPy; installed for another CUDA it may fail in many ways."""
    extra = f"cuda{core.runtime_version() // 1000}"
    try:
        return importlib.import_module("cupy")
    except Exception as error:
        raise BackendError(
            f"backend 'cuda' is not available: CuPy cannot be imported ({error}); install it with"
            f" `pip install 'pynst-stylize[{extra}]'`"
        ) from error


def _need_capability(name: str, capability: tuple[int, int]) -> None:
    if tuple(capability) < _OLDEST:
        raise BackendError(
            f"backend 'cuda' is not available: {name} has compute capability {_dotted(capability)},"
            f" PyNST needs {_dotted(_OLDEST)} or newer; use backend='cpu'"
        )


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _version(cuda: int) -> str:
    """13020 as 13.2."""
    return f"{cuda // 1000}.{cuda % 1000 // 10}"
