"""The distribution: its name, version, metadata and contents."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import pynst

tomllib = pytest.importorskip("tomllib")  # Python 3.11

PACKAGE = Path(pynst.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def test_the_version_is_the_same_everywhere():
    assert PROJECT["version"] == pynst.__version__
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"project(pynst VERSION {pynst.__version__} " in cmake
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {pynst.__version__}\n" in citation


def test_the_distribution_is_not_called_as_the_other_project_but_the_command_is_pynst():
    assert PROJECT["name"] == "pynst-stylize"
    assert PROJECT["scripts"] == {"pynst": "pynst.__main__:main"}


def test_nothing_tells_users_to_install_the_other_project():
    files = [ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for path in [*files, *PACKAGE.rglob("*.py"), *(ROOT / "bench").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bpynst\[|pip install '?pynst\b(?!-)", text), path


def test_the_metadata_name_authors_keywords_and_every_python_version():
    assert PROJECT["authors"] == [{"name": "The PyNST authors"}]
    assert "neural style transfer" in PROJECT["keywords"]
    minors = {
        int(found[1])
        for each in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", each))
    }
    oldest = int(PROJECT["requires-python"].removeprefix(">=3."))
    assert minors == set(range(oldest, max(minors) + 1))
    assert max(minors) >= 14


def test_the_citation_names_the_paper_too():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "Image Style Transfer Using Convolutional Neural Networks" in text
    assert all(f"family-names: {name}" in text for name in ("Gatys", "Ecker", "Bethge"))


def test_the_source_distribution_holds_every_tracked_file(tmp_path):
    pytest.importorskip("scikit_build_core")
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("this is no git checkout")
    code = f"import scikit_build_core.build as b; print(b.build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        held = {name.split("/", 1)[-1] for name in sdist.getnames()}
    assert archive.name == f"pynst_stylize-{pynst.__version__}.tar.gz"
    missing = {name for name in tracked.stdout.split("\0") if name} - held
    assert not {name for name in missing if (ROOT / name).exists()}
