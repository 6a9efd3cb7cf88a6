"""Beside its namesake: the other distribution that owns a package of this name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pynst
from pynst.namesake import find_namesake

PACKAGE = Path(pynst.__file__).parent


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
