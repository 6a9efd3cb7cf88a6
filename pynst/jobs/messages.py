"""What the process of a job tells the process that waits for it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Note", "Outcome", "Step"]


@dataclass(frozen=True)
class Step:
    """Where a job stands.

    Attributes
    ----------
    fraction : float
        Share of the job's work that is done, in [0, 1].
    """

    fraction: float


@dataclass(frozen=True)
class Note:
    """A line of the log: a text and its level, as `logging` has it."""

    level: int
    text: str


@dataclass(frozen=True)
class Outcome:
    """How a job has ended.

    Attributes
    ----------
    state : {"done", "kept", "failed", "interrupted"}
        ``"kept"``: the finished picture was there already.
    seconds : float
        Wall time of the job, without the time before a break.
    evaluations : int
        Evaluations of the objective that are in the picture, with those before a break.
    resumed_at : int
        Those before the break; 0 where the job began anew.
    error : str
        What went wrong; empty if nothing did.
    again : bool
        Whether a second attempt may end otherwise.
    attempts : int
        How often the job was begun.
    """

    state: str
    seconds: float = 0.0
    evaluations: int = 0
    resumed_at: int = 0
    error: str = ""
    again: bool = False
    attempts: int = 1
