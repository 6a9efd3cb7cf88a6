"""What a backend and an optimiser ask of the memory where a core computes, and of a CUDA device.

`pynst.backends.cupy_device` has the device itself, through CuPy; tests have others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pynst.errors import BackendError

__all__ = [
    "Device",
    "DeviceArray",
    "DeviceError",
    "DeviceImages",
    "Memory",
    "Repeated",
]


class DeviceError(BackendError):
    """A device is there, and it is busy, full or failing."""


class DeviceArray:
    """A C-contiguous array in the memory of a device; other libraries can read it in place.

    It never changes: the core reads once what and where it is.

    Parameters
    ----------
    owner : object
        Whatever keeps the memory; it is given back when the last array of it is gone.
    pointer : int
        Address of the first value.
    dtype, shape
        As in NumPy.
    """

    __slots__ = ("__weakref__", "described", "dtype", "owner", "pointer", "shape")

    def __init__(
        self, owner: Any, pointer: int, dtype: DTypeLike, shape: tuple[int, ...] | int
    ) -> None:
        self.owner = owner
        self.pointer = pointer
        self.dtype = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)
        self.shape = (shape,) if isinstance(shape, int) else shape
        self.described: Any = None  # what the core has read of it: see csrc/cuda/arguments.h

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "version": 3,
        }

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, shape: tuple[int, ...] | int) -> DeviceArray:
        """The same values in another shape."""
        return DeviceArray(self.owner, self.pointer, self.dtype, shape)

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Some rows, one after another, of the same memory."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("rows of a DeviceArray must follow one another")
        row = self.nbytes // len(self)
        shape = (max(0, stop - start), *self.shape[1:])
        return DeviceArray(self.owner, self.pointer + start * row, self.dtype, shape)


class Memory(Protocol):
    """What an optimiser asks of the memory where a core computes."""

    core: Any
    """The compiled module: ``pynst._cuda`` or ``pynst._cpu``."""

    def empty(self, shape: tuple[int, ...]) -> Any:
        """Memory for float32 numbers."""

    def allocate(self, nbytes: int) -> Any:
        """Bytes."""

    def copy_in(self, values: NDArray[Any], out: Any) -> None:
        """Copy contiguous values to it; they may be changed as soon as this returns."""

    def copy_out(self, array: Any, out: NDArray[Any]) -> None:
        """Copy to contiguous `out`, once all that was asked for before is done."""

    def zero(self, array: Any) -> None:
        """Set all bytes to zero."""

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does `work`: the same on the same memory every time.

        The memory has to be kept for as long as that function.
        """


class Device(Memory, Protocol):
    """What a `CudaBackend` asks of a device; all of it happens in the order of one stream."""

    name: str
    identity: str
    """Device, driver and versions on which measured times depend; empty where none make sense."""
    most_clustered: int
    """Parts of a convolution that a cluster of blocks may add; 1 on a device without clusters."""

    def launch(self, op: str, *arguments: Any) -> None:
        """Call an op of the core on the current stream; what fails names the op."""

    def memory(self) -> tuple[int, int]:
        """Free bytes, and all."""

    def allocate(self, nbytes: int) -> DeviceArray:
        """Bytes at a multiple of 256.

        Raises
        ------
        BackendError
            The device has less memory; says how much was asked for and how much is free.
        """

    def fetching(self, array: DeviceArray) -> tuple[NDArray[np.uint8], Callable[[], None]]:
        """Return memory of the host, and a function that does `copy_out` of an array to it.

        It is meant for what is copied again and again.
        """

    def copy_in(self, values: NDArray[Any], out: DeviceArray) -> None:
        """Copy contiguous values to the device; they may be gone as soon as this returns."""

    def copy_out(self, array: DeviceArray, out: NDArray[Any]) -> None:
        """Copy to contiguous `out` and wait; what failed in the stream raises BackendError."""

    def zero(self, array: DeviceArray) -> None:
        """Set all bytes to zero."""

    def synchronize(self) -> None:
        """Wait for the current stream; what failed in it raises BackendError."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Capture what `work` would do, without doing it, and return a function that does it.

        The memory that it uses has to be kept for as long as that function.
        """

    def beside(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return a function after whose call `work` is done; in a graph it is a branch until then.

        Where nothing is being captured, it is done at once.
        """

    def seconds(self, work: Callable[[], None], repeats: int) -> float:
        """Time that the device takes for `work` when it is repeated, in seconds for each time."""


class Repeated:
    """Work that is done, then captured, and then replayed, so that it costs the host one call.

    Nothing is loaded or allocated any more when it is captured.
    """

    def __init__(self, device: Device, work: Callable[[], None]) -> None:
        self._device, self._work = device, work
        self._done = False
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self._replay is not None:
            self._replay()
        elif self._done:
            self._replay = self._device.capture(self._work)
            self._replay()
        else:
            self._work()
            self._done = True


@dataclass(frozen=True)
class DeviceImages:
    """An image and its gradient where a core computes, and what an optimiser needs there.

    Attributes
    ----------
    device : Memory
    launch : callable
        Calls an op of the core by its name; on a GPU, on the current stream.
    image, gradient : array (H, W, 3), float32, or None
        NumPy arrays, or `DeviceArray` on a GPU; None where the optimiser's vectors serve.
    """

    device: Memory
    launch: Callable[..., None]
    image: Any
    gradient: Any
