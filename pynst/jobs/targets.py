"""What the loss compares with, kept for the next job: a style that many photographs share, say.

To make the targets of a job is about 3 % of its work at the usual settings. They are kept for the
very next job alone, and for small images alone, so that they take little memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pynst.inputs import Inputs
from pynst.losses.content import ContentTerm
from pynst.losses.style import GramTerm
from pynst.losses.table import loss_terms
from pynst.losses.terms import Targets, Term
from pynst.networks import Network
from pynst.run import Run

__all__ = ["TargetMemory"]

_LARGEST = 1 << 20  # pixels of an image whose targets are kept: 10 to 40 MB for each level


class TargetMemory:
    """The targets of the job before, all of one network."""

    def __init__(self) -> None:
        self._before: dict[Any, Targets] = {}
        self._now: dict[Any, Targets] = {}

    def terms(self, run: Run) -> list[Term]:
        """The terms of a run that begins, which take from the run before what they share."""
        self._before, self._now = self._now, {}
        terms = loss_terms(run.options, run.network, run.inputs)
        return [self._keeping(term, run) for term in terms]

    def at(self, key: Any, term: Term, network: Network, inputs: Inputs, H: int, W: int) -> Targets:
        """The targets of a term at one size of the image."""
        targets = self._before.get(key) or term.at(network, inputs, H, W)
        if H * W <= _LARGEST:
            self._now[key] = targets
        return targets

    def _keeping(self, term: Term, run: Run) -> Term:
        """The same term, if its targets are known to depend on some of the pictures alone."""
        names = [used.name for used in run.record.pictures]
        if type(term) is ContentTerm:
            read = [name for name in names if not name.startswith("style")]
        elif type(term) is GramTerm and run.options.match_color == "none":
            read = [name for name in names if name != "content"]
        else:
            return term
        used = tuple((each.name, each.sha256) for each in run.record.pictures if each.name in read)
        return _Keeping(term, (term.name, replace(run.options, threads=None), used), self)


class _Keeping:
    """A term that asks the memory for its targets."""

    def __init__(self, term: Term, key: Any, memory: TargetMemory) -> None:
        self.name = term.name
        self._term, self._key, self._memory = term, key, memory

    def at(self, network: Network, inputs: Inputs, H: int, W: int) -> Targets:
        """Make the targets for an image of H x W pixels, or take those of the job before."""
        # Targets for windows are no targets for a whole image: memory may have run short since.
        key = self._key, H, W, getattr(network, "tile", None)
        return self._memory.at(key, self._term, network, inputs, H, W)
