"""The log of a batch, ``manifest.jsonl``, and the lock against a second batch in its folder."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pynst.errors import PyNSTError
from pynst.files import shown
from pynst.jobs.messages import Outcome
from pynst.jobs.plan import Job
from pynst.locks import try_lock

__all__ = ["Manifest", "read_manifest"]

_LOG = logging.getLogger("pynst")
_LONGEST_LINE = 1 << 16  # bytes


class Manifest:
    """The log of the folder of the outputs, which this process alone writes to while it is open.

    Parameters
    ----------
    folder : str or path
        Made if it is not there.

    Raises
    ------
    PyNSTError
        The folder cannot be made or written to, or another batch is at work in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._lock: BinaryIO | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Manifest:
        try:
            (self._folder / ".pynst").mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / ".pynst" / "batch.lock").open("a+b")
            self._refuse_a_second(self._lock)
            self._file = (self._folder / "manifest.jsonl").open("a+b")
            self._last = _last_lines(self._file)
        except OSError as error:
            where = f"output: cannot write to {shown(self._folder)}"
            raise PyNSTError(f"{where}: {error.strerror}") from error
        return self

    def _refuse_a_second(self, lock: BinaryIO) -> None:
        """Hold the lock as long as this is open."""
        locked = try_lock(lock)
        if locked is None:
            _LOG.warning(
                "%s knows no locks: start no second batch there at the same time",
                shown(self._folder),
            )
        elif not locked:
            lock.close()
            raise PyNSTError(
                f"another batch is at work in {shown(self._folder)}: wait for it, or name another"
                " folder"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                file.close()

    def state(self, job: Job) -> str:
        """How a job has ended the last time; empty if it has not."""
        return str(self._last.get(job.key, {}).get("state", ""))

    def failure(self, job: Job) -> str | None:
        """Why a job has failed the last time, with the pictures as they are; None if it has not."""
        line = self._last.get(job.key, {})
        same = line.get("state") == "failed" and line.get("stamp") == job.stamp()
        return str(line.get("error", "")) if same else None

    def append(self, job: Job, outcome: Outcome) -> None:
        """Write down how a job has ended: one line, written at once."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "job": job.key,
            "output": job.name,
            "content": _named(job.content),
            "style": [_named(style) for style in job.styles],
            "state": outcome.state,
            "seconds": round(outcome.seconds, 3),
            "evaluations": outcome.evaluations,
            "resumed_at": outcome.resumed_at,
            "attempts": outcome.attempts,
            "error": outcome.error[:2000],
            "stamp": job.stamp(),
        }
        self._last[job.key] = line
        assert self._file is not None
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            where = f"output: cannot write {shown(self._folder / 'manifest.jsonl')}"
            raise PyNSTError(f"{where}: {error.strerror}") from error


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The last line of each job by its key, without touching the folder; empty without a log."""
    try:
        with Path(folder, "manifest.jsonl").open("rb") as file:
            return _last_lines(file)
    except OSError:
        return {}


def _named(picture: Any) -> str | None:
    """The path of a picture that has one."""
    return os.fspath(picture) if isinstance(picture, str | os.PathLike) else None


def _last_lines(file: BinaryIO) -> dict[str, dict[str, Any]]:
    """The last line of each job; a line that a crash has cut is passed over, and ended."""
    found: dict[str, dict[str, Any]] = {}
    file.seek(0)
    end = b"\n"
    while line := file.readline(_LONGEST_LINE):
        end = line[-1:]
        try:
            content = json.loads(line)
            found[str(content["job"])] = dict(content)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    if end != b"\n" and file.writable():
        file.write(b"\n")
    return found
