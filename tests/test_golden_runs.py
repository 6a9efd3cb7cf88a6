"""Whole runs end with the bits that are stored; ``golden/runs.py`` says what they are.

Where NumPy, SciPy, Pillow or the processor are others than those of the stored values, bits cannot
be expected; there the losses and the mean of the pictures are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from golden.runs import BROKEN_OFF, PINNED, RUNS, environment

HERE = Path(__file__).parent
STORED = json.loads((HERE / "golden" / "runs.json").read_text(encoding="utf-8"))
SAME_PROGRAMS = STORED["environment"] == environment()


@pytest.fixture(scope="module")
def results():
    """The results of all runs, made by a process of its own, whose environment is pinned."""
    run = subprocess.run(
        [sys.executable, str(HERE / "golden" / "runs.py")],
        env={**os.environ, **PINNED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)["runs"]


def test_there_is_a_stored_result_for_each_run():
    assert set(STORED["runs"]) == set(RUNS)
    assert set(BROKEN_OFF) <= set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_with_the_stored_bits(results, name):
    found, stored = results[name], STORED["runs"][name]
    assert found["evaluations"] == stored["evaluations"]
    if SAME_PROGRAMS:
        assert found == stored
    else:
        assert found["first totals"][0] == pytest.approx(stored["first totals"][0], rel=1e-4)
        assert found["first totals"] == pytest.approx(stored["first totals"], rel=0.05)
        assert found["mean"] == pytest.approx(stored["mean"], abs=0.01)
