"""What a notebook shows of a result: HTML that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from conftest import picture
from PIL import Image

from pynst import stylize
from pynst.display import as_jpeg, picture_html

CONTENT, STYLE = picture(0, 40, 60), picture(1, 50, 40)


def test_a_result_shows_its_picture_its_settings_and_its_curves():
    result = stylize(
        CONTENT, STYLE, network="builtin", image_size=64, levels=1, iterations=4,
        style_layers={"level1": 0.5, "level2": 1},
    )  # fmt: skip
    html = result._repr_html_()
    data = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", html)[1])
    shown = np.asarray(Image.open(io.BytesIO(data)), float)
    assert np.abs(shown - result.image).mean() < 10  # a JPEG of noise
    for text in ("image_size", ">64<", "style_layers", "level1=0.5 level2", "iterations"):
        assert text in html
    assert "content_weight" not in html  # it is at its default
    assert html.count("<polyline") == 4


def test_it_asks_for_nothing_from_elsewhere():
    result = stylize(CONTENT, STYLE, network="builtin", image_size=64, levels=1, iterations=2)
    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            links.extend(value for name, value in attributes if name in ("src", "href"))

    Links().feed(result._repr_html_())
    assert links
    assert all(link.startswith("data:") for link in links)


def test_a_caption_is_escaped():
    assert "<script>" not in picture_html(np.zeros((2, 2, 3), np.uint8), "<script>")


def test_a_jpeg_is_one():
    assert as_jpeg(np.zeros((2, 3, 3), np.uint8)).startswith(b"\xff\xd8")
