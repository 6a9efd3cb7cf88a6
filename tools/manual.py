"""Writes the manual page and the completions of shells, from the parser of the command line.

    python tools/manual.py FOLDER

The build calls it and installs what it writes: pynst.1, and with the package `shtab` the files
pynst.bash, pynst.zsh and pynst.fish. Nothing of PyNST's dependencies is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a build has not installed the package yet

from pynst.cli.parser import COMMANDS, Parser, all_commands  # noqa: E402
from pynst.options.environment import VARIABLES  # noqa: E402
from pynst.version import __version__  # noqa: E402

SHELLS = ("bash", "zsh", "fish")
_FOLDERS = ("FOLDER",)
_FILES = ("PATH", "PICTURE", "WHAT", "CONTENT", "STYLE", "FILE")

_EXIT_STATUS = {
    "0": "Done.",
    "1": "Something was wrong with a picture, a setting or the machine; one line says what.",
    "2": "Wrong usage.",
    "129, 130, 143": "Ended by SIGHUP, Ctrl-C or SIGTERM; the best image so far was written.",
}


def manual() -> str:
    """The manual page, in the macros of man(7)."""
    top = all_commands()
    lines = [
        f'.TH PYNST 1 {_date()} "PyNST {__version__}" "User Commands"',
        ".SH NAME",
        r"pynst \- neural style transfer: a photograph in the style of a painting",
        ".SH SYNOPSIS",
        *_joined(_verbatim(_usage(top.commands[name])) for name in COMMANDS),
        ".SH DESCRIPTION",
        *_text(
            "Renders a photograph in the style of a painting, by the optimisation of Gatys, Ecker"
            " and Bethge (CVPR 2016). Files may stand before, between and after options. The first"
            " command is meant where none is named."
        ),
        ".SH COMMANDS",
    ]
    for name in COMMANDS:
        lines += _command(top.commands[name], name, top.commands["stylize"])
    lines += [".SH ENVIRONMENT", *_joined(_entry(f".B {k}", v) for k, v in VARIABLES.items())]
    lines += [".SH EXIT STATUS", *_joined(_entry(f".B {k}", v) for k, v in _EXIT_STATUS.items())]
    examples = (top.commands["stylize"].epilog or "").partition("examples:\n")[2]
    return "\n".join([*lines, ".SH EXAMPLES", *_verbatim(examples), ""])


def _date() -> str:
    """The day of the build, or that which a reproducible build asks for."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _command(parser: Parser, name: str, stylize: Parser) -> Iterator[str]:
    """One command: what it does, its files, and the options that are not those of stylize."""
    yield f".SS {name}"
    # The description of a command may be broken into lines for a terminal.
    yield from _text(" ".join((parser.description or COMMANDS[name]).split()))
    known = {} if name == "stylize" else _options(stylize)
    shared = []
    for action in parser._actions:
        words = "/".join(action.option_strings)
        if action.help == argparse.SUPPRESS or not action.help or "--help" in words:
            continue
        if words and known.get(words) == action.help:
            shared.append(next(word for word in action.option_strings if word[:2] == "--"))
        else:
            yield from _entry(_heading(action), action.help % _values(action))
    if shared:
        yield ".PP"
        yield from _text(f"Also, as above: {', '.join(sorted(shared))}.")
    for each, inner in parser.commands.items():
        yield from _entry(f".B {name} {each}", " ".join((inner.description or "").split()))
        for action in inner._actions:
            if action.help and "--help" not in action.option_strings:
                yield ".RS"
                yield from _entry(_heading(action), action.help % _values(action))
                yield ".RE"


def _options(parser: Parser) -> dict[str, str]:
    """Help of each option, by its words."""
    return {"/".join(each.option_strings): each.help or "" for each in parser._actions}


def _values(action: argparse.Action) -> dict[str, object]:
    return {"default": action.default, "prog": "pynst"}


def _heading(action: argparse.Action) -> str:
    """An option with its value, or a file, as the heading of an entry."""
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices is not None and not action.metavar:
        value = "|".join(map(str, action.choices))
    more = " ..." if action.nargs in ("+", "*") else ""
    if not action.option_strings:
        return rf".I {_roff(str(value))}{more}"
    words = ", ".join(rf"\fB{_roff(word)}\fR" for word in action.option_strings)
    return words if action.nargs == 0 else rf"{words} \fI{_roff(str(value))}\fR{more}"


def _entry(heading: str, text: str) -> list[str]:
    return [".TP", heading, *_text(text)]


def _usage(parser: Parser) -> str:
    """One line without its first word."""
    return re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip()


def _text(text: str) -> list[str]:
    """The lines of a paragraph."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 70:
            lines.append("")
        lines[-1] += f"{word} "
    return [_roff(line.rstrip()) for line in lines if line]


def _verbatim(text: str) -> list[str]:
    """Lines as they are."""
    return [".nf", *(_roff(line) for line in text.splitlines() if line.strip()), ".fi"]


def _roff(line: str) -> str:
    """A line without what roff would obey."""
    line = line.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{line}" if line.startswith((".", "'")) else line


def _joined(parts: Iterator[list[str]]) -> list[str]:
    return [line for part in parts for line in part]


def completions(shell: str) -> str:
    """The completions for a shell, by `shtab`."""
    import shtab

    parser = all_commands()
    _mark_files(parser, shtab)
    return str(shtab.complete(parser, shell=shell))


def _mark_files(parser: Parser, shtab: object) -> None:
    """Say which options take files and folders."""
    for action in parser._actions:
        name = action.metavar or action.dest
        for names, kind in ((_FILES, "FILE"), (_FOLDERS, "DIRECTORY")):
            if name in names:
                action.complete = getattr(shtab, kind)  # type: ignore[attr-defined]
    for command in parser.commands.values():
        _mark_files(command, shtab)


def main() -> None:
    """Write all files into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pynst.1").write_text(manual(), encoding="utf-8")
    try:
        import shtab  # noqa: F401
    except ImportError:
        print("tools/manual.py: the package `shtab` is missing: no completions")  # noqa: T201
        return
    for shell in SHELLS:
        (folder / f"pynst.{shell}").write_text(completions(shell), encoding="utf-8")


if __name__ == "__main__":
    main()
