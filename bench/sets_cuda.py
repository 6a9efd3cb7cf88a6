"""The parts on a CUDA device. Rows have the form of those on the CPU, with 0 threads.

The process of a row measures all its sizes, one after another: to start CUDA and PyTorch takes
seconds where a closure takes milliseconds, and a device that nobody else uses has little noise that
would have to be spread. A row that fails is listed with its reason, and the others go on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import closure, device, machine, ops, scaling, users
from bench.machine import has
from bench.measure import Display, Worker, quartiles
from bench.sets import Keep, begin, weights_file
from pynst.backends.base import Precision

__all__ = ["EXTENTS", "Extent", "run"]

PRECISIONS: tuple[Precision, ...] = ("fast", "accurate")
ROWS = {
    "pynst": "fast", "pynst-accurate": "accurate", "torch-graph": "", "torch-best": "",
    "torch-float32": "", "torch-usual": "", "torch-compile": "",
}  # fmt: skip
"""The closure's rows by name, with the precision of PyNST's; the one that compiles long is last."""

LIMIT = 120.0
"""Seconds for one process: a peer that compiles for long must not keep others from their turn."""

ORDER = ("breakdown", "closure", "convergence", "layers", "ops", "users", "scaling", "quality")
"""PyNST's own figures come first: a visit to a device may end at any time."""

AGREEMENT = {"value": 3e-3, "gradient": 5e-2}
"""Relative differences that are allowed between rows, of which some compute in float16: its
rounding decides more ReLUs otherwise than that of float32 does."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much a set measures on a device. Sizes are sides of square pictures, in pixels.

    Attributes
    ----------
    closure_sizes : tuple of int
        Sizes of the closure, also for the part "scaling".
    compiled_sizes : tuple of int
        Those at which PyTorch's compiled form is measured too.
    closure_calls : int
        Least number of timed calls.
    breakdown_sizes, ops_sizes, layers_sizes : tuple of int
        Sizes for these parts.
    descent_size, descent_evaluations : int
        Size and evaluations of the part "convergence".
    picture_size : int
        Size of the picture of the part "users".
    drivers_size, drivers_evaluations : int
        Size and evaluations of the drivers of the part "quality".
    """

    closure_sizes: tuple[int, ...]
    compiled_sizes: tuple[int, ...]
    closure_calls: int
    breakdown_sizes: tuple[int, ...]
    ops_sizes: tuple[int, ...]
    layers_sizes: tuple[int, ...]
    descent_size: int
    descent_evaluations: int
    picture_size: int
    drivers_size: int
    drivers_evaluations: int


EXTENTS = {
    "tiny": Extent(
        closure_sizes=(32, 64),
        compiled_sizes=(32,),
        closure_calls=3,
        breakdown_sizes=(32,),
        ops_sizes=(32,),
        layers_sizes=(32,),
        descent_size=32,
        descent_evaluations=6,
        picture_size=64,
        drivers_size=32,
        drivers_evaluations=6,
    ),
    "quick": Extent(
        closure_sizes=(256, 512, 1024, 2048),
        compiled_sizes=(512, 1024),
        closure_calls=20,
        breakdown_sizes=(512, 1024),
        ops_sizes=(512,),
        layers_sizes=(512,),
        descent_size=512,
        descent_evaluations=300,
        picture_size=512,
        drivers_size=128,
        drivers_evaluations=100,
    ),
    "full": Extent(
        closure_sizes=(128, 256, 384, 512, 768, 1024, 1536, 2048),
        compiled_sizes=(256, 512, 1024, 2048),
        closure_calls=50,
        breakdown_sizes=(256, 512, 1024),
        ops_sizes=(256, 512, 1024),
        layers_sizes=(256, 512, 1024),
        descent_size=512,
        descent_evaluations=300,
        picture_size=512,
        drivers_size=256,
        drivers_evaluations=200,
    ),
}


