"""The figures of the benchmarks: summaries and ratios, reports of stored results, comparisons."""

from __future__ import annotations

import copy
import itertools
import json
import re

import pytest
from bench_results import RESULT, ROOT, ms

from bench import report, scaling
from bench.__main__ import main, to_json
from bench.measure import Ratio, quartiles, ratio, summary

STORED = sorted((ROOT / "bench" / "results").glob("*.json"))


# ---- figures -------------------------------------------------------------------------------------


def test_a_summary_has_the_quartiles_of_its_runs():
    found = summary([0.003, 0.001, 0.002])
    assert (found["q1"], found["median"], found["q3"]) == (1.5, 2.0, 2.5)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_a_ratio_whose_spread_encloses_one_is_a_tie():
    fast = {"median": 10.0, "q1": 9.0, "q3": 12.0}
    assert ratio({"median": 11.0, "q1": 10.0, "q3": 13.0}, fast).tie
    clear = ratio({"median": 30.0, "q1": 29.0, "q3": 31.0}, fast)
    assert clear == Ratio(3.0, 29 / 12, 31 / 9)
    assert not clear.tie
    assert str(clear) == "3.00 (2.42-3.44)"


def test_an_exponent_is_the_slope_between_logarithms():
    assert scaling.exponent([1, 10, 100], [5, 50 * 10**0.5, 5000]) == pytest.approx(1.5)


# ---- reports -------------------------------------------------------------------------------------


def test_a_report_is_built_from_a_stored_result():
    text = report.report(json.loads(to_json(RESULT)))
    assert "absent: jax (`pip install jax`)" in text
    closure_table = text[text.index("### The closure") : text.index("### What a user feels")]
    assert "| 256 | 2 | PyTorch, best form | 290 [284.2, 295.8] | 261 | 3 | 2.90 (2.79-3.02)" in (
        closure_table
    )
    assert "tie, 1.01" in closure_table
    assert "| another | 2 | 0.6 | 1.25 | 0.3 | not reached | not reached | 1.8 |" in text
    assert "power of 0.97" in text
    assert "| paper | cpu | 1.0e-07 | 2.0e-06 |" in text
    assert "| pynst lbfgs | 0.75 | 0.25 |" in text
    assert "| gram | 3 (60.0%; 0.6; 25; 1.1) |" in text
    assert "| 64 to 128 | 128 x 128 | forward | 1.2 (2) | 0.6 (4) |" in text


def test_every_table_of_a_report_has_as_many_cells_in_each_row():
    lines = report.report(RESULT).splitlines()
    tables = [line.count("|") if line.startswith("|") else 0 for line in lines]
    for before, after in itertools.pairwise(tables):
        assert not (before and after) or before == after


def test_the_readmes_table_is_against_pytorchs_fastest_form():
    text = report.readme([RESULT])
    assert "| 256 x 256 | 2 | 100 ms | 101 ms | tie" in text
    assert "a processor" in text
    assert "0123456789" in text


def test_a_later_quick_run_does_not_hide_the_fastest_form_in_the_readme():
    quick = copy.deepcopy(RESULT)
    quick["date"] = "9999-01-01 00:00"
    quick["machine"]["commit"] = "later"
    full = copy.deepcopy(RESULT)
    row = next(row for row in quick["closure"] if row["name"] == "torch-best")
    full["closure"].append({**row, "name": "torch-compile"})
    assert report.readme([quick, full]) == report.readme([full])
    assert "later" in report.readme([quick])


def test_a_row_that_stays_disturbed_is_said_to_be_and_left_out_of_the_readme():
    result = copy.deepcopy(RESULT)
    result["closure"][1]["quiet_turns"] = result["closure"][2]["quiet_turns"] = 0
    assert "2.90 (2.79-3.02), disturbed" in report.report(result)
    assert "256 x 256" not in report.readme([result])


def test_results_page_is_what_the_stored_results_say():
    page = ROOT / "bench" / "RESULTS.md"
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in STORED}
    assert results, "bench/results/ holds no run"
    text = page.read_text(encoding="utf-8")
    assert text == report.results_page(results)
    shown = set(re.findall(r"\((results/[^)]*\.svg)\)", text))
    stored = (ROOT / "bench" / "results").glob("*.svg")
    assert shown == {f"results/{path.name}" for path in stored}


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_result_names_no_file_of_its_machine(path):
    text = path.read_text(encoding="utf-8")
    for word in ("/home", "/root", "/tmp", "/work", "://"):
        assert word not in text


def compared(tmp_path, after, *words) -> int:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, result in zip(paths, (RESULT, after), strict=True):
        path.write_text(to_json(result), encoding="utf-8")
    return main(["compare", *map(str, paths), *words])


def test_compare_finds_nothing_between_equal_results(tmp_path, capsys):
    assert compared(tmp_path, RESULT) == 0
    assert "4 figures in common, 4 of them the same" in capsys.readouterr().out


def test_compare_fails_on_a_slower_op(tmp_path, capsys):
    slower = copy.deepcopy(RESULT)
    slower["ops"][0]["ms"] = ms(1.3)
    assert compared(tmp_path, slower) == 1
    assert "| gram-N4, threads 2, ms | 1 | 1.3 | +30% | worse |" in capsys.readouterr().out
    assert compared(tmp_path, slower, "--threshold", "0.5") == 0


def test_compare_fails_on_more_memory(tmp_path):
    larger = copy.deepcopy(RESULT)
    larger["closure"][0]["peak_mb"] = 150.0
    assert compared(tmp_path, larger) == 1


def test_compare_takes_overlapping_quartiles_for_noise(tmp_path):
    noisy = copy.deepcopy(RESULT)
    noisy["ops"][0]["ms"] = {**ms(1.3), "q1": 0.9}
    assert compared(tmp_path, noisy) == 0


def test_compare_does_not_blame_pynst_for_a_peer(tmp_path):
    slower = copy.deepcopy(RESULT)
    slower["closure"][1]["ms"] = ms(900.0)
    assert compared(tmp_path, slower) == 0


def test_compare_refuses_what_is_no_result(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(path), str(path)])
    assert stopped.value.code == 2
