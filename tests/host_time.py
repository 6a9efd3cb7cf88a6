"""Measures what an evaluation of L-BFGS on a GPU costs the host, without a GPU.

    python tests/host_time.py

Everything on the host is the true code: the optimiser, the backend, the bindings, and the launchers
that nvcc has compiled. What is left out is what PyNST cannot change: kernels do nothing, and the
calls of CuPy return at once. The answers that come back are made up so that each line search ends
with its first step, as it nearly always does. Told is the processor's time, the least of several
runs. Needs nvcc.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import time
from types import SimpleNamespace

import numpy as np
from conftest import picture, tiny_vgg19
from ptx import build
from ptx.interpreter import Callback

from pynst import Objective
from pynst.backends import cupy_device
from pynst.backends.cuda import CudaBackend
from pynst.optimizers.descent import Descent, Stop
from pynst.optimizers.device_vectors import sums_of
from pynst.optimizers.lbfgs import PAIRS, lbfgs

EVALUATIONS, RUNS, SIDE = 400, 12, 32
SHARED = 227 * 1024
HEAD = 16  # bytes of the gradient scale's state, before the losses


class Memory:
    """An address that nothing is ever written to."""

    __slots__ = ("ptr",)
    next = 1 << 40

    def __init__(self, nbytes: int) -> None:
        self.ptr = Memory.next
        Memory.next += -(-nbytes // 512) * 512


class Answers:
    """What comes back from an evaluation: losses that fall a little each time, and products."""

    def __init__(self, losses: int) -> None:
        rows = PAIRS + 1
        products = np.repeat([0.01, 1.0, 2.0], [2 * rows, rows, rows])  # with g; s and z with y
        own = [0.0, -1e-3, 1.0, 1.0]
        numbers = np.concatenate([np.zeros(HEAD // 8 + losses), own, products])
        numbers[: HEAD // 8].view(np.uint32)[:] = np.float32(1).view(np.uint32), 0, 0, 1
        self._total = memoryview(numbers[HEAD // 8 :][:1])  # as fast as a number changes in Python
        self._total[0] = 1e8
        self._numbers, self._address, self.nbytes = numbers, numbers.ctypes.data, numbers.nbytes
        assert numbers.size == HEAD // 8 + losses + sums_of(rows)

    def copy(self, target: int) -> None:
        self._total[0] -= 1.0
        ctypes.memmove(target, self._address, self.nbytes)


class Stream:
    ptr = 7

    def __init__(self, non_blocking: bool = False) -> None:
        pass

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def begin_capture(self) -> None:
        pass

    def end_capture(self) -> SimpleNamespace:
        return SimpleNamespace(launch=lambda: None)

    def record(self, event: object) -> object:
        return event

    def wait_event(self, event: object) -> None:
        pass


class Machine:
    """CuPy, and a core whose kernels do nothing."""

    def __init__(self) -> None:
        core, self.runtime = build.load()
        nothing = ctypes.cast(self.runtime.do_nothing, Callback)
        self.runtime.set_callback(nothing, SHARED)
        self.answers: Answers | None = None
        stream = Stream()
        runtime = SimpleNamespace(
            CUDARuntimeError=OSError, memcpyHostToDevice=1, memcpyDeviceToHost=2,
            getDevice=lambda: 0, memGetInfo=lambda: (2**33, 2**34), memcpyAsync=self.copy,
            memsetAsync=lambda *given: None, streamSynchronize=lambda stream: None,
        )  # fmt: skip
        self.cupy = SimpleNamespace(
            cuda=SimpleNamespace(
                runtime=runtime, alloc=Memory, Stream=Stream, Device=contextlib.nullcontext,
                alloc_pinned_memory=bytearray, get_current_stream=lambda: stream,
                Event=lambda disable_timing: None,
            )
        )  # fmt: skip
        device = {"name": "no device", "capability": (9, 0)}
        self.core = SimpleNamespace(
            **vars(core) | {"device": lambda index: device, "driver_version": lambda: 13000,
                            "runtime_version": lambda: 13000, "device_count": lambda: 1}
        )  # fmt: skip

    def copy(self, target: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        if kind == 2 and self.answers is not None and nbytes == self.answers.nbytes:
            self.answers.copy(target)


def seconds(machine: Machine, backend: CudaBackend, pyramid: bool) -> float:
    """Processor time of one evaluation."""
    objective = Objective(
        picture(0, SIDE, SIDE), picture(1, SIDE, SIDE), image_size=SIDE, network=tiny_vgg19(backend)
    )
    machine.answers = Answers(len(objective._losses))
    descent = Descent(objective, EVALUATIONS)
    begin = time.process_time()
    with contextlib.suppress(Stop):
        lbfgs(descent, objective.content.copy(), pyramid=1.0 if pyramid else None)
    taken = time.process_time() - begin
    assert len(descent.history) == EVALUATIONS
    assert descent.restarts == 0
    return taken / EVALUATIONS


def main() -> int:
    if build.compiler() is None:
        print("the host's time is not measured: there is no nvcc")
        return 0
    machine = Machine()
    cupy_device._load_core = lambda: machine.core
    cupy_device._load_cupy = lambda core: machine.cupy
    cupy_device.CupyDevice.seconds = lambda self, work, repeats: 1.0  # for the tuning
    backend = CudaBackend(device=cupy_device.CupyDevice())
    gc.disable()
    for pyramid in (False, True):
        least = min(seconds(machine, backend, pyramid) for _ in range(RUNS))
        over = "the variables of a pyramid" if pyramid else "the pixels"
        print(f"{1e6 * least:.1f} us for each evaluation of a descent over {over}")
    return 0


if __name__ == "__main__":
    np.seterr(all="ignore")  # targets are computed from memory that nothing was written to
    sys.exit(main())
