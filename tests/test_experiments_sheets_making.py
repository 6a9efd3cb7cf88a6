"""Sheets whose cells are run by several processes: the same sheet, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
from batches import Counter, children, make_pictures
from cli_runs import start
from conftest import picture

import pynst
from pynst.experiments.sheets import Cell, make_sheet
from pynst.experiments.sweeps import sweep
from pynst.jobs.manifest import Manifest

CONTENT, STYLE = picture(0, 32, 40), picture(1, 40, 32)
SMALL = {"network": "builtin", "image_size": 32, "iterations": 4, "levels": 1}


def small_sweep(columns, **settings):
    return sweep(CONTENT, STYLE, columns, **{**SMALL, **settings})


def test_two_workers_make_the_sheet_of_one_and_its_crops_are_the_pictures():
    columns = {"style_weight": [1, 10, 100]}
    one, two = small_sweep(columns), small_sweep(columns, workers=2)
    assert (two.rows, list(two.results)) == (one.rows, list(one.results))
    assert not two.failed
    for name, found in one.results.items():
        np.testing.assert_array_equal(two.results[name].image, found.image)
        assert two.results[name].history == found.history
        x, y, width, height = two.rectangles[name]
        np.testing.assert_array_equal(two.image[y : y + height, x : x + width], found.image)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cell_that_fails_has_its_error_in_its_place_and_in_the_log(workers, tmp_path):
    sheet = small_sweep({"content_layers": ["conv9_9", "level1"]}, workers=workers, folder=tmp_path)
    assert sheet.failed == ("relu9_9",)
    assert "unknown layer" in sheet.results["relu9_9"].error
    assert sheet.results["level1"].image is not None
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert {line["output"]: line["state"] for line in lines} == {
        "relu9_9.png": "failed", "level1.png": "done",
    }  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_cell_is_tried_again_and_a_finished_one_is_kept(workers, tmp_path):
    settings = {"folder": tmp_path, "workers": workers}
    cells = [
        Cell("bad", {}, CONTENT, tmp_path / "art.png", pynst.TransferOptions(**SMALL)),
        Cell("good", {}, CONTENT, STYLE, pynst.TransferOptions(**SMALL)),
    ]
    assert make_sheet([cells], "", **settings).failed == ("bad",)
    before = (tmp_path / "good.png").stat().st_mtime_ns
    pynst.save_image(STYLE, tmp_path / "art.png")
    assert not make_sheet([cells], "", **settings).failed
    assert (tmp_path / "good.png").stat().st_mtime_ns == before


def test_cells_without_a_content_or_a_style_go_to_other_processes_too():
    options = pynst.TransferOptions(**SMALL)
    texture = pynst.TransferOptions(**SMALL, content_weight=0, init="noise")
    cells = [
        Cell("content", {}, CONTENT, None, pynst.TransferOptions(**SMALL, style_weight=0)),
        Cell("style", {}, None, STYLE, texture),
        Cell("both", {}, CONTENT, [STYLE, CONTENT], options),
    ]
    one, two = make_sheet([cells], "t"), make_sheet([cells], "t", workers=2)
    assert not two.failed
    for name in ("content", "style", "both"):
        np.testing.assert_array_equal(two.results[name].image, one.results[name].image)


def test_progress_names_the_cells_that_run_and_an_error_in_its_callback_stops_them(tmp_path):
    seen = []

    def see(progress):
        seen.append(progress)
        if {name for each in seen for name in each.running} == {"1", "2"}:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        small_sweep({"seed": [1, 2]}, workers=2, folder=tmp_path, iterations=100000, callback=see)
    assert {progress.cells for progress in seen} == {2}
    assert all(0 <= share <= 1 for progress in seen for share in progress.running.values())
    assert caught.value.sheet.results == {}
    assert len(list((tmp_path / ".pynst").glob("*.npz"))) == 2


def test_what_several_processes_cannot_do_is_said_before_the_work(tmp_path):
    with pytest.raises(pynst.OptionError, match="workers must be a whole number from 1 to 1024"):
        small_sweep({"seed": [1]}, workers=0)
    pynst.save_image(STYLE, tmp_path / "art.png")
    with (tmp_path / "art.png").open("rb") as file:
        assert not sweep(CONTENT, file, {"seed": [1]}, **SMALL).failed
        with pytest.raises(pynst.OptionError, match="2 processes cannot read the same open file"):
            sweep(CONTENT, file, {"seed": [1]}, workers=2, **SMALL)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_sheet_in_the_same_folder_refuses(workers, tmp_path):
    with Manifest(tmp_path), pytest.raises(pynst.PyNSTError, match="another batch is at work in"):
        small_sweep({"seed": [1]}, folder=tmp_path, workers=workers)


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="finds children by /proc")  # noqa: PTH110
def test_a_sweep_that_is_interrupted_goes_on_inside_its_cells(tmp_path):
    """A worker is killed, then comes Ctrl-C; the same command makes what is missing."""
    make_pictures(tmp_path, 1, 1)
    counter = Counter(tmp_path, sleep=0.01)
    words = ["sweep", str(tmp_path / "photos" / "p0.png"), str(tmp_path / "art" / "a0.png"),
             "--over", "style-weight=1,10,100", "--network", "builtin", "--image-size", "48",
             "--iterations", "40", "--workers", "2", "-o", str(tmp_path / "out")]  # fmt: skip
    master = start(*words, **counter.environment)
    counter.wait_for(10, lambda: master.poll() is not None)
    os.kill(children(master.pid)[0], signal.SIGKILL)
    counter.wait_for(counter.count + 40, lambda: master.poll() is not None)
    master.send_signal(signal.SIGINT)
    _, error = master.communicate(timeout=60)
    assert master.returncode == 130, error
    assert "the same command goes on with the cells that are missing" in error
    assert "Traceback" not in error
    assert list((tmp_path / "out" / "cells" / ".pynst").glob("*.npz"))
    again = start(*words, **counter.environment)
    _, error = again.communicate(timeout=60)
    assert again.returncode == 0, error
    assert 120 <= counter.count <= 120 + 40 + 6, "one cell anew, and a step of each that was cut"
    for weight in (1, 10, 100):
        single = pynst.stylize(
            tmp_path / "photos" / "p0.png", tmp_path / "art" / "a0.png", network="builtin",
            image_size=48, iterations=40, style_weight=weight,
        )  # fmt: skip
        made = pynst.load_image(tmp_path / "out" / "cells" / f"{weight}.png")
        np.testing.assert_array_equal(made, single.image / 255)
