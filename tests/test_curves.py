"""Curves of the loss: SVG by PyNST's own drawing, other formats and axes by matplotlib."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from conftest import picture

from pynst import ImageError, LossTerms, stylize
from pynst.curves import Curve, Curves, check_curves_file, term_curves, total_curve
from pynst.experiments.sweeps import sweep

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)


SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def elements(svg, tag):
    return [each for each in ElementTree.fromstring(svg) if each.tag.endswith(tag)]


def test_a_sheet_has_one_line_per_cell_and_a_border_per_level(tmp_path):
    sheet = sweep(
        CONTENT, STYLE, {"style_weight": [1, 10, 100]}, title='<&"', network="builtin",
        levels=2, image_size=96, iterations=3,
    )  # fmt: skip
    sheet.curves(tmp_path / "sheet.svg")
    root = ElementTree.parse(tmp_path / "sheet.svg").getroot()
    lines = [each for each in root if each.tag.endswith("polyline")]
    assert [len(line.get("points").split()) for line in lines] == [6, 6, 6]
    heights = np.array([float(point.split(",")[1]) for point in lines[0].get("points").split()])
    totals = np.array([terms.total for level in sheet.results["1"].history for terms in level])
    assert np.all(np.diff(heights[np.argsort(totals)]) <= 0)  # SVG counts downwards
    assert np.ptp(heights) > 10
    dashed = [each for each in root if each.get("stroke-dasharray") == "3 3"]
    assert len(dashed) == 1
    assert any(each.text == '<&"' for each in root)


def test_a_result_has_a_line_for_the_total_and_for_each_term_and_the_levels_marked():
    result = stylize(CONTENT, STYLE, **{**SMALL, "image_size": 96, "levels": 2})
    plot = result.plot()
    assert [curve.name for curve in plot.curves] == ["total", "content", "style", "total variation"]
    assert plot.borders == [5]
    assert len(elements(plot.svg(), "polyline")) == 4
    assert plot.title == repr(result).removeprefix("<TransferResult ")[:-1]


def test_a_term_that_is_zero_throughout_has_no_line():
    result = stylize(CONTENT, STYLE, tv_weight=0, **SMALL)
    assert [curve.name for curve in term_curves(result.history)] == ["total", "content", "style"]


def test_other_terms_have_their_own_lines():
    history = [[LossTerms(3.0, 1.0, 1.0, 0.0, others={"temporal": 1.0})]]
    assert [curve.name for curve in term_curves(history)] == [
        "total", "content", "style", "temporal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "values", [(), (0.0,), (float("nan"), float("inf"), -1.0), (1e-300, 1e300)]
)
def test_what_a_logarithm_does_not_take_is_left_out(values):
    svg = Curves("odd", (Curve("x", values),)).svg()
    for line in elements(svg, "polyline"):
        assert "nan" not in line.get("points")
        assert "inf" not in line.get("points")


def test_values_far_below_the_highest_do_not_flatten_the_rest():
    svg = Curves("", (Curve("content", (1e-30, 0.5, 1.0)),)).svg()
    (line,) = elements(svg, "polyline")
    assert len(line.get("points").split()) == 2


def test_names_are_escaped():
    root = ElementTree.fromstring(Curves("<\x00", (Curve("</svg>", (1.0,)),)).svg())
    assert any(each.text == "</svg>" for each in root)


@pytest.mark.parametrize("name", ["no-suffix", "missing/loss.svg"])
def test_a_file_that_cannot_be_written_is_refused_before_the_run(name, tmp_path):
    with pytest.raises(ImageError, match="curves: "):
        check_curves_file(tmp_path / name)


def test_other_formats_need_matplotlib_and_say_so(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    with pytest.raises(ImageError, match=r"\.pdf needs matplotlib, which is not installed"):
        total_plot().save(tmp_path / "loss.pdf")
    assert total_plot().save(tmp_path / "loss.svg").read_bytes().startswith(b"<svg")


def total_plot():
    return Curves("t", (total_curve("a", [[LossTerms(1.0, 1.0, 0.0, 0.0)] * 3]),))


def test_matplotlib_writes_other_formats_and_takes_axes(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.figure import Figure

    assert total_plot().save(tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ImageError, match=r"curves: cannot write .*loss\.abc"):
        total_plot().save(tmp_path / "loss.abc")
    axes = Figure().subplots()
    stylize(CONTENT, STYLE, **SMALL).plot(axes)
    assert [line.get_label() for line in axes.lines] == [
        "total", "content", "style", "total variation",
    ]  # fmt: skip
    assert axes.get_yscale() == "log"
