"""The host's own memory, with what an optimiser asks of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HostMemory"]


class HostMemory:
    """Implements `pynst.backends.device.Memory` with NumPy arrays.

    Parameters
    ----------
    core : module
        ``pynst._cpu``
    """

    def __init__(self, core: Any) -> None:
        self.core = core

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.empty(shape, np.float32)

    def allocate(self, nbytes: int) -> NDArray[np.uint8]:
        return np.empty(nbytes, np.uint8)

    def copy_in(self, values: NDArray[Any], out: NDArray[Any]) -> None:
        out[...] = values

    def copy_out(self, array: NDArray[Any], out: NDArray[Any]) -> None:
        out[...] = array

    def zero(self, array: NDArray[Any]) -> None:
        array[...] = 0

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        return work
