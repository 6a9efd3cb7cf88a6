"""Contact sheets: runs with different settings side by side.

`making` has the cells run, `cells` says what a cell is, and `sheet` lays them out.
"""

from __future__ import annotations

from pynst.experiments.sheets.cells import Cell, CellProgress, CellResult
from pynst.experiments.sheets.making import make_sheet
from pynst.experiments.sheets.sheet import Sheet

__all__ = ["Cell", "CellProgress", "CellResult", "Sheet", "make_sheet"]
