"""The history of a job's loss, in a file beside its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from pynst.errors import RecordError
from pynst.files import write_whole
from pynst.losses.terms import LossTerms
from pynst.result import TransferResult

__all__ = ["History", "history_file", "read_history", "write_history"]

History: TypeAlias = tuple[tuple[LossTerms, ...], ...]
"""The terms of the loss at each evaluation of each level, as in `TransferResult`."""

_LARGEST = 1 << 28  # bytes


def history_file(picture: Path) -> Path:
    """Where the history of a picture lies."""
    return picture.with_suffix(".json")


def write_history(result: TransferResult, picture: Path) -> None:
    """Write the history of a run, and its seconds."""
    content = {
        "pixels_sha256": result.record.pixels_sha256,
        "seconds": result.seconds,
        "stopped_early": result.stopped_early,
        "history": [[asdict(terms) for terms in level] for level in result.history],
    }
    write_whole(json.dumps(content).encode(), history_file(picture))


def read_history(picture: Path, pixels_sha256: str) -> tuple[History, float]:
    """Read the history of a picture, and the seconds of its run.

    Raises
    ------
    RecordError
        The file is missing, damaged, or that of other pixels.
    """
    try:
        path = history_file(picture)
        if path.stat().st_size > _LARGEST:
            raise RecordError("the history is too large")
        content = json.loads(path.read_bytes())
        if content["pixels_sha256"] != pixels_sha256:
            raise RecordError("the history is of another picture")
        history = tuple(tuple(_terms(terms) for terms in level) for level in content["history"])
        return history, float(content["seconds"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordError(f"the history is damaged: {error}") from error


def _terms(values: Mapping[str, Any]) -> LossTerms:
    total, content, style, tv = (float(values[key]) for key in ("total", "content", "style", "tv"))
    layers = {str(name): float(value) for name, value in values["layers"].items()}
    others = {str(name): float(value) for name, value in values.get("others", {}).items()}
    return LossTerms(total, content, style, tv, layers, others)
