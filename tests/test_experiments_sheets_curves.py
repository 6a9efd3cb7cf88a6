"""The curves of a sheet: SVG with one line per cell."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
from conftest import picture

from pynst.experiments.sweeps import sweep

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)


SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def small_sweep(columns, rows=None, **settings):
    return sweep(CONTENT, STYLE, columns, rows, **{**SMALL, **settings})


def test_the_curves_are_svg_with_one_line_per_cell_and_a_border_per_level(tmp_path):
    sheet = small_sweep(
        {"style_weight": [1, 10, 100]}, title='<&"', levels=2, image_size=64, iterations=3
    )
    sheet.curves(tmp_path / "sheet.svg")
    root = ElementTree.parse(tmp_path / "sheet.svg").getroot()
    lines = [each for each in root if each.tag.endswith("polyline")]
    assert [len(line.get("points").split()) for line in lines] == [6, 6, 6]
    heights = [float(point.split(",")[1]) for point in lines[0].get("points").split()]
    totals = [terms.total for level in sheet.results["1"].history for terms in level]
    assert np.argsort(heights).tolist() == np.argsort([-total for total in totals]).tolist()
    dashed = [each for each in root if each.get("stroke-dasharray") == "3 3"]
    assert len(dashed) == 1
    assert any(each.text == '<&"' for each in root)
