"""Every op of the Backend contract at the sizes of real layers, from the tests' case table.

The runners of the tests make the inputs, run an op on any backend and return its outputs. A
benchmark first compares these with float64. Then it repeats and times the very call that made them:
`Recorder` stands between runner and backend and keeps that call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bench.measure import ROOT, sample, summary
from bench.problem import CHANNELS, CONTENT_LAYER, POOLED, STYLE_LAYERS

if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))

import op_cases
from op_cases import OP_CASES, OpCase

from pynst.backends.reference import ReferenceBackend

__all__ = [
    "COSTS",
    "DEVICE_TOLERANCE",
    "checked_call",
    "device_row",
    "layer_cases",
    "measure",
    "rates",
    "row",
]


def _conv(C: int, N: int, H: int, W: int) -> tuple[float, float]:
    return 18.0 * C * N * H * W, 4.0 * (C + N) * H * W + 36.0 * C * N


def _conv_pool(C: int, N: int, H: int, W: int, mode: str) -> tuple[float, float]:
    del mode
    return 18.0 * C * N * H * W, 4.0 * (C + N / 4) * H * W + 36.0 * C * N


def _image_conv(N: int, H: int, W: int, padding: str) -> tuple[float, float]:
    del padding
    return 54.0 * N * H * W, 4.0 * (3 + N) * H * W


def _pool(C: int, H: int, W: int, mode: str) -> tuple[float, float]:
    del mode
    return 4.0 * C * H * W, 5.0 * C * H * W


def _content(N: int, H: int, W: int, scaled: bool, weighted: bool = False) -> tuple[float, float]:
    del scaled, weighted
    return 5.0 * N * H * W, 16.0 * N * H * W


def _style(N: int, H: int, W: int, scaled: bool, weighted: bool = False) -> tuple[float, float]:
    del scaled, weighted
    return 2.0 * N * N * H * W, 12.0 * N * H * W


def _style_ahead(
    N: int, H: int, W: int, scaled: bool, weighted: bool = False
) -> tuple[float, float]:
    del scaled, weighted
    return N * (N + 1.0) * H * W, 4.0 * N * H * W


def _image_input(H: int, W: int, image: str) -> tuple[float, float]:
    del image
    return 21.0 * H * W, 24.0 * H * W


def _image_input_backward(H: int, W: int, image: str) -> tuple[float, float]:
    del image
    return 18.0 * H * W, 24.0 * H * W


COSTS: dict[str, Callable[..., tuple[float, float]]] = {
    "image_input": _image_input,
    "image_input_backward": _image_input_backward,
    "conv3x3_relu": _conv,
    "conv3x3_relu_backward": _conv,
    "conv3x3_relu_pool": _conv_pool,
    "conv3x3_relu_pool_backward": _conv_pool,
    "image_conv3x3_relu": _image_conv,
    "image_conv3x3_relu_backward": _image_conv,
    "pool2x2": _pool,
    "pool2x2_backward": _pool,
    "filter7x7": lambda H, W: (2.0 * 67 * 49 * H * W, 4.0 * 137 * H * W),
    "filter7x7_backward": lambda H, W: (2.0 * 67 * 49 * H * W, 4.0 * 137 * H * W),
    "binomial_down": lambda H, W: (24.0 * H * W, 15.0 * H * W),
    "binomial_down_backward": lambda H, W: (24.0 * H * W, 15.0 * H * W),
    "gram": lambda N, H, W, weighted=False: (N * (N + 1.0) * H * W, 4.0 * N * H * W),  # noqa: ARG005
    "content_loss": _content,
    "style_ahead": _style_ahead,
    "style_loss": _style,
    "wrap": lambda C, H, W, kind, larger: (0.0, 8.0 * C * H * W),  # noqa: ARG005
    "total_variation": lambda H, W, circular: (60.0 * H * W, 36.0 * H * W),  # noqa: ARG005
}
"""By op: its sizes to the FLOP of a direct evaluation and the float32 bytes that must move once.
They equal those of the tests' cases."""


MOST_CHECKED = 5e9
"""FLOP of the largest case that is also computed in float64: any op of VGG-19 at 256 pixels."""

DEVICE_TOLERANCE = {"fast": 3e-3, "accurate": 1e-5}
"""Relative errors that are allowed on a CUDA device, by its precision."""


def layer_cases(size: int) -> list[OpCase]:
    """The ops of VGG-19 and of the built-in network for a square picture of `size` pixels."""
    cases = []
    for op, sizes in (*_vgg19_sizes(size), *_builtin_sizes(size)):
        tolerance = max(case.tolerance for case in OP_CASES if case.op == op)
        cases.append(OpCase(op, sizes, getattr(op_cases, op), tolerance, *COSTS[op](**sizes)))
    return cases


