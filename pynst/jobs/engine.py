"""Has jobs done in processes of their own, and tells of each that has ended.

Batches, sweeps and figures all run through it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pynst.errors import BackendError, ImageError, OptionError, PyNSTError
from pynst.images import ImageLike
from pynst.inputs import named_start
from pynst.jobs.cluster import ClusterCrew
from pynst.jobs.manifest import Manifest
from pynst.jobs.messages import Outcome, Step
from pynst.jobs.plan import Job
from pynst.jobs.processes import LocalCrew, gpu_names, shares, workers_that_fit
from pynst.machine import give_back_memory
from pynst.regions import mask_sources, reader_of

__all__ = ["BatchProgress", "Engine", "check_workers"]

_LOG = logging.getLogger("pynst")
_POLL_SECONDS = 0.5
_LOOK_SECONDS = 2.0  # between two looks at the folders that are watched
_MOST_WORKERS = 1024


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


class _Crew(Protocol):
    """Those who do the jobs: `LocalCrew`, `ClusterCrew`."""

    def submit(self, job: Job) -> Future[Outcome]: ...

    def stop(self) -> None: ...


class Engine:
    """Jobs on their way.

    Parameters
    ----------
    folder : str or path
        The folder of the outputs.
    workers, scheduler, retry_failed, callback
        As for `pynst.batch`.
    look : callable, optional
        Gives the jobs that there are now; with it the engine goes on for ever.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        workers: int | None = None,
        scheduler: str | None = None,
        retry_failed: bool = False,
        look: Callable[[], list[Job]] | None = None,
        callback: Callable[[BatchProgress], None] | None = None,
    ) -> None:
        self._folder = folder
        self._workers = workers
        self._scheduler = scheduler
        self._retry_failed = retry_failed
        self._look = look
        self._callback = callback
        self._pending: dict[Future[Outcome], Job] = {}
        self._fractions: dict[str, float] = {}
        self._seen: set[str] = set()
        self._ended = 0
        self._work_done = 0  # jobs that have ended after some work: neither kept nor refused
        self._started = time.monotonic()

    def ended_jobs(self, jobs: list[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """Do these jobs, and give each with its outcome when it has ended.

        Closing the generator stops the jobs that run, with checkpoints.

        Raises
        ------
        WeightsError, BackendError, PyNSTError
            As for `pynst.batch`.
        """
        with Manifest(self._folder) as manifest:
            crew = self._crew(jobs)
            try:
                while True:
                    yield from self._begin(jobs, crew, manifest)
                    yield from self._until_ended(manifest)
                    if self._look is None:
                        return
                    jobs = self._jobs_now(self._look)
            finally:
                crew.stop()
                self._write_down_what_was_stopped(manifest)

    def _crew(self, jobs: list[Job]) -> _Crew:
        if self._scheduler is not None:
            return ClusterCrew(self._scheduler, self._folder)
        on_device = not jobs or any(job.options.backend in ("auto", "cuda") for job in jobs)
        gpus = gpu_names() if on_device else []
        fitting = workers_that_fit(jobs, self._workers or max(1, len(gpus)), gpus)
        return LocalCrew(shares(fitting, gpus), self._tell)

    def _tell(self, job: Job, step: Step) -> None:
        """Take note of where a job stands; called from other threads."""
        self._fractions[job.name] = step.fraction

    def _begin(
        self, jobs: list[Job], crew: _Crew, manifest: Manifest
    ) -> Iterator[tuple[Job, Outcome]]:
        """Hand in the jobs that are new; first tell of those that cannot be done."""
        new = [job for job in jobs if f"{job.key} {job.stamp()}" not in self._seen]
        if self._look is not None:
            new = [job for job in new if _is_settled(job)]
        self._seen |= {f"{job.key} {job.stamp()}" for job in new}
        reader, sound = _Reader(), []
        for job in new:
            error = "" if _is_kept(job, manifest) else reader.error(job)
            before = manifest.failure(job)
            if not error and before is not None and not self._retry_failed:
                error = f"{before} (has failed before, is tried again with retry_failed)"
            elif error:
                manifest.append(job, Outcome("failed", error=error))
            if error:
                self._ended += 1
                yield job, Outcome("failed", error=error)
            else:
                sound.append(job)
        give_back_memory()  # what reading has left would count against the workers
        for job in sound:
            self._pending[crew.submit(job)] = job

    def _until_ended(self, manifest: Manifest) -> Iterator[tuple[Job, Outcome]]:
        """Give the jobs that end; until all have, or until it is time to look for new ones."""
        look = time.monotonic() + _LOOK_SECONDS
        while self._pending or self._look is not None:
            if self._callback is not None:
                self._callback(self._progress())
            if self._look is not None and time.monotonic() > look:
                return
            if not self._pending:
                time.sleep(_POLL_SECONDS)
                continue
            done, _ = wait(self._pending, _POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                job = self._pending.pop(future)
                outcome = _outcome(future)
                if not (outcome.state == "kept" and _is_kept(job, manifest)):
                    manifest.append(job, outcome)
                self._fractions.pop(job.name, None)
                self._ended += 1
                self._work_done += outcome.state == "done"
                yield job, outcome

    def _progress(self) -> BatchProgress:
        seconds = time.monotonic() - self._started
        running = dict(self._fractions)
        work = self._work_done + sum(running.values())
        to_do = self._work_done + len(self._pending)
        left = seconds * (to_do - work) / work if work > 0 else None
        return BatchProgress(self._ended + len(self._pending), self._ended, running, seconds, left)

    def _jobs_now(self, look: Callable[[], list[Job]]) -> list[Job]:
        """The jobs of the folders as they are now; what is wrong with them is said once."""
        try:
            return look()
        except PyNSTError as error:
            if str(error) not in self._seen:
                self._seen.add(str(error))
                _LOG.warning("%s", error)
            return []

    def _write_down_what_was_stopped(self, manifest: Manifest) -> None:
        for future, job in self._pending.items():
            if future.done() and not future.cancelled():
                manifest.append(job, _outcome(future))


def _is_kept(job: Job, manifest: Manifest) -> bool:
    """Whether the log says that the picture is there: its worker looks whether this is true."""
    return manifest.state(job) in ("done", "kept") and job.output.exists()


def _is_settled(job: Job) -> bool:
    """Whether no input has changed in the last seconds: it might still be written."""
    try:
        times = [Path(path).stat().st_mtime for path in job.files]
    except OSError:
        return False
    return time.time() - max(times) > _LOOK_SECONDS


class _Reader:
    """Reads pictures and masks to see whether they can be read, each file once."""

    def __init__(self) -> None:
        self._errors: dict[Any, str] = {}

    def error(self, job: Job) -> str:
        """What is wrong with the pictures of a job; empty if nothing is."""
        count, options = len(job.styles), job.options
        names = ["style"] if count == 1 else [f"style {i}" for i in range(1, count + 1)]
        sources = {"content": job.content, **dict(zip(names, job.styles, strict=True))}
        if named_start(options) is None:
            sources["init"] = options.init
        try:
            sources |= mask_sources(options, names)
        except OptionError as error:
            return str(error)
        errors = (
            self._error(name, source, options.image_size)
            for name, source in sources.items()
            if source is not None
        )
        return next((error for error in errors if error), "")

    def _error(self, name: str, source: ImageLike, long_side: int) -> str:
        where = os.fspath(source) if isinstance(source, str | os.PathLike) else id(source)
        key = name, where, long_side
        if key not in self._errors:
            try:
                reader_of(name)(source, name, long_side=long_side)
                self._errors[key] = ""
            except ImageError as error:
                self._errors[key] = str(error)
        return self._errors[key]


def _outcome(future: Future[Outcome]) -> Outcome:
    """How a job has ended; what a cluster raises is a failure of the job."""
    if future.cancelled():
        raise BackendError("the scheduler is lost; the same batch goes on when it is there again")
    error = future.exception()
    if error is not None:
        return Outcome("failed", error=f"{type(error).__name__}: {str(error)[:500]}")
    return future.result()


def check_workers(workers: int | None) -> None:
    """Refuse a number of workers that is none; raises `OptionError`."""
    if workers is not None and not (type(workers) is int and 1 <= workers <= _MOST_WORKERS):
        raise OptionError(
            f"workers must be a whole number from 1 to {_MOST_WORKERS}, got {workers}"
        )
