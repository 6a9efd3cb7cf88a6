"""Judged pictures: the measures on pictures made for them, the judge, the page, the programs."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from bench_results import RESULT, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import report
from bench.__main__ import main, to_json
from bench.gallery import commands
from bench.gallery.judge import Judge, judge_options, painting_alone
from bench.gallery.measures import color_distance, fine_detail, stripes
from bench.gallery.page import Shown, blind_page
from bench.gallery.pairs import Pair, find_pairs
from bench.gallery.pictures import DEFAULT_SETTINGS, Setting
from bench.gallery.programs import PROGRAMS, Program, Task, compare_programs, environment, run
from bench.users import OWN_REQUIREMENTS
from pynst import OptionError, TransferOptions, stylize
from pynst.demo import draw_painting, draw_scene
from pynst.images import save_image
from pynst.networks import open_network


def noise(seed: int, side: int = 160, spread: float = 3.0):
    values = 128 + np.random.default_rng(seed).normal(0, spread, (side, side, 1))
    return np.repeat(np.clip(np.rint(values), 0, 255), 3, axis=2).astype(np.uint8)


def lattice(period: float, amplitude: float, side: int = 160):
    """White noise with waves along both axes."""
    wave = amplitude * np.sin(2 * np.pi * np.arange(side) / period + 0.5)
    return np.clip(noise(1, side) + wave[:, None, None] + wave[None, :, None], 0, 255).astype(
        np.uint8
    )


# ---- measures ------------------------------------------------------------------------------------


def test_noise_has_no_stripes():
    picture = noise(0)
    assert stripes(picture, picture).ratio == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("period", [2.1, 2.5, 3.2])
def test_a_lattice_is_measured_in_grey_levels(period):
    """Two waves of amplitude a have the mean square a^2."""
    found = stripes(lattice(period, 4.0), noise(0))
    assert found.axes == pytest.approx(4.0, rel=0.12)
    assert found.ratio > 3
    assert found.detail > found.axes


def test_waves_of_longer_periods_are_no_stripes():
    assert stripes(lattice(8, 10.0), noise(0)).ratio == pytest.approx(1, abs=0.2)


def test_diagonal_waves_are_no_stripes():
    i, j = np.mgrid[:160, :160]
    wave = 6 * np.sin(2 * np.pi * (i + j) / 3.6)[..., None]  # 0.39 cycles per pixel
    picture = np.clip(noise(1) + wave, 0, 255).astype(np.uint8)
    assert stripes(picture, noise(0)).ratio < 0.7


def test_stripes_are_looked_for_where_the_content_is_flat():
    content = np.concatenate([noise(0), noise(1, spread=40.0), noise(2, spread=40.0)])
    striped = np.concatenate([noise(0), lattice(2.5, 8.0), lattice(2.5, 8.0)])
    assert stripes(striped, content).ratio == pytest.approx(1, abs=0.2)
    assert stripes(striped[::-1], content).ratio > 3


@pytest.mark.parametrize("shape", [(160, 150, 3), (63, 160, 3)])
def test_stripes_need_two_pictures_of_one_shape_and_room_for_a_window(shape):
    other = np.zeros((160, 160, 3), np.uint8) if shape[0] > 64 else np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="64 pixels a side, got"):
        stripes(np.zeros(shape, np.uint8), other)


def test_fine_detail_of_white_noise_is_what_the_mean_leaves_of_it():
    """Of nine pixels the mean keeps a ninth of the variance."""
    assert fine_detail(noise(0, spread=20.0)) == pytest.approx(20 * (8 / 9) ** 0.5, rel=0.03)
    assert fine_detail(np.full((20, 20, 3), 77, np.uint8)) < 1e-6


def test_the_distance_of_colours_does_not_see_where_they_stand():
    painting = draw_painting(96, 72)
    shuffled = np.random.default_rng(0).permutation(painting.reshape(-1, 3)).reshape(painting.shape)
    assert color_distance(shuffled, painting) < 1e-9
    assert color_distance(np.repeat(painting, 2, axis=0), painting) < 0.1


@given(st.integers(10, 240), st.integers(10, 240))
@settings(deadline=None, max_examples=20)
def test_the_distance_of_two_greys_is_that_of_cielab(first, second):
    from skimage.color import rgb2lab

    a, b = (np.full((4, 4, 3), grey, np.uint8) for grey in (first, second))
    wanted = np.linalg.norm(rgb2lab(a)[0, 0] - rgb2lab(b)[0, 0])
    assert color_distance(a, b) == pytest.approx(wanted, rel=0.02, abs=1e-6)
    assert color_distance(a, b) == pytest.approx(color_distance(b, a))


# ---- pairs and judge -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    save_image(draw_scene(128, 96), folder / "scene.png")
    save_image(draw_painting(128, 96), folder / "painting.png")
    return Pair(folder / "scene.png", folder / "painting.png")


def test_every_photograph_is_paired_with_every_painting(pair, tmp_path):
    found = find_pairs(pair.content.parent, pair.style, tmp_path)
    assert [each.name for each in found] == ["painting x painting", "scene x painting"]
    assert find_pairs(pair.content, pair.style, tmp_path, most=1)[0].name == "scene x painting"


def test_without_folders_there_are_six_pairs_at_least(tmp_path):
    found = find_pairs(None, None, tmp_path / "new")
    assert len({each.name for each in found}) >= 6
    assert all(each.content.exists() and each.style.exists() for each in found)


def test_a_folder_without_pictures_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="no folder with pictures"):
            find_pairs(folder, None, tmp_path)


def test_the_judge_has_the_loss_of_the_run_and_its_terms_add_up(pair):
    options = judge_options(96, network="builtin")
    result = stylize(pair.content, pair.style, options, iterations=4, levels=1)
    judge = Judge(pair, open_network(options), options)
    found = judge(result.image)
    lowest = min(terms.total for terms in result.history[-1])
    assert found["total"] == pytest.approx(lowest, rel=0.02)  # rounding to 8 bits
    assert found["content"] + found["style"] + found["tv"] == pytest.approx(
        found["total"], rel=1e-3
    )
    assert sum(found["layers"].values()) == pytest.approx(found["style"], rel=1e-3)
    assert found["size"] == [96, 72]


def test_a_picture_of_another_size_is_judged_at_the_judges(pair):
    options = judge_options(96, network="builtin")
    judge = Judge(pair, open_network(options), options)
    found = judge(draw_scene(128, 96))
    assert found["size"] == [128, 96]
    assert found["total"] == pytest.approx(judge(judge.content)["total"], rel=0.05)
    assert judge(judge.painting)["color"] == 0


# ---- settings ------------------------------------------------------------------------------------


def test_a_setting_is_spelt_as_for_the_command():
    setting = Setting.parse("gentle: --content-weight 0.2 --iterations 5 4")
    assert setting.name == "gentle"
    options = setting.options(image_size=96)
    assert (options.content_weight, options.iterations) == (0.2, (5, 4))
    assert options.image_size == 96
    assert Setting.parse("plain").options() == TransferOptions()
    assert Setting.parse("as in the paper: --paper").options() == TransferOptions.paper()


def test_the_two_default_settings_differ_in_their_variables():
    assert [each.options().variables for each in DEFAULT_SETTINGS] == [None, "pixels"]


def test_a_setting_that_cannot_run_is_reported_as_failed(pair, tmp_path, capsys):
    words = ["pictures", "--content", str(pair.content), "--style", str(pair.style), "--size", "96",
             "--network", "builtin", "--setting", "good: --iterations 1", "--setting",
             "bad: --iterations 1 2 3", "-o", str(tmp_path)]  # fmt: skip
    assert main(words) == 1
    text = capsys.readouterr().out + (tmp_path / "unnamed-pictures.md").read_text(encoding="utf-8")
    assert "failed: scene x painting, bad: iterations" in text


def test_wrong_settings_are_refused_before_anything_is_made(capsys):
    with pytest.raises(ValueError, match="must be NAME"):
        Setting.parse(": --quality fine")
    with pytest.raises(OptionError, match="tv_weight"):
        Setting.parse("x: --tv-weight -1").options()
    for words in (["--setting", "a: ", "--setting", "a: --quality fine"], ["--setting", ""]):
        with pytest.raises(SystemExit):
            commands.pictures(words, lambda *_: [])
    assert "same name" in capsys.readouterr().err


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_asks_every_two_pictures_and_needs_no_other_file():
    grey = np.full((8, 8, 3), 90, np.uint8)
    pictures = {"</script><b>": grey, "two": grey + 1, "three": grey + 2}
    page = blind_page("<Which?>", [Shown("a x b", grey, grey, pictures)])
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    asked = json.loads(data)["questions"]
    assert [each["names"] for each in asked] == [
        ["</script><b>", "two"], ["</script><b>", "three"], ["two", "three"],
    ]  # fmt: skip
    assert "&lt;Which?&gt;" in page
    assert not re.search(r"""(src|href)=["']|https?://""", page)
    assert all(uri.startswith("data:image/png;base64,") for each in asked
               for uri in (each["content"], each["painting"], *each["pictures"]))  # fmt: skip


