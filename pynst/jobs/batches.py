"""`batch`: many pictures, whatever happens on the way."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pynst.errors import BackendError, ImageError, OptionError, PyNSTError
from pynst.images import read_picture
from pynst.jobs.cluster import ClusterCrew
from pynst.jobs.manifest import Manifest, read_manifest
from pynst.jobs.messages import Outcome, Step
from pynst.jobs.plan import DEFAULT_NAME, Job, Plan, Words
from pynst.jobs.processes import LocalCrew, gpu_names, shares, workers_that_fit
from pynst.machine import give_back_memory
from pynst.options import TransferOptions, with_changes

__all__ = ["BatchJob", "BatchProgress", "batch", "is_done", "make_plan"]

_LOG = logging.getLogger("pynst")
_POLL_SECONDS = 0.5
_LOOK_SECONDS = 2.0  # between two looks at the folders that are watched
_MOST_WORKERS = 1024


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


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch stands.

    Attributes
    ----------
    jobs, ended : int
        How many jobs there are, and how many have ended.
    running : mapping of str to float
        Outputs in work, each with the share of its work that is done; of a cluster none is known.
    seconds : float
        Since the start.
    left : float or None
        Forecast of the seconds to go; None before there is one.
    """

    jobs: int
    ended: int
    running: Mapping[str, float]
    seconds: float
    left: float | None


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
    if workers is not None and not (type(workers) is int and 1 <= workers <= _MOST_WORKERS):
        raise OptionError(
            f"workers must be a whole number from 1 to {_MOST_WORKERS}, got {workers}"
        )
    if workers is not None and scheduler is not None:
        raise OptionError("workers and scheduler must not both be given: a cluster has its own")
    jobs = _first_jobs(plan, watch)
    run = _Batch(plan, callback, retry_failed=retry_failed, watch=watch)
    return run.ended_jobs(jobs, lambda: _crew(run, jobs, workers, scheduler))


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


class _Crew(Protocol):
    """Those who do the jobs: `LocalCrew`, `ClusterCrew`."""

    def submit(self, job: Job) -> Future[Outcome]: ...

    def stop(self) -> None: ...


def _crew(run: _Batch, jobs: Sequence[Job], workers: int | None, scheduler: str | None) -> _Crew:
    if scheduler is not None:
        return ClusterCrew(scheduler, run.plan.folder)
    on_device = run.plan.options.backend in ("auto", "cuda")
    gpus = gpu_names() if on_device else []
    fitting = workers_that_fit(jobs, workers or max(1, len(gpus)), gpus)
    return LocalCrew(shares(fitting, gpus), run.tell)


