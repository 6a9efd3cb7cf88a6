"""The record that PyNST's own weights file carries beside its arrays, as JSON in uint8."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pynst.errors import WeightsError
from pynst.formats.common import StoredArray, show

__all__ = ["printable_line", "read_record"]


def read_record(array: StoredArray) -> dict[str, Any]:
    """Parse the record; its format and its mean are checked."""
    if array.dtype != np.uint8 or len(array.shape) != 1 or array.shape[0] > 1 << 14:
        raise WeightsError("damaged: PyNST's record must be at most 16 KiB of uint8")
    record = json.loads(array.read().tobytes().decode())
    if not isinstance(record, dict) or record.get("format") != 1:
        raise WeightsError("is not a PyNST weights file of format 1; a newer PyNST may read it")
    mean = record.get("mean")
    if not isinstance(mean, list) or len(mean) != 3 or not all(type(m) is float for m in mean):
        raise WeightsError(f"damaged: the record's mean must be three floats, is {show(mean)}")
    return record


def printable_line(record: dict[str, Any], key: str) -> str:
    """Check a line of the record: printable, since it will be shown on terminals."""
    text = record.get(key)
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= 200:
        raise WeightsError(f"damaged: the record's {key} must be a line of text, is {show(text)}")
    return text
