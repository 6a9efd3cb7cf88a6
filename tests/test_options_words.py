"""Settings in words: the command line reads what is written here to the same settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pynst import TransferOptions
from pynst.cli.parser import parse
from pynst.options.words import changed, command_words, value_words

NAMES = {each.name for each in fields(TransferOptions)}
POSITIVE = st.floats(1e-9, 1e9)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "image_size": st.integers(16, 4000),
        "style_scale": st.floats(0.05, 20),
        "style_blend": st.lists(POSITIVE, min_size=1, max_size=3),
        "init": st.sampled_from(["content", "style", "noise", "a b.png", "-x.png"]),
        "seed": st.integers(0, 2**63 - 1),
        "keep_alpha": st.booleans(),
        "content_weight": POSITIVE,
        "tv_weight": st.floats(0, 10),
        "formula": st.sampled_from(["balanced", "paper"]),
        "style_layers": st.dictionaries(
            st.sampled_from(["relu1_1", "relu2_1", "level3"]), POSITIVE, min_size=1
        ),
        "pooling": st.sampled_from(["average", "max", None]),
        "normalised": st.sampled_from([True, False, None]),
        "iterations": st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
        "preserve_color": st.booleans(),
        "weights": st.sampled_from(["w.npz", "-w.npz", "with space"]),
    },
)


@given(SETTINGS)
def test_the_command_line_gives_the_same_settings(settings):
    options = TransferOptions(**settings)
    given = parse(["photo.jpg", "art.jpg", *command_words(options)])
    again = {name: value for name, value in vars(given).items() if name in NAMES}
    assert TransferOptions(**again) == options
    assert (given.CONTENT, given.STYLE) == ("photo.jpg", ["art.jpg"])


def test_only_what_differs_from_the_defaults_is_said():
    assert changed(TransferOptions()) == {}
    assert command_words(TransferOptions()) == []
    options = TransferOptions(image_size=768, style_layers={"conv1_1": 1, "conv2_1": 0.5})
    assert changed(options) == {"image_size": "768", "style_layers": "relu1_1 relu2_1=0.5"}


def test_a_start_is_said_if_it_has_a_path():
    assert command_words(TransferOptions(init=Path("a.png"))) == ["--init", "a.png"]
    start = TransferOptions(init=np.zeros((4, 4, 3)))
    assert command_words(start) == []
    assert changed(start) == {"init": ""}


def test_a_list_with_a_picture_in_it_has_no_words():
    assert value_words((Path("a.png"), "rest")) == ["a.png", "rest"]
    assert value_words((np.zeros((2, 2)), "rest")) == []
    assert value_words(None) == []
