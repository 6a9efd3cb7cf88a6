"""`batch`: many pictures, whatever happens on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynst.errors import ImageError, OptionError
from pynst.jobs.engine import BatchProgress, Engine, check_workers
from pynst.jobs.manifest import read_manifest
from pynst.jobs.messages import Outcome
from pynst.jobs.plan import DEFAULT_NAME, Job, Plan, Words
from pynst.options import TransferOptions, with_changes

__all__ = ["BatchJob", "BatchProgress", "batch", "is_done", "make_plan"]


@dataclass(frozen=True)
class BatchJob:
    """A job that has ended.

    Attributes
    ----------
    content : str
        Path of its content picture.
    styles : tuple of str
        Paths of its style pictures.
    output : Path
        Where its picture lies, or would lie.
    state : {"done", "kept", "failed"}
        ``"kept"``: the picture was there already, finished, with the same settings and pictures.
    error : str
        What went wrong; empty if nothing did.
    seconds : float
        Wall time of the job.
    evaluations : int
        Evaluations of the objective, over all levels.
    """

    content: str
    styles: tuple[str, ...]
    output: Path
    state: str
    error: str
    seconds: float
    evaluations: int


def batch(
    content: Words,
    style: Words | None,
    folder: str | os.PathLike[str],
    options: TransferOptions | None = None,
    *,
    name: str = DEFAULT_NAME,
    recursive: bool = False,
    bits: int = 8,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    watch: bool = False,
    callback: Callable[[BatchProgress], None] | None = None,
    **changes: Any,
) -> Generator[BatchJob, None, None]:
    """Stylise every content with every style, or do the jobs of a table.

    Each job runs in a process of its own and writes a checkpoint on its way. A picture that is
    there already, with the same settings, pictures and weights in its record, is kept; a job that
    was broken off, by whatever, goes on from its checkpoint when the same batch is started again.

    Parameters
    ----------
    content : str, path, or sequence of them
        Picture files, folders or patterns such as ``"photos/*.jpg"``; or one CSV file, whose lines
        are jobs: its columns are ``content``, ``style``, ``output`` and fields of
        `TransferOptions`.
    style : as `content`, or None
        None where `content` is a CSV file.
    folder : str or path
        Gets the pictures, ``manifest.jsonl`` (how each job has ended) and ``.pynst`` (checkpoints).
    options : TransferOptions, optional
        The settings of all jobs.
    name : str
        Names of the pictures in `folder`, made of ``{content}``, ``{style}``,
        ``{content_suffix}`` and ``{style_suffix}``. The ending names the format.
    recursive : bool
        Whether the subfolders of folders are searched; their names become part of ``{content}``.
    bits : {8, 16}
        Bits per channel of the pictures.
    workers : int, optional
        Jobs at the same time, 1 to 1024, which share threads and memory; default: one per GPU, and
        1 without any. Not together with `scheduler`.
    scheduler : str, optional
        Address of a Dask scheduler (``"tcp://host:8786"``), whose workers do the jobs; they must
        see the same folders. Needs the extra ``batch``.
    retry_failed : bool
        Whether jobs are tried again that have failed before, with the same pictures and settings.
    watch : bool
        Whether to go on for ever, with pictures that are added to the folders.
    callback : callable, optional
        Called about twice a second with a `BatchProgress`.
    **changes
        Fields of `TransferOptions` to replace; ``image_size="content"`` makes each picture as large
        as its content.

    Returns
    -------
    iterator of BatchJob
        Each job as it ends; a job that fails does not end the batch. Closing the iterator, or
        Ctrl-C, stops it: jobs that run write their checkpoints before.

    Raises
    ------
    OptionError
        A setting or name is wrong, or an output would take the place of another or of an input.
    ImageError
        No picture is found where there should be one.
    WeightsError, BackendError
        There are no weights, or the backend is not available; the scheduler does not answer, or is
        lost.
    PyNSTError
        Another batch is at work in the folder, or it cannot be written to.

    Examples
    --------
    >>> for job in batch("photos/", ["a.jpg", "b.jpg"], "out/", workers=2):  # doctest: +SKIP
    ...     print(job.output, job.state, job.error)
    """
    plan = make_plan(
        content, style, folder, options, name=name, recursive=recursive, bits=bits, **changes
    )
    check_workers(workers)
    if workers is not None and scheduler is not None:
        raise OptionError("workers and scheduler must not both be given: a cluster has its own")
    jobs = _first_jobs(plan, watch)
    engine = Engine(
        folder,
        workers=workers,
        scheduler=scheduler,
        retry_failed=retry_failed,
        look=plan.jobs if watch else None,
        callback=callback,
    )
    return _told(engine, jobs)


def _told(engine: Engine, jobs: list[Job]) -> Generator[BatchJob, None, None]:
    """Each job as it ends, in the words of `batch`."""
    with closing(engine.ended_jobs(jobs)) as ended:
        for job, outcome in ended:
            yield _ended(job, outcome)


def make_plan(
    content: Words,
    style: Words | None,
    folder: str | os.PathLike[str],
    options: TransferOptions | None = None,
    *,
    name: str = DEFAULT_NAME,
    recursive: bool = False,
    bits: int = 8,
    **changes: Any,
) -> Plan:
    """Say what a batch is asked for; arguments as for `batch`."""
    as_content = changes.get("image_size") == "content"
    if as_content:
        del changes["image_size"]
    settings = with_changes(options, changes)
    return Plan(content, style, folder, name, recursive, bits, settings, as_content)


def is_done(plan: Plan) -> dict[str, bool]:
    """For each job of a plan, by its output, whether the log says that its picture is there."""
    states = {key: line.get("state") for key, line in read_manifest(plan.folder).items()}
    return {
        str(job.output): states.get(job.key) in ("done", "kept") and job.output.exists()
        for job in plan.jobs()
    }


def _first_jobs(plan: Plan, watch: bool) -> list[Job]:
    """The jobs that there are at the start; a folder that is watched may still be empty."""
    try:
        return plan.jobs()
    except ImageError:
        if not watch:
            raise
        return []


def _ended(job: Job, outcome: Outcome) -> BatchJob:
    return BatchJob(
        str(job.content),
        tuple(map(str, job.styles)),
        job.output,
        outcome.state,
        outcome.error,
        outcome.seconds,
        outcome.evaluations,
    )
