"""One closure, op by op: where its time goes, beside what the arithmetic and the memory allow.

The closure is run once on a backend that notes every call. Its arrays stay where they are, so the
calls can be made again in the same order, each with a clock around it: caches are as warm or cold
as they are in the closure. On a device each call is timed by itself instead (`bench.device`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.measure import quartiles
from bench.ops import COSTS
from bench.peers.ours import PyNST
from bench.problem import Problem

__all__ = ["Call", "Tape", "calls_of_closure", "measure"]

Shape = tuple[int, int, int]

_MOVES = ("upload", "download", "zero")
"""What else of a backend takes time in a closure."""


@dataclass(frozen=True)
class Call:
    """One call of a closure.

    Attributes
    ----------
    op : str
        Method of the backend.
    sizes : dict
        As `bench.ops.COSTS` takes them; empty for what is no op, such as a copy to the device.
    run : callable
        Does the call again.
    """

    op: str
    sizes: dict[str, Any]
    run: Callable[[], Any]

    @property
    def cost(self) -> tuple[float, float]:
        """FLOP of a direct evaluation, and float32 bytes that must move once."""
        return COSTS[self.op](**self.sizes) if self.sizes else (0.0, 0.0)


class Tape:
    """A backend that notes the shapes of its arrays and, while `calls` is a list, its calls."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._shapes: dict[int, tuple[Any, Shape]] = {}
        # The array is kept too, so that no other one is given its id.
        self.calls: list[Call] | None = None

    def view(self, block: Any, offset: int, kind: str, shape: Shape) -> Any:
        array = self._backend.view(block, offset, kind, shape)
        self._shapes[id(array)] = array, shape
        return array

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        if name not in COSTS and name not in _MOVES:
            return attribute

        def noted(*arguments: Any) -> Any:
            if self.calls is not None:
                sizes = self._sizes(name, arguments) if name in COSTS else {}
                self.calls.append(Call(name, sizes, partial(attribute, *arguments)))
            return attribute(*arguments)

        return noted

    def _sizes(self, op: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
        """The sizes that `COSTS` takes, from the shapes of a call's arrays.

        Where an op halves the picture, the larger height and width count.
        """
        shapes = [self._shapes[id(each)][1] for each in arguments if id(each) in self._shapes]
        first, last = shapes[0], shapes[-1]
        H, W = max(shape[1:] for shape in shapes)
        mode = {"mode": next(a for a in arguments if isinstance(a, str))} if "pool" in op else {}
        if op.startswith("conv3x3"):
            # Arrays in order: forward x, y, masks; backward dy, masks, dx.
            C, N = (last[0], first[0]) if op.endswith("backward") else (first[0], shapes[1][0])
            return {"C": C, "N": N, "H": H, "W": W, **mode}
        if op.startswith("image_conv3x3"):
            N = max(shape[0] for shape in shapes)
            return {"N": N, "H": H, "W": W, "padding": "zero"}
        if op.startswith("pool2x2"):
            return {"C": first[0], "H": H, "W": W, **mode}
        if op == "gram":
            return {"N": first[0], "H": H, "W": W}
        return {"N": first[0], "H": H, "W": W, "scaled": False}  # the losses


def calls_of_closure(size: int, threads: int, backend: Any) -> list[Call]:
    """The calls that one closure of PyNST makes of a backend, in their order."""
    tape = Tape(backend)
    closure = PyNST(Problem(size), threads, tape)
    closure()  # packs the weights, and lets the scratch memory grow
    calls: list[Call] = []
    tape.calls = calls
    closure()
    tape.calls = None
    return calls


def measure(
    calls: list[Call], rounds: int, peaks: dict[str, Any], sample: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """Time calls and put those of equal op and shape together.

    Parameters
    ----------
    calls : list of Call
    rounds : int
        How often all calls are made in their order.
    peaks : dict
        Measured ``"flops"`` and ``"bytes"`` per second, for the floor.
    sample : callable, optional
        Times one call by itself and returns seconds; replaces the rounds.

    Returns
    -------
    dict
        Milliseconds of all calls, and a row for each op and shape: its milliseconds, its share of
        the whole, its work, and the milliseconds that this work takes at the peaks.
    """
    if sample is None:
        seconds = _in_order(calls, rounds)
    else:
        seconds = [quartiles(sample(call.run))[1] for call in calls]
    total = sum(seconds)
    groups: dict[str, list[int]] = {}
    for i, call in enumerate(calls):
        groups.setdefault(_label(call), []).append(i)
    rows = []
    for label, members in groups.items():
        spent = sum(seconds[i] for i in members)
        flops, nbytes = (sum(calls[i].cost[j] for i in members) for j in (0, 1))
        rows.append(
            {
                "call": label,
                "op": calls[members[0]].op,
                "sizes": calls[members[0]].sizes, "calls": len(members),
                "ms": _rounded(1e3 * spent),
                "share": round(spent / total, 4), "gflop": _rounded(flops / 1e9),
                "mb": _rounded(nbytes / 1e6), "floor_ms": _rounded(_floor(flops, nbytes, peaks)),
            }
        )  # fmt: skip
    return {"ms": _rounded(1e3 * total), "rows": rows}


def _in_order(calls: list[Call], rounds: int) -> list[float]:
    """Median seconds of each call, over rounds of all calls in their order."""
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, samples, strict=True):
            start = time.perf_counter()
            call.run()
            found.append(time.perf_counter() - start)
    return [quartiles(found)[1] for found in samples]


def _label(call: Call) -> str:
    sizes = call.sizes
    if not sizes:
        return call.op
    channels = f"{sizes['C']} to {sizes['N']}" if {"C", "N"} <= sizes.keys() else ""
    channels = channels or f"{sizes.get('N', sizes.get('C'))}"
    return f"{call.op}, {channels} channels, {sizes['H']} x {sizes['W']}"


def _floor(flops: float, nbytes: float, peaks: dict[str, Any]) -> float:
    """Milliseconds that arithmetic or memory alone would take at the measured peaks."""
    return 1e3 * max(flops / peaks["flops"], nbytes / peaks["bytes"])


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
