"""Checks of settings: what they say they take, and which words of the command line they take."""

from __future__ import annotations

import pytest

from pynst import OptionError
from pynst.options.checks import (
    choice,
    flag,
    layers,
    number,
    optional,
    path,
    several,
    shares,
    start,
)


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (choice("a", "b"), "{'a', 'b'}"),
        (number(0), "float, at least 0"),
        (number(0.05, 20), "float, 0.05 to 20"),
        (number(1, 10**6, whole=True), "int, 1 to 1000000"),
        (optional(number(0)), "float, at least 0"),
        (several(number(1, 9, whole=True)), "int or sequence of int, 1 to 9"),
        (flag, "bool"),
        (path, "str or path"),
        (shares("a", "b"), "{'a', 'b'} or several of them, with weights"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_check_says_what_it_takes(check, kind):
    assert check.kind == kind


def test_an_optional_check_keeps_all_but_the_cleaning():
    inner = several(number(0))
    outer = optional(inner)
    assert outer.clean("name", None) is None
    assert (outer.many, outer.parse, outer.continues) == (True, float, inner.continues)
    with pytest.raises(OptionError):
        inner.clean("name", None)


@pytest.mark.parametrize(
    ("check", "word", "wanted"),
    [
        (several(number(0)), "3", True),
        (several(number(0)), "-1e3", True),
        (several(number(0)), "nan", True),
        (several(number(0)), "3.jpg", False),
        (several(number(0)), "a.jpg", False),
        (several(number(0)), "", False),
        (shares("gram", "other"), "gram", True),
        (shares("gram", "other"), "other=0.5", True),
        (shares("gram", "other"), "gram.jpg", False),
        (layers, "relu1_1", True),
        (layers, "conv4_2=0.5", True),
        (layers, "level3=x", True),
        (layers, "relu9_9", True),
        (layers, "relu1_1.jpg", False),
        (layers, "relu", False),
        (layers, "photo1", False),
        (layers, "folder/relu1_1", False),
        (layers, "RELU1_1", False),
    ],
)
def test_words_that_cannot_be_a_value_end_a_list(check, word, wanted):
    assert check.continues(word) is wanted


def test_only_settings_of_several_values_take_more_words():
    assert not any(check.many for check in (number(0), choice("a"), flag, path, start))
    assert layers.many
    assert flag.boolean
