"""A CUDA device: what it is, what it can do at most, and how to time what runs there.

Work on a device is asynchronous. A call is therefore repeated inside a CUDA graph, which leaves no
gaps between launches, and the graph is timed with the device's own events. Caches are warm: every
repetition finds in the L2 cache what the one before it left there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.measure import quartiles
from pynst.errors import BackendError
from pynst.machine import query_gpus

__all__ = ["facts", "peaks", "sample", "sample_torch", "state"]

_PRODUCT = 8192  # rows and columns of the matrices whose product is timed
_COPY_BYTES = 4 << 30
_GRAPH_SECONDS = 2e-3  # a graph of this length hides its own launch
_MOST_REPEATS = 64

_FACTS = ("name", "driver_version", "compute_cap", "memory.total", "power.limit")
_STATE = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "utilization.gpu")


def facts() -> dict[str, str]:
    """Name, driver, compute capability, memory and power limit; empty without nvidia-smi."""
    return _ask(_FACTS)


def state() -> dict[str, str]:
    """Clocks, temperature, power and load at this moment; empty without nvidia-smi."""
    return _ask(_STATE)


def _ask(fields: tuple[str, ...]) -> dict[str, str]:
    """The fields of the first GPU; none without nvidia-smi."""
    try:
        return dict(zip(fields, query_gpus(fields)[0], strict=True))
    except BackendError:
        return {}


# ---- timing --------------------------------------------------------------------------------------


def sample(call: Callable[[], Any], samples: int = 10) -> list[float]:
    """Seconds of one call on CuPy's current device, one figure for each replay of the graph."""
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        return _replays(call, stream, _CupyEvents(cupy, stream), samples)


def sample_torch(call: Callable[[], Any], samples: int = 10) -> list[float]:
    """Seconds of one call on PyTorch's current device, one figure for each replay of the graph."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        return _replays(call, stream, _TorchEvents(torch, stream), samples)


def _replays(
    call: Callable[[], Any], stream: Any, events: _CupyEvents | _TorchEvents, samples: int
) -> list[float]:
    """Capture the call as often as fills a graph, replay the graph, and divide."""
    for _ in range(3):
        call()
    stream.synchronize()
    repeats = min(_MOST_REPEATS, max(1, int(_GRAPH_SECONDS / events.seconds(call))))
    replay = events.capture(lambda: [call() for _ in range(repeats)])
    replay()
    return [events.seconds(replay) / repeats for _ in range(samples)]


class _CupyEvents:
    """Clock and capture of a CuPy stream."""

    def __init__(self, cupy: Any, stream: Any) -> None:
        self._cuda, self._stream = cupy.cuda, stream

    def seconds(self, work: Callable[[], Any]) -> float:
        start, end = self._cuda.Event(), self._cuda.Event()
        start.record(self._stream)
        work()
        end.record(self._stream)
        end.synchronize()
        return max(1e-7, float(self._cuda.get_elapsed_time(start, end)) / 1e3)

    def capture(self, work: Callable[[], Any]) -> Callable[[], Any]:
        self._stream.begin_capture()
        try:
            work()
        finally:
            graph = self._stream.end_capture()
        return lambda: graph.launch(self._stream)


class _TorchEvents:
    """Clock and capture of a PyTorch stream."""

    def __init__(self, torch: Any, stream: Any) -> None:
        self._cuda, self._stream = torch.cuda, stream

    def seconds(self, work: Callable[[], Any]) -> float:
        start = self._cuda.Event(enable_timing=True)
        end = self._cuda.Event(enable_timing=True)
        start.record(self._stream)
        work()
        end.record(self._stream)
        end.synchronize()
        return max(1e-7, float(start.elapsed_time(end)) / 1e3)

    def capture(self, work: Callable[[], Any]) -> Callable[[], Any]:
        graph = self._cuda.CUDAGraph()
        with self._cuda.graph(graph, stream=self._stream):
            work()
        return lambda: graph.replay()


# ---- ceilings ------------------------------------------------------------------------------------


def peaks() -> dict[str, float | None]:
    """Measure TFLOP/s of cuBLAS at 8192^3, in three precisions, and GB/s of a copy on the device.

    The values are random: zeros need less power, so the clock would be higher. A copy counts the
    bytes read and written. Without PyTorch all rates are None.
    """
    names = ("half_tflops", "tf32_tflops", "float32_tflops", "copy_gbs")
    try:
        import torch
    except ImportError:
        return dict.fromkeys(names)
    flops = 2.0 * _PRODUCT**3
    rates = []
    for dtype, tf32 in ((torch.float16, True), (torch.float32, True), (torch.float32, False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b, c = (torch.randn(_PRODUCT, _PRODUCT, device="cuda", dtype=dtype) for _ in range(3))
        seconds = sample_torch(lambda a=a, b=b, c=c: torch.matmul(a, b, out=c))
        rates.append(flops / quartiles(seconds)[1] / 1e12)
    source = torch.randint(0, 255, (_COPY_BYTES,), device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = sample_torch(lambda: target.copy_(source))
    rates.append(2 * _COPY_BYTES / quartiles(seconds)[1] / 1e9)
    return {name: float(f"{rate:.4g}") for name, rate in zip(names, rates, strict=True)}
