"""The manual page and the completions say what the parser knows."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pynst.cli.parser import COMMANDS, all_commands, parse

TOOL = Path(__file__).resolve().parent.parent / "tools" / "manual.py"


@pytest.fixture(scope="module")
def tool():
    before = list(sys.path)
    yield runpy.run_path(str(TOOL))
    sys.path[:] = before


def options_of(parser):
    return {
        word
        for action in parser._actions
        for word in action.option_strings
        if action.help and word not in ("-h", "--help")
    }


def test_the_manual_names_every_command_and_every_option(tool):
    text = tool["manual"]().replace(r"\-", "-").replace(r"\fB", "").replace(r"\fR", "")
    sections = dict(
        zip(*[iter(re.split(r"^\.S[SH] (.*)$", text, flags=re.M)[1:])] * 2, strict=True)
    )
    for name, parser in all_commands().commands.items():
        section = sections[name]
        for word in options_of(parser):
            if word.startswith("--no-"):
                word = word if word in section else f"--{word[5:]}"
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", section), (name, word)
    assert "PYNST_WEIGHTS" in sections["ENVIRONMENT"]


def test_the_manual_is_sound(tool, tmp_path):
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    (tmp_path / "pynst.1").write_text(tool["manual"]())
    lint = subprocess.run(
        ["mandoc", "-Tlint", "pynst.1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert lint.stdout == ""


def test_a_reproducible_build_has_its_date(tool, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert ".TH PYNST 1 1970-01-01 " in tool["manual"]()


def test_every_command_of_the_parser_of_all_is_the_command_itself():
    top = all_commands()
    assert list(top.commands) == list(COMMANDS)
    given = parse(["a.jpg", "b.jpg", "--quality", "fine"])
    assert options_of(top) == options_of(top.commands["stylize"])
    assert given.quality == "fine"


@pytest.fixture
def bash(tool, tmp_path):
    """Completes a line in a real bash; returns the candidates."""
    pytest.importorskip("shtab", reason="shtab is not installed")
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    (tmp_path / "pynst.bash").write_text(tool["completions"]("bash"))
    script = """
        source ./pynst.bash
        function_name=$(complete -p pynst | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        "$function_name" pynst "${!#}" "${COMP_WORDS[$(($# - 2))]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(*words):
        run = subprocess.run(
            ["bash", "-c", script, "bash", "pynst", *words],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return set(run.stdout.split())

    return complete


def test_bash_completes_commands_options_and_values(bash):
    assert set(COMMANDS) <= bash("")
    assert bash("sw") == {"sweep"}
    styles = {"--style-scale", "--style-blend", "--style-weight", "--style-layers"}
    assert styles <= bash("--style-")
    assert styles <= bash("a.jpg", "b.jpg", "--style-")
    assert bash("a.jpg", "b.jpg", "--quality", "") == {"draft", "normal", "fine"}
    assert bash("serve", "--ope") == {"--open"}
    assert bash("weights", "im") == {"import"}


def test_bash_completes_files_for_what_takes_files(bash, tmp_path):
    (tmp_path / "starry.jpg").write_text("")
    assert bash("a.jpg", "--weights", "sta") == {"starry.jpg"}


def test_the_build_writes_all_of_it(tmp_path):
    subprocess.run([sys.executable, str(TOOL), str(tmp_path / "manual")], check=True)
    names = {path.name for path in (tmp_path / "manual").iterdir()}
    assert "pynst.1" in names
    if shutil.which("bash") and "pynst.bash" in names:
        subprocess.run(["bash", "-n", str(tmp_path / "manual" / "pynst.bash")], check=True)
