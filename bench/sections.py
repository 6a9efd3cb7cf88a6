"""The sections of a report in Markdown: one for each part that was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.measure import ratio

__all__ = ["SECTIONS", "TITLES", "by_name", "groups", "mb", "table"]

TITLES = {
    "pynst": "PyNST",
    "pynst-accurate": "PyNST, accurate",
    "pynst-objective": "PyNST, `Objective`",
    "pynst-avx512": "PyNST, AVX-512 forced",
    "pynst-avx2": "PyNST, AVX2 forced",
    "pynst-max": "PyNST, maximum pooling",
    "torch-usual": "PyTorch, as usual",
    "torch-best": "PyTorch, best form",
    "torch-graph": "PyTorch, best form, CUDA graph",
    "torch-compile": "PyTorch, best form compiled",
    "torch-avx2": "PyTorch, best form, AVX2 forced",
    "torch-float32": "PyTorch, best form, float32",
    "torch-max": "PyTorch, best form, maximum pooling",
    "jax": "JAX, jit",
    "numpy": "NumPy and BLAS",
}
"""By row of the closure: its name for readers."""

_CLIPPED = (
    "PyNST's L-BFGS counts the loss of the image clipped to [0, 1], as it is saved; the images of\n"
    "the peers leave that range, and what clipping them would cost is not counted."
)


def _closure(rows: list[dict[str, Any]]) -> str:
    lines = []
    for size, threads in groups(rows):
        found = by_name(rows, size, threads)
        ours = found["pynst"]
        for name, row in found.items():
            faster = "" if name == "pynst" else str(ratio(row["ms"], ours["ms"]))
            if faster and not (ours["quiet_turns"] and row["quiet_turns"]):
                faster += ", disturbed"
            lines.append(
                (size, threads or "device", TITLES[name], _ms(row["ms"]), f"{row['ms']['min']:.4g}",
                 len(row["ms"]["runs"]), faster,
                 row["gflops"], mb(row), f"{row['first_s']:.2f}",
                 f"{row['quiet_turns']} of {len(row['cores_used'])}")
            )  # fmt: skip
    heads = ("pixels", "threads", "", "ms", "fastest", "runs", "time / PyNST's", "GFLOP/s",
             "peak memory", "cold start to first result, s", "quiet turns")  # fmt: skip
    if all(row["threads"] == 0 for row in rows):
        how = (
            "Value and gradient; x and the gradient stay on the device, and each run ends when the"
            " value is on the host.\nMemory is what the arrays take on the device."
        )
    else:
        how = (
            "Value and gradient; all rows agree to 1e-4 and 1e-2. GFLOP/s count a direct"
            " convolution.\nA turn is quiet if the process had 90 % of its threads' processor time;"
            " others do not count, unless a row has none:\nits ratio is then called disturbed and"
            " says little."
        )
    return f"### The closure\n\n{how}\n\n{table(heads, lines)}"


def _breakdown(rows: list[dict[str, Any]]) -> str:
    """One line for each op, all its shapes together; the JSON has them apart."""
    kinds = sorted(
        {each["call"].split(",")[0] for row in rows for each in row["rows"]},
        key=lambda op: -sum(_spent(row, op)[0] for row in rows),
    )
    lines: list[list[Any]] = []
    for op in kinds:
        line: list[Any] = [op]
        for row in rows:
            ms, gflop, mb, floor = _spent(row, op)
            line.append(f"{ms:.3g} ({ms / row['ms']:.1%}; {gflop:.3g}; {mb:.3g}; {floor:.3g})")
        lines.append(line)
    lines.append(["all", *(f"{row['ms']:.4g}" for row in rows)])
    heads = [_what(row) for row in rows]
    return (
        "### The closure, op by op\n\nms (share of the whole; GFLOP of a direct evaluation; MB that"
        " must move once; ms that these take at the measured\npeaks, below which Winograd's"
        " convolutions can go).\n\n" + table(["op", *heads], lines)
    )


def _spent(row: dict[str, Any], op: str) -> tuple[float, ...]:
    """ms, GFLOP, MB and floor of all shapes of an op, added up."""
    mine = [each for each in row["rows"] if each["call"].split(",")[0] == op]
    return tuple(sum(each[key] for each in mine) for key in ("ms", "gflop", "mb", "floor_ms"))


def _what(row: dict[str, Any]) -> str:
    """Size of a closure, and where it ran."""
    place = f"threads {row['threads']}" if row["threads"] else TITLES[row["name"]]
    return f"{row['size']} pixels, {place}"


def _users(found: dict[str, Any]) -> str:
    parts = ["### What a user feels"]
    rows = [(row["what"], _ms(row["ms"]), len(row["ms"]["runs"])) for row in found["start"]]
    if rows:
        parts.append(table(("a process that does this and ends", "ms", "runs"), rows))
    pictures = [
        (row["network"], f"{row['size']}, {row['quality']}", row["evaluations"],
         f"{row['first_s']:.2f}", f"{row['final_s']:.1f}", mb(row))
        for row in found["picture"]
    ]  # fmt: skip
    heads = ("network", "picture", "evaluations", "cold process to first picture, s",
             "to the final one, s", "peak memory")  # fmt: skip
    parts.append(table(heads, pictures))
    sizes = [(name, f"{size:.1f} MB") for name, size in found["installed_mb"].items()]
    parts += [table(("installed", "size"), sizes)] if sizes else []
    return "\n\n".join(parts)


def _convergence(found: dict[str, Any]) -> str:
    curves = found["curves"]
    lowest = min(min(curve["loss"]) for curve in curves.values())
    rows = []
    for name, curve in curves.items():
        reached = [_seconds_to(curve, factor * lowest) for factor in (2, 1.1, 1.01)]
        rows.append(
            (name, len(curve["loss"]), f"{curve['seconds'][-1]:.1f}",
             f"{min(curve['loss']) / lowest:.4g}", *reached, curve["cores_used"])
        )  # fmt: skip
    heads = ("driver", "evaluations", "seconds", "lowest loss / lowest of all", "s to within x 2",
             "x 1.1", "x 1.01", "cores used")  # fmt: skip
    return (
        f"### Loss against time\n\nOne level of {found['size']} pixels, {found['evaluations']}"
        f" evaluations, {_place(found['threads'])}, weights: {found['weights']}.\n{_CLIPPED}\n\n"
        + table(heads, rows)
    )


def _seconds_to(curve: dict[str, Any], loss: float) -> str:
    for seconds, value in zip(curve["seconds"], curve["loss"], strict=True):
        if value <= loss:
            return f"{seconds:.1f}"
    return "not reached"


def _quality(found: dict[str, Any]) -> str:
    parts = ["### Quality"]
    lines = [
        (row["formula"], row.get("backend", "cpu"), f"{row['value_error']:.1e}",
         f"{row['gradient_error']:.1e}")
        for row in found["formulas"]
    ]  # fmt: skip
    if lines:
        parts.append(
            "The formulas against an independent float64 implementation: relative differences, on"
            " the tests' small network."
        )
        parts.append(table(("formula", "backend", "value", "gradient"), lines))
    if "drivers" in found:
        drivers = found["drivers"]
        parts.append(
            f"The objective that each driver reaches from the same start at {drivers['size']}"
            f" pixels, on random weights, as a share of the start's.\n{_CLIPPED}"
        )
        heads = ("driver", *(f"after {count} evaluations" for count in drivers["after"]))
        parts.append(
            table(
                heads,
                [
                    (row["driver"], *(f"{value / row['start']:.4g}" for value in row["lowest"]))
                    for row in drivers["rows"]
                ],
            )
        )
    return "\n\n".join(parts)


def _scaling(found: dict[str, Any]) -> str:
    pixels, evaluations = found["pixels"], found["evaluations"]
    text = f"Time grows with the pixels to the power of {pixels['time_exponent']}"
    if "memory_exponent" in pixels:
        text += (
            f", peak memory to that of {pixels['memory_exponent']} (about {pixels['mb_constant']}"
            f" MB and {pixels['mb_per_megapixel']} MB per megapixel)"
        )
    text += "."
    if evaluations:
        text += (
            "\nOne level of 128 pixels with the built-in filters takes"
            f" {evaluations['ms_constant']} ms and {evaluations['ms_per_evaluation']} ms per"
            " evaluation."
        )
    rows = [
        (
            r["size"],
            r["threads"] or "device",
            r["ms"],
            mb(r),
            r.get("speedup", ""),
            r["cores_used"],
        )
        for r in (*pixels["rows"], *found["threads"])
    ]
    heads = ("pixels", "threads", "ms", "peak memory", "speed-up over one thread", "cores used")
    return f"### Scaling of the closure\n\n{text}\n\n{table(heads, rows)}"


def _convolutions(result: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """PyNST's convolutions by (row's name, input channels, output channels, side, way).

    They are taken from the part "ops", else from "breakdown", with or without pooling. A row of one
    thread is taken only where there is none of more.
    """
    found = {}
    for closure in result.get("breakdown", []):
        rows = [{**closure, **row, "gflops": row["gflop"] / row["ms"] * 1e3}
                for row in closure["rows"]]  # fmt: skip
        found.update(_by_shape([{**row, "ms": {"median": row["ms"] / row["calls"]}}
                                for row in rows]))  # fmt: skip
    return found | _by_shape([row for row in result.get("ops", []) if "sizes" in row])


def _by_shape(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {}
    for row in sorted(rows, key=lambda row: (row["threads"], "pool" not in row["op"])):
        if "conv3x3" in row["op"]:
            sizes, back = row["sizes"], row["op"].endswith("backward")
            shape = sizes.get("C", 3), sizes["N"], sizes["H"]
            way = "backward" if back else "forward"
            found[(row.get("name", "pynst"), *shape, way)] = row
    return found


def _layers(rows: list[dict[str, Any]], own: dict[tuple[Any, ...], dict[str, Any]]) -> str:
    """The library's convolutions beside PyNST's of the same shapes, where these were measured."""
    forms = list(dict.fromkeys(row["form"] for row in rows))
    names = list(dict.fromkeys(key[0] for key in own))
    lines = []
    for shape in dict.fromkeys((row["C"], row["N"], row["size"], row["way"]) for row in rows):
        C, N, size, way = shape
        line: list[Any] = [f"{C} to {N}", f"{size} x {size}", way]
        line += [_rate(own.get((name, *shape))) for name in names]
        for form in forms:
            same = [row for row in rows if _key(row) == (*shape, form)]
            line.append(_rate(same[0] if same else None))
        lines.append(line)
    heads = ("channels", "pixels", "way", *(TITLES[name] for name in names),
             *(f"PyTorch's library, {form}" for form in forms))  # fmt: skip
    return (
        "### Convolution by convolution\n\nTFLOP/s of a direct evaluation (ms). The library"
        " convolves only; PyNST's ops add bias, ReLU and its bits,\nand those of the layers before"
        " a pooling may pool.\n\n" + table(heads, lines)
    )


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["C"], row["N"], row["size"], row["way"], row["form"]


def _rate(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['gflops'] / 1e3:.3g} ({row['ms']['median']:.3g})"


def _ops(rows: list[dict[str, Any]]) -> str:
    lines = [
        (row["case"], row["threads"] or "device", _ms(row["ms"]), row["gflops"],
         _percent(row["of_peak_flops"]), row["gbs"], _percent(row["of_copy"]))
        for row in rows
    ]  # fmt: skip
    heads = ("op and shape", "threads", "ms", "GFLOP/s", "of the peak", "GB/s", "of the copy")
    return (
        "### Ops\n\nEach checked before it was timed (large ones on a smaller picture), on the CPU"
        " against float64, on a\ndevice against the CPU's core. Caches are warm, the L2 of a device"
        " too. FLOP are those of a direct evaluation (Winograd\ncan exceed the peak), bytes those"
        " that must move once; on a device the peak is cuBLAS's on halves, for the precision\n"
        '"accurate" a third of it.\n\n' + table(heads, lines)
    )


# ---- pieces --------------------------------------------------------------------------------------


def groups(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return sorted({(row["size"], row["threads"]) for row in rows})


def by_name(rows: list[dict[str, Any]], size: int, threads: int) -> dict[str, dict[str, Any]]:
    return {r["name"]: r for r in rows if (r["size"], r["threads"]) == (size, threads)}


def _place(threads: int) -> str:
    return f"threads {threads}" if threads else "on the device"


def _ms(ms: dict[str, Any]) -> str:
    return f"{ms['median']:.4g} [{ms['q1']:.4g}, {ms['q3']:.4g}]"


def mb(row: dict[str, Any]) -> str:
    return "unknown" if row["peak_mb"] is None else f"{row['peak_mb']:.0f} MB"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "closure": lambda result: _closure(result["closure"]),
    "breakdown": lambda result: _breakdown(result["breakdown"]),
    "users": lambda result: _users(result["users"]),
    "convergence": lambda result: _convergence(result["convergence"]),
    "quality": lambda result: _quality(result["quality"]),
    "scaling": lambda result: _scaling(result["scaling"]),
    "layers": lambda result: _layers(result["layers"], _convolutions(result)),
    "ops": lambda result: _ops(result["ops"]),
}
"""By part, in the order of a report."""
