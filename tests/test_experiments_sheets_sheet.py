"""Contact sheets: every picture to the bit in its place, labels beside it, and the table."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from conftest import picture

from pynst.experiments.sheets import Cell, make_sheet
from pynst.experiments.sweeps import sweep
from pynst.images import load_image, read_metadata, to_uint8
from pynst.options import TransferOptions

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)


SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def small_sweep(columns, rows=None, **settings):
    return sweep(CONTENT, STYLE, columns, rows, **{**SMALL, **settings})


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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


def test_the_pictures_of_a_row_begin_at_one_height_whatever_their_labels_take():
    options = TransferOptions(**SMALL)
    cells = [Cell(note, {"note": note}, CONTENT, STYLE, options) for note in ("a", "word " * 40)]
    places = make_sheet([cells], "two").rectangles.values()
    assert len(places) == 2
    assert len({top for _, top, _, _ in places}) == 1


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


def test_force_makes_a_large_sheet(monkeypatch):
    sheet = small_sweep({"seed": range(65)}, iterations=1, image_size=16, force=True)
    assert len(sheet.results) == 65