@dataclass
class _Batch:
    """A batch on its way."""

    plan: Plan
    callback: Callable[[BatchProgress], None] | None
    retry_failed: bool
    watch: bool
    pending: dict[Future[Outcome], Job] = field(default_factory=dict)
    fractions: dict[str, float] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    ended: int = 0
    work_done: int = 0  # jobs that have ended after some work: neither kept nor refused
    started: float = field(default_factory=time.monotonic)

    def ended_jobs(
        self, jobs: list[Job], make_crew: Callable[[], _Crew]
    ) -> Generator[BatchJob, None, None]:
        """Do these jobs, and give each when it has ended; see `batch`."""
        with Manifest(self.plan.folder) as manifest:
            crew = make_crew()
            try:
                while True:
                    yield from self._begin(jobs, crew, manifest)
                    yield from self._until_ended(manifest)
                    if not self.watch:
                        return
                    jobs = self._jobs_now()
            finally:
                crew.stop()
                self._write_down_what_was_stopped(manifest)

    def tell(self, job: Job, step: Step) -> None:
        """Take note of where a job stands; called from other threads."""
        self.fractions[job.name] = step.fraction

    def _begin(self, jobs: list[Job], crew: _Crew, manifest: Manifest) -> Iterator[BatchJob]:
        """Hand in the jobs that are new; first tell of those that cannot be done."""
        new = [job for job in jobs if f"{job.key} {job.stamp()}" not in self.seen]
        if self.watch:
            new = [job for job in new if _is_settled(job)]
        self.seen |= {f"{job.key} {job.stamp()}" for job in new}
        reader, sound = _Reader(), []
        for job in new:
            error = "" if _is_kept(job, manifest) else reader.error(job)
            before = manifest.failure(job)
            if not error and before is not None and not self.retry_failed:
                error = f"{before} (has failed before, is tried again with retry_failed)"
            elif error:
                manifest.append(job, Outcome("failed", error=error))
            if error:
                self.ended += 1
                yield _ended(job, Outcome("failed", error=error))
            else:
                sound.append(job)
        give_back_memory()  # what reading has left would count against the workers
        for job in sound:
            self.pending[crew.submit(job)] = job

    def _until_ended(self, manifest: Manifest) -> Iterator[BatchJob]:
        """Give the jobs that end; until all have, or until it is time to look for new ones."""
        look = time.monotonic() + _LOOK_SECONDS
        while self.pending or self.watch:
            if self.callback is not None:
                self.callback(self._progress())
            if self.watch and time.monotonic() > look:
                return
            if not self.pending:
                time.sleep(_POLL_SECONDS)
                continue
            done, _ = wait(self.pending, _POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                job = self.pending.pop(future)
                outcome = _outcome(future)
                if not (outcome.state == "kept" and _is_kept(job, manifest)):
                    manifest.append(job, outcome)
                self.fractions.pop(job.name, None)
                self.ended += 1
                self.work_done += outcome.state == "done"
                yield _ended(job, outcome)

    def _progress(self) -> BatchProgress:
        seconds = time.monotonic() - self.started
        running = dict(self.fractions)
        work = self.work_done + sum(running.values())
        to_do = self.work_done + len(self.pending)
        left = seconds * (to_do - work) / work if work > 0 else None
        return BatchProgress(self.ended + len(self.pending), self.ended, running, seconds, left)

    def _jobs_now(self) -> list[Job]:
        """The jobs of the folders as they are now; what is wrong with them is said once."""
        try:
            return self.plan.jobs()
        except PyNSTError as error:
            if str(error) not in self.seen:
                self.seen.add(str(error))
                _LOG.warning("%s", error)
            return []

    def _write_down_what_was_stopped(self, manifest: Manifest) -> None:
        for future, job in self.pending.items():
            if future.done() and not future.cancelled():
                manifest.append(job, _outcome(future))


def _is_kept(job: Job, manifest: Manifest) -> bool:
    """Whether the log says that the picture is there: its worker looks whether this is true."""
    return manifest.state(job) in ("done", "kept") and job.output.exists()


def _is_settled(job: Job) -> bool:
    """Whether no input has changed in the last seconds: it might still be written."""
    try:
        times = [Path(path).stat().st_mtime for path in (job.content, *job.styles)]
    except OSError:
        return False
    return time.time() - max(times) > _LOOK_SECONDS


class _Reader:
    """Reads pictures to see whether they can be read, each once."""

    def __init__(self) -> None:
        self._errors: dict[tuple[str, int], str] = {}

    def error(self, job: Job) -> str:
        """What is wrong with the pictures of a job; empty if nothing is."""
        named = [("content", job.content), *(("style", path) for path in job.styles)]
        errors = (self._error(name, path, job.options.image_size) for name, path in named)
        return next((error for error in errors if error), "")

    def _error(self, name: str, path: str, long_side: int) -> str:
        if (path, long_side) not in self._errors:
            try:
                read_picture(path, name, long_side=long_side)
                self._errors[path, long_side] = ""
            except ImageError as error:
                self._errors[path, long_side] = str(error)
        return self._errors[path, long_side]


def _outcome(future: Future[Outcome]) -> Outcome:
    """How a job has ended; what a cluster raises is a failure of the job."""
    if future.cancelled():
        raise BackendError("the scheduler is lost; the same batch goes on when it is there again")
    error = future.exception()
    if error is not None:
        return Outcome("failed", error=f"{type(error).__name__}: {str(error)[:500]}")
    return future.result()


def _ended(job: Job, outcome: Outcome) -> BatchJob:
    return BatchJob(
        job.content,
        job.styles,
        job.output,
        outcome.state,
        outcome.error,
        outcome.seconds,
        outcome.evaluations,
    )
