"""The kept vectors of L-BFGS in half precision: whole numbers of 16 bits, and factors.

A run of 1024 values is kept as numbers from -32767 to 32767 times one factor, the largest value of
the run divided by 32767, so that a value is off by 1/65534 of the largest one in its run at most.
Numbers in float16 would be off by 1/4096 of themselves, and would need a factor as well, since
steps and gradients have no range of their own. The compiled core has the same in
``csrc/cpu/lbfgs_rows.h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RUN", "HalfVectors"]

RUN = 1024
"""Values that have a factor in common; asserted to be the core's by the tests."""

_LARGEST = np.float32(32767)


class HalfVectors:
    """Vectors (rows, n) in half the memory, which are read and written as float32.

    Attributes
    ----------
    numbers : ndarray (rows, n), int16
    factors : ndarray (rows, runs), float32
    """

    def __init__(self, rows: int, n: int) -> None:
        self.numbers = np.zeros((rows, n), np.int16)
        self.factors = np.zeros((rows, -(-n // RUN)), np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def arrays(self) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Both arrays, as the core takes them."""
        return self.numbers, self.factors

    def __setitem__(self, row: int, values: NDArray[Any]) -> None:
        """Keep a vector; a run that is not finite is kept as zeros."""
        for run, start in enumerate(range(0, values.size, RUN)):
            part = values[start : start + RUN].astype(np.float32)
            factor = np.abs(part).max() / _LARGEST
            usable = np.isfinite(factor) and factor >= np.finfo(np.float32).tiny
            scaled = part * (np.float32(1) / factor) if usable else np.zeros_like(part)
            # Halves are rounded away from zero, as in the core.
            self.numbers[row, start : start + RUN] = scaled + np.copysign(np.float32(0.5), scaled)
            self.factors[row, run] = factor if usable else 0

    def __getitem__(self, place: tuple[Any, slice]) -> NDArray[np.float32]:
        """Some rows between two places, of which the first is a multiple of the length of a run."""
        rows, span = place
        first, end = span.start // RUN, -(-span.stop // RUN)
        factors = np.repeat(self.factors[rows, first:end], RUN, axis=-1)
        numbers = self.numbers[rows, span]
        values: NDArray[np.float32] = factors[..., : numbers.shape[-1]] * numbers
        return values
