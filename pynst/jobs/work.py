"""The process in which jobs are done, one after another; `processes` starts it.

Jobs come over standard input, messages leave over standard output. When standard input ends, since
the other side wants to stop or has died, a running job writes its checkpoint and the process ends.
"""

from __future__ import annotations

import _thread
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import numpy as np

from pynst.checkpoint import Checkpoint, Checkpoints, read_checkpoint
from pynst.errors import ImageError, OptionError, PyNSTError, RecordError
from pynst.files import shown
from pynst.images import check_output, load_image
from pynst.images.files import file_format
from pynst.inputs import Inputs, read_inputs
from pynst.jobs.histories import read_history, write_history
from pynst.jobs.kept import COMPLETE, is_record_of
from pynst.jobs.messages import Note, Outcome, Step
from pynst.jobs.plan import Job
from pynst.jobs.targets import TargetMemory
from pynst.levels import plan_levels
from pynst.locks import one_at_a_time
from pynst.networks import Network, open_network
from pynst.networks.layers import layers_read
from pynst.options import TransferOptions
from pynst.record import Record
from pynst.replay import read_record
from pynst.result import Progress, TransferResult
from pynst.run import Run
from pynst.transfer import minimise_levels

__all__ = ["Workplace", "main"]

_LONGEST_WAIT = 120.0  # seconds for another process to leave the same job
_BETWEEN_STEPS = 0.2  # seconds between two messages
_NOT_OF_THE_NETWORK = (
    "image_size", "aspect", "style_scale", "style_blend", "init", "seed", "keep_alpha",
    "content_weight", "style_weight", "tv_weight", "quality", "iterations", "levels", "minutes",
    "tolerance", "optimizer", "preserve_color", "match_color",
)  # fmt: skip
"""Settings that may differ between two jobs that use the same network. A setting that is not named
here makes another network, which is always right and at worst slower."""


class Workplace:
    """Does jobs, and keeps from one to the next what both need: the network and its targets.

    Attributes
    ----------
    interruptible : bool
        Whether a job runs that a `KeyboardInterrupt` would end with a checkpoint.
    """

    def __init__(self) -> None:
        self.interruptible = False
        self._network: tuple[TransferOptions, Network] | None = None
        self._targets = TargetMemory()

    def do(self, job: Job, callback: Callable[[Progress], None]) -> Outcome:
        """Do one job, unless its picture is there already; raises nothing."""
        started = time.monotonic()
        outcome = self._outcome(job, callback)
        return replace(outcome, seconds=time.monotonic() - started)

    def _outcome(self, job: Job, callback: Callable[[Progress], None]) -> Outcome:
        try:
            self.interruptible = True
            return self.make(job, callback)[0]
        except KeyboardInterrupt as error:
            return Outcome("interrupted", evaluations=_evaluations(getattr(error, "result", None)))
        except (ImageError, OptionError) as error:
            return Outcome("failed", error=str(error))
        except PyNSTError as error:
            return Outcome("failed", error=str(error), again=True)
        except Exception as error:  # a defect, or a system in need: the other jobs go on
            traceback.print_exc()
            return Outcome("failed", error=f"{type(error).__name__}: {error}", again=True)
        finally:
            self.interruptible = False

    def make(
        self, job: Job, callback: Callable[[Progress], None] | None = None
    ) -> tuple[Outcome, TransferResult | None]:
        """Make the picture of a job, unless it is there already.

        Parameters
        ----------
        job : Job
        callback : callable, optional
            As for `pynst.stylize`.

        Returns
        -------
        outcome : Outcome
            Its state is ``"done"`` or ``"kept"``.
        result : TransferResult or None
            None where the picture was there already.

        Raises
        ------
        PyNSTError
            As for `pynst.stylize`; or another process makes the same picture.
        """
        lock = checkpoint_of(job).with_suffix(".lock")
        try:
            # Another process may be left from a batch that was killed.
            with one_at_a_time(lock, _LONGEST_WAIT, _ignored, _ignored):
                return self._make(job, callback)
        except TimeoutError:
            text = f"{shown(job.output)} is being made by another process"
            raise PyNSTError(text) from None

    def _make(
        self, job: Job, callback: Callable[[Progress], None] | None
    ) -> tuple[Outcome, TransferResult | None]:
        inputs = read_inputs(job.content, job.styles or None, job.options)
        network = self._network_of(job.options)
        if finished := _finished(job, inputs, network):
            return Outcome("kept", evaluations=sum(finished.evaluations)), None
        job.output.parent.mkdir(parents=True, exist_ok=True)
        check_output(job.output, bits=job.bits)
        run, resumed_at = _begun(job, inputs, network, callback)
        result = minimise_levels(run, self._targets.terms(run))
        self.interruptible = False  # the picture is made: it is saved, whatever comes
        if job.history:
            write_history(result, job.output)
        result.save(job.output, bits=job.bits)  # last, as it says that the job is done
        if result.stopped_early in COMPLETE:
            checkpoint_of(job).unlink(missing_ok=True)
        return Outcome("done", evaluations=_evaluations(result), resumed_at=resumed_at), result

    def _network_of(self, options: TransferOptions) -> Network:
        """The network of the job before, where this job has the same."""
        neutral = {name: getattr(_DEFAULTS, name) for name in _NOT_OF_THE_NETWORK}
        wanted = replace(options, **neutral)
        if self._network is None or self._network[0] != wanted:
            self._network, self._targets = None, TargetMemory()  # their memory goes first
            network = open_network(options)
            network.forget_deeper(layers_read(options, network))
            self._network = wanted, network
        return self._network[1]


