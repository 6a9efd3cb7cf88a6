"""Where results go: the check before the work, the saving, and the rescue from a full disk."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynst.cli.parser import Parser
from pynst.cli.terminal import cut, fail, line, path_line, say, tell, write_out
from pynst.errors import PyNSTError
from pynst.files import shown

if TYPE_CHECKING:
    from pynst.result import TransferResult

__all__ = [
    "STANDARD_INPUT",
    "STANDARD_OUTPUT",
    "add_curves_option",
    "check_curves",
    "checked_output",
    "save",
    "standard_input",
    "written",
]

STANDARD_INPUT = "-"
STANDARD_OUTPUT = Path("-")
"""What stands for a stream instead of a path."""

_LONGEST_INPUT = 1 << 29  # bytes


def standard_input(name: str) -> io.BytesIO:
    """All of standard input, as a picture file; `name` is what errors call it.

    Raises
    ------
    PyNSTError
        It is closed, or longer than a picture file may be.
    """
    stream = getattr(sys.stdin, "buffer", None)
    try:
        data = b"" if stream is None else stream.read(_LONGEST_INPUT + 1)
    except (OSError, ValueError) as error:
        raise PyNSTError(f"{name}: cannot read standard input: {error}") from error
    if not 0 < len(data) <= _LONGEST_INPUT:
        limit = f"at most {_LONGEST_INPUT >> 20} MB" if data else "a picture, got nothing"
        raise PyNSTError(f"{name}: standard input must hold {limit}")
    return io.BytesIO(data)


def add_curves_option(parser: Parser, group: Any = None) -> None:
    """Add the option for the curves of the loss."""
    parser.option(
        "--curves", group=group, metavar="PATH",
        help="also draw the loss by term and level: .svg, or with matplotlib .pdf, .png, ...",
    )  # fmt: skip


def check_curves(path: str | None) -> None:
    """Check before the long work that the curves can be written, if they are asked for."""
    from pynst.curves import check_curves_file

    if path is not None:
        check_curves_file(path)


def checked_output(
    output: str | None,
    default: str | Path,
    *,
    force: bool = True,
    bits: int = 8,
    side: int = 0,
    dpi: float | None = None,
) -> Path:
    """Check before the long work that the result can be written.

    Parameters
    ----------
    output : str or None
        What the user has named; it is overwritten.
    default : str or Path
        The name where the user has named none; it is overwritten with `force` alone.
    bits : {8, 16}
        Bits per channel.
    side : int
        Long side of the result in pixels, as some formats have a limit; 0 if it is not known.
    dpi : float, optional
        Pixels per inch when printed.

    Raises
    ------
    PyNSTError
        The format, the folder or the disk does not take the result, or the default name is taken.
    """
    import tempfile

    from pynst.images import check_output

    path = Path(default if output is None else output)
    if path == STANDARD_OUTPUT:
        return path
    check_output(path, bits=bits, size=(side, side) if side > 0 else None, dpi=dpi)
    try:  # a file tells more than permissions do: of read-only disks, of quotas, to the super-user
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise PyNSTError(f"output: cannot write {shown(path)}: {error.strerror}") from error
    if output is None and not force and path.exists():
        raise PyNSTError(
            f"{shown(path)} exists: name another output with -o, or overwrite it with --force"
        )
    return path


def save(
    result: TransferResult, path: Path, quiet: bool, *, as_json: bool = False, **settings: Any
) -> int:
    """Write a result and say where: its path on standard output, the rest on standard error.

    Where it cannot be written there, it is written elsewhere; returns the exit code. ``curves``
    among the settings is the file that the curves of its loss go to, or None.

    Parameters
    ----------
    result : TransferResult
    path : Path
        `STANDARD_OUTPUT` for a PNG there, in place of the path.
    quiet : bool
        Whether standard error gets nothing.
    as_json : bool
        Whether standard output gets a line of JSON that describes the result, in place of the path.
    settings
        As for `TransferResult.save`.
    """
    asked, curves = settings.pop("overwrite", True), settings.pop("curves", None)

    def write(place: Path, overwrite: bool) -> None:
        if place == STANDARD_OUTPUT:
            _to_standard_output(result, settings)
        else:
            result.save(place, overwrite=overwrite, **settings)

    code = 0 if curves is None else _save_curves(result, curves)
    if not written(write, path, overwrite=asked):
        return 1
    if not quiet:
        early = f", stopped early ({result.stopped_early})" if result.stopped_early else ""
        evaluations = sum(len(level) for level in result.history)
        weights = f" ({cut(result.weights_source, 200)})" if result.weights_source else ""
        tell(
            f"{result.pixels.shape[1]} x {result.pixels.shape[0]} pixels, network"
            f" {result.network}{weights}, {evaluations} evaluations in {result.seconds:.1f} s on"
            f" {result.backend}{early}"
        )
    if as_json:
        line(json.dumps(_description(result, path)), longest=None)
    elif path != STANDARD_OUTPUT:
        path_line(path)
    return code


def _save_curves(result: TransferResult, path: str) -> int:
    """Write the curves of the loss; that this fails costs no picture. Returns the exit code."""
    try:
        result.plot().save(path)
    except PyNSTError as error:
        return fail(error)
    return 0


def _to_standard_output(result: TransferResult, settings: dict[str, Any]) -> None:
    """Write a result as PNG to standard output; a `PyNSTError` where that takes nothing."""
    data = io.BytesIO()
    result.save(data, format="png", **settings)
    if not write_out(data.getvalue()):
        raise PyNSTError("output: standard output cannot be written")


def _description(result: TransferResult, path: Path) -> dict[str, Any]:
    """What a script may want to know of a result."""
    terms = [terms for level in result.history[-1:] for terms in level]
    return {
        "output": os.fspath(path),
        "width": result.pixels.shape[1],
        "height": result.pixels.shape[0],
        "network": result.network,
        "backend": result.backend,
        "evaluations": sum(len(level) for level in result.history),
        "loss": min((each.total for each in terms), default=None),
        "seconds": round(result.seconds, 3),
        "stopped_early": result.stopped_early,
        "notes": list(result.notes),
    }


def written(write: Callable[[Path, bool], None], path: Path, *, overwrite: bool) -> bool:
    """Write an image, or else rescue it: as PNG where there is room, which is said.

    Parameters
    ----------
    write : callable
        Takes a path, and whether a file that is there may be overwritten; raises `PyNSTError`.

    Returns
    -------
    bool
        Whether the image is at `path`; False if it is elsewhere, or lost.
    """
    try:
        write(path, overwrite)
    except PyNSTError as error:
        fail(error)
    else:
        return True
    tried: list[Path] = []
    for folder in _other_folders(path if path != STANDARD_OUTPUT else Path("out.png")):
        if folder in tried:
            continue
        tried.append(folder)
        # A long name is cut, since what is added to it could make it too long for the disk.
        stem = "out" if path == STANDARD_OUTPUT else path.stem[:40]
        place = folder / f"{stem}-rescued-{os.getpid()}.png"
        try:
            write(place, False)
        except PyNSTError:
            continue
        say(f"the best image so far is saved in {place} instead")
        path_line(place)
        return False
    say(f"the best image so far could not be saved in {', '.join(map(str, tried))} either")
    return False


def _other_folders(path: Path) -> Iterator[Path]:
    """Beside the output, here, in the user's folder and among temporary files, if there are any."""
    import tempfile

    yield path.parent
    for find in (Path.cwd, Path.home, tempfile.gettempdir):
        try:
            yield Path(find())
        except (OSError, RuntimeError):  # a folder that was removed; no home; no room for files
            continue
