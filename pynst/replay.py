"""Make a picture again from the record in it: to the same bits, where the same programs run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pynst.errors import DivergedError, RecordError
from pynst.images import ImageLike, read_metadata
from pynst.inputs import read_inputs
from pynst.levels import plan_levels
from pynst.networks import open_network
from pynst.record import Record
from pynst.result import Progress, TransferResult
from pynst.run import Run
from pynst.transfer import minimise_levels

__all__ = ["Replay", "read_record", "replay"]


@dataclass(frozen=True)
class Replay:
    """A picture made again.

    Attributes
    ----------
    result : TransferResult
    same : bool
        Whether its pixels are those of the record, to the last bit.
    differences : tuple of str
        Differences of backend and versions, in sentences: why the pixels may differ.
    """

    result: TransferResult
    same: bool
    differences: tuple[str, ...]


def read_record(path: str | os.PathLike[str]) -> Record:
    """Read what is recorded in a picture.

    Raises
    ------
    ImageError
        The file is no picture.
    RecordError
        It holds no record, or a damaged one.
    """
    return Record.from_metadata(read_metadata(path))


def replay(
    record: Record,
    content: ImageLike | None = None,
    style: ImageLike | Sequence[ImageLike] | None = None,
    init: ImageLike | None = None,
    *,
    beside: str | os.PathLike[str] | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> Replay:
    """Run again what a record describes.

    Parameters
    ----------
    record : Record
        What `read_record` returned.
    content, style, init : as for `pynst.stylize`, optional
        Where the pictures are no longer where the record says, or were arrays.
    beside : str or path, optional
        The result itself: a picture that is no longer at its recorded path is looked for under its
        name in the result's folder, too.
    callback : callable, optional
        As for `pynst.stylize`.

    Raises
    ------
    RecordError
        A picture, the network or the weights are not those of the record.
    PyNSTError
        As for `pynst.stylize`.
    """
    names = [used.name for used in record.pictures]
    if content is None and "content" in names:
        content = _path(record, "content", beside)
    if style is None:
        style = [_path(record, name, beside) for name in names if name.startswith("style")] or None
    options = replace(record.options, network=record.network, minutes=None, memory=None)
    # os.path, as pathlib does not take every string that a file may hold
    if options.weights is not None and not os.path.exists(options.weights):  # noqa: PTH110
        options = replace(options, weights=None)
    if record.picture("init") is not None:
        options = replace(options, init=_path(record, "init", beside) if init is None else init)
    inputs = read_inputs(content, style, options)
    network = open_network(options)
    levels = record.levels_done(plan_levels(options, network, inputs))
    run = Run(options, inputs, network, levels, callback)
    record.check_same_input(run.record)
    record.choose_on(network.backend, measure=False)
    try:
        result = minimise_levels(run)
    except DivergedError as error:
        if error.result is None:
            raise
        result = error.result
    return Replay(
        result,
        result.record.pixels_sha256 == record.pixels_sha256,
        record.other_programs(result.record),
    )


def _path(record: Record, name: str, beside: str | os.PathLike[str] | None) -> str:
    """The file of a picture: where the record says, or under its name beside the result."""
    used = record.picture(name)
    if used is None or used.path is None:
        raise RecordError(f"{name}: the record names no file; give the picture")
    if beside is not None and not os.path.exists(used.path):  # noqa: PTH110
        # A record may come from another system, whose paths have other separators.
        own_name = os.path.basename(used.path.replace("\\", "/"))  # noqa: PTH119
        neighbour = os.path.join(os.path.dirname(os.fspath(beside)), own_name)  # noqa: PTH118, PTH120
        if own_name and os.path.isfile(neighbour):  # noqa: PTH113
            return neighbour
    return used.path
