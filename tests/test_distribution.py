"""The distribution: name, version, metadata and contents; and what happens beside its namesake."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import pynst
from pynst.namesake import find_namesake

tomllib = pytest.importorskip("tomllib")  # Python 3.11

PACKAGE = Path(pynst.__file__).parent
ROOT = Path(__file__).resolve().parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code that finds nothing but `folder` and the standard library."""
    script = f"import sys; sys.path[:0] = [{str(folder)!r}]\n{code}"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the modules that are needed before NumPy is, as an installer leaves them."""
    for name in ("__init__", "__main__", "namesake", "version"):
        (tmp_path / "pynst").mkdir(exist_ok=True)
        shutil.copy(PACKAGE / f"{name}.py", tmp_path / "pynst")
    (tmp_path / "pynst_stylize-0.1.0.dist-info").mkdir()
    return tmp_path


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
    assert max(minors) >= 13


def test_the_citation_names_the_paper_too():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "Image Style Transfer Using Convolutional Neural Networks" in text
    assert all(f"family-names: {name}" in text for name in ("Gatys", "Ecker", "Bethge"))


def test_the_import_is_silent_without_the_namesake(installed):
    done = run("import pynst; print(pynst.__version__)", installed)
    assert (done.stdout.strip(), done.stderr) == (pynst.__version__, "")


def test_the_import_says_that_the_namesake_is_installed_beside_it(installed):
    (installed / "pynst-0.4.2.dist-info").mkdir()
    done = run("import pynst; print(pynst.__version__)", installed)
    assert done.stdout.strip() == pynst.__version__
    assert "RuntimeWarning: the distribution pynst-0.4.2 is installed in the same" in done.stderr
    assert "pip uninstall pynst pynst-stylize" in done.stderr


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pynst-0.4.2.dist-info", "pynst-0.4.2"),
        ("PyNST-1.0.dist-info", "PyNST-1.0"),
        ("pynst-0.4.2.data", None),
        ("pynst_stylize-0.1.0.dist-info", None),
        ("pynstaller-1.0.dist-info", None),
        ("pynst", None),
    ],
)
def test_the_namesake_is_known_by_its_metadata_alone(tmp_path, name, found):
    (tmp_path / name).mkdir()
    assert find_namesake(str(tmp_path / "pynst")) == found


def test_a_package_inside_an_archive_has_no_namesake(tmp_path):
    assert find_namesake(str(tmp_path / "archive.zip" / "pynst")) is None


@pytest.mark.parametrize("what", ["replaced", "removed"])
def test_the_command_says_that_the_namesake_has_its_files(installed, what):
    if what == "replaced":
        (installed / "pynst" / "__init__.py").write_text("__all__ = ['SweepManager']\n")
    else:
        (installed / "pynst" / "__init__.py").unlink()
    done = run("from pynst.__main__ import main; sys.exit(main())", installed)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(
        r"pynst: error: the package in .* is not that of pynst-stylize, .*pip uninstall.*\n",
        done.stderr,
    )


def test_looking_for_the_namesake_loads_no_slow_module(installed):
    (installed / "pynst-0.4.2.dist-info").mkdir()
    done = run("import pynst; print(*sys.modules)", installed)
    assert "pynst.namesake" in done.stdout.split()
    assert not {"importlib.metadata", "email", "glob", "pathlib"} & set(done.stdout.split())


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
