"""What is offered in the place of a wrong name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst.spelling import did_you_mean

OPTIONS = ["--tile", "--image-size", "--style-weight", "--tv-weight", "--content-weight",
           "--content-mask-weight", "--quiet", "--minutes", "--iterations", "-o"]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "offered"),
    [
        ("--size", "did you mean --image-size?"),
        ("--Image", "did you mean --image-size?"),
        ("--weight-style", "did you mean --style-weight?"),
        ("--weight", "did you mean --style-weight, --tv-weight or --content-weight?"),
        ("--mask", "did you mean --content-mask-weight?"),
        ("--content", "did you mean --content-weight or --content-mask-weight?"),
        ("--qiet", "did you mean --quiet?"),
        ("--style-wieght", "did you mean --style-weight?"),
        ("--iters", "did you mean --iterations?"),
        ("--device", ""),
        ("--epochs", "did you mean --iterations?"),
        ("--zzz", ""),
        ("--", ""),
        ("", ""),
    ],
)
def test_the_nearest_names_are_offered(word, offered):
    assert did_you_mean(word, OPTIONS) == offered
    python = [name.strip("-").replace("-", "_") for name in OPTIONS]
    wanted = offered.replace("--", "").replace("-", "_")
    assert did_you_mean(word.strip("-").replace("-", "_"), python) == wanted


@given(st.text(max_size=30))
def test_only_known_names_are_offered(word):
    offered = did_you_mean(word, OPTIONS)
    assert not offered or any(name in offered for name in OPTIONS)
