"""Workers on other machines: jobs go to the scheduler of a Dask cluster (package distributed).

Each thread of a Dask worker does one job at a time, in a process of its own as on this machine.
The machines share the folder of the outputs, where checkpoints lie as well, so that any of them
goes on with a job that was broken off on another one.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynst.errors import BackendError
from pynst.files import shown, write_whole
from pynst.jobs.files import with_paths
from pynst.jobs.messages import Outcome
from pynst.jobs.plan import Job
from pynst.jobs.processes import JobProcess, run_job
from pynst.options import with_changes

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ClusterCrew", "run_remotely", "with_absolute_paths"]

_LOG = logging.getLogger("distributed.client")
_CONNECT_SECONDS = 5
_GRACE_SECONDS = 60.0  # for the checkpoints of running jobs
_LOOK_SECONDS = 2.0  # between two looks whether the batch still goes on
_HERE = threading.local()


class ClusterCrew:
    """The workers of a Dask cluster.

    Parameters
    ----------
    address : str
        Of its scheduler: ``"tcp://host:8786"``.
    folder : str or path
        The folder of the outputs, which all machines see under this path.

    Raises
    ------
    BackendError
        The package is not installed, or the scheduler does not answer.
    """

    def __init__(self, address: str, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()
        self._client = _client(address)
        # A scheduler that is lost is told as an error of this package, not as a traceback.
        self._level = _LOG.level
        _LOG.setLevel(logging.CRITICAL)
        if not self._client.nthreads():
            logging.getLogger("pynst").warning("%s has no workers yet", shown(address))
        self._executor = self._client.get_executor(pure=False)
        self._token = os.urandom(8).hex()
        write_whole(self._token.encode(), _token_file(self._folder))
        self._futures: set[Future[Outcome]] = set()

    def submit(self, job: Job) -> Future[Outcome]:
        """Have a job done as soon as a worker is free."""
        future: Future[Outcome] = self._executor.submit(
            run_remotely, with_absolute_paths(job), self._token
        )
        self._futures.add(future)
        return future

    def stop(self) -> None:
        """Stop: the workers see that the token is another one, and write their checkpoints."""
        with suppress(OSError):
            write_whole(b"stopped", _token_file(self._folder))
        wait(self._futures, _GRACE_SECONDS)
        self._executor.shutdown(wait=False)
        self._client.close()
        _LOG.setLevel(self._level)


def _client(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise BackendError(
            "scheduler: the package distributed is not installed: pip install"
            " 'pynst-stylize[batch]'"
        ) from error
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        text = str(error).split("\n")[0]
        raise BackendError(f"scheduler: {shown(address)} does not answer: {text}") from error


def _token_file(folder: Path) -> Path:
    return folder / ".pynst" / "token"


def with_absolute_paths(job: Job) -> Job:
    """The same job for a process that starts in another folder."""

    def absolute(path: Any) -> Any:
        return str(Path(path).absolute()) if isinstance(path, str | os.PathLike) else path

    return replace(
        job,
        content=absolute(job.content),
        styles=tuple(map(absolute, job.styles)),
        folder=absolute(job.folder),
        options=with_changes(job.options, with_paths(vars(job.options), absolute)),
    )


def run_remotely(job: Job, token: str) -> Outcome:
    """Do a job in a thread of a Dask worker.

    Parameters
    ----------
    job : Job
        With absolute paths.
    token : str
        What stands in a file of the outputs' folder as long as the batch goes on.
    """
    file = _token_file(Path(job.folder))
    if not file.exists():
        return Outcome(
            "failed",
            error=f"{socket.gethostname()} does not see {shown(job.folder)}: workers and master"
            " need one folder that they share",
        )
    looked, goes_on = 0.0, True

    def stopped() -> bool:
        nonlocal looked, goes_on
        if time.monotonic() - looked > _LOOK_SECONDS:
            looked = time.monotonic()
            with suppress(OSError):  # a folder of the network may be away for a moment
                goes_on = file.read_text(encoding="utf-8") == token
        return not goes_on

    if not hasattr(_HERE, "process"):
        # Dask counts threads: each of its threads does one job with one thread.
        _HERE.process = JobProcess({"OMP_NUM_THREADS": "1"})
    return run_job(job, _HERE.process, lambda step: None, stopped)  # noqa: ARG005
