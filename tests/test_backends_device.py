"""Arrays in the memory of a device, and work that is repeated there."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.backends.device import DeviceArray, Repeated

ADDRESS = 1 << 20


def test_an_array_says_what_and_where_it_is():
    array = DeviceArray("memory", ADDRESS, "float32", (5, 2, 3))
    assert (array.nbytes, len(array), array.dtype) == (120, 5, np.dtype(np.float32))
    assert array.__cuda_array_interface__ == {
        "shape": (5, 2, 3), "typestr": "<f4", "data": (ADDRESS, False), "version": 3,
    }  # fmt: skip
    assert DeviceArray("memory", ADDRESS, np.uint8, 7).shape == (7,)


@pytest.mark.parametrize("rows", [slice(1, 3), slice(2, None), slice(-1, None), slice(3, 3)])
def test_rows_of_an_array_are_those_of_numpy_in_the_same_memory(rows):
    values = np.zeros((5, 2, 3), np.float32)
    array = DeviceArray("memory", ADDRESS, values.dtype, values.shape)[rows]
    wanted = values[rows]
    assert (array.shape, array.owner) == (wanted.shape, "memory")
    assert array.pointer - ADDRESS == wanted.ctypes.data - values.ctypes.data or not wanted.size
    with pytest.raises(ValueError, match="must follow one another"):
        DeviceArray("memory", ADDRESS, values.dtype, values.shape)[::2]


def test_another_shape_has_the_same_memory():
    array = DeviceArray("memory", ADDRESS, np.float64, (4, 3)).reshape(12)
    assert (array.shape, array.pointer, array.dtype.itemsize) == ((12,), ADDRESS, 8)


def test_what_is_repeated_is_done_then_captured_and_then_replayed():
    done = []

    class Device:
        def capture(self, work):
            work()
            done[-1] = "captured"
            return lambda: done.append("replayed")

    work = Repeated(Device(), lambda: done.append("done"))
    for _ in range(4):
        work()
    assert done == ["done", "captured", "replayed", "replayed", "replayed"]


def test_work_that_fails_is_done_and_not_captured_the_next_time():
    attempts = []

    def work():
        attempts.append(1)
        raise ValueError("no")

    class Device:
        def capture(self, work):
            raise AssertionError("it was never done")

    repeated = Repeated(Device(), work)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            repeated()
    assert len(attempts) == 2