# ---- the commands --------------------------------------------------------------------------------


def test_pictures_are_made_judged_and_reported(pair, tmp_path, capsys):
    words = ["pictures", "--content", str(pair.content), "--style", str(pair.style), "--size", "96",
             "--network", "builtin", "--setting", "long: --iterations 4 --levels 1",
             "--setting", "short: --iterations 2 --levels 1", "-o", str(tmp_path),
             "--name", "a few"]  # fmt: skip
    assert main(words) == 0
    written = json.loads((tmp_path / "a-few.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(written)
    long, short, painting = written["pictures"]["rows"]
    assert long["total"] < short["total"]
    assert painting["setting"] == "painting"
    alone = painting_alone(draw_painting(96, 72))
    assert set(painting) == {"pair", "setting", *alone}
    text = (tmp_path / "a-few.md").read_text(encoding="utf-8")
    assert "| scene x painting | long | 4 |" in text
    assert re.search(r"\| short \| 1 \| 1\.\d+ \|", text)
    for name in ("sheet.png", "blind.html", "curves.svg", "table.csv"):
        assert (tmp_path / name).stat().st_size > 200
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("*.png")}
    assert main(words) == 0
    assert made == {path: path.stat().st_mtime_ns for path in made}
    capsys.readouterr()


def test_a_folder_that_is_missing_is_wrong_usage(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["pictures", "--content", str(tmp_path / "x"), "-o", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "no folder with pictures" in capsys.readouterr().err


def _copy(task: Task) -> list[str]:
    """A program that paints nothing: it saves the photograph."""
    script = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    return ["-c", script, task.content, task.output]


def _fail(_: Task) -> list[str]:
    return ["-c", "raise ValueError('not today')"]


@pytest.fixture
def stand_ins(monkeypatch):
    for name, words in (("copy", _copy), ("fail", _fail)):
        program = Program(title=name, requirements=(), words=words, counts=name == "copy")
        monkeypatch.setitem(PROGRAMS, name, program)


@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage of child processes")
def test_programs_are_run_judged_and_shown_beside_each_other(stand_ins, pair, tmp_path):
    found = compare_programs(
        [pair], ["pynst", "copy", "fail"], 96, tmp_path, evaluations=[1, 2], runs=2, limit=60,
        threads=1, environments=tmp_path, network="builtin", weights=None,
    )  # fmt: skip
    assert set(PROGRAMS) > {"pynst", "copy", "fail"}
    ours, copied, again, failed = found["rows"]
    assert ours["total"] < copied["total"]
    assert (len(copied["seconds"]), copied["evaluations"], again["evaluations"]) == (2, 1, 2)
    assert copied["peak_mb"] < ours["peak_mb"]
    assert copied["size"] == [128, 96]
    assert failed["error"] == "ValueError: not today"
    text = report.report(json.loads(to_json({**RESULT, "programs": found})))
    assert "| scene x painting | copy | 1 |" in text
    assert "not today" in text
    assert re.search(r"\| scene x painting \| copy \| [\d.]+ in [\d.]+ s \| not after", text)
    assert (tmp_path / "sheet.png").exists()
    assert (tmp_path / "blind.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage of child processes")
def test_a_program_that_takes_too_long_is_ended():
    found = run([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.3)
    assert found["error"] == "not done after 0.3 s"
    assert found["seconds"] < 10


def test_every_program_is_told_pictures_and_size():
    task = Task(content="c.png", style="s.png", output="o.png", size=321, evaluations=7, threads=2,
                weights="", network="vgg19")  # fmt: skip
    for program in PROGRAMS.values():
        words = program.words(task)
        assert {"c.png", "s.png", "o.png", "321"} <= set(words)
        assert ("7" in words) == program.counts


def test_the_size_of_pynst_counts_all_that_it_requires(tmp_path):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    required = re.search(r"^dependencies = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r'"([a-z]+)', required)) == set(OWN_REQUIREMENTS)
    assert environment(PROGRAMS["pynst"], tmp_path)[1] > 20
