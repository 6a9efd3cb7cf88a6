"""Cells of a sheet: kept in a folder, replayed, and made again where missing or damaged."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst.experiments.sheets import cells
from pynst.experiments.sweeps import sweep
from pynst.jobs import work
from pynst.replay import read_record, replay

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)


SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def small_sweep(columns, rows=None, **settings):
    return sweep(CONTENT, STYLE, columns, rows, **{**SMALL, **settings})


def counted(monkeypatch):
    """Count the runs that are begun: for each, whether it goes on from a checkpoint."""
    begun, real = [], work.minimise_levels

    def minimise_levels(run, terms):
        begun.append(run._snapshot is not None)
        return real(run, terms)

    monkeypatch.setattr(work, "minimise_levels", minimise_levels)
    return begun


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
    assert begun == [True, False]
    for name, found in whole.results.items():
        np.testing.assert_array_equal(sheet.results[name].image, found.image)
        assert sheet.results[name].history == found.history
    assert not list((tmp_path / ".pynst").glob("*.npz"))
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


def test_names_that_no_file_system_takes_still_have_a_file_each(tmp_path):
    odd = ["a/b.png", "a_b.png", "x" * 300, "c:\\d\n.png", "é"]
    files = {cells._stem(name) for name in odd}
    assert len(files) == len(odd)
    for name in files:
        (tmp_path / f"{name}.png").write_bytes(b"")
