"""Requests of a page: whatever comes as JSON is a checked setting or one sentence."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst import OptionError, TransferOptions
from pynst.cli.parser import parse
from pynst.serve.request import command_line, describe_form, masks_for, options_asked

NAMES = [each.name for each in fields(TransferOptions)]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["/etc/passwd", "noise", "vgg19", "relu1_1=2", "3"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*NAMES, "nonsense"]), VALUES, max_size=3) | VALUES)
def test_any_json_becomes_settings_or_one_sentence(settings):
    try:
        options = options_asked(TransferOptions(), settings)
    except OptionError as error:
        assert "\n" not in str(error)
        return
    assert (options.weights, options.calibration) == (None, None)
    assert options.init in ("content", "style", "noise")
    json.dumps(settings, allow_nan=False)  # what is kept of a request can be told to every page


def test_nothing_that_is_a_path_can_be_asked_for():
    names = {each["name"] for each in describe_form(TransferOptions())["settings"]}
    assert not names & {"weights", "calibration"}
    assert {"image_size", "content_weight", "style_layers", "init", "preserve_color"} <= names
    (init,) = (e for e in describe_form(TransferOptions())["settings"] if e["name"] == "init")
    assert init["choices"] == ["content", "style", "noise"]


def test_the_form_begins_with_the_settings_of_the_server():
    base = TransferOptions(image_size=768, style_layers=["conv1_1", "conv2_1=0.5"])
    form = {each["name"]: each for each in describe_form(base)["settings"]}
    assert form["image_size"]["default"] == "768"
    assert (form["image_size"]["min"], form["image_size"]["max"]) == (16, 32768)
    assert form["style_layers"]["default"] == "relu1_1 relu2_1=0.5"
    json.dumps(describe_form(base), allow_nan=False)


@pytest.mark.parametrize(
    "name", ["photo.jpg", "-rf.png", "a b;c.png", "$(x)'\".png", "\N{SNOWMAN}.png"]
)
def test_the_command_line_is_safe_to_paste_and_says_the_same(name):
    options = TransferOptions(style_weight=2, preserve_color=True)
    program, *words = shlex.split(command_line(name, [name, "b.png"], options))
    given = parse(words)
    assert program == "pynst"
    assert given.CONTENT.removeprefix("./") == name
    assert len(given.STYLE) == 2
    assert (given.style_weight, given.preserve_color) == (2, True)


def test_the_first_painting_goes_where_the_mask_is_and_the_others_to_the_rest():
    assert masks_for(["a"], "mask") == ["mask"]
    assert masks_for(["a", "b", "c"], "mask") == ["mask", "rest", "rest"]
    line = command_line("p.png", ["a.png", "b.png"], TransferOptions(), ["mask.png", "rest"])
    assert "--style-masks mask.png rest" in line