def run(
    parts: Collection[str],
    *,
    extent: str,
    name: str,
    command: str,
    keep: Keep = bool,
) -> dict[str, Any]:
    """Measure the parts on the current CUDA device; arguments as for `bench.sets.run`."""
    started, chosen = time.monotonic(), EXTENTS[extent]
    result = begin(extent, name, command, "cuda")
    display = Display(0)
    display("peaks")
    state = device.state()
    result["device"] = {**device.facts(), "before": state}
    result["peaks"] = {"cuda": _ask("device_peaks")}
    result["failed"] = {}
    rows, folder = list(ROWS), tempfile.TemporaryDirectory()
    quick, compiled = rows[:-1], rows[-1:]
    measures: dict[str, Callable[[], Any]] = {
        "closure": lambda: _closures(chosen, quick, folder.name, result, keep, display),
        "breakdown": lambda: _breakdown(chosen, result["peaks"]["cuda"], display),
        "ops": lambda: _ops(chosen, result["peaks"]["cuda"], result["failed"], display),
        "layers": lambda: _layers(chosen, result["failed"], display),
        "users": lambda: _users(chosen, display),
        "convergence": lambda: _convergence(chosen, result["failed"], display),
        "scaling": lambda: _scaling(chosen, display),
        "quality": lambda: _quality(chosen, result["failed"], display),
    }

    def note() -> None:
        """Keep what there is, with the state of the machine after it."""
        result["device"]["after"] = device.state()
        result["load"]["after"] = machine.load()
        result["minutes"] = round((time.monotonic() - started) / 60, 1)
        keep(result)

    with folder:
        for part in [part for part in ORDER if part in parts]:
            found = _attempt(result["failed"], part, measures[part])
            result.update({} if found is None else {part: found})
            note()
        if "closure" in parts:
            _closures(chosen, compiled, folder.name, result, keep, display)
            note()
    display.close()
    return result


def _ask(task: str, **arguments: Any) -> Any:
    """Do a task of `bench.worker` in a fresh process."""
    return Worker(1, limit=LIMIT)(task, **arguments)


def _attempt(
    failed: dict[str, str], what: str, work: Callable[..., Any], *arguments: Any, **named: Any
) -> Any:
    """Do some work and return its result; None where it fails, and `failed` then says why."""
    try:
        return work(*arguments, **named)
    except (RuntimeError, AssertionError, MemoryError) as error:
        failed[what] = str(error)
        return None


def _closures(
    chosen: Extent,
    names: list[str],
    folder: str,
    result: dict[str, Any],
    keep: Keep,
    display: Display,
) -> list[dict[str, Any]]:
    """Measure some of the rows, and keep each at once; then compare all that there are so far."""
    failed, rows = result["failed"], result.setdefault("closure", [])
    for name in names:
        if not ROWS[name] and not has("torch"):
            continue
        display(f"closure: {name}")
        sizes = chosen.compiled_sizes if name == "torch-compile" else chosen.closure_sizes
        answers = _attempt(
            failed, f"closure {name}", _ask, "device_closures", name=name, precision=ROWS[name],
            sizes=sizes, calls=chosen.closure_calls, folder=folder,
        )  # fmt: skip
        rows += [closure.row(each["size"], 0, name, [each]) for each in answers or []]
        rows.sort(key=lambda row: (row["size"], list(ROWS).index(row["name"])))
        keep(result)
    for size in chosen.closure_sizes:
        saved = {name: Path(folder) / f"{name}-{size}.npz" for name in ROWS}
        there = {name: path for name, path in saved.items() if path.exists()}
        _attempt(
            failed, f"agreement of the closures at {size}",
            closure.check_agreement, there, **AGREEMENT,
        )  # fmt: skip
    return list(rows)


def _breakdown(chosen: Extent, peaks: dict[str, Any], display: Display) -> list[dict[str, Any]]:
    rows = []
    for size in chosen.breakdown_sizes:
        for name, precision in list(ROWS.items())[:2]:
            display(f"breakdown: {name}, closure {size}")
            answer = _ask(
                "device_breakdown", size=size, precision=precision, peaks=_limits(peaks, precision)
            )
            rows.append({"size": size, "threads": 0, "name": name, **answer})
    return rows


def _limits(peaks: dict[str, Any], precision: str) -> dict[str, float]:
    """The ceilings of a precision: FLOP/s, and bytes/s as if the arrays were float32.

    The precision "fast" stores float16, so the same work needs half the bytes; "accurate" computes
    one product of float32 as three of float16.
    """
    half, copy = peaks["half_tflops"] or float("inf"), peaks["copy_gbs"] or float("inf")
    if precision == "fast":
        return {"flops": 1e12 * half, "bytes": 2e9 * copy}
    return {"flops": 1e12 * half / 3, "bytes": 1e9 * copy}


