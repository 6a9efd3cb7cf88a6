"""Two pictures drawn by formula, so that `pynst demo` needs no file of the user's.

`draw_scene` is the content, `draw_painting` the style; `compose_triptych` puts them beside the
result.
"""

from __future__ import annotations

from pynst.demo.painting import draw_painting
from pynst.demo.scene import draw_scene
from pynst.demo.triptych import compose_triptych

__all__ = ["compose_triptych", "draw_painting", "draw_scene"]
