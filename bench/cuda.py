"""The parts on a CUDA device. Rows have the same form as the CPU's, with 0 threads.

A row's process measures all its sizes, one after another: starting CUDA and PyTorch takes seconds
where a closure takes milliseconds, and a device that nobody else uses has little noise to spread.
What fails is noted beside the row's name, and the others go on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import closure, machine, ops, scaling, users
from bench.measure import Display, Worker, quartiles
from bench.sets import Keep, begin, weights_file

__all__ = ["EXTENTS", "Extent", "run"]

PRECISIONS = ("fast", "accurate")
ROWS = {
    "pynst": "fast", "pynst-accurate": "accurate", "torch-graph": "", "torch-best": "",
    "torch-float32": "", "torch-usual": "", "torch-compile": "",
}  # fmt: skip
"""The closure's rows, and PyNST's precision; those that take long to start come last."""

LIMIT = 120.0
"""Seconds for one process: a peer that compiles for long must not keep others from theirs."""

ORDER = ("breakdown", "closure", "convergence", "layers", "ops", "users", "scaling", "quality")
"""PyNST's own figures first: a visit to a device may end at any time."""

AGREEMENT = {"value": 3e-3, "gradient": 5e-2}
"""Halves against float32: a ReLU that is decided otherwise moves the gradient by more than that of
float32."""


@dataclass(frozen=True)
class Extent:
    """How much a set measures on a device. Sizes are sides of square pictures, in pixels."""

    sizes: tuple[int, ...]
    compiled: tuple[int, ...]
    calls: int
    breakdown: tuple[int, ...]
    ops: tuple[int, ...]
    layers: tuple[int, ...]
    descent: tuple[int, int]  # size, evaluations
    picture: int
    drivers: tuple[int, int]


EXTENTS = {
    "tiny": Extent((32, 64), (32,), 3, (32,), (32,), (32,), (32, 6), 64, (32, 6)),
    "quick": Extent(
        (256, 512, 1024, 2048), (512, 1024), 20, (512, 1024), (512,), (512,), (512, 300), 512,
        (128, 100),
    ),
    "full": Extent(
        (128, 256, 384, 512, 768, 1024, 1536, 2048), (256, 512, 1024, 2048), 50, (256, 512, 1024),
        (256, 512, 1024), (256, 512, 1024), (512, 300), 512, (256, 200),
    ),
}  # fmt: skip


def run(
    parts: Collection[str],
    *,
    extent: str,
    name: str,
    command: str,
    keep: Keep = bool,
) -> dict[str, Any]:
    """Measure the parts on the current CUDA device; arguments as for `bench.sets.run`."""
    from bench import device

    started, result, chosen = (
        time.monotonic(),
        begin(extent, name, command, "cuda"),
        EXTENTS[extent],
    )
    display = Display(0)
    display("peaks")
    state = device.state()
    result["device"] = {**device.facts(), "before": state}
    result["peaks"] = {"cuda": Worker(1, limit=LIMIT)("device_peaks")}
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
        result["device"]["after"] = device.state()
        result["load"]["after"] = machine.load()
        result["minutes"] = round((time.monotonic() - started) / 60, 1)
        keep(result)

    with folder:
        for part in [part for part in ORDER if part in parts]:
            _attempt(result["failed"], part, lambda p=part: result.update({p: measures[p]()}))
            note()
        if "closure" in parts:
            _closures(chosen, compiled, folder.name, result, keep, display)
            note()
    display.close()
    return result


def _torch() -> bool:
    return machine.peers()["torch"]["version"] is not None


def _attempt(failed: dict[str, str], what: str, work: Callable[[], Any]) -> Any:
    """What the work returns; None where it failed, and `failed` says why."""
    try:
        return work()
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
    """Some of the rows; each is kept as soon as it is there. Then all so far are compared."""
    failed, rows = result["failed"], result.setdefault("closure", [])
    for name in names:
        if not ROWS[name] and not _torch():
            continue
        display(f"closure: {name}")
        sizes = chosen.compiled if name == "torch-compile" else chosen.sizes
        answers = _attempt(
            failed, f"closure {name}",
            lambda n=name, s=sizes: Worker(1, limit=LIMIT)(
                "device_closures", name=n, precision=ROWS[n], sizes=s, calls=chosen.calls,
                folder=folder,
            ),
        )  # fmt: skip
        rows += [closure.row(each["size"], 0, name, [each]) for each in answers or []]
        rows.sort(key=lambda row: (row["size"], list(ROWS).index(row["name"])))
        keep(result)
    for size in chosen.sizes:
        saved = {name: Path(folder) / f"{name}-{size}.npz" for name in ROWS}
        there = {name: path for name, path in saved.items() if path.exists()}
        _attempt(
            failed, f"agreement of the closures at {size}",
            lambda found=there: closure.check_agreement(found, **AGREEMENT),
        )  # fmt: skip
    return list(rows)


