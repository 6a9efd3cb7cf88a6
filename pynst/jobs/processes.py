"""Processes that do jobs on this machine: one per worker, started anew when one dies."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import IO

from pynst.errors import BackendError, ImageError, OptionError, PyNSTError, WeightsError
from pynst.forecast import forecast_memory, in_bytes
from pynst.images import ImageLike, picture_size, read_picture
from pynst.jobs.messages import Note, Outcome, Step
from pynst.jobs.plan import Job
from pynst.machine import available_memory, default_threads, query_gpus, resident_memory
from pynst.networks import open_network

__all__ = ["JobProcess", "LocalCrew", "gpu_names", "run_job", "shares", "workers_that_fit"]

_LOG = logging.getLogger("pynst")
_ATTEMPTS = 2
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 60.0  # for a checkpoint, before the process is killed
_LONGEST_REPORT = 300  # characters of what a process has written on its way down
# The process imports from where this one does: a folder "pynst" where it starts is another one.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from pynst.jobs.work import main; main()"


class JobProcess:
    """A process that does one job after another; it is started when the first one comes.

    Parameters
    ----------
    environment : mapping of str to str
        Variables that the process has besides those of this one.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: SimpleQueue[Step | Note | Outcome | None] = SimpleQueue()
        self._errors: IO[bytes] | None = None
        self._end: float | None = None  # when it is killed, once it was asked to stop

    def run(self, job: Job, tell: Callable[[Step], None], stopped: Callable[[], bool]) -> Outcome:
        """Have a job done, and wait for it.

        Parameters
        ----------
        job : Job
        tell : callable
            Called with each `Step`.
        stopped : callable
            Asked a few times a second whether to stop; the job then writes its checkpoint.
        """
        if stopped():
            return Outcome("interrupted")
        if self._process is not None and self._process.poll() is not None:
            self._gone()  # it has ended between two jobs
        process = self._process or self._start()
        assert process.stdin is not None
        with suppress(OSError):  # it has died: the answers say so
            process.stdin.write(pickle.dumps(job))
            process.stdin.flush()
        while True:
            answer = self._answer(process, stopped)
            if isinstance(answer, Step):
                tell(answer)
            elif isinstance(answer, Note):
                _LOG.log(answer.level, "%s", answer.text)
            else:
                break
        if self._end is not None:
            self._gone()
            return answer or Outcome("interrupted")
        if answer is not None and answer.state == "interrupted":  # by a signal to its process alone
            self._gone()
            return replace(answer, state="failed", error="its process was told to end", again=True)
        return answer or self._death()

    def _answer(
        self, process: subprocess.Popen[bytes], stopped: Callable[[], bool]
    ) -> Step | Note | Outcome | None:
        """Wait for what the process tells next; None if it has ended."""
        while True:
            if self._end is None and stopped():
                self._end = time.monotonic() + _GRACE_SECONDS
                _close(process.stdin)
            elif self._end is not None and time.monotonic() > self._end:
                process.kill()
            with suppress(Empty):
                return self._answers.get(timeout=_POLL_SECONDS)

    def close(self) -> None:
        """End the process; a job that runs in it writes its checkpoint before."""
        if self._process is None:
            return
        _close(self._process.stdin)
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._gone()

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._answers, self._end = SimpleQueue(), None
        self._process = process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the process that waits, which closes the pipe
        )
        threading.Thread(target=_listen, args=(process.stdout, self._answers), daemon=True).start()
        return process

    def _death(self) -> Outcome:
        """What to say of a process that has ended in the midst of a job."""
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-_LONGEST_REPORT:].decode(errors="replace").split("\n")
        last = next((f": {line}" for line in reversed(lines) if line.strip()), "")
        self._gone()
        return Outcome("failed", error=f"its process {_ending(code)}{last}", again=True)

    def _gone(self) -> None:
        if self._process is not None:
            _close(self._process.stdin)
            self._process.wait()
        _close(self._errors)
        self._process = self._errors = None


def _listen(stream: IO[bytes], answers: SimpleQueue[Step | Note | Outcome | None]) -> None:
    """Read the answers of a process; None says that it has ended."""
    with stream, suppress(Exception):  # what a dying process has written may be of any kind
        while True:
            answers.put(pickle.load(stream))
    answers.put(None)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with suppress(OSError):
            stream.close()


