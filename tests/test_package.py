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

# The rooms of the house, top to bottom. Arrows only go down: a module may import what stands in a
# room below its own, or in its own room, where no circle may arise. A module without a row fails.
ROOMS = [
    {"__main__", "notebook"},
    {"cli"},
    {"serve"},
    {"experiments"},
    {"jobs"},
    {"replay", "info"},
    {"transfer"},
    {"run"},
    {"checkpoint"},
    {"result"},
    {"display"},
    {"curves"},
    {"forecast"},
    {"record", "optimizers", "objective"},
    {"losses", "levels"},
    {"inputs"},
    {"regions"},
    {"networks"},
    {"weights"},
    {"formats", "backends", "images"},
    {"demo", "machine"},
    {"options"},
    {"files", "errors", "pynst"},
    {"version", "namesake", "locks", "spelling"},
]
ONE_HOME = {
    "PIL": {"images", "result"},
    "scipy": {"optimizers", "formats"},
    "cupy": {"backends"},
    "pooch": {"weights"},
    "distributed": {"jobs"},
}
COMPILED = {"_cpu", "_cuda"}

# Modules whose tests stand in a file of another name than their own, which would be
# test_<path with underscores>.py.
TESTED_WITH = {
    # It only starts the command line, unless the package belongs to the namesake.
    "__main__": "test_namesake",
    # One number, which the metadata has to repeat.
    "version": "test_distribution",
    # Contracts: what implements them is tested, there with the same cases for each.
    "backends.base": "test_backends",
    "losses.terms": "test_objective",
    # Every op is asked of each of these by the same cases.
    "backends.cpu": "test_backends",
    "backends.reference": "test_backends",
    # The losses over windows show whether these pieces are right, on the host and on a device.
    "backends.pieces": "test_backends_windows",
    # Only a CUDA device, or its stand-in, evaluates again where a gradient was lost.
    "backends.evaluation": "test_backends_cuda",
    # It is what the vectors of L-BFGS on the CPU lie in, and is seen through them.
    "backends.host": "test_optimizers_device_vectors",
    # Its vectors are seen through the optimisers alone: the same trial points as SciPy's.
    "optimizers.vectors": "test_optimizers_scipy_lbfgs",
    # Both pictures of the demo are judged by the same tests, whole: the town is part of one.
    "demo.painting": "test_demo",
    "demo.scene": "test_demo",
    "demo.town": "test_demo",
    # What survives a level, and what is kept on the way, is seen in whole runs.
    "run": "test_transfer",
    # The page's protocol is tested as a browser sees it: board, requests and visit behind it.
    "serve.board": "test_serve_server",
    "serve.visit": "test_serve_server",
    # The first starts the command that is named; the second picks the reader that fits a file.
    "cli": "test_cli_parser",
    "formats": "test_formats_fuzz",
    # Commands that differ in the experiment that they start, and what they share.
    "cli.figure": "test_cli_experiments",
    "cli.reconstruct": "test_cli_experiments",
    "cli.sheets": "test_cli_experiments",
    "cli.single": "test_cli_experiments",
    "cli.sweep": "test_cli_experiments",
    "cli.texture": "test_cli_experiments",
    # Seen in whole batches, and in the sheets that keep their cells; and what is only data.
    "jobs.engine": "test_jobs_batches",
    "jobs.histories": "test_experiments_sheets_cells",
    "jobs.kept": "test_jobs_batches",
    "jobs.messages": "test_jobs_work",
}


def name_of(path: Path) -> str:
    """``"backends.cpu"`` for pynst/backends/cpu.py; a package is named after its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "pynst"


def room_of(module: str) -> str:
    return module.split(".")[0]


def run_time_tree(path: Path) -> ast.Module:
    """The code of a module without what is there for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    return tree


def imports(path: Path) -> set[str]:
    """Names of the modules that a module imports when it runs, at its top or in its functions."""
    found = set()
    for node in ast.walk(run_time_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def arrows() -> dict[str, set[str]]:
    """For each module of the package the others that it imports, ``from pynst import x`` too."""
    modules = {name_of(path): path for path in MODULES}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(run_time_tree(path)):
            targets = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pynst":
                base = str(node.module)[len("pynst") :].lstrip(".")
                inner = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
                targets = [each if each in modules else base or "pynst" for each in inner]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                targets = [
                    each[len("pynst.") :] or "pynst" for each in names if each[:5] == "pynst"
                ]
            found[name] |= set(targets) - {name}
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


def test_every_module_has_a_room():
    rooms = {name for row in ROOMS for name in row}
    assert {room_of(name_of(path)) for path in MODULES} == rooms


def test_imports_only_go_down():
    rank = {name: row for row, names in enumerate(ROOMS) for name in names}
    wrong = [
        f"{name} imports {other}"
        for name, others in arrows().items()
        for other in others - COMPILED
        if room_of(other) != room_of(name) and rank[room_of(other)] <= rank[room_of(name)]
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    graph = arrows()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " imports ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in graph.get(name, ()):
                walk(other, (*above, name))
            done.add(name)

    done: set[str] = set()
    for name in graph:
        walk(name, ())


def test_each_third_party_package_enters_through_its_own_module():
    for package, homes in ONE_HOME.items():
        users = {
            room_of(name_of(path))
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


def own_test_file(module: str) -> str:
    return f"test_{module.replace('.', '_')}"


def test_every_module_has_a_test_file_of_its_name():
    """Or an entry of `TESTED_WITH`; a package whose `__init__` defines nothing needs neither."""
    files = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    defining = {
        name_of(path)
        for path in MODULES
        if path.stem != "__init__"
        or any(
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    }
    alone = {name for name in defining - {"pynst"} if own_test_file(name) not in files}
    assert sorted(alone - set(TESTED_WITH)) == [], "neither a test file nor an entry"
    assert sorted(set(TESTED_WITH) - alone) == [], "an entry without need: no module, or tested"
    assert sorted(set(TESTED_WITH.values()) - files) == [], "an entry whose file does not exist"
