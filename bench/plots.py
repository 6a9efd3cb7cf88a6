"""The plots of a result as SVG: closure and memory beside the peers', ops, loss, scaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import matplotlib.ticker
from matplotlib.axes import Axes

from bench.report import figures
from bench.sections import TITLES

__all__ = ["draw"]

matplotlib.rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "pynst", "axes.spines.top": False,
     "axes.spines.right": False, "figure.figsize": (8, 4.2), "font.size": 9,
     "axes.prop_cycle": matplotlib.cycler(color=matplotlib.colormaps["tab20"].colors)}
)  # fmt: skip

_MARKERS = "osD^v<>Pp*hX"


def draw(result: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Draw what the result holds, each plot to ``<stem>-<plot>.svg``; returns the files written."""
    paints = {
        "closure": _times, "memory": _memory, "breakdown": _breakdown, "roofline": _roofline,
        "convergence": _convergence, "scaling": _scaling,
    }  # fmt: skip
    drawn = []
    for name in figures(result):
        figure, axes = plt.subplots(layout="constrained")
        paints[name](axes, result)
        path = folder / f"{stem}-{name}.svg"
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
        title = TITLES[name].replace("`", "")
        if key == "ms":
            heights = [row["ms"]["median"] for row in mine]
            down = [row["ms"]["median"] - row["ms"]["q1"] for row in mine]
            up = [row["ms"]["q3"] - row["ms"]["median"] for row in mine]
            axes.bar(places, heights, width, yerr=[down, up], label=title)
        else:
            axes.bar(places, [row[key] or 0 for row in mine], width, label=title)
    labels = [f"{size} px" + (f"\n{n} thread{'s' * (n > 1)}" if n else "") for size, n in groups]
    axes.set_xticks([j + 0.4 - width / 2 for j in range(len(groups))], labels)
    _legend_beside(axes)


def _legend_beside(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _plain_numbers(axes: Axes) -> None:
    """Label a logarithmic axis with 200 rather than 2 x 10^2."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.4)))


def _times(axes: Axes, result: dict[str, Any]) -> None:
    _bars(axes, result, "ms")
    axes.set(yscale="log", ylabel="ms, median and quartiles", title="One loss with its gradient")
    _plain_numbers(axes)


def _memory(axes: Axes, result: dict[str, Any]) -> None:
    _bars(axes, result, "peak_mb")
    whose = "on the device" if "cuda" in result["peaks"] else "of the process"
    axes.set(ylabel=f"peak memory {whose}, MB", title="Memory of one loss with its gradient")


def _breakdown(axes: Axes, result: dict[str, Any]) -> None:
    """One stacked bar for each closure; ops below a hundredth of the time are put together."""
    rows = result["breakdown"]
    spent: dict[str, list[float]] = {}
    for i, row in enumerate(rows):
        for each in row["rows"]:
            shares = spent.setdefault(each["call"].split(",")[0], [0.0] * len(rows))
            shares[i] += 100 * each["share"]
    rest = [op for op, shares in spent.items() if max(shares) < 1]
    if rest:
        spent["the rest"] = [sum(parts) for parts in zip(*map(spent.pop, rest), strict=True)]
    left = [0.0] * len(rows)
    for op, shares in sorted(spent.items(), key=lambda item: -sum(item[1])):
        axes.barh(range(len(rows)), shares, left=left, label=op)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    labels = [
        f"{row['size']} px, "
        + (f"{row['threads']} thread{'s' * (row['threads'] > 1)}" if row["threads"] else "")
        + (TITLES[row["name"]] if not row["threads"] else "")
        + f"\n{row['ms']:.4g} ms"
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="per cent of the time", title="The closure, op by op")
    _legend_beside(axes)


def _roof(result: dict[str, Any]) -> tuple[int, float, float]:
    """Number of threads (0 on a device), and its measured peaks in GFLOP/s and GB/s."""
    if "cuda" in result["peaks"]:
        peak = result["peaks"]["cuda"]
        return 0, 1e3 * (peak["half_tflops"] or 0), peak["copy_gbs"] or 0
    threads = max(row["threads"] for row in result["ops"])
    peak = result["peaks"][str(threads)]
    return threads, peak["fma_gflops"] or peak["sgemm_gflops"], peak["copy_gbs"]


def _roofline(axes: Axes, result: dict[str, Any]) -> None:
    threads, roof, copy = _roof(result)
    if roof and copy:
        ridge = roof / copy
        ends = [0.1, ridge, max(3e3, 3 * ridge)]
        axes.plot(ends, [copy * ends[0], roof, roof], color="grey", label="measured roof")
    rows = [row for row in result["ops"] if row["threads"] == threads]
    for i, op in enumerate(sorted({row["op"] for row in rows})):
        for hollow, mine in enumerate(_by_precision([row for row in rows if row["op"] == op])):
            x = [row["flops"] / row["bytes"] for row in mine]
            y = [row["gflops"] for row in mine]
            colour = f"C{i}"
            axes.scatter(
                x, y, s=18, marker=_MARKERS[i % len(_MARKERS)], edgecolors=colour,
                facecolors="none" if hollow else colour, label="" if hollow else op,
            )  # fmt: skip
    place = f"{threads} thread{'s' * (threads > 1)}" if threads else "hollow: accurate"
    axes.set(
        xscale="log", yscale="log", xlabel="FLOP per byte that must move", ylabel="GFLOP/s",
        title=f"Ops under the measured roof, {place}",
    )  # fmt: skip
    _legend_beside(axes)


def _by_precision(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """All rows in one list; on a device, those of "fast" and those of "accurate" in two."""
    accurate = [row for row in rows if row["case"].endswith("accurate")]
    others = [row for row in rows if row not in accurate]
    return [others, accurate] if accurate else [others]


def _convergence(axes: Axes, result: dict[str, Any]) -> None:
    for i, (name, curve) in enumerate(result["convergence"]["curves"].items()):
        best, lowest = [], float("inf")
        for loss in curve["loss"]:
            lowest = min(lowest, loss)
            best.append(lowest)
        axes.plot(curve["seconds"], best, label=name, color=f"C{2 * i}")
    found = result["convergence"]
    spread = max(curve["seconds"][-1] for curve in found["curves"].values()) / min(
        curve["seconds"][-1] for curve in found["curves"].values()
    )
    axes.set(
        xscale="log" if spread > 10 else "linear", yscale="log", xlabel="seconds",
        ylabel="lowest loss so far", title=f"Loss against time, {found['size']} pixels",
    )  # fmt: skip
    _legend_beside(axes)


def _scaling(axes: Axes, result: dict[str, Any]) -> None:
    found = result["scaling"]["pixels"]
    pixels = [row["size"] ** 2 for row in found["rows"]]
    axes.plot(pixels, [row["ms"] for row in found["rows"]], "o-", color="C0", label="ms")
    memory = [row["peak_mb"] or 0 for row in found["rows"]]
    if any(memory):
        axes.plot(pixels, memory, "s-", color="C2", label="peak memory, MB")
    axes.set(
        xscale="log", yscale="log", xlabel="pixels",
        title=f"The closure: time grows with pixels to the power of {found['time_exponent']}",
    )  # fmt: skip
    _plain_numbers(axes)
    axes.set_xticks(pixels, [f"{row['size']}²" for row in found["rows"]])
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False)