def _ending(code: int) -> str:
    """How a process has ended, in words."""
    if code >= 0:
        return f"has ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as a system does that runs out of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def run_job(
    job: Job, process: JobProcess, tell: Callable[[Step], None], stopped: Callable[[], bool]
) -> Outcome:
    """Have a job done, and tried once more where that may help; see `JobProcess.run`."""
    outcome = Outcome("failed")
    for attempt in range(1, _ATTEMPTS + 1):
        outcome = replace(process.run(job, tell, stopped), attempts=attempt)
        if outcome.state != "failed" or not outcome.again:
            break
        _LOG.warning("%s: %s", job.output, outcome.error)
    return outcome


class LocalCrew:
    """Workers on this machine, each with a process of its own.

    Parameters
    ----------
    environments : sequence of mapping
        One per worker: the variables that share out threads, memory and GPUs.
    tell : callable
        Called with a job and each of its `Step`, from several threads.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], tell: Callable[[Job, Step], None]
    ) -> None:
        self._tell = tell
        self._processes = [JobProcess(environment) for environment in environments]
        self._free: SimpleQueue[JobProcess] = SimpleQueue()
        for process in self._processes:
            self._free.put(process)
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(len(self._processes))

    def submit(self, job: Job) -> Future[Outcome]:
        """Have a job done as soon as a worker is free."""
        return self._threads.submit(self._do, job)

    def stop(self) -> None:
        """Stop: jobs that run write their checkpoints; waits for them."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    def _do(self, job: Job) -> Outcome:
        process = self._free.get()
        try:
            return run_job(job, process, lambda step: self._tell(job, step), self._stopped.is_set)
        finally:
            self._free.put(process)


def shares(workers: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Share out threads, memory and GPUs among workers, as variables of their processes.

    Parameters
    ----------
    workers : int
    gpus : sequence of str
        Names as CUDA_VISIBLE_DEVICES has them; empty where jobs run on the CPU.
    """
    threads = max(1, default_threads() // workers)
    room = available_memory()
    shared = {"OMP_NUM_THREADS": str(threads)}
    if room is not None and workers > 1:
        shared["PYNST_MEMORY"] = str(max(0, room) // workers)
    return [
        {**shared, **({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {})}
        for i in range(workers)
    ]


def workers_that_fit(jobs: Sequence[Job], workers: int, gpus: Sequence[str]) -> int:
    """Look before the start whether the largest job can be done; returns how many fit at once.

    Memory is forecast for the CPU alone: workers with a GPU each share no memory that is scarce.

    Raises
    ------
    WeightsError, BackendError
        No job could be done: there are no weights, or the backend is not available.
    """
    needs = _largest_needs(jobs, on_cpu=bool(gpus))
    room = available_memory()
    if needs is None or gpus or room is None:
        return workers
    fitting = max(1, min(workers, (room + resident_memory()) // needs))
    if fitting < workers:
        _LOG.warning(
            "%d workers instead of %d: each needs about %s, and %s are available",
            fitting, workers, in_bytes(needs), in_bytes(max(0, room)),
        )  # fmt: skip
    return fitting


def _largest_needs(jobs: Sequence[Job], *, on_cpu: bool) -> int | None:
    """Bytes of a worker that does the largest job whose network opens; None if not known."""
    errors: dict[tuple[str, str | None, str], PyNSTError] = {}
    for job in sorted(jobs, key=lambda job: job.options.image_size, reverse=True):
        options = replace(job.options, backend="cpu") if on_cpu else job.options
        asked = options.network, options.weights, options.backend
        if asked in errors:
            continue
        try:
            network = open_network(options)
            content = None if job.content is None else _size(job.content)
            styles = list(map(_size, job.styles))
            # A worker holds about what this process holds while the network is open.
            return forecast_memory(network, options, content, styles).total + resident_memory()
        except (WeightsError, BackendError) as error:
            errors[asked] = error
        except (ImageError, OptionError):
            return None  # of this job alone, which says so itself
    if errors:
        raise next(iter(errors.values()))
    return None


def _size(picture: ImageLike) -> tuple[int, int]:
    """Height and width of a picture."""
    if isinstance(picture, str | os.PathLike):
        return picture_size(picture, "picture")
    return read_picture(picture, "picture").size


def gpu_names() -> list[str]:
    """The GPUs that jobs can use, as CUDA_VISIBLE_DEVICES names them; empty where there is none."""
    if not all(map(find_spec, ("cupy", "pynst._cuda"))):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    try:
        return [index for (index,) in query_gpus(["index"])]
    except BackendError:
        return []
