"""The settings of a run: declared once, checked, typed, and what belongs to them.

`settings` declares them; `checks` clean their values, `keywords` are their types, `formulas` the
published forms of the loss, `environment` the variables that are read beside them.
"""

from __future__ import annotations

from pynst.options.settings import (
    GROUPS,
    QUALITIES,
    TransferChanges,
    TransferOptions,
    describe,
    from_text,
    with_changes,
)

__all__ = [
    "GROUPS",
    "QUALITIES",
    "TransferChanges",
    "TransferOptions",
    "describe",
    "from_text",
    "with_changes",
]
