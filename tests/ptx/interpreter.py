"""A device for `CudaBackend` on which the core's launches run nvcc's PTX.

    device = interpreter.Interpreter(core, runtime).device("90")
    backend = CudaBackend("fast", "tensor", device)

What a kernel must not do is raised as `machine.Fault`, by the op that launched it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any

from cuda_on_cpu.host_device import HostDevice
from ptx import build
from ptx.machine import Fault, GlobalMemory, Launch, Observer, Program

# The shared memory that a block may ask for, in bytes, by architecture; 48 KB need no asking.
MOST_SHARED = {"75": 64 * 1024, "90": 227 * 1024}
LAUNCH_FAILED = 719  # cudaErrorLaunchFailure
Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, *[ctypes.POINTER(ctypes.c_uint)] * 2, ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_void_p),
)  # fmt: skip


class InterpretedDevice(HostDevice):
    """A host device whose ops raise what went wrong inside of them."""

    def __init__(self, interpreter: Interpreter, core: ModuleType) -> None:
        super().__init__(core)
        self._interpreter = interpreter

    def living(self) -> dict[int, int]:
        """Sizes of the living blocks of memory, by their addresses."""
        return {pointer: block.values.nbytes for pointer, block in self._blocks.items()}

    def _run(self, function: Any, arguments: Any) -> None:
        self._interpreter.device_in_use = self
        try:
            super()._run(function, arguments)
        finally:
            fault, self._interpreter.fault = self._interpreter.fault, None
            if fault is not None:
                raise fault


class Interpreter:
    """Takes the launches of the compiled core.

    Attributes
    ----------
    ran : names of the kernels that ran, by architecture
    observe : returns the observer of accesses to memory for a kernel, given by its mangled name
    seed, truncating : see `machine.Launch`
    """

    def __init__(self, core: ModuleType, runtime: ctypes.CDLL) -> None:
        self._core, self._runtime = core, runtime
        self._callback = Callback(self._launch)
        self.programs = {
            architecture: {
                name: Program(each) for name, each in build.kernels(architecture).items()
            }
            for architecture in build.ARCHITECTURES
        }
        self.ran: dict[str, set[str]] = {each: set() for each in build.ARCHITECTURES}
        self.device_in_use: InterpretedDevice | None = None
        self.fault: Exception | None = None
        self.observe: Callable[[str], Observer] | None = None
        self.seed: int | None = None
        self.truncating = False
        self._memory = GlobalMemory()

    def device(self, architecture: str) -> InterpretedDevice:
        """A fresh device; from now on kernels of this architecture run."""
        self.architecture = architecture
        self._runtime.set_callback(self._callback, MOST_SHARED[architecture])
        self._runtime.set_architecture(int(architecture))
        return InterpretedDevice(self, self._core)

    def _launch(self, name: bytes, grid: Any, block: Any, dynamic: int, pointers: Any) -> int:
        kernel = name.decode()
        try:
            program = self.programs[self.architecture][kernel]
            assert self.device_in_use is not None
            self._memory.allow(self.device_in_use.living())
            threads = block[0] * block[1] * block[2]
            if threads > program.kernel.threads:
                raise Fault(f"{threads} threads, the kernel is made for {program.kernel.threads}")
            Launch(
                program, tuple(grid[:3]), tuple(block[:3]), arguments_of(program, pointers),
                dynamic, self._memory, observe=self.observe and self.observe(kernel),
                seed=self.seed, truncating=self.truncating, cluster=self._runtime.clustered(),
            ).run()  # fmt: skip
            self.ran[self.architecture].add(kernel)
        except Exception as error:
            self.fault = error  # an exception cannot pass through compiled code
            return LAUNCH_FAILED
        return 0


def arguments_of(program: Program, pointers: Any) -> bytes:
    """The arguments as they lie in the parameters' space."""
    raw = bytearray(program.kernel.parameter_nbytes)
    for i, (offset, size) in enumerate(program.kernel.parameters.values()):
        raw[offset : offset + size] = ctypes.string_at(pointers[i], size)
    return bytes(raw)
