"""Texts on pictures: black on white, broken into lines, whatever the characters."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.images.text import text_block

STEP = 27  # rows of one line at 20 pixels


def test_a_block_has_the_width_that_was_asked_for_and_dark_letters_on_white():
    block = text_block("style_weight = 10", 300, 20)
    assert (block.shape, block.dtype) == ((STEP, 300, 3), np.uint8)
    assert (block[:, -20:] == 255).all()
    assert block.min() < 64


def test_the_letters_have_the_colour_that_was_asked_for():
    red = text_block("MMM", 100, 20, (255, 0, 0))
    assert (red[..., 0] == 255).all()
    assert red[..., 1].min() < 64


@pytest.mark.parametrize(
    ("text", "lines"),
    [("", 1), ("a", 1), ("a\nb\n\nc", 4), ("many words " * 10, None), ("x" * 200, None)],
)
def test_a_text_is_broken_at_its_line_breaks_its_blanks_and_within_long_words(text, lines):
    rows = text_block(text, 120, 20).shape[0]
    assert rows % STEP == 0
    assert rows == STEP * lines if lines else rows > 3 * STEP


def test_what_cannot_be_shown_is_a_question_mark():
    np.testing.assert_array_equal(text_block("a\x1b\ud800b", 120, 20), text_block("a??b", 120, 20))


def test_an_endless_text_is_cut():
    np.testing.assert_array_equal(
        text_block("ab " * 10**5, 800, 10), text_block("ab " * 700, 800, 10)
    )
