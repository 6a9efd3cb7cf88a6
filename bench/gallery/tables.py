"""The sections of a report for judged pictures, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bench.sections import mb, table

__all__ = ["GALLERY"]

_JUDGE = (
    "One judge for all: the loss of the formula `balanced` with its own weights, at the pixels as"
    " saved; the style term\nlayer by layer, relu1_1 to relu5_1, in thousandths. *hf* is the RMS of"
    " pixel minus 3 x 3 mean, in grey levels. *Stripes*\nare components along the axes with periods"
    " of 2 to 3.3 pixels in the flattest quarter of the photograph, RMS in grey\nlevels, over what"
    " they would be if all directions were alike; the painting's own stand beside them. *Colour* is"
    " the\nsliced Wasserstein distance to the painting in CIELAB, in units of Delta E."
)
_HEADS = ("loss", "content", "style, 1/1000", "TV", "hf (painting's)",
          "stripes / isotropic (painting's)", "colour")  # fmt: skip


def _pictures(found: dict[str, Any]) -> str:
    rows = found["rows"]
    paintings = {row["pair"]: row for row in rows if row["setting"] == "painting"}
    lines = []
    for row in rows:
        if row["setting"] != "painting":
            begin = (row["pair"], row["setting"])
            if "error" in row:
                lines.append((*begin, row["error"], *[""] * (1 + len(_HEADS))))
                continue
            lines.append(
                (*begin, row["evaluations"], row["seconds"], *_judged(row, paintings[row["pair"]]))
            )
    settings = "\n".join(
        f"- {name}: {f'`{words}`' if words else 'the defaults'}"
        for name, words in found["settings"].items()
    )
    heads = ("pair", "setting", "evaluations", "s", *_HEADS)
    parts = [f"### Pictures at {found['size']} pixels, {found['network']}", _JUDGE, settings,
             table(heads, lines), "Over all pairs:", _means(found, paintings)]  # fmt: skip
    return "\n\n".join(parts)


def _judged(row: dict[str, Any], painting: dict[str, Any] | None) -> list[str]:
    """The cells of `_HEADS`."""
    layers = " ".join(f"{1e3 * value:.2g}" for value in row["layers"].values())
    hf, ratio = (
        f"{row['hf']:.3g}",
        f"{row['axes']:.2f} / {row['isotropic']:.2f} = {_ratio(row):.2f}",
    )
    if painting:
        hf, ratio = f"{hf} ({painting['hf']:.3g})", f"{ratio} ({_ratio(painting):.2f})"
    return [f"{row['total']:.4g}", f"{row['content']:.3g}", layers, f"{row['tv']:.2g}", hf, ratio,
            f"{row['color']:.3g}"]  # fmt: skip


def _ratio(row: dict[str, Any]) -> float:
    return float(row["axes"] / max(row["isotropic"], 1e-9))


def _means(found: dict[str, Any], paintings: dict[str, dict[str, Any]]) -> str:
    """Geometric means over the pairs that every setting has finished."""
    rows = [row for row in found["rows"] if "total" in row]
    made = [{row["pair"] for row in rows if row["setting"] == name} for name in found["settings"]]
    common = set.intersection(*made)
    if not common:
        return "No pair was finished with every setting."
    by_setting = {
        name: [row for row in rows if row["setting"] == name and row["pair"] in common]
        for name in found["settings"]
    }
    first = _mean(row["total"] for row in next(iter(by_setting.values())))
    lines = []
    for name, own in by_setting.items():
        beside = [(row, paintings[row["pair"]]) for row in own]
        lines.append(
            (name, len(own), f"{_mean(row['total'] for row in own) / first:.3f}",
             f"{_mean(row['hf'] / painting['hf'] for row, painting in beside):.2f}",
             f"{_mean(_ratio(row) / _ratio(painting) for row, painting in beside):.2f}",
             f"{_mean(row['color'] for row in own):.3g}")
        )  # fmt: skip
    heads = ("setting", "pairs", "loss / the first setting's", "hf / the painting's",
             "stripes / isotropic, over the painting's", "colour")  # fmt: skip
    return table(heads, lines)


def _mean(values: Iterable[float]) -> float:
    """Geometric mean."""
    logs = [math.log(max(value, 1e-9)) for value in values]
    return math.exp(sum(logs) / len(logs))


def _programs(found: dict[str, Any]) -> str:
    rows: Sequence[dict[str, Any]] = found["rows"]
    lines = []
    for row in rows:
        begin = (row["pair"], row["program"], row["evaluations"] or "")
        if "error" in row:
            lines.append((*begin, row["error"], *[""] * (4 + len(_HEADS))))
            continue
        runs = ", ".join(f"{seconds:.4g}" for seconds in row["seconds"])
        lines.append(
            (*begin, f"{row['median']:.4g} [{runs}]", row["cpu_s"], mb(row), row["cores"],
             " x ".join(map(str, row["size"])), *_judged(row, None))
        )  # fmt: skip
    sizes = [
        (each["title"], ", ".join(each["requirements"]) or "this working tree",
         f"{each['installed_mb']:.0f} MB")
        for each in found["programs"].values()
    ]  # fmt: skip
    heads = ("pair", "program", "evaluations", "s from start to end [runs]", "processor s",
             "peak memory",
             "cores used", "pixels", *(head.split(" (")[0] for head in _HEADS))  # fmt: skip
    return "\n\n".join(
        [
            f"### Programs at {found['size']} pixels, threads {found['threads']}",
            "Each program as a process of its own, from its start to the saved picture, with its"
            f" own defaults but for the size.\n{_JUDGE}",
            table(heads, lines),
            table(("program", "from", "installed, with all that it needs"), sizes),
            *_until(rows),
        ]
    )


def _until(rows: Sequence[dict[str, Any]]) -> list[str]:
    """When the programs that optimise have the loss of PyNST's picture."""
    lines = []
    done = [row for row in rows if "total" in row]
    for ours in (row for row in done if row["program"] == "pynst"):
        others = [row for row in done if row["pair"] == ours["pair"] and row["evaluations"]]
        for name in dict.fromkeys(row["program"] for row in others):
            runs = sorted(
                (row for row in others if row["program"] == name), key=lambda r: r["median"]
            )
            reached = next((row for row in runs if row["total"] <= ours["total"]), None)
            when = (
                f"{reached['median']:.4g} s ({reached['evaluations']} evaluations)"
                if reached
                else f"not after {runs[-1]['median']:.4g} s ({runs[-1]['evaluations']} evaluations)"
            )
            lowest = min(row["total"] for row in runs)
            lines.append((ours["pair"], name, f"{ours['total']:.4g} in {ours['median']:.4g} s",
                          when, f"{lowest:.4g}"))  # fmt: skip
    heads = ("pair", "program", "PyNST's loss", "reached by the other", "lowest of its runs")
    return [table(heads, lines)] if lines else []


GALLERY: dict[str, Callable[[dict[str, Any]], str]] = {
    "pictures": lambda result: _pictures(result["pictures"]),
    "programs": lambda result: _programs(result["programs"]),
}
"""By part, as `bench.sections.SECTIONS`."""
