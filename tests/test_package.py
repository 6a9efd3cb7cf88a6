"""The package as a whole: what it exports, how its modules depend on each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pynst

ROOT = Path(pynst.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py"))

# Arrows only go down: a module may import what stands in a row below its own, not above or beside
# it.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"replay", "info"},
    {"transfer"},
    {"checkpoint", "resources"},
    {"result"},
    {"optimizers"},
    {"device_vectors"},
    {"vectors", "lbfgs", "linesearch"},
    {"run"},
    {"objective"},
    {"networks"},
    {"calibration"},
    {"vgg19", "gabor"},
    {"memory"},
    {"backends"},
    {"weights", "images", "color", "pyramid", "demo"},
]
EVERYWHERE = {"errors", "options", "formulas", "record", "files"}
ONE_HOME = {
    "PIL": {"pillow", "result"},
    "scipy": {"optimizers", "formats"},
    "cupy": {"backends"},
    "pooch": {"fetch"},
}


def stage(path: Path) -> str:
    """The top-level name a module belongs to: pynst/backends/cpu.py is of backends."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    """Names of the modules that a module imports when it runs, at its top or in its functions."""
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_public_name_is_there_and_is_the_whole_of_all():
    for name in pynst.__all__:
        assert getattr(pynst, name).__doc__, name
    assert set(pynst.__all__) <= set(dir(pynst))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pynst.nonsense


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_and_its_all_exists(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module begins with what it is for"
    exported = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    defined = {getattr(node, "name", "") for node in tree.body}
    defined |= {
        target.id
        for node in tree.body
        for target in (getattr(node, "targets", None) or [getattr(node, "target", None)])
        if isinstance(target, ast.Name)
    }
    defined |= {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for names in exported:
        assert set(names) <= defined


def test_imports_only_go_down():
    rank = {name: row for row, names in enumerate(LAYERS) for name in names}
    wrong = []
    for path in MODULES:
        name = stage(path)
        for module in imports(path):
            if not module.startswith("pynst."):
                continue
            other = module.split(".")[1]
            if other in EVERYWHERE or other == name or name not in rank or other not in rank:
                continue
            if rank[other] <= rank[name]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_each_third_party_package_enters_through_its_own_module():
    for package, homes in ONE_HOME.items():
        users = {
            stage(path)
            for path in MODULES
            if any(m.split(".")[0] == package for m in imports(path))
        }
        assert users <= homes, package


def test_only_the_command_line_prints():
    for path in MODULES:
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
        ]
        assert not calls or path.parent.name == "cli", path


def test_importing_pynst_loads_neither_numpy_nor_scipy_nor_pillow():
    heavy = {"numpy", "scipy", "PIL", "cupy", "pooch"}
    script = f"import sys, pynst; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
