"""The errors: one base for all, the built-in kind of each, and the image that a run had reached."""

from __future__ import annotations

import pickle

import pytest

from pynst import errors


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("OptionError", ValueError),
        ("ImageError", ValueError),
        ("WeightsError", Exception),
        ("BackendError", RuntimeError),
        ("RecordError", Exception),
        ("DivergedError", ArithmeticError),
    ],
)
def test_every_error_is_a_pynst_error_and_of_its_built_in_kind(name, kind):
    error = getattr(errors, name)("seed: must be a number")
    assert isinstance(error, errors.PyNSTError)
    assert isinstance(error, kind)
    assert error.result is None
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), "seed: must be a number")


def test_an_interruption_is_no_error_that_a_handler_of_errors_would_swallow():
    assert issubclass(errors.Interrupted, KeyboardInterrupt)
    assert not issubclass(errors.Interrupted, Exception)


def test_the_tree_at_the_head_of_the_module_names_every_error():
    for name in errors.__all__:
        assert f" {name} " in errors.__doc__, name
