"""The pictures of a result, as SVG: bars against the peers, memory, roofline, loss, scaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.report import TITLES

__all__ = ["draw"]

matplotlib.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "pynst", "axes.spines.top": False,
     "axes.spines.right": False, "figure.figsize": (7, 4)}
)  # fmt: skip


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what the result holds; returns the files written."""
    drawn = []
    for name, part, paint in (
        ("closure", "closure", _times), ("memory", "closure", _memory),
        ("roofline", "ops", _roofline), ("convergence", "convergence", _convergence),
        ("scaling", "scaling", _scaling),
    ):  # fmt: skip
        if not result.get(part):
            continue
        figure, axes = plt.subplots(layout="constrained")
        paint(axes, result)
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)
        drawn.append(path)
    return drawn


def _bars(axes: Axes, result: dict[str, Any], key: str) -> None:
    """One group of bars for each size and thread count, one colour for each row's name."""
    rows = result["closure"]
    groups = sorted({(row["size"], row["threads"]) for row in rows})
    names = [name for name in TITLES if any(row["name"] == name for row in rows)]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        found = {(row["size"], row["threads"]): row for row in rows if row["name"] == name}
        places = [j + i * width for j, group in enumerate(groups) if group in found]
        mine = [found[group] for group in groups if group in found]
        if key == "ms":
            heights = [row["ms"]["median"] for row in mine]
            down = [row["ms"]["median"] - row["ms"]["q1"] for row in mine]
            up = [row["ms"]["q3"] - row["ms"]["median"] for row in mine]
            axes.bar(places, heights, width, yerr=[down, up], label=TITLES[name])
        else:
            axes.bar(places, [row[key] or 0 for row in mine], width, label=TITLES[name])
    labels = [f"{size}, {threads} thr." for size, threads in groups]
    axes.set_xticks([j + 0.4 - width / 2 for j in range(len(groups))], labels)
    axes.legend(frameon=False, fontsize="small")


def _times(axes: Axes, result: dict[str, Any]) -> None:
    _bars(axes, result, "ms")
    axes.set(yscale="log", ylabel="ms, median and quartiles", title="Loss and gradient")


def _memory(axes: Axes, result: dict[str, Any]) -> None:
    _bars(axes, result, "peak_mb")
    axes.set(ylabel="peak memory of the process, MB", title="Memory of loss and gradient")


def _roofline(axes: Axes, result: dict[str, Any]) -> None:
    threads = max(row["threads"] for row in result["ops"])
    peak = result["peaks"][str(threads)]
    roof = peak["fma_gflops"] or peak["sgemm_gflops"]
    intensities = [0.1, roof / peak["copy_gbs"], 2000.0]
    axes.plot(intensities, [min(roof, peak["copy_gbs"] * i) for i in intensities], color="grey")
    rows = [row for row in result["ops"] if row["threads"] == threads]
    for op in sorted({row["op"] for row in rows}):
        mine = [row for row in rows if row["op"] == op]
        x = [row["flops"] / row["bytes"] for row in mine]
        axes.scatter(x, [row["gflops"] for row in mine], s=14, label=op)
    axes.set(
        xscale="log", yscale="log", xlabel="FLOP per byte that must move", ylabel="GFLOP/s",
        title=f"Ops under the measured roof, threads {threads}",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize="x-small", ncols=2)


def _convergence(axes: Axes, result: dict[str, Any]) -> None:
    for name, curve in result["convergence"]["curves"].items():
        best, lowest = [], float("inf")
        for loss in curve["loss"]:
            lowest = min(lowest, loss)
            best.append(lowest)
        axes.plot(curve["seconds"], best, label=name)
    axes.set(yscale="log", xlabel="seconds", ylabel="lowest loss so far", title="Loss against time")
    axes.legend(frameon=False, fontsize="small")


def _scaling(axes: Axes, result: dict[str, Any]) -> None:
    found = result["scaling"]["pixels"]
    pixels = [row["size"] ** 2 for row in found["rows"]]
    axes.plot(pixels, [row["ms"] for row in found["rows"]], "o-", label="ms")
    axes.plot(pixels, [row["peak_mb"] for row in found["rows"]], "s-", label="peak memory, MB")
    axes.set(
        xscale="log", yscale="log", xlabel="pixels",
        title=f"The closure: time grows with pixels to the power of {found['time_exponent']}",
    )  # fmt: skip
    axes.legend(frameon=False)
