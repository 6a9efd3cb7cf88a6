"""Two pictures drawn by formula, so that `pynst demo` needs no file of the user's.

`draw_scene` is the content, `draw_painting` the style; `compose_sheet` puts them beside the
results.
"""

from __future__ import annotations

from pynst.demo.painting import draw_painting
from pynst.demo.scene import draw_scene
from pynst.demo.sheet import compose_sheet, compose_triptych

__all__ = ["compose_sheet", "compose_triptych", "draw_painting", "draw_scene"]