def _ops(
    chosen: Extent, peaks: dict[str, Any], failed: dict[str, str], display: Display
) -> list[dict[str, Any]]:
    """Time each op, after its outputs were compared with those of the CPU core."""
    from pynst.backends import open_backend

    truth = open_backend("cpu")
    backends = {precision: open_backend("cuda", precision=precision) for precision in PRECISIONS}
    rows = []
    for size in chosen.ops_sizes:
        for case in ops.layer_cases(size):
            wanted = ops.checked(case).outputs(truth)
            for precision, backend in backends.items():
                display(f"ops: {case}, {precision}")
                row = _attempt(
                    failed, f"ops {case}, {precision}",
                    _op, case, precision, backend, wanted, _limits(peaks, precision),
                )  # fmt: skip
                rows += [row] if row else []
    return rows


def _op(
    case: Any, precision: str, backend: Any, wanted: Any, limits: dict[str, float]
) -> dict[str, Any]:
    """Check one op, time it, and return its row."""
    call = ops.checked_call(case, backend, wanted, ops.DEVICE_TOLERANCE[precision])
    return ops.device_row(case, precision, device.sample(call), limits)


def _layers(chosen: Extent, failed: dict[str, str], display: Display) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for size in chosen.layers_sizes if has("torch") else ():
        for form in ("half", "tf32", "float32"):
            display(f"layers: cuDNN, {size} pixels, {form}")
            found = _attempt(
                failed, f"layers {size}, {form}",
                _ask, "layers", size=size, device="cuda", forms=[form], threads=0,
            )  # fmt: skip
            rows += found or []
    return rows


def _users(chosen: Extent, display: Display) -> dict[str, Any]:
    rows = []
    for precision in PRECISIONS:
        found = users.pictures(
            machine.all_threads(), chosen.picture_size, "cuda", precision, display
        )
        rows += [{**row, "quality": f"normal, {precision}"} for row in found]
    return {"start": [], "picture": rows, "installed_mb": {}}


def _convergence(chosen: Extent, failed: dict[str, str], display: Display) -> dict[str, Any]:
    size, evaluations = chosen.descent_size, chosen.descent_evaluations
    runs = [
        ("pynst lbfgs", "cuda"), ("pynst lbfgs", "cuda accurate"), ("torch.optim.LBFGS", "cuda"),
        ("torch.optim.LBFGS", "cuda accurate"), ("pynst adam", "cuda"), ("pynst scipy", "cuda"),
    ]  # fmt: skip
    curves = {}
    with weights_file() as (path, weights):
        for driver, backend in runs:
            if "torch" in driver and not has("torch"):
                continue
            label = f"{driver}{backend.removeprefix('cuda').replace(' ', ', ')}"
            display(f"convergence: {label}")
            curve = _attempt(
                failed, f"convergence {label}", _ask, "descent", driver=driver, size=size,
                evaluations=evaluations, threads=1, weights_file=path, backend=backend,
            )  # fmt: skip
            if curve:
                curves[label] = curve
    return {
        "size": size, "threads": 0, "evaluations": evaluations, "weights": weights,
        "curves": curves,
    }  # fmt: skip


def _scaling(chosen: Extent, display: Display) -> dict[str, Any]:
    """Measure how the closure grows with the pixels, in the precision "fast".

    A device has no number of threads to vary.
    """
    display("scaling: closure")
    answers = _ask(
        "device_closures", name="pynst", precision="fast", sizes=chosen.closure_sizes,
        calls=chosen.closure_calls, folder="",
    )  # fmt: skip
    rows = [
        {
            "size": answer["size"], "threads": 0, "cores_used": answer["cores_used"],
            "ms": float(f"{1e3 * quartiles(answer['seconds'])[1]:.4g}"),
            "peak_mb": answer["peak_mb"],
        }
        for answer in answers
    ]  # fmt: skip
    return {"pixels": scaling.line(rows), "threads": [], "evaluations": None}


def _quality(chosen: Extent, failed: dict[str, str], display: Display) -> dict[str, Any]:
    found: dict[str, Any] = {"formulas": []}
    if has("torch"):
        display("quality: five formulas")
        rows = _attempt(failed, "quality: formulas", _ask, "formulas", backends=["cuda"])
        found["formulas"] = rows or []
    display(f"quality: the drivers at {chosen.drivers_size} pixels")
    drivers = _attempt(
        failed, "quality: drivers", _ask, "drivers", size=chosen.drivers_size,
        evaluations=chosen.drivers_evaluations, threads=1, backend="cuda",
    )  # fmt: skip
    return {**found, **({"drivers": drivers} if drivers else {})}
