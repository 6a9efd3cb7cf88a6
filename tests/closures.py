"""Losses for the tests of optimisers, in place of an `Objective`."""

from __future__ import annotations

from pynst.losses.terms import LossTerms


class HostClosure:
    """What `pynst.optimizers.descent.Closure` asks for, of a loss that is computed on the host."""

    terms: LossTerms | None = None
    gradient_scale = 1.0

    def in_place(self, sums):
        """There is no device."""
        return
