"""The jobs of a batch: every content with every style, or the lines of a table.

All that can be known before the first picture is made is checked here: names, settings, and that no
output takes the place of another output or of an input.
"""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from pynst.errors import OptionError
from pynst.files import shown
from pynst.images import ImageLike, picture_size
from pynst.images.files import check_fit, file_format
from pynst.jobs.files import paths_of, with_paths
from pynst.jobs.pictures import Found, find_pictures
from pynst.jobs.table import read_table
from pynst.options import TransferOptions, with_changes
from pynst.record import options_to_json

__all__ = ["DEFAULT_NAME", "Job", "Plan", "Words"]

Words: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
"""A file, a folder or a pattern, or several of them."""

DEFAULT_NAME = "{content}--{style}.png"
_NAME_FIELDS = ("content", "style", "content_suffix", "style_suffix")


@dataclass(frozen=True)
class Job:
    """One picture that is to be made.

    Attributes
    ----------
    content : str, path or any other picture, or None
        The content picture; those of a batch are paths.
    styles : tuple of the same
        The style pictures; several are blended.
    folder : str
        The folder of the outputs.
    name : str
        The output's path inside that folder.
    options : TransferOptions
    bits : {8, 16}
        Bits per channel of the output.
    history : bool
        Whether the history of the loss is written beside the output.
    """

    content: ImageLike | None
    styles: tuple[ImageLike, ...]
    folder: str
    name: str
    options: TransferOptions
    bits: int = 8
    history: bool = False

    @property
    def output(self) -> Path:
        """Where the picture is written."""
        return Path(self.folder, self.name)

    @cached_property
    def key(self) -> str:
        """Twelve letters that tell this job from every other one of its folder."""
        paths = with_paths(vars(self.options), os.path.abspath)
        options = options_to_json(with_changes(self.options, paths))
        options.pop("threads")  # as they change no bit
        inputs = [
            os.path.abspath(picture) if _is_path(picture) else None  # noqa: PTH100
            for picture in (self.content, *self.styles)
        ]
        text = json.dumps([inputs, self.name, options, self.bits], sort_keys=True)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths of all that the job reads: pictures, masks, weights."""
        pictures = [os.fspath(each) for each in (self.content, *self.styles) if _is_path(each)]
        return (*pictures, *paths_of(self.options))

    def stamp(self) -> str:
        """Size and time of each file that is read: another stamp means that one has changed."""
        return " ".join(map(_stamp, self.files))


def _is_path(picture: Any) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(picture, str | os.PathLike)


def _stamp(path: str) -> str:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return "none"
    return f"{status.st_size}:{status.st_mtime_ns}"


@dataclass(frozen=True)
class Plan:
    """What a batch is asked for; `jobs` looks at the folders as they are now.

    Attributes
    ----------
    content : Words
        The photographs; or a CSV file, a table of jobs, where there is no style.
    style : Words or None
        The paintings.
    folder : str or path
        The folder of the outputs.
    name : str
        How outputs are named: ``"{style}/{content}.jpg"``.
    recursive : bool
        Whether the subfolders of folders are searched.
    bits : {8, 16}
        Bits per channel of the outputs.
    options : TransferOptions
        The settings of all jobs, except where a table says otherwise.
    as_content : bool
        Whether each picture gets the size of its content, instead of ``image_size``.
    """

    content: Words
    style: Words | None
    folder: str | os.PathLike[str]
    name: str = DEFAULT_NAME
    recursive: bool = False
    bits: int = 8
    options: TransferOptions = field(default_factory=TransferOptions)
    as_content: bool = False

    def jobs(self) -> list[Job]:
        """Make the jobs, in a fixed order.

        Raises
        ------
        OptionError
            A name or a setting is wrong, or an output would take the place of something else.
        ImageError
            A word names no picture, or the size of a content that is asked for cannot be read.
        """
        _check_name(self.name, self.bits)
        jobs = list(self._crossed() if self._table is None else self._lines(self._table))
        _check_places(jobs)
        return jobs

    @property
    def _table(self) -> str | None:
        """The path of the table, where the jobs come from one."""
        if self.style is not None:
            return None
        words = _as_list(self.content)
        if len(words) == 1 and words[0].lower().endswith((".csv", ".tsv")):
            return words[0]
        raise OptionError(f"style must be pictures or folders, or content a .csv file, got {words}")

    def _crossed(self) -> Iterator[Job]:
        """Every content with every style."""
        place = Path(self.folder)
        assert self.style is not None
        contents = find_pictures(_as_list(self.content), "content", place, recursive=self.recursive)
        styles = find_pictures(_as_list(self.style), "style", place, recursive=self.recursive)
        for content in contents:
            for style in styles:
                yield self._job(content, [style], {})

    def _lines(self, table: str) -> Iterator[Job]:
        """Each line of a table."""
        for line in read_table(table):
            content, *styles = (
                Found(path, Path(path).stem) for path in (line.content, *line.styles)
            )
            try:
                yield self._job(content, styles, line.settings, line.output)
            except OptionError as error:
                raise OptionError(f"table {shown(table)}: line {line.number}: {error}") from None

    def _job(
        self, content: Found, styles: Sequence[Found], settings: Mapping[str, Any], name: str = ""
    ) -> Job:
        settings = dict(settings)
        if settings.get("image_size") == "content" or (
            self.as_content and "image_size" not in settings
        ):
            settings["image_size"] = max(picture_size(content.path, "content"))
        options = with_changes(self.options, settings)
        name = name or self.name.format(
            content=content.label,
            style="+".join(style.label for style in styles),
            content_suffix=content.suffix,
            style_suffix="+".join(style.suffix for style in styles),
        )
        _check_output(name, self.bits, options.image_size)
        paths = tuple(style.path for style in styles)
        return Job(content.path, paths, os.fspath(self.folder), name, options, self.bits)


def _as_list(words: Words) -> list[str]:
    if isinstance(words, str | os.PathLike):
        return [os.fspath(words)]
    return [os.fspath(word) for word in words]


def _check_name(name: str, bits: int) -> None:
    """Refuse a pattern of names that is no pattern; what it may make is checked for each job."""
    try:
        parts = list(string.Formatter().parse(name))
    except ValueError as error:
        raise OptionError(f"name {shown(name)}: {error}") from None
    for _, named, form, conversion in parts:
        if named is not None and (named not in _NAME_FIELDS or form or conversion):
            known = ", ".join(f"{{{each}}}" for each in _NAME_FIELDS)
            raise OptionError(f"name: must be made of {known} and text, got {shown(name)}")
    _check_output(name, bits, 0)


def _check_output(name: str, bits: int, side: int) -> None:
    """Refuse an output that is outside of its folder, or whose format cannot hold it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] == (".pynst",):
        raise OptionError(f"name: must be a path inside the output folder, got {shown(name)}")
    found = file_format(path)
    check_fit(found, path, bits=bits, alpha=False, size=(side, side))
    if found.name == "BMP":
        raise OptionError(
            "name: .bmp holds no record, by which a finished picture is known; use another format,"
            f" got {shown(name)}"
        )


