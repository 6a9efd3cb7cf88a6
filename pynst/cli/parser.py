"""The one parser of the command line: its commands, their options, and where files may stand.

Files may stand before, between and after options. An option of several values takes the words that
can be its values, such as numbers or names of layers; the first other word is a file. Behind ``--``
every word is a file.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pynst.cli.terminal import printable
from pynst.spelling import did_you_mean

__all__ = ["COMMANDS", "USAGE", "Parser", "all_commands", "parse"]

COMMANDS = {
    "stylize": "render a photograph in the style of a painting; the word may be left out",
    "reconstruct": "what a layer of the network keeps of a picture",
    "texture": "an image of any size with the texture of a picture",
    "batch": "many pictures: folders, patterns, tables of jobs, on one machine or several",
    "sweep": "settings against each other on a contact sheet",
    "figure": "a figure of the paper with your pictures",
    "serve": "a page in the browser: drop pictures in, watch, compare",
    "demo": "draw two pictures, stylise one after the other, save all of them in one sheet",
    "weights": "list, fetch, import, verify and normalise VGG-19 weights",
    "replay": "make a picture again from what is recorded in it",
    "info": "versions, processor, GPU, cache, weights, backends",
}
"""Each is a module of this package with the functions ``add_arguments`` and ``run``."""

USAGE = """\
usage: pynst CONTENT STYLE [STYLE ...] [-o OUTPUT] [options]

  pynst photo.jpg painting.jpg -o result.png
  pynst photo.jpg painting.jpg --image-size 1024 --quality fine --preserve-color
  pynst demo

The last one needs no file. All options: pynst --help. Other commands: batch, reconstruct, texture,
sweep, figure, serve, weights, replay, info.
"""

_NEGATIVE_NUMBER = re.compile(r"-\.?\d")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Returns
    -------
    argparse.Namespace
        ``command`` is a list: one of `COMMANDS`, and a command of that command where it has any.
        ``error`` is the function that says a text on wrong usage and exits.

    Raises
    ------
    SystemExit
        Wrong usage, which is said on standard error (code 2); or help was asked for (code 0).
    """
    top = Parser(prog="pynst", usage="pynst COMMAND ...")
    rest = list(words)
    named = bool(rest) and rest[0] in COMMANDS
    name = rest.pop(0) if named else "stylize"
    parser = _add_command(top, name)
    if not named:
        _check_for_a_misspelt_command(parser, rest)
    command = [name]
    while rest and rest[0] in parser.commands:
        command.append(rest.pop(0))
        parser = parser.commands[command[-1]]
    if parser.commands and rest and not _is_option(rest[0]):
        parser.error(f"unknown command {rest[0]!r}{_suggestion(rest[0], parser.commands)}")
    given, extra = parser.parse_known_args(parser.sorted_words(rest))
    if extra:
        parser.error(f"there is no use for {' '.join(word for word in extra if word != '--')}")
    given.command, given.error = command, parser.error
    return given


def all_commands() -> Parser:
    """The parser of every command at once, for the manual and for completions.

    Its own options and files are those of ``stylize``, whose name may be left out.
    """
    top = Parser(prog="pynst")
    for name in COMMANDS:
        _add_command(top, name)
    importlib.import_module("pynst.cli.stylize").add_arguments(top)
    return top


def _add_command(top: Parser, name: str) -> Parser:
    """Add a command with its options; only then is its module imported."""
    prog = "pynst" if name == "stylize" else f"pynst {name}"
    parser = top.command(name, COMMANDS[name], prog=prog)
    importlib.import_module(f"pynst.cli.{name}").add_arguments(parser)
    for each in (parser, *parser.commands.values()):
        each.option("-h", "--help", action="help", help="show this help and exit")
    return parser


def _check_for_a_misspelt_command(parser: Parser, words: Sequence[str]) -> None:
    """Refuse a first word that is no file and nearly a command."""
    word = words[0] if words else ""
    if "." in word or "/" in word or _is_option(word) or _exists(word):
        return
    suggestion = _suggestion(word, COMMANDS)
    if suggestion:
        parser.error(f"{word!r} is neither a command nor a file{suggestion}")


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # too long, or a null character
        return False


def _suggestion(word: str, known: Any) -> str:
    question = did_you_mean(word, known)
    return f"; {question}" if question else ""


