"""How a notebook shows a result, and a run on its way: pieces of HTML that need nothing else."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

from numpy.typing import NDArray

from pynst.curves import Curves
from pynst.images import save_image
from pynst.options import TransferOptions
from pynst.options.words import changed

__all__ = ["as_jpeg", "picture_html", "result_html"]

_QUALITY = 90  # of the JPEG that is shown; what is saved is the image itself


def as_jpeg(image: NDArray[Any], quality: int = _QUALITY) -> bytes:
    """Encode an image, (H, W, 3), as a JPEG to be looked at."""
    file = io.BytesIO()
    save_image(image, file, format="jpg", quality=quality)
    return file.getvalue()


def picture_html(image: NDArray[Any], caption: str) -> str:
    """An image with a line below it."""
    data = base64.b64encode(as_jpeg(image)).decode()
    return (
        '<figure style="margin:0"><img alt="the picture" style="max-width:100%"'
        f' src="data:image/jpeg;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def result_html(image: NDArray[Any], caption: str, options: TransferOptions, curves: Curves) -> str:
    """A result: its picture, the settings that are not at their defaults, and its loss."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in changed(options).items()
    )
    settings = f"<table>{rows}</table>" if rows else "<p>All settings are at their defaults.</p>"
    plot = curves.svg().replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    return (
        f"{picture_html(image, caption)}"
        f"<details><summary>settings and loss</summary>{settings}{plot}</details>"
    )
