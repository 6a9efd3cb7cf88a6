"""The command line: ``python -m bench`` in the project's root."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import compare, machine, report
from bench.gallery import commands

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
STORED = HERE / "results"


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 slower or something failed, 2 usage."""
    words = list(sys.argv[1:] if words is None else words)
    known = {
        "run": _run,
        "compare": _compare,
        "report": _report,
        "show": _show,
        "readme": _readme,
        "pictures": lambda rest: commands.pictures(rest, _write),
        "programs": lambda rest: commands.programs(rest, _write),
    }
    command = words.pop(0) if words and words[0] in known else "run"
    return known[command](words)


def _run(words: list[str]) -> int:
    from bench.sets import PARTS, SETS

    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure PyNST and its peers. Further commands: pictures, programs, compare,"
        " report, show, readme.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    sets = parser.add_mutually_exclusive_group()
    for extent, what in (
        ("full", "the full set"), ("tiny", "go through every line, measure nothing: for tests"),
    ):  # fmt: skip
        sets.add_argument(
            f"--{extent}", dest="extent", action="store_const", const=extent, help=what
        )
    parser.add_argument(
        "--backend", choices=("cpu", "cuda"), default="cpu", help="where to measure; default: cpu"
    )
    for option, what in (("--sizes", "sizes"), ("--threads", "numbers of threads")):
        parser.add_argument(
            option, type=int, nargs="+", default=[], metavar="N",
            help=f"of the closure on the CPU: these of the set's {what} only",
        )  # fmt: skip
    parser.add_argument("--name", default="unnamed run", help="of the run, in the report")
    parser.add_argument("--store", action="store_true", help="keep the JSON in bench/results/")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "out", metavar="FOLDER")
    given = parser.parse_args(words)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"PART must be of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    extent = given.extent or "quick"
    assert extent in SETS
    result = _measure(given, extent, given.parts or PARTS)
    if result is None:
        return 2
    for path in _write(result, given.output, given.store):
        print(path)
    return int(bool(result.get("failed")))


def _measure(given: Any, extent: str, parts: Sequence[str]) -> dict[str, Any] | None:
    """Measure, and write the result after each part; None where the backend is not available."""
    words = ["python", "-m", "bench", *given.parts, *[f"--{extent}"] * (extent != "quick")]
    words += ["--backend", given.backend] if given.backend != "cpu" else []
    for option, values in (("--sizes", given.sizes), ("--threads", given.threads)):
        words += [option, *map(str, values)] if values else []

    def keep(result: dict[str, Any]) -> None:
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / f"{stem(result)}.json").write_text(to_json(result), encoding="utf-8")

    about: Any = {
        "extent": extent, "name": given.name, "command": shlex.join(words), "keep": keep
    }  # fmt: skip
    if given.backend == "cuda":
        from bench import sets_cuda
        from pynst.backends import available_backends

        found = available_backends()["cuda"]
        if found.startswith("not available"):
            print(f"cuda: {found}", file=sys.stderr)
            return None
        return sets_cuda.run(parts, **about)
    from bench import sets

    return sets.run(parts, sizes=given.sizes, counts=given.threads, **about)


def stem(result: dict[str, Any]) -> str:
    """The name of a run as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", result["name"].lower()).strip("-") or "run"


def _write(result: dict[str, Any], folder: Path, store: bool) -> list[Path]:
    """Write the JSON, the report and the plots; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    name, text = stem(result), to_json(result)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(text, encoding="utf-8")
    paths[1].write_text(report.report(result, name) + "\n", encoding="utf-8")
    if store:
        STORED.mkdir(exist_ok=True)
        paths.append(STORED / f"{name}.json")
        paths[-1].write_text(text, encoding="utf-8")
    return paths + _plots(result, folder, name)


def _plots(result: dict[str, Any], folder: Path, name: str) -> list[Path]:
    """Draw the plots of a result; without matplotlib, print the line that installs it."""
    if not machine.has("matplotlib"):
        print(f"no plots: {machine.PEERS['matplotlib']}", file=sys.stderr)
        return []
    from bench.plots import draw

    return draw(result, folder, name)


def to_json(result: dict[str, Any]) -> str:
    """A result as JSON that people can read: one line for each innermost list or object."""
    text = json.dumps(result, indent=1, ensure_ascii=False)

    def joined(match: re.Match[str]) -> str:
        return re.sub(r"\s*\n\s*", " ", match.group())

    return re.sub(r"[\[{][^\[\]{}]*[\]}]", joined, text) + "\n"


def _compare(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench compare")
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument(
        "--threshold", type=float, default=0.1, metavar="X",
        help="growth of a median that counts, if the quartiles are apart too; default: 0.1",
    )  # fmt: skip
    given = parser.parse_args(words)
    found = compare.changes(load(given.before), load(given.after), given.threshold)
    if not found:
        parser.error(f"{given.before} and {given.after} have no figure in common")
    print(compare.table(found))
    return int(any(change.verdict == "worse" for change in found))


def _report(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench report",
        description="Write bench/RESULTS.md and its plots from bench/results/.",
    )
    parser.parse_args(words)
    results = {path.stem: load(path) for path in sorted(STORED.glob("*.json"))}
    (HERE / "RESULTS.md").write_text(report.results_page(results), encoding="utf-8")
    for name, result in results.items():
        _plots(result, STORED, name)
    return 0


def _show(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench show", description="Print the report of a result."
    )
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    print(report.report(load(parser.parse_args(words).result)))
    return 0


def _readme(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench readme", description="Print the speed table of the README."
    )
    parser.add_argument(
        "result", type=Path, nargs="?", metavar="RESULT.json",
        help="default: those in bench/results/ on the CPU, of the newest full one's commit",
    )  # fmt: skip
    given = parser.parse_args(words)
    paths = [given.result] if given.result else STORED.glob("*.json")
    results = [result for result in map(load, paths) if result.get("closure")]
    if not given.result:
        results = [result for result in results if result.get("backend", "cpu") == "cpu"]
    if not results:
        parser.error("no stored result holds the closure: run `python -m bench closure --store`")
    print(report.readme(results))
    return 0


def load(path: Path) -> dict[str, Any]:
    """Read a stored result; ends the program with status 2 if the file holds none."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(result, dict) or result.get("format") != 1:
            raise ValueError("it is not a result of format 1")
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    return dict(result)


if __name__ == "__main__":
    sys.exit(main())
