"""Long arrays part by part, so that what is computed in between stays in the cache."""

from __future__ import annotations

__all__ = ["parts"]

_PART = 8192  # 25 vectors of so many float32 fit into the second-level cache


def parts(n: int) -> list[slice]:
    """Cut [0, n) into slices of at most 8192 places."""
    return [slice(start, start + _PART) for start in range(0, n, _PART)]