def _both(op: str, **sizes: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """An op and its gradient."""
    yield op, sizes
    yield f"{op}_backward", sizes


def _vgg19_sizes(size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """VGG-19's ops, with the sizes that their runners take; each shape once."""

    def side(layer: str) -> int:
        return size >> (int(layer[0]) - 1)

    plane = {"H": size, "W": size}
    yield from _both("image_conv3x3_relu", N=64, **plane, padding="zero")
    seen = set()
    for layer, (C, N) in list(CHANNELS.items())[1:]:
        if (C, N, side(layer)) not in seen:
            seen.add((C, N, side(layer)))
            yield from _both("conv3x3_relu", C=C, N=N, H=side(layer), W=side(layer))
    for layer in POOLED:
        for mode in ("average", "max"):
            (C, N), h = CHANNELS[layer], side(layer)
            yield from _both("conv3x3_relu_pool", C=C, N=N, H=h, W=h, mode=mode)
    for mode in ("average", "max"):
        yield from _both("pool2x2", C=64, **plane, mode=mode)
    yield "wrap", {"C": 64, **plane, "kind": "features", "larger": True}
    for layer in STYLE_LAYERS:
        N, h = CHANNELS[layer][1], side(layer)
        yield "gram", {"N": N, "H": h, "W": h}
        yield "style_ahead", {"N": N, "H": h, "W": h, "scaled": False}
        yield "style_loss", {"N": N, "H": h, "W": h, "scaled": False}
    N, h = CHANNELS[CONTENT_LAYER][1], side(CONTENT_LAYER)
    yield "content_loss", {"N": N, "H": h, "W": h, "scaled": False}


def _builtin_sizes(size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ops of the built-in filters, and those of both networks at the image, at full size."""
    plane = {"H": size, "W": size}
    yield from _both("image_input", **plane, image="held")
    yield from _both("filter7x7", **plane)
    yield from _both("binomial_down", **plane)
    yield "gram", {"N": 134, **plane}
    yield "total_variation", {**plane, "circular": False}


class Recorder:
    """A backend that keeps the first call of one op."""

    def __init__(self, backend: Any, op: str) -> None:
        self._backend, self._op = backend, op
        self.call: Callable[[], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        if name != self._op or self.call is not None:
            return attribute

        def record(*arguments: Any) -> Any:
            self.call = partial(attribute, *arguments)
            return attribute(*arguments)

        return record


def checked_call(
    case: OpCase, backend: Any, wanted: Any = None, tolerance: float = 0.0
) -> Callable[[], Any]:
    """Check an op, and return it as a call without arguments.

    The outputs of `checked(case)` are compared with `wanted`, by default those of the float64
    reference, by relative L2 error; `tolerance` replaces that of the case if it is larger. An op
    that adds to its output goes on adding when it is called again, which does not change its time.
    """
    recorder, small = Recorder(backend, case.op), checked(case)
    allowed = max(case.tolerance, tolerance)
    found = small.outputs(recorder)
    for name, values in (wanted or small.outputs(ReferenceBackend())).items():
        norm = max(float(np.linalg.norm(values)), 1e-30)
        error = float(np.linalg.norm(found[name] - values)) / norm
        if not error <= allowed:
            raise AssertionError(
                f"{small}: {name} must agree with float64 to {allowed:g},"
                f" got a relative error of {error:.1e}"
            )
    if small is not case:
        recorder = Recorder(backend, case.op)
        case.outputs(recorder)
    assert recorder.call is not None
    return recorder.call


def checked(case: OpCase) -> OpCase:
    """The case; where float64 would take long, the same op on a picture of half the side."""
    while case.flops > MOST_CHECKED:
        sizes = {**case.sizes, "H": case.sizes["H"] // 2, "W": case.sizes["W"] // 2}
        case = replace(case, sizes=sizes, flops=COSTS[case.op](**sizes)[0])
    return case


def rates(case: OpCase, seconds: float, peaks: dict[str, float | None]) -> dict[str, float | None]:
    """GFLOP/s and GB/s of a case, and their shares of the machine's measured peaks.

    The bytes are those that must move once, so a share above one means that they came from a cache.
    The FLOP are those of a direct evaluation, so Winograd's algorithm can exceed the peak too.
    """
    gflops, gbs = case.flops / seconds / 1e9, case.nbytes / seconds / 1e9
    flops_peak = peaks["fma_gflops"] or peaks["sgemm_gflops"]
    return {
        "gflops": round(gflops, 2),
        "gbs": round(gbs, 2),
        "of_peak_flops": round(gflops / flops_peak, 3) if flops_peak else None,
        "of_copy": round(gbs / peaks["copy_gbs"], 3) if peaks["copy_gbs"] else None,
    }


def row(
    case: OpCase, threads: int, seconds: list[float], peaks: dict[str, float | None]
) -> dict[str, Any]:
    """One row of the table."""
    ms = summary(seconds)
    ms["count"] = len(ms.pop("runs"))  # there are hundreds: only their number is stored
    return {
        "case": str(case), "op": case.op, "sizes": case.sizes, "threads": threads,
        "flops": case.flops, "bytes": case.nbytes, "ms": ms,
        **rates(case, ms["median"] / 1e3, peaks),
    }  # fmt: skip


def measure(
    case: OpCase,
    backend: Any,
    threads: int,
    peaks: dict[str, float | None],
    seconds: float = 0.2,
    wanted: Any = None,
) -> dict[str, Any]:
    """Check one case, time it for about so many seconds, and return its row."""
    call = checked_call(case, backend, wanted)
    return row(case, threads, sample(call, calls=5, seconds=seconds, warm_up=2), peaks)


def device_row(
    case: OpCase, precision: str, seconds: list[float], limits: dict[str, float]
) -> dict[str, Any]:
    """One row of a device's table; `limits` are FLOP/s, and bytes/s of float32 arrays."""
    ms = summary(seconds)
    ms["count"] = len(ms.pop("runs"))
    rate, speed = case.flops / ms["median"] * 1e3, case.nbytes / ms["median"] * 1e3
    return {
        "case": f"{case}, {precision}", "op": case.op, "sizes": case.sizes, "threads": 0,
        "name": "pynst" if precision == "fast" else f"pynst-{precision}", "flops": case.flops,
        "bytes": case.nbytes * (0.5 if precision == "fast" else 1.0), "ms": ms,
        "gflops": float(f"{rate / 1e9:.5g}"), "gbs": float(f"{speed / 1e9:.5g}"),
        "of_peak_flops": round(rate / limits["flops"], 3),
        "of_copy": round(speed / limits["bytes"], 3),
    }  # fmt: skip
