"""Counts what a kernel moves: sectors of global memory, and passes over the banks of shared memory.

A request is one access of a warp. Global memory moves in sectors of 32 bytes. Shared memory has 32
banks of four bytes, each of which serves one word in a pass; accesses of 8 or 16 bytes are served
for 16 or 8 lanes at a time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

WARP, SECTOR, BANKS, WORD = 32, 32, 32, 4


@dataclass
class Count:
    """Requests, and the sectors or passes that they took and that they would take at best."""

    requests: int = 0
    moved: int = 0
    least: int = 0

    @property
    def per_least(self) -> float:
        return self.moved / max(self.least, 1)


class Traffic:
    """An observer of accesses (`machine.Observer`).

    Attributes
    ----------
    counts : by space, kind of access and bytes of a lane
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, int], Count] = defaultdict(Count)

    def __call__(
        self, space: str, kind: str, addresses: np.ndarray, nbytes: int, mask: np.ndarray
    ) -> None:
        if not addresses.size:
            return
        lanes = np.flatnonzero(mask)
        count = self.counts[space, kind, nbytes]
        count.requests += np.unique(lanes // WARP).size
        measure = sectors if space == "global" else passes
        moved, least = measure(addresses, nbytes, lanes)
        count.moved += moved
        count.least += least

    def total(self, space: str) -> Count:
        """Of that space; the shared memory of other blocks of a cluster counts as shared."""
        some = [each for key, each in self.counts.items() if key[0].startswith(space)]
        return Count(*(sum(getattr(each, name) for each in some)
                       for name in ("requests", "moved", "least")))  # fmt: skip


def sectors(addresses: np.ndarray, nbytes: int, lanes: np.ndarray) -> tuple[int, int]:
    """Sectors that the warps touch, and as many as their bytes would fill."""
    warps = lanes // WARP << 48  # above every address
    moved = np.unique(warps | addresses // SECTOR).size
    distinct = np.unique(warps | addresses) >> 48
    return moved, int((-(-np.bincount(distinct) * nbytes // SECTOR)).sum())


def passes(addresses: np.ndarray, nbytes: int, lanes: np.ndarray) -> tuple[int, int]:
    """Passes over the banks, and as many as without conflicts."""
    together = WARP * WORD // max(nbytes, WORD)  # lanes that are served at a time
    words = addresses[:, None] // WORD + np.arange(max(nbytes // WORD, 1))
    distinct = np.unique((lanes // together)[:, None] << 48 | words)
    turns, banks = distinct >> 48, distinct % BANKS
    busy = np.bincount(turns * BANKS + banks).astype(np.int64)
    busy = np.pad(busy, (0, -busy.size % BANKS)).reshape(-1, BANKS)
    return int(busy.max(1).sum()), int((-(-busy.sum(1) // BANKS)).sum())
