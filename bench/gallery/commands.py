"""The command lines of the two parts: `python -m bench pictures` and `python -m bench programs`."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.gallery.pairs import Pair, find_pairs

__all__ = ["pictures", "programs"]

Write = Callable[[dict[str, Any], Path, bool], list[Path]]


def pictures(words: Sequence[str], write: Write) -> int:
    """Compare settings of PyNST; `write` stores the result. Returns the exit status."""
    from bench.gallery.pictures import DEFAULT_SETTINGS, Setting, make_pictures

    parser = _parser("pictures", "Compare settings of PyNST on pairs of pictures.", 384)
    parser.add_argument(
        "--setting", action="append", metavar="'NAME: OPTIONS'",
        help="options as for the command pynst; may be given several times; default: "
        + "; ".join(f"'{each.name}: {each.words}'" for each in DEFAULT_SETTINGS),
    )  # fmt: skip
    given = parser.parse_args(words)
    try:
        settings = [Setting.parse(text) for text in given.setting or ()] or DEFAULT_SETTINGS
    except ValueError as error:
        parser.error(str(error))
    if len({each.name for each in settings}) < len(settings):
        parser.error("two settings have the same name")
    result, started = _begun("pictures", words, given), time.monotonic()
    shared = _shared(given)
    result["pictures"] = make_pictures(
        _pairs(parser, given), settings, given.size, given.output, **shared
    )
    return _ended(result, started, given, write)


def programs(words: Sequence[str], write: Write) -> int:
    """Compare PyNST with other programs; `write` stores the result. Returns the exit status."""
    from bench.gallery.programs import PROGRAMS, compare_programs

    parser = _parser("programs", "Compare PyNST with other programs, each as a whole.", 384)
    parser.add_argument(
        "--programs", nargs="+", choices=tuple(PROGRAMS), default=list(PROGRAMS), metavar="NAME",
        help=f"of {', '.join(PROGRAMS)}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--evaluations",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="of programs that optimise, one run for each; default: as many as they make",
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each; default: 3")
    parser.add_argument(
        "--limit", type=float, default=600.0, metavar="SECONDS",
        help="after which a program is stopped; default: 600",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=machine.all_threads(), metavar="N", help="default: all"
    )
    parser.add_argument(
        "--environments", type=Path, default=Path("build/programs"), metavar="FOLDER",
        help="where programs are installed, each on its own; default: build/programs",
    )  # fmt: skip
    given = parser.parse_args(words)
    result, started = _begun("programs", words, given), time.monotonic()
    result["programs"] = compare_programs(
        _pairs(parser, given), given.programs, given.size, given.output,
        evaluations=given.evaluations, runs=given.runs, limit=given.limit, threads=given.threads,
        environments=given.environments, **_shared(given),
    )  # fmt: skip
    return _ended(result, started, given, write)


def _parser(name: str, description: str, size: int) -> argparse.ArgumentParser:
    """The options that both commands have."""
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=description)
    for picture, own in (("content", "photographs"), ("style", "paintings")):
        parser.add_argument(
            f"--{picture}", type=Path, metavar="FOLDER",
            help=f"{own}, or one of them; default: those of scikit-image and of the demo",
        )  # fmt: skip
    parser.add_argument("--most", type=int, metavar="N", help="pairs at most")
    parser.add_argument(
        "--size", type=int, default=size, metavar="N", help=f"long side, pixels; default: {size}"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="VGG-19, as for pynst")
    parser.add_argument("--network", choices=("vgg19", "builtin"), default="vgg19")
    parser.add_argument("--name", default=f"unnamed {name}", help="of the run, in the report")
    parser.add_argument("--store", action="store_true", help="keep the JSON in bench/results/")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("bench/out") / name, metavar="FOLDER",
        help="pictures, sheet and report; pictures that are there are not made again;"
        f" default: bench/out/{name}",
    )  # fmt: skip
    return parser


def _pairs(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[Pair]:
    try:
        return find_pairs(given.content, given.style, given.output / "originals", given.most)
    except FileNotFoundError as error:
        parser.error(str(error))


def _shared(given: argparse.Namespace) -> dict[str, Any]:
    """What every run of PyNST and the judge have in common."""
    return {"network": given.network, "weights": given.weights}


def _begun(part: str, words: Sequence[str], given: argparse.Namespace) -> dict[str, Any]:
    """A result without figures. The folders of a user are his own: the command leaves them out."""
    from bench.sets import begin

    hidden = {"--content", "--style", "--weights", "-o", "--output", "--name", "--environments"}
    kept = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word not in hidden:
            kept.append(word)
        elif word in ("--content", "--style"):
            kept += [word, "FOLDER"]
        if word in hidden:
            words.pop(0)
    kept = [word for word in kept if word != "--store"]
    command = shlex.join(["python", "-m", "bench", part, *kept])
    return begin(part, given.name, command, "cpu")


def _ended(result: dict[str, Any], started: float, given: argparse.Namespace, write: Write) -> int:
    part = next(part for part in ("pictures", "programs") if part in result)
    failed = [row for row in result[part]["rows"] if "error" in row]
    if failed:
        result["failed"] = {_maker(row): row["error"] for row in failed}
    result["load"]["after"] = machine.load()
    result["minutes"] = round((time.monotonic() - started) / 60, 1)
    for path in write(result, given.output, given.store):
        print(path)
    return int(bool(failed))


def _maker(row: dict[str, Any]) -> str:
    """Of which pair and by what the picture of a row is."""
    words = row["pair"], row.get("setting") or row["program"], row.get("evaluations")
    return ", ".join(str(word) for word in words if word)
