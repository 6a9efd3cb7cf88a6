"""``pynst batch``, as a user meets it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from batches import SMALL_WORDS, make_pictures

import pynst
from pynst.cli import batch, main
from pynst.replay import read_record


@pytest.fixture
def words(tmp_path):
    make_pictures(tmp_path, 2, 1)
    return ["batch", str(tmp_path / "photos"), str(tmp_path / "art"), "-o", str(tmp_path / "out"),
            *SMALL_WORDS]  # fmt: skip


def test_paths_go_to_standard_output_and_a_line_per_job_to_standard_error(words, tmp_path, capsys):
    assert main(words) == 0
    captured = capsys.readouterr()
    paths = [str(tmp_path / "out" / f"p{number}--a0.png") for number in range(2)]
    assert captured.out.splitlines() == paths
    told = captured.err.splitlines()
    assert f"1/2  {paths[0]}  " in told[-3]
    assert told[-1] == "pynst: 2 made, 0 kept, 0 failed"
    assert main([*words, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out.splitlines(), captured.err) == (paths, "")


def test_a_failure_is_told_and_makes_the_exit_code_1(words, tmp_path, capsys):
    (tmp_path / "photos" / "p0.png").write_bytes(b"no picture")
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(tmp_path / "out" / "p1--a0.png")]
    assert "pynst: error:" in captured.err
    assert "p0--a0.png: content: " in captured.err
    assert captured.err.splitlines()[-1] == "pynst: 1 made, 0 kept, 1 failed"


def test_a_dry_run_tells_the_jobs_and_touches_nothing(words, tmp_path, capsys):
    assert main([*words, "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == f"to do  {tmp_path / 'out' / 'p0--a0.png'}"
    assert captured.err.endswith("pynst: 2 jobs, 0 of them done\n")
    assert not (tmp_path / "out").exists()
    (tmp_path / "photos" / "p1.png").rename(tmp_path / "later.png")
    assert main(words) == 0
    (tmp_path / "later.png").rename(tmp_path / "photos" / "p1.png")
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    states = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert states == ["done", "to"]


def test_settings_names_and_bits_reach_the_pictures(words, tmp_path, capsys):
    more = ["--seed", "5", "--init", "noise", "--name", "{style}/{content}.tif", "--bits", "16",
            "--image-size", "content"]  # fmt: skip
    assert main([*words, *more, "--workers", "2"]) == 0
    output = tmp_path / "out" / "a0" / "p1.tif"
    record = read_record(output)
    assert (record.options.seed, record.options.init) == (5, "noise")
    assert record.options.image_size == 48
    single = pynst.stylize(
        tmp_path / "photos" / "p1.png", tmp_path / "art" / "a0.png", record.options
    )
    np.testing.assert_allclose(pynst.load_image(output), single.pixels, atol=1 / 65535)


def test_a_table_of_jobs(tmp_path, capsys):
    make_pictures(tmp_path, 1, 2)
    (tmp_path / "jobs.csv").write_text(
        "content,style,output,seed\n"
        "photos/p0.png,art/a0.png|art/a1.png,both.png,\n"
        "photos/p0.png,art/a1.png,seeded.png,3\n"
    )
    table, folder = str(tmp_path / "jobs.csv"), str(tmp_path / "out")
    assert main(["batch", table, "-o", folder, *SMALL_WORDS]) == 0
    both, seeded = (read_record(tmp_path / "out" / f"{n}.png") for n in ("both", "seeded"))
    assert [used.name for used in both.pictures] == ["content", "style 1", "style 2"]
    assert (both.options.seed, seeded.options.seed) == (0, 3)
    log = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in log] == ["done", "done"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--workers", "0"], 1, "error: workers must be a whole number from 1 to 1024, got 0"),
        (["--name", "x.png"], 1, "would both be written to"),
        (["--name", "{content}"], 1, "error: output: must end in"),
        (["--wokers", "2"], 2, "did you mean --workers?"),
        (["--style-layers", "--", "nothing"], 2, "expected at least one argument"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(more, code, message, words, tmp_path, capsys):
    try:
        found = main([*words, *more])
    except SystemExit as stop:
        found = stop.code
    assert found == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_outputs_has_to_be_named(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words[:3])
    assert "-o/--output" in capsys.readouterr().err


def test_the_paper_setting_is_a_start_for_all_jobs(words, tmp_path, capsys):
    assert main([*words, "--paper", "--dry-run"]) == 0
    assert main([*words, "--paper"]) == 1, "the built-in filters are not the paper's network"
    assert "formula='paper' belongs to VGG-19" in capsys.readouterr().err


def test_the_progress_line_of_a_terminal_names_what_is_in_work(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    report = batch._Report(quiet=False)
    running = {f"p{number}.png": number / 10 for number in range(1, 6)}
    report.show(pynst.BatchProgress(9, 4, running, 60.0, 75.0))
    shown = capsys.readouterr().err
    assert shown.strip() == "4/9  p1.png 10%, p2.png 20%, p3.png 30%, ...  left 1:15"
    report.show(pynst.BatchProgress(9, 4, running, 60.5, 75.0))
    assert capsys.readouterr().err == "", "nothing new"
