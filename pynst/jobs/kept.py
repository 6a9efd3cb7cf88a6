"""Runs whose pictures lie on disk: how a finished picture is told from that of another run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pynst.inputs import Inputs
from pynst.jobs.files import with_paths
from pynst.options import TransferOptions
from pynst.record import Record, pixels_sha256

__all__ = ["COMPLETE", "is_record_of"]

COMPLETE = ("", "tolerance", "converged", "minutes")
"""Reasons for the end of a run (`TransferResult.stopped_early`) after which it is not run again."""


def is_record_of(record: Record, options: TransferOptions, inputs: Inputs) -> bool:
    """Whether a record is of the run with these settings and pictures.

    Parameters
    ----------
    record : Record
        Of a finished picture or of a checkpoint.
    options : TransferOptions
        The settings that are asked for. ``threads`` does not count, since it changes no bit, nor
        does where files lie: what is in a picture or mask does, and the caller compares weights.
    inputs : Inputs
        The pictures that are asked for.
    """
    if options.network not in ("auto", record.network):
        return False
    used, fitted = record.options, {"network", "threads", "memory"}
    # A run records the tile, the pairs and the variables that made it fit into memory.
    if options.tile == "auto":
        fitted.add("tile")
    chosen = ("pairs", "pair_precision", "variables")
    fitted |= {name for name in chosen if getattr(options, name) is None}
    same = replace(options, **{name: getattr(used, name) for name in fitted})
    asked = replace(record, options=same)
    if _settings(asked) != _settings(record):
        return False
    shown = {name: pixels_sha256(each.pixels) for name, each in inputs.pictures.items()}
    recorded = {each.name: each.sha256 for each in record.pictures}
    return recorded == shown


def _settings(record: Record) -> Any:
    """The settings of a record as they come out of a file, with a word in the place of paths."""
    options = replace(record.options, **with_paths(vars(record.options), lambda _: "file"))
    # The pictures for the calibration are in no record; the folder alone tells them apart.
    there = replace(record, options=replace(options, calibration=record.options.calibration))
    return Record.from_json(json.loads(json.dumps(there.to_json()))).to_json()["options"]
