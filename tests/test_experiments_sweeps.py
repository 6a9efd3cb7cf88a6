"""`sweep`: settings against each other on a contact sheet, and what is kept of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.experiments.sweeps import _text, sweep
from pynst.images import read_metadata
from pynst.jobs import work

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)
SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def small_sweep(columns, rows=None, **settings):
    return sweep(CONTENT, STYLE, columns, rows, **{**SMALL, **settings})


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def counted(monkeypatch):
    """Count the runs that are begun: for each, whether it goes on from a checkpoint."""
    begun, real = [], work.minimise_levels

    def minimise_levels(run, terms):
        begun.append(run._snapshot is not None)
        return real(run, terms)

    monkeypatch.setattr(work, "minimise_levels", minimise_levels)
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


def test_a_cell_that_fails_has_its_error_in_its_place_and_the_others_go_on(tmp_path):
    sheet = small_sweep({"content_layers": ["conv9_9", "level1"]})
    failed = sheet.failed
    assert failed[0] == "relu9_9"
    assert sheet.results["relu9_9"].image is None
    assert "unknown layer" in sheet.results["relu9_9"].error
    assert len(sheet.results) == 2
    sheet.save(tmp_path / "sheet.png")
    assert "relu9_9" not in json.loads(read_metadata(tmp_path / "sheet.png")["rectangles"])


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


def test_masks_are_shown_by_their_files():
    assert _text(("folder/sky.png", "rest"), 1) == "sky.png+rest"
    assert _text((np.ones((3, 4)), "all"), 2) == "picture 2+all"
    assert _text((1.5, 1.0), 1) == "1.5+1"
