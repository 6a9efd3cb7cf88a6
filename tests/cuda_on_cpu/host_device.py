"""A device for `CudaBackend` whose memory is the host's and whose core runs on the CPU.

So the Python of the CUDA backend is tested word by word without a GPU. It is stricter than a GPU:
fresh memory holds NaN, an op may only touch memory that is alive, and a recorded graph keeps
addresses, not arrays, so that a graph that outlives its memory is found out.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

from pynst.backends.device import DeviceArray, Repeated
from pynst.errors import BackendError

_ALIGNMENT = 256


class Block:
    """Memory that is alive as long as something refers to it."""

    def __init__(self, nbytes):
        raw = np.full(nbytes + _ALIGNMENT, 0xFF, np.uint8)
        offset = -raw.ctypes.data % _ALIGNMENT
        self.values = raw[offset : offset + nbytes]
        self.pointer = self.values.ctypes.data


class Address:
    """What a graph remembers of an array."""

    def __init__(self, array):
        self.__cuda_array_interface__ = array.__cuda_array_interface__


class HostDevice:
    """Implements `pynst.backends.device.Device`.

    Attributes
    ----------
    launches : list of str
        Names of the ops so far, whether launched or replayed.
    """

    name = "CPU"
    stream = 0
    identity = ""  # times mean nothing here
    branches_are_late = False

    def __init__(self, module):
        self._module = module
        self._blocks = weakref.WeakValueDictionary()
        self._graph = None
        self.launches = []
        self.core = Core(self, module)
        self.most_clustered = module.conv3x3_most_clustered()

    def launch(self, op, *arguments):
        try:
            getattr(self.core, op)(*arguments, self.stream)
        except self._module.CudaError as error:
            raise BackendError(f"cuda: {error}") from error

    def memory(self):
        return 2**33, 2**34

    def allocate(self, nbytes):
        block = Block(max(nbytes, 1))
        self._blocks[block.pointer] = block
        return DeviceArray(block, block.pointer, np.uint8, nbytes)

    def empty(self, shape):
        block = self.allocate(4 * math.prod(shape))
        return DeviceArray(block.owner, block.pointer, np.float32, shape)

    def fetching(self, array):
        host = np.zeros(array.nbytes, np.uint8)
        return host, lambda: self.copy_out(array, host)

    def copy_in(self, values, out):
        assert self._graph is None, "no host memory but pinned may be in a graph"
        assert values.flags.c_contiguous
        assert values.nbytes == out.nbytes, (values.shape, values.dtype, out.shape, out.dtype)
        self._bytes(out)[:] = values.reshape(-1).view(np.uint8)

    def copy_out(self, array, out):
        assert out.flags.c_contiguous
        assert out.nbytes == array.nbytes
        target = out.reshape(-1).view(np.uint8)
        self._do(lambda source: np.copyto(target, self._bytes(source)), array)

    def zero(self, array):
        self._do(lambda target: self._bytes(target).fill(0), array)

    def synchronize(self):
        assert self._graph is None, "a recording stream cannot be waited for"

    def seconds(self, work, repeats):
        """A made-up time: a test that wants others overrides this."""
        work()
        return 1.0

    def beside(self, work):
        """In a graph: at once or at the latest, as `branches_are_late` says, and never in between.

        A true device may do it at any time between the two.
        """
        if self._graph is None:
            work()
            return lambda: None
        main, self._graph = self._graph, []
        try:
            work()
        finally:
            branch, self._graph = self._graph, main
        if not self.branches_are_late:
            main.extend(branch)
            return lambda: None
        return lambda: main.extend(branch)

    def repeated(self, work):
        return Repeated(self, work)

    def capture(self, work):
        assert self._graph is None
        self._graph = graph = []
        try:
            work()
        finally:
            self._graph = None

        def replay():
            for function, arguments in graph:
                self._run(function, arguments)

        return replay

    def _do(self, function, *arguments):
        if self._graph is None:
            self._run(function, arguments)
        else:
            remembered = [Address(a) if _is_array(a) else a for a in arguments]
            self._graph.append((function, remembered))

    def _run(self, function, arguments):
        for argument in arguments:
            if _is_array(argument):
                self._bytes(argument)
        self.launches.append(getattr(function, "__name__", "copy"))
        function(*arguments)

    def _bytes(self, array):
        """The memory of an array, which has to lie within one living block."""
        interface = array.__cuda_array_interface__
        pointer = interface["data"][0]
        nbytes = int(np.prod(interface["shape"])) * np.dtype(interface["typestr"]).itemsize
        for start, block in self._blocks.items():
            if start <= pointer and pointer + nbytes <= start + block.values.nbytes:
                return block.values[pointer - start : pointer - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {pointer:#x} are in no living block")


class Core:
    """The compiled module; its ops can be recorded."""

    def __init__(self, device, module):
        # A device refers to its core: the other way round only weakly, so that memory goes at once.
        self._device = weakref.proxy(device)
        self._module = module

    def __getattr__(self, name):
        found = getattr(self._module, name)
        if (
            name.endswith(("_scratch", "_coefficients"))
            or not callable(found)
            or isinstance(found, type)
        ):
            return found
        return lambda *arguments: self._device._do(found, *arguments)


def _is_array(argument):
    return hasattr(argument, "__cuda_array_interface__")
