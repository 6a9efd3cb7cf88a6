"""Stands in for Hypothesis on a machine that has none: its tests are skipped, the others run."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


class Anything(ModuleType):
    """Every attribute can be called, chained and combined, and means nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments, **settings):
        return self

    def __or__(self, other):
        return self


def given(*arguments, **settings):
    """Skips the test; without the arguments that Hypothesis would have given it."""

    def skipping(test):
        @pytest.mark.skip(reason="Hypothesis is not installed")
        def skipped():
            raise AssertionError

        skipped.__name__ = test.__name__
        return skipped

    return skipping


class settings:
    """Does nothing, as a decorator and as a set of profiles."""

    def __init__(self, *arguments, **values):
        pass

    def __call__(self, test):
        return test

    @staticmethod
    def register_profile(*arguments, **values):
        pass

    @staticmethod
    def load_profile(name):
        pass


HealthCheck = assume = example = note = Anything("anything")
strategies = sys.modules["hypothesis.strategies"] = Anything("hypothesis.strategies")
sys.modules["hypothesis.extra"] = Anything("hypothesis.extra")
sys.modules["hypothesis.extra.numpy"] = Anything("hypothesis.extra.numpy")
