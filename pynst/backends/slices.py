"""Long arrays slice by slice, so that the intermediate results stay in the cache."""

from __future__ import annotations

__all__ = ["slices"]

_LENGTH = 8192  # numbers: 25 vectors of as many float32 (800 kB) fit into the second-level cache


def slices(n: int) -> list[slice]:
    """Cut [0, n) into slices of at most 8192 places."""
    return [slice(start, start + _LENGTH) for start in range(0, n, _LENGTH)]
