"""The memory plan: every buffer of a run is known, placed and counted before the run starts.

A network names its buffers and says during which steps each of them is alive. Two buffers may
share an address if no step needs both. What is never kept at the same time is therefore never paid
for twice, and the size of the whole is a number that can be printed before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pynst.backends.base import Array, Backend, Kind, ReadFeatures, Shape

__all__ = ["Buffer", "Plan", "Workspace"]

_ALIGNMENT = 256


@dataclass(frozen=True)
class Buffer:
    """One array of a plan, alive from step `first` to step `last`, both included."""

    name: str
    kind: Kind
    shape: Shape
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Offsets of buffers in one block of memory.

    Attributes
    ----------
    buffers : dict of str to Buffer
    offsets : dict of str to int
        Bytes from the start of the block.
    nbytes : int
        Size of the block.
    """

    buffers: dict[str, Buffer]
    offsets: dict[str, int]
    nbytes: int

    @classmethod
    def of(cls, buffers: Iterable[Buffer], backend: Backend) -> Plan:
        """Place the largest buffers first, each at the lowest free offset during its life."""
        placed: list[tuple[int, int, Buffer]] = []  # (start, end, buffer)
        sizes = {buffer: backend.nbytes(buffer.kind, buffer.shape) for buffer in buffers}
        for buffer in sorted(sizes, key=lambda b: (-sizes[b], b.first, b.name)):
            start = 0
            for other_start, other_end, other in sorted(placed, key=lambda item: item[0]):
                together = other.first <= buffer.last and buffer.first <= other.last
                if together and start + sizes[buffer] > other_start and start < other_end:
                    start = other_end
            end = start + -(-sizes[buffer] // _ALIGNMENT) * _ALIGNMENT
            placed.append((start, end, buffer))
        return cls(
            {buffer.name: buffer for _, _, buffer in placed},
            {buffer.name: start for start, _, buffer in placed},
            max((end for _, end, _ in placed), default=0),
        )


class Workspace:
    """The memory of a plan on a backend: ``workspace["relu1_1"]`` is an array.

    It is a block of its own, or one that is given and is at least as large.
    """

    def __init__(self, plan: Plan, backend: Backend, block: Array | None = None) -> None:
        self.plan = plan
        self._backend = backend
        self._block = backend.allocate(plan.nbytes) if block is None else block
        self._arrays: dict[str, Array] = {
            name: backend.view(self._block, plan.offsets[name], buffer.kind, buffer.shape)
            for name, buffer in plan.buffers.items()
        }

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def visit(self, layers: Collection[str], read: ReadFeatures) -> None:
        """Call ``read(layer, F)`` for each of the layers."""
        for layer in layers:
            read(layer, self[layer])

    def copied(self, name: str) -> Array:
        """An array's numbers in memory of their own, which outlives the workspace."""
        backend, buffer = self._backend, self.plan.buffers[name]
        block = backend.allocate(backend.nbytes(buffer.kind, buffer.shape))
        copied = backend.view(block, 0, buffer.kind, buffer.shape)
        backend.upload(backend.download(self[name], buffer.kind, buffer.shape), buffer.kind, copied)
        return copied

    def get(self, name: str) -> Array | None:
        """The array of this name, or None if the plan has none."""
        return self._arrays.get(name)
