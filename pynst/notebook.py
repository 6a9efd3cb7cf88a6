"""A run in a notebook: the picture grows in the cell that runs it.

>>> import pynst
>>> pynst.stylize("photo.jpg", "painting.jpg", callback=pynst.notebook.preview())  # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pynst.cli.terminal import Display, progress_line
from pynst.display import picture_html
from pynst.errors import OptionError
from pynst.images import size_to_long_side, to_uint8
from pynst.images.pictures import resize
from pynst.result import Progress

__all__ = ["preview"]

_FASTEST = 0.5  # seconds between two pictures: faster ones flicker


def preview(side: int = 512) -> Callable[[Progress], None]:
    """Make a callback for `pynst.stylize` that shows the picture while it is made.

    Parameters
    ----------
    side : int
        Long side, in pixels, to which the picture is reduced while the run goes on; 16 or more.

    Returns
    -------
    callable
        Takes a `Progress`. In a notebook it shows the picture, a bar and the loss in the output of
        the cell, at most twice a second, with nothing but IPython. Elsewhere it writes lines of
        progress to standard error, as the command line does.

    Raises
    ------
    OptionError
        `side` is no whole number of at least 16.
    """
    if type(side) is not int or side < 16:
        raise OptionError(f"side must be a whole number of at least 16, got {side!r}")
    shell = _notebook()
    return Display(quiet=False).show if shell is None else _Preview(side)


def _notebook() -> Any:
    """The shell of the notebook that runs this code; None outside notebooks."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return shell if hasattr(shell, "kernel") else None  # IPython in a terminal shows no pictures


class _Preview:
    """The callback of a run in a notebook."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._handle: Any = None
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show where the run stands, unless the last picture is too young."""
        last = progress.level == progress.levels and progress.iteration == progress.iterations
        if time.monotonic() - self._last < _FASTEST and not last:
            return
        from IPython.display import HTML, display

        shown = HTML(_html(progress, self._side))
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)
        self._last = time.monotonic()


def _html(progress: Progress, side: int) -> str:
    """The picture, reduced, above a bar."""
    image, text = progress.image(), progress_line(progress)
    H, W = image.shape[:2]
    if max(H, W) > side:
        image = to_uint8(resize(image / 255, *size_to_long_side(H, W, side)))
    bar = f'<progress style="width:100%" max="1" value="{progress.fraction:.3f}"></progress>'
    return f'<div style="max-width:{side}px">{picture_html(image, text)}{bar}</div>'
