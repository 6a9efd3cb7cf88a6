"""Compare two stored results: is the second one slower, or does it need more memory?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Change", "changes", "table"]

Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Change:
    """One figure that both results hold. `verdict` is "worse", "better" or "same".

    A time is worse if its median grew by more than the threshold and its quartiles lie wholly above
    the former ones. Memory has no spread, so the threshold alone decides.
    """

    what: str
    before: float
    after: float
    verdict: str

    @property
    def share(self) -> float:
        """By how much the figure grew: 0.1 is ten per cent."""
        return self.after / self.before - 1


def changes(before: dict[str, Any], after: dict[str, Any], threshold: float) -> list[Change]:
    """Compare all figures of PyNST that both results hold; those of peers do not count."""
    old, new = dict(_figures(before)), dict(_figures(after))
    return [
        Change(what, old[what]["median"], new[what]["median"],
               _verdict(old[what], new[what], threshold))
        for what in old
        if what in new
    ]  # fmt: skip


def _verdict(old: dict[str, float], new: dict[str, float], threshold: float) -> str:
    if new["median"] > old["median"] * (1 + threshold) and new["q1"] > old["q3"]:
        return "worse"
    if new["median"] * (1 + threshold) < old["median"] and new["q3"] < old["q1"]:
        return "better"
    return "same"


def _figures(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    for row in result.get("ops", []):
        yield f"{row['case']}, threads {row['threads']}, ms", row["ms"]
    for row in result.get("closure", []):
        if row["name"].startswith("pynst"):
            name = f"closure {row['name']} {row['size']}, threads {row['threads']}"
            yield f"{name}, ms", row["ms"]
            if row["peak_mb"]:
                yield f"{name}, MB", dict.fromkeys(("median", "q1", "q3"), row["peak_mb"])
    for row in result.get("users", {}).get("start", []):
        if "pynst" in row["what"]:
            yield f"{row['what']}, ms", row["ms"]


def table(found: list[Change]) -> str:
    """Write as Markdown how many figures stayed the same, and those that changed, worst first."""
    moved = sorted((change for change in found if change.verdict != "same"), key=lambda c: -c.share)
    lines = [f"{len(found)} figures in common, {len(found) - len(moved)} of them the same."]
    if moved:
        lines += ["", "| figure | before | after | change | |", "|---|---|---|---|---|"]
    for change in moved:
        lines.append(
            f"| {change.what} | {change.before:.4g} | {change.after:.4g} |"
            f" {change.share:+.0%} | {change.verdict} |"
        )
    return "\n".join(lines)
