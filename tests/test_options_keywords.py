"""Settings as keywords: what a type checker is told of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing
from dataclasses import fields
from pathlib import Path

import pytest

from pynst import TransferOptions
from pynst.backends import base
from pynst.options import QUALITIES, TransferChanges, keywords
from pynst.options.formulas import FORMULAS


def test_the_keywords_for_type_checkers_are_the_fields():
    assert set(TransferChanges.__annotations__) == {each.name for each in fields(TransferOptions)}
    assert not TransferChanges.__required_keys__


def test_the_words_for_type_checkers_are_those_of_the_checks():
    known = {**vars(keywords), **vars(base), "os": __import__("os"), "Layers": typing.Any}
    hints = typing.get_type_hints(TransferChanges, known, known)
    for each in fields(TransferOptions):
        choices = each.metadata["check"].choices
        words = {
            word
            for part in (hints[each.name], *typing.get_args(hints[each.name]))
            if typing.get_origin(part) is typing.Literal
            for word in typing.get_args(part)
        }
        # A tile may be a number, too, so that its check has no list of choices.
        wanted = {"auto", "none"} if each.name == "tile" else set(choices)
        assert words == wanted, each.name
    assert set(typing.get_args(keywords.FormulaName)) == set(FORMULAS)
    assert set(typing.get_args(keywords.Quality)) == set(QUALITIES)


PROGRAM = """
from pynst import TransferOptions
TransferOptions(image_size=512, iterations=(3, 5), style_layers={"relu1_1": 2}, init="noise")
TransferOptions(iterations=5, quality="fine", style_layers=["relu1_1=2", ("relu2_1", 1.5)])
TransferOptions.paper(style_weight=2)
TransferOptions(style_wieght=2)
TransferOptions(quality="fast")
TransferOptions(image_size="large")
TransferOptions.paper(network="vgg")
"""


@pytest.mark.slow
def test_a_type_checker_finds_misspelt_settings(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    root = Path(keywords.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
         f"--cache-dir={tmp_path / 'cache'}", str(program)],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(root)},
    )  # fmt: skip
    lines = [int(number) for number in re.findall(r"program\.py:(\d+): error", run.stdout)]
    assert lines == [6, 7, 8, 9], run.stdout + run.stderr