def _is_option(word: str) -> bool:
    """Whether a word is an option: it begins with "-", and is not "-" alone or a number."""
    return len(word) > 1 and word[0] == "-" and not _NEGATIVE_NUMBER.match(word)


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that takes files at any place and suggests what was meant.

    Attributes
    ----------
    commands : dict of str to Parser
        The commands of this command, by name.
    general : argument group or Parser
        Where options without a group stand in the help.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, add_help=False, **settings)
        # Before Python 3.14, argparse itself takes -1e3 for an option.
        self._negative_number_matcher = _NEGATIVE_NUMBER
        self.commands: dict[str, Parser] = {}
        self._subparsers_action: Any = None
        self._options: dict[str, argparse.Action] = {}
        self._continues: dict[str, Callable[[str], bool]] = {}
        self.general: Any = self

    def command(self, name: str, summary: str, **settings: Any) -> Parser:
        """Add a command to this command; returns its parser."""
        if self._subparsers_action is None:
            self._subparsers_action = self.add_subparsers(
                required=True, metavar="COMMAND", parser_class=Parser
            )
        parser: Parser = self._subparsers_action.add_parser(name, help=summary, **settings)
        self.commands[name] = parser
        return parser

    def option(
        self,
        *names: str,
        group: Any = None,
        continues: Callable[[str], bool] | None = None,
        **settings: Any,
    ) -> None:
        """Add an option.

        Parameters
        ----------
        names : str
            ``"-o"``, ``"--output"``.
        group : argument group, optional
            The group of the help to which it belongs.
        continues : callable, optional
            For an option of several values: whether a word can be one more of them. Default: every
            word that is no option, except the last one where the command has got no file yet.
        settings
            As for `argparse.ArgumentParser.add_argument`.
        """
        action = (group or self.general).add_argument(*names, **settings)
        self._options.update(dict.fromkeys(action.option_strings, action))
        if continues is not None:
            self._continues[action.dest] = continues

    def sorted_words(self, words: Sequence[str]) -> list[str]:
        """Bring options with their values in front of the files, as argparse takes them.

        Examples
        --------
        ``a.jpg --iterations 3 5 b.jpg`` becomes ``--iterations 3 5 -- a.jpg b.jpg``.
        """
        options: list[list[str]] = []
        files: list[str] = []
        rest = deque(words)
        while rest:
            word = rest.popleft()
            if word == "--":
                files += rest
                break
            if _is_option(word):
                options.append([word, *self._values(word, rest)])
            else:
                files.append(word)
        for option in options:
            if (
                not files
                and len(option) > 2
                and self._action(option[0]).dest not in self._continues
            ):
                files.append(option.pop())
        ordered = [word for option in options for word in option]
        return [*ordered, "--", *files] if files else ordered

    def _values(self, word: str, rest: deque[str]) -> list[str]:
        """Take the values of an option from the words behind it."""
        action = self._action(word)
        if action.nargs == 0 or word not in action.option_strings:
            return []  # a switch; or --name=value and -nvalue, which hold the value
        most = 1 if action.nargs is None else len(rest)
        continues = self._continues.get(action.dest)
        values: list[str] = []
        while rest and len(values) < most and not _is_option(rest[0]):
            if values and continues is not None and not continues(rest[0]):
                break
            values.append(rest.popleft())
        return values

    def _action(self, word: str) -> argparse.Action:
        """The option that a word names; an unknown one is wrong usage."""
        name = word.partition("=")[0]
        found = self._options.get(name)
        if found is None and not word.startswith("--"):
            found = self._options.get(word[:2])
        if found is None:
            hint = self._without_a_name(name) or _suggestion(name, self._options)
            self.error(f"unknown option {name}{hint}")
        return found

    def _without_a_name(self, name: str) -> str:
        """Say that a file is given by itself, where an option of other programs names it."""
        words = re.split("[-_]", name.lstrip("-").upper())
        for action in self._get_positional_actions():
            if words[0] == action.dest and words[1:] in ([], ["IMAGE"], ["IMG"], ["PATH"]):
                return f"; {action.dest} stands by itself, as the usage shows"
        return ""

    def error(self, message: str) -> NoReturn:
        """Say on standard error what is wrong, and exit with code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")