def _breakdown(chosen: Extent, peaks: dict[str, Any], display: Display) -> list[dict[str, Any]]:
    rows = []
    for size in chosen.breakdown:
        for name, precision in list(ROWS.items())[:2]:
            display(f"breakdown: {name}, closure {size}")
            answer = Worker(1, limit=LIMIT)(
                "device_breakdown", size=size, precision=precision, peaks=_limits(peaks, precision)
            )
            rows.append({"size": size, "threads": 0, "name": name, **answer})
    return rows


def _limits(peaks: dict[str, Any], precision: str) -> dict[str, float]:
    """FLOP/s and bytes/s of float32 arrays; halves need half the bytes.

    "accurate" does three products of halves for one of float32.
    """
    half, copy = peaks["half_tflops"] or float("inf"), peaks["copy_gbs"] or float("inf")
    if precision == "fast":
        return {"flops": 1e12 * half, "bytes": 2e9 * copy}
    return {"flops": 1e12 * half / 3, "bytes": 1e9 * copy}


def _ops(
    chosen: Extent, peaks: dict[str, Any], failed: dict[str, str], display: Display
) -> list[dict[str, Any]]:
    """Each op, after its outputs were compared with those of the CPU's core."""
    from bench.device import sample
    from pynst.backends import open_backend

    truth = open_backend("cpu")
    backends = {
        precision: open_backend("cuda", precision=precision)  # type: ignore[call-arg,unused-ignore]
        for precision in PRECISIONS
    }
    rows = []
    for size in chosen.ops:
        for case in ops.layer_cases(size):
            wanted = ops.checked(case).outputs(truth)
            for precision, backend in backends.items():
                display(f"ops: {case}, {precision}")

                def measure(
                    case: Any = case, p: str = precision, b: Any = backend, wanted: Any = wanted
                ) -> None:
                    call = ops.checked_call(case, b, wanted, ops.DEVICE_TOLERANCE[p])
                    limits = _limits(peaks, p)
                    rows.append(ops.device_row(case, p, sample(call), limits))

                _attempt(failed, f"ops {case}, {precision}", measure)
    return rows


def _layers(chosen: Extent, failed: dict[str, str], display: Display) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for size in chosen.layers if _torch() else ():
        for form in ("half", "tf32", "float32"):
            display(f"layers: cuDNN, {size} pixels, {form}")
            rows += _attempt(
                failed, f"layers {size}, {form}",
                lambda s=size, f=form: Worker(1, limit=LIMIT)(
                    "layers", size=s, device="cuda", forms=[f], threads=0
                ),
            ) or []  # fmt: skip
    return rows


def _users(chosen: Extent, display: Display) -> dict[str, Any]:
    rows = []
    for precision in PRECISIONS:
        found = users.pictures(machine.all_threads(), chosen.picture, "cuda", precision, display)
        rows += [{**row, "quality": f"normal, {precision}"} for row in found]
    return {"start": [], "picture": rows, "installed_mb": {}}


def _convergence(chosen: Extent, failed: dict[str, str], display: Display) -> dict[str, Any]:
    size, evaluations = chosen.descent
    runs = [
        ("pynst lbfgs", "cuda"), ("pynst lbfgs", "cuda accurate"), ("torch.optim.LBFGS", "cuda"),
        ("torch.optim.LBFGS", "cuda accurate"), ("pynst adam", "cuda"), ("pynst scipy", "cuda"),
    ]  # fmt: skip
    curves = {}
    with weights_file() as (path, weights):
        for driver, backend in runs:
            if "torch" in driver and not _torch():
                continue
            label = f"{driver}{backend.removeprefix('cuda').replace(' ', ', ')}"
            display(f"convergence: {label}")
            curve = _attempt(
                failed, f"convergence {label}",
                lambda d=driver, b=backend: Worker(1, limit=LIMIT)(
                    "descent", driver=d, size=size, evaluations=evaluations, threads=1,
                    weights_file=path, backend=b,
                ),
            )  # fmt: skip
            if curve:
                curves[label] = curve
    return {
        "size": size, "threads": 0, "evaluations": evaluations, "weights": weights,
        "curves": curves,
    }  # fmt: skip


def _scaling(chosen: Extent, display: Display) -> dict[str, Any]:
    """Of the precision "fast", over the pixels; a device has no number of threads to vary."""
    display("scaling: closure")
    answers = Worker(1, limit=LIMIT)(
        "device_closures", name="pynst", precision="fast", sizes=chosen.sizes, calls=chosen.calls,
        folder="",
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
    size, evaluations = chosen.drivers
    found: dict[str, Any] = {"formulas": []}
    if _torch():
        display("quality: five formulas")
        found["formulas"] = _attempt(
            failed, "quality: formulas",
            lambda: Worker(1, limit=LIMIT)("formulas", backends=["cuda"]),
        ) or []  # fmt: skip
    display(f"quality: the drivers at {size} pixels")
    drivers = _attempt(
        failed, "quality: drivers",
        lambda: Worker(1, limit=LIMIT)(
            "drivers", size=size, evaluations=evaluations, threads=1, backend="cuda"
        ),
    )  # fmt: skip
    return {**found, **({"drivers": drivers} if drivers else {})}
