"""The README says what the code does: settings, files, pictures, commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pynst.options import describe

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def options_table() -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{name}` | {f'`{default}`' if default else ''} | {text} |"
        for name, default, text in describe()
    ]
    return "\n".join(rows)


def test_the_table_of_settings_is_that_of_the_options():
    text = README.read_text(encoding="utf-8")
    begin, table, end = re.split(
        r"(?s)(?<=README=1 pytest tests/test_readme.py -->\n)(.*?)\n?(?=<!-- options: end)", text
    )
    if os.environ.get("PYNST_UPDATE_README"):
        README.write_text(f"{begin}{options_table()}\n{end}", encoding="utf-8")
        pytest.skip("the README's table was written anew")
    assert table == options_table()


def test_every_picture_is_there_and_small():
    found = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert found
    for picture in found:
        assert 0 < (ROOT / picture).stat().st_size < 150_000, picture


def test_every_file_of_the_map_is_there():
    rows = re.findall(
        r"^\| (`(?:pynst|csrc|tests|bench)/.*?) \|", README.read_text(encoding="utf-8"), re.M
    )
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"`([^`]+)`", row)
        folder = ROOT / names[0].rsplit("/", 1)[0] if "." in names[0] else ROOT / names[0]
        assert (ROOT / names[0]).exists(), names[0]
        for name in names[1:]:
            options = [
                folder / name,
                folder / f"{name}.py",
                ROOT / "pynst" / name,
                ROOT / "pynst" / f"{name}.py",
            ]
            assert any(path.exists() for path in options), name


def test_the_two_commands_stand_where_the_gate_reads_them():
    text = README.read_text(encoding="utf-8")
    assert len(re.findall(r"^    python3 -m venv \.venv && .*pynst demo$", text, re.M)) == 1
    assert len(re.findall(r"^    \.venv/bin/pip install .*\[test\].*pytest$", text, re.M)) == 1


def test_it_is_at_most_200_lines_and_names_no_machine():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert not re.search(r"@@|/home/|/root/|/tmp/|/work/", text)