def _check_places(jobs: Sequence[Job]) -> None:
    """Refuse an output that would be written twice, or over an input."""
    if not jobs:
        return
    ignores_case = _ignores_case(Path(jobs[0].folder))
    taken: dict[str, Job] = {}
    for job in jobs:
        place = job.name.casefold() if ignores_case else job.name
        other = taken.setdefault(os.path.normpath(place), job)
        if other is not job:
            raise OptionError(
                f"{_listed(other)} and {_listed(job)} would both be written to"
                f" {shown(job.output)}: tell them apart by name, for instance"
                "  {content}-{content_suffix}--{style}.png"
            )
    inputs = {os.path.realpath(path) for job in jobs for path in job.files}
    for job in jobs:
        try:
            there = job.output.exists()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OptionError(f"the output {shown(job.output)} cannot be: {reason}") from None
        if there and os.path.realpath(job.output) in inputs:
            raise OptionError(f"the output {shown(job.output)} would overwrite an input")


def _listed(job: Job) -> str:
    """The pictures of a job in words."""
    content, *styles = (shown(str(picture)) for picture in (job.content, *job.styles))
    return f"{content} with {', '.join(styles)}"


def _ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder takes "a" and "A" for the same name."""
    place = folder.absolute()
    there = next(each for each in (place, *place.parents) if each.exists())
    other = there.parent / there.name.swapcase()
    try:
        return other.name != there.name and other.samefile(there)
    except OSError:
        return False
