"""The table of environment variables is the whole of those that the code reads."""

from __future__ import annotations

import re
from pathlib import Path

import pynst
from pynst.options.environment import BUILD_VARIABLES, VARIABLES

PACKAGE = Path(pynst.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
READ = re.compile(r"(?:environ(?:\.get\(|\[)|getenv\()\s*\"(\w+)\"")


def read_by(files):
    return {name for path in files for name in READ.findall(path.read_text(encoding="utf-8"))}


def test_every_variable_that_the_package_reads_is_in_the_table():
    found = read_by(PACKAGE.rglob("*.py"))
    assert {"PYNST_WEIGHTS", "OMP_NUM_THREADS"} <= found, "the search finds what it should"
    assert found <= set(VARIABLES)


def test_every_variable_that_the_cores_and_the_build_read_is_in_the_table():
    sources = [*(ROOT / "csrc").rglob("*.cpp"), *(ROOT / "csrc").rglob("*.cu")]
    found = read_by(sources)
    assert "PYNST_CPU_ISA" in found
    assert found <= set(VARIABLES)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(re.findall(r"\benv = \"(\w+)\"", project)) <= set(BUILD_VARIABLES)
    assert set(re.findall(r"if\.env\.(\w+)", project)) <= set(BUILD_VARIABLES)


def test_every_variable_of_the_table_is_read_somewhere():
    paths = [
        *PACKAGE.rglob("*.py"), *(ROOT / "csrc").rglob("*.cpp"),
        ROOT / "CMakeLists.txt", ROOT / "pyproject.toml",
    ]  # fmt: skip
    texts = [path.read_text(encoding="utf-8") for path in paths if path.name != "environment.py"]
    for name in (*VARIABLES, *BUILD_VARIABLES):
        assert any(name in text for text in texts), name