_DEFAULTS = TransferOptions()


def checkpoint_of(job: Job) -> Path:
    """Where the checkpoint of a job is written."""
    return Path(job.folder, ".pynst", f"{job.key}.npz")


def _finished(job: Job, inputs: Inputs, network: Network) -> Record | None:
    """The record of the finished picture; None where there is none, or that of another run."""
    if not job.output.exists():
        return None
    try:
        record = read_record(job.output)
        bits = _bits(job.output)
        if job.history:
            read_history(job.output, record.pixels_sha256)
    except PyNSTError:
        return None
    complete = record.stopped_early in COMPLETE
    same = complete and _is_of(record, job, inputs, network) and bits in (0, job.bits)
    return record if same else None


def _bits(path: Path) -> int:
    """Bits per channel of a picture that PyNST has made; 0 where its format has no choice."""
    if not file_format(path).sixteen_bits:
        return 0
    levels = 255 * load_image(path)
    return 8 if np.allclose(levels, np.rint(levels), rtol=0, atol=1e-6) else 16


def _is_of(record: Record, job: Job, inputs: Inputs, network: Network) -> bool:
    same = (record.network, record.weights_sha256) == (network.name, network.weights_sha256)
    return same and is_record_of(record, job.options, inputs)


def _begun(
    job: Job, inputs: Inputs, network: Network, callback: Callable[[Progress], None] | None
) -> tuple[Run, int]:
    """The run of a job and the evaluations before it: from its checkpoint, if it has one."""
    path = checkpoint_of(job)

    def new(options: TransferOptions) -> Run:
        levels = plan_levels(options, network, inputs)
        return Run(options, inputs, network, levels, callback, Checkpoints(path))

    try:
        earlier = read_checkpoint(path) if path.exists() else None
        if earlier is not None and _is_of(earlier.record, job, inputs, network):
            run = new(earlier.fitted(job.options))
            run.go_on(earlier)
            return run, _evaluations_before(earlier)
    except RecordError as error:
        logging.getLogger("pynst").warning("%s; the picture is begun anew", error)
    return new(job.options), 0


def _evaluations_before(checkpoint: Checkpoint) -> int:
    return sum(map(len, checkpoint.histories)) + len(checkpoint.snapshot.history)


def _evaluations(result: TransferResult | None) -> int:
    return 0 if result is None else sum(map(len, result.history))


def _ignored(*_: str) -> None:
    """Stand in for what `one_at_a_time` tells of those that wait."""


class _Messenger(logging.Handler):
    """Sends messages, the log among them; the other side may have gone."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._last = 0.0
        self._turn = threading.Lock()

    def send(self, message: Any) -> None:
        with self._turn, suppress(OSError):
            self._stream.write(pickle.dumps(message))
            self._stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self.send(Note(record.levelno, record.getMessage()))

    def report(self, progress: Progress) -> None:
        """Tell where the job stands, a few times a second."""
        now = time.monotonic()
        if now - self._last >= _BETWEEN_STEPS or progress.fraction == 1:
            self._last = now
            self.send(Step(progress.fraction))


def main() -> None:
    """Do the jobs that come over standard input, until it ends or a signal comes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    messenger, workplace = _Messenger(answers), Workplace()
    logging.getLogger("pynst").addHandler(messenger)
    logging.getLogger("pynst").setLevel(logging.INFO)
    inbox: SimpleQueue[Job | None] = SimpleQueue()

    def stop(*_: Any) -> None:
        inbox.put(None)
        if workplace.interruptible:
            workplace.interruptible = False
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), stop)
    threading.Thread(target=_listen, args=(sys.stdin.buffer, inbox), daemon=True).start()
    with suppress(KeyboardInterrupt):
        while (job := inbox.get()) is not None:
            messenger.send(workplace.do(job, messenger.report))


def _listen(stream: IO[bytes], inbox: SimpleQueue[Job | None]) -> None:
    """Put the jobs into the inbox; at the end interrupt the one that runs."""
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            inbox.put(pickle.load(stream))
    inbox.put(None)
    _thread.interrupt_main()


if __name__ == "__main__":
    main()
