"""The pages of the documentation that are generated: gallery, command line, error sentences."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gallery.pictures import FOLDER, INPUTS, PICTURES

import pynst
from pynst.cli.parser import COMMANDS, Parser, all_commands

__all__ = ["Sentence", "command_line_page", "gallery_page", "sentences", "write_all"]

_PACKAGE = Path(pynst.__file__).parent
_ERRORS = {
    "OptionError": "A setting is unknown, of a wrong type or out of range. The sentence begins with"
    " its name; {doc}`/settings` has the range of each.",
    "ImageError": "A picture cannot be read or written, or an array has a wrong shape, type or"
    " range. The sentence names the file or the argument.",
    "WeightsError": "The VGG-19 weights are missing, damaged or of another layout. `pynst weights"
    " list` says what is in use, `pynst weights verify FILE` what a file is.",
    "BackendError": "A backend is not available, one of its operations failed, or the memory would"
    " not suffice. `pynst info` says what the machine offers.",
    "RecordError": "A checkpoint, or the record in a picture, is missing, damaged or of another"
    " run.",
    "DivergedError": "The loss became NaN or infinite; the best image before that is saved.",
    "PyNSTError": "What fits none of the others: outputs that exist, and the like.",
}
"""Each class of error, and what is said of it above its sentences."""


def write_all(folder: Path) -> None:
    """Write the pages into a folder; a page that is there already stays untouched."""
    folder.mkdir(exist_ok=True)
    made = {
        "gallery": gallery_page(),
        "command-line": command_line_page(),
        "errors": errors_page(),
    }
    for name, text in made.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# --- gallery -------------------------------------------------------------------------------------


def gallery_page() -> str:
    """Each picture with what there is to see, and the command that made it."""
    lines = [
        "# Gallery",
        "",
        "Every picture here was made by the command below it, and holds the record of its run:",
        "`pynst replay strong.jpg` makes it again from the pictures beside it, and says whether",
        "the pixels are the same. They are in `docs/gallery`; `python docs/gallery/pictures.py`",
        "makes all of them anew. The weights are those that `pynst demo` fetches.",
        "",
        "## What they start from",
        "",
        *_grid([_figure(name, text) for name, text in INPUTS.items()], "gallery small"),
        "## What comes out",
        "",
        *_grid([_figure(each.name, each.shows, each.command) for each in PICTURES], "gallery"),
    ]
    return "\n".join(lines)


def _grid(figures: list[str], kind: str) -> list[str]:
    return [f"::::{{container}} {kind}", *figures, "::::", ""]


def _figure(name: str, text: str, command: str = "") -> str:
    file = f"../{FOLDER.name}/{name}.jpg"
    body = f":::{{figure}} {file}\n:alt: {name}\n\n"
    if not command:
        return f"{body}`{name}.jpg`: {text}\n:::\n"
    shown = command if " -o " in command else f"{command} -o {name}.png"
    return f"{body}{text}\n\n```console\n$ {shown}\n```\n:::\n"


# --- command line --------------------------------------------------------------------------------


def command_line_page() -> str:
    """Every command with all of its options, from the parsers themselves."""
    lines = [
        "# Command line",
        "",
        "Files may stand before, between and after options. Each option that is a setting is also",
        "a keyword of {py:obj}`pynst.stylize`: `--image-size` is `image_size`. Exit codes: 0 done,",
        "1 an error, said in one sentence, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.",
        "",
    ]
    for name, parser in all_commands().commands.items():
        lines += _command(parser, f"pynst {name}", COMMANDS[name])
    return "\n".join(lines)


def _command(parser: Parser, title: str, summary: str, level: int = 2) -> list[str]:
    lines = [f"{'#' * level} {title}", "", _sentence(parser.description or summary), ""]
    if parser.usage:
        lines += ["```text", parser.format_usage().removeprefix("usage: ").rstrip(), "```", ""]
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if _is_shown(each)]
        if actions:
            title_of_group = (group.title or "").replace("positional arguments", "files")
            lines += [f"**{title_of_group.capitalize()}**", ""]
            lines += [":::{table}", ":class: options-table", ""]
            lines += ["| option | meaning |", "|---|---|", *map(_row, actions), "", ":::", ""]
    about = {}
    if parser.commands:
        about = {each.dest: each.help for each in parser._subparsers_action._choices_actions}
    for name, command in parser.commands.items():
        lines += _command(command, f"{title} {name}", about[name] or name, level + 1)
    return lines


def _is_shown(action: argparse.Action) -> bool:
    return action.help is not argparse.SUPPRESS and not isinstance(
        action, argparse._SubParsersAction
    )


def _row(action: argparse.Action) -> str:
    """One option or file as a row of a table."""
    formatter = argparse.HelpFormatter("pynst")
    value = ""
    if action.nargs != 0:
        value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
    value = value.replace(",", ", ")  # so that a long choice breaks into lines
    names = ", ".join(action.option_strings)
    words = f"{names} {value}".strip() if names else value
    return f"| {_code(words)} | {_plain(formatter._expand_help(action)) if action.help else ''} |"


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to mark up."""
    text = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>#|$])", r"\\\1", text)


def _sentence(text: str) -> str:
    text = _plain(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


# --- errors --------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Sentence:
    """One sentence of an error as it stands in the sources.

    Attributes
    ----------
    error : str
        The class of the error.
    text : str
        The sentence, with ``<name>`` where something is filled in.
    file : str
        Where it stands, such as ``pynst/levels.py``.
    """

    error: str
    text: str
    file: str

    def matches(self, said: str) -> bool:
        """Whether a sentence that was said can be this one."""
        parts = re.split(r"<[^>]*>", self.text)
        return re.fullmatch(".*?".join(map(re.escape, parts)), said, re.S) is not None


@cache
def sentences() -> tuple[Sentence, ...]:
    """Every sentence with which the sources of the package raise an error."""
    found = set()
    for path in sorted(_PACKAGE.rglob("*.py")):
        file = path.relative_to(_PACKAGE.parent).as_posix()
        for error, node in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            text = " ".join(_text(node).split())
            if re.search(r"[a-z]{2}", re.sub(r"<[^>]*>", "", text)):
                found.add(Sentence(error, text, file))
    return tuple(sorted(found))


def errors_page() -> str:
    """All sentences, by the class of their error."""
    by_class: dict[str, list[Sentence]] = {}
    for each in sentences():
        by_class.setdefault(each.error, []).append(each)
    lines = [
        "# Every error sentence",
        "",
        "Taken from the sources when this page was built. In angle brackets stands what PyNST",
        "fills in. {doc}`/troubleshooting` says more about the frequent ones.",
        "",
    ]
    for error, about in _ERRORS.items():
        lines += [f"## {error}", "", about, "", "| sentence | from |", "|---|---|"]
        lines += [f"| {_code(each.text)} | `{each.file}` |" for each in by_class.get(error, ())]
        lines += [""]
    return "\n".join(lines)


def _raised(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The class and the first argument of every error that is made in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in _ERRORS:
                yield name, node.args[0]


def _text(node: ast.expr) -> str:
    """An expression as a sentence: what is not known before the run in angle brackets."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return f"<{_name(node).strip('_').lower()}>"


def _name(node: ast.AST) -> str:
    """A word for what is filled in."""
    if isinstance(node, ast.FormattedValue | ast.Subscript | ast.Starred | ast.Await):
        return _name(node.value)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return _name(node.args[-1] if node.args else node.func)
    return "…"
