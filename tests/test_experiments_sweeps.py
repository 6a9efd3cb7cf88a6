"""`sweep`: settings against each other on a contact sheet, and what is kept of it."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.experiments.sheets import cells
from pynst.experiments.sweeps import sweep
from pynst.images import load_image, read_metadata, to_uint8
from pynst.replay import read_record, replay

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)
SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def small_sweep(columns, rows=None, **settings):
    return sweep(CONTENT, STYLE, columns, rows, **{**SMALL, **settings})


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def counted(monkeypatch):
    """Count the runs that are begun."""
    begun, real = [], cells.stylize

    def stylize(*arguments, **settings):
        begun.append(settings)
        return real(*arguments, **settings)

    monkeypatch.setattr(cells, "stylize", stylize)
    return begun


def test_a_row_has_one_cell_per_value_and_each_is_the_run_with_that_value():
    sheet = small_sweep({"style_weight": [0.5, 2]})
    assert sheet.rows == (("0.5", "2"),)
    alone = pynst.stylize(CONTENT, STYLE, style_weight=2, **SMALL)
    np.testing.assert_array_equal(sheet.results["2"].image, alone.image)
    assert sheet.results["2"].history == alone.history
    assert sheet.results["2"].result.options.style_weight == 2


def test_a_grid_has_columns_and_rows():
    sheet = small_sweep({"style_weight": [1, 10]}, {"init": ["content", "noise"]})
    assert sheet.rows == (("1, content", "10, content"), ("1, noise", "10, noise"))
    assert sheet.results["10, noise"].settings == {"style_weight": "10", "init": "noise"}
    assert sheet.results["10, noise"].result.options.init == "noise"


def test_the_pictures_can_be_swept_too():
    sheet = small_sweep({"style": [STYLE, CONTENT]}, {"seed": [1, 2]}, init="noise")
    assert sheet.rows[0] == ("picture 1, 1", "picture 2, 1")
    other = pynst.stylize(CONTENT, CONTENT, seed=2, init="noise", **SMALL)
    np.testing.assert_array_equal(sheet.results["picture 2, 2"].image, other.image)


def test_more_style_is_less_content_and_more_content_less_style():
    sheet = small_sweep({"content_weight": [0.001, 0.1, 10]}, iterations=40)
    terms = [sheet.results[name].terms for name in sheet.rows[0]]
    alphas = (0.001, 0.1, 10)
    content = [t.content / alpha for t, alpha in zip(terms, alphas, strict=True)]
    assert content == sorted(content, reverse=True)
    assert [t.style for t in terms] == sorted(t.style for t in terms)


def test_the_rectangles_of_the_saved_sheet_are_the_results_to_the_bit(tmp_path):
    sheet = small_sweep({"style_weight": [1, 10]}, {"image_size": [32, 40]})
    sheet.save(tmp_path / "sheet.png")
    saved = to_uint8(load_image(tmp_path / "sheet.png"))
    np.testing.assert_array_equal(saved, sheet.image)
    rectangles = json.loads(read_metadata(tmp_path / "sheet.png")["rectangles"])
    assert set(rectangles) == set(sheet.results)
    for name, (x, y, width, height) in rectangles.items():
        np.testing.assert_array_equal(
            saved[y : y + height, x : x + width], sheet.results[name].image
        )
    assert sheet._repr_png_().startswith(b"\x89PNG")


def test_labels_lie_beside_the_pictures_and_say_what_was_changed(monkeypatch):
    import pynst.experiments.sheets.sheet as module

    said, real = [], module.text_block
    monkeypatch.setattr(
        module, "text_block", lambda text, *rest: (said.append(text), real(text, *rest))[1]
    )
    sheet = small_sweep({"style_weight": [1, 10]}, title="two weights")
    assert sheet.image.shape[0] > 32
    assert "two weights" in said
    assert "style_weight = 10" in said
    assert any("content" in text and "style" in text and "4 evaluations" in text for text in said)


def test_the_table_has_settings_terms_evaluations_and_errors(tmp_path):
    sheet = small_sweep({"content_layers": ["even1", "conv9_9"]})
    sheet.table(tmp_path / "sheet.csv")
    rows = table(tmp_path / "sheet.csv")
    assert len(rows) == 2
    assert rows[1]["content_layers"] == "relu9_9"
    assert rows[1]["error"].startswith("unknown layer 'relu9_9'")
    sheet = small_sweep({"style_weight": [1]})
    sheet.table(tmp_path / "sheet.csv")
    (row,) = table(tmp_path / "sheet.csv")
    best = min(sheet.results["1"].history[0], key=lambda terms: terms.total)
    assert float(row["total"]) == best.total
    assert float(row["total"]) == pytest.approx(
        float(row["content"]) + float(row["style"]) + float(row["tv"])
    )
    assert (row["evaluations"], row["error"]) == ("4", "")


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


def test_a_cell_that_fails_has_its_error_in_its_place_and_the_others_go_on(tmp_path):
    sheet = small_sweep({"content_layers": ["conv9_9", "level1"]})
    failed = sheet.failed
    assert failed[0] == "relu9_9"
    assert sheet.results["relu9_9"].image is None
    assert "unknown layer" in sheet.results["relu9_9"].error
    assert len(sheet.results) == 2
    sheet.save(tmp_path / "sheet.png")
    assert "relu9_9" not in json.loads(read_metadata(tmp_path / "sheet.png")["rectangles"])


def test_cells_in_a_folder_are_pictures_that_can_be_replayed(tmp_path):
    pynst.save_image(CONTENT, tmp_path / "content.png", bits=16)
    pynst.save_image(STYLE, tmp_path / "style.png", bits=16)
    sheet = sweep(
        tmp_path / "content.png", tmp_path / "style.png", {"style_weight": [1, 10]},
        folder=tmp_path / "cells", **SMALL,
    )  # fmt: skip
    record = read_record(tmp_path / "cells" / "10.png")
    again = replay(record)
    assert again.same
    np.testing.assert_array_equal(again.result.image, sheet.results["10"].image)


def test_a_sweep_that_is_broken_off_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    settings = {"columns": {"style_weight": [1, 10, 100]}, "folder": tmp_path, "iterations": 8}
    whole = small_sweep({"style_weight": [1, 10, 100]}, iterations=8)

    def stop(progress):
        assert progress.cells == 3
        if progress.number == 2 and progress.run.iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(pynst.Interrupted) as caught:
        small_sweep(**settings, callback=stop)
    assert list(caught.value.sheet.results) == ["1"]
    assert caught.value.sheet.image.shape[2] == 3
    begun = counted(monkeypatch)
    sheet = small_sweep(**settings)
    assert ["resume" in each for each in begun] == [True, False]
    for name, found in whole.results.items():
        np.testing.assert_array_equal(sheet.results[name].image, found.image)
        assert sheet.results[name].history == found.history
    assert not list(tmp_path.glob("*.checkpoint.npz"))
    begun.clear()
    assert small_sweep(**settings).results.keys() == whole.results.keys()
    assert not begun
    small_sweep(**{**settings, "iterations": 9})
    assert len(begun) == 3, "other settings are another sheet"


@pytest.mark.parametrize("harm", ["picture", "history", "other picture", "no history"])
def test_a_damaged_cell_is_run_again(tmp_path, monkeypatch, harm):
    settings = {"columns": {"style_weight": [1, 10]}, "folder": tmp_path}
    whole = small_sweep(**settings)
    if harm == "picture":
        (tmp_path / "10.png").write_bytes((tmp_path / "10.png").read_bytes()[:200])
    elif harm == "history":
        (tmp_path / "10.json").write_text('{"history": [[{"total": "x"}]]}')
    elif harm == "other picture":
        (tmp_path / "10.png").write_bytes((tmp_path / "1.png").read_bytes())
    else:
        (tmp_path / "10.json").unlink()
    begun = counted(monkeypatch)
    again = small_sweep(**settings)
    assert len(begun) == 1
    np.testing.assert_array_equal(again.results["10"].image, whole.results["10"].image)


def test_other_pictures_are_another_sheet(tmp_path, monkeypatch):
    settings = {"columns": {"style_weight": [1]}, "folder": tmp_path, **SMALL}
    sweep(CONTENT, STYLE, **settings)
    begun = counted(monkeypatch)
    sweep(STYLE, CONTENT, **settings)
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ({}, None, "columns must be one setting with its values"),
        ({"seed": [1], "init": ["noise"]}, None, "columns must be one setting"),
        ({"seed": []}, None, "columns: seed must have a list of values"),
        ({"init": "noise"}, None, "columns: init must have a list of values"),
        ({"seed": [1, 2, 1]}, None, "columns: seed has the value 1 twice"),
        ({"content_layers": ["conv4_2", "relu4_2"]}, None, "has the value relu4_2 twice"),
        ({"sead": [1]}, None, "unknown option 'sead'; did you mean seed"),
        ({"image_size": [32, 3]}, None, "image_size must be a whole number"),
        ({"seed": [1]}, {"seed": [2]}, "must be two settings, got seed twice"),
        ({"seed": range(65)}, None, "would have 65 cells; more than 64"),
        ({"seed": range(9)}, {"threads": range(1, 9)}, "would have 72 cells"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_run(monkeypatch, columns, rows, message):
    begun = counted(monkeypatch)
    with pytest.raises(pynst.OptionError, match=message):
        small_sweep(columns, rows)
    assert not begun


def test_force_makes_a_large_sheet(monkeypatch):
    sheet = small_sweep({"seed": range(65)}, iterations=1, image_size=16, force=True)
    assert len(sheet.results) == 65


def test_names_that_no_file_system_takes_still_have_a_file_each(tmp_path):
    odd = ["a/b.png", "a_b.png", "x" * 300, "c:\\d\n.png", "é"]
    files = {cells._stem(name) for name in odd}
    assert len(files) == len(odd)
    for name in files:
        (tmp_path / f"{name}.checkpoint.npz").write_bytes(b"")
