"""Contact sheets: runs with different settings side by side.

`cells` runs them and keeps what is done; `sheet` lays them out.
"""

from __future__ import annotations

from pynst.experiments.sheets.cells import Cell, CellProgress, CellResult
from pynst.experiments.sheets.sheet import Sheet, make_sheet

__all__ = ["Cell", "CellProgress", "CellResult", "Sheet", "make_sheet"]
