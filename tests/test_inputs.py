"""The pictures of a run: read once, named, and complete or refused."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import picture

import pynst.images.pictures
import pynst.inputs
from pynst import ImageError, OptionError, TransferOptions, stylize
from pynst.inputs import read_inputs

CONTENT, STYLE, OTHER = picture(0, 40, 60), picture(1, 50, 30), picture(2, 30, 30)
FAST = {"network": "builtin", "image_size": 90, "iterations": 2, "levels": 1}


def test_every_picture_is_read_once_whatever_the_levels(monkeypatch):
    read, names = pynst.inputs.read_picture, []
    monkeypatch.setattr(
        pynst.inputs, "read_picture", lambda s, n, **k: names.append(n) or read(s, n, **k)
    )
    stylize(picture(0, 180, 200), [STYLE, OTHER], network="builtin", image_size=200, levels=2,
            iterations=1, init=OTHER)  # fmt: skip
    assert names == ["content", "style 1", "style 2", "init"]


def test_one_style_is_called_style_and_several_are_numbered_in_errors_record_and_notes(tmp_path):
    transparent = np.dstack([OTHER, np.full(OTHER.shape[:2], 0.5)])
    result = stylize(CONTENT, [transparent, STYLE], **FAST)
    assert [used.name for used in result.record.pictures] == ["content", "style 1", "style 2"]
    assert result.notes == ("style 1: alpha composited over white",)
    assert stylize(CONTENT, transparent, **FAST).notes == ("style: alpha composited over white",)
    with pytest.raises(ImageError, match=r"^style 1: no such file"):
        stylize(CONTENT, [tmp_path / "missing.png", STYLE], **FAST)
    long = picture(0, 20, 400)
    with pytest.raises(ImageError, match=r"^style 2: 90 x 5 pixels are too few for layer level5"):
        stylize(CONTENT, [STYLE, long], **FAST)


def test_the_shares_of_the_styles_add_up_to_one():
    inputs = read_inputs(CONTENT, [STYLE, OTHER], TransferOptions(style_blend=(3, 1)))
    assert [style.share for style in inputs.styles] == [0.75, 0.25]


def test_the_image_has_the_aspect_of_the_content_or_else_of_the_first_style():
    options = TransferOptions()
    assert read_inputs(CONTENT, STYLE, options).size(90) == (60, 90)
    assert read_inputs(None, [STYLE, OTHER], options).size(100) == (100, 60)


@pytest.mark.parametrize(
    ("content", "style", "options", "message"),
    [
        (None, None, {}, "content and style must not both be None"),
        (CONTENT, [], {}, "style must be at least one picture"),
        (None, STYLE, {"content_weight": 2}, r"content_weight=2.0 needs a content picture"),
        (CONTENT, None, {"style_weight": 2}, r"style_weight=2.0 needs a style picture"),
        (None, STYLE, {"preserve_color": True}, "preserve_color=True needs a content picture"),
        (None, STYLE, {"match_color": "cholesky"}, "match_color='cholesky' needs a content"),
        (CONTENT, None, {"match_color": "cholesky"}, "match_color='cholesky' needs a style"),
        (CONTENT, None, {"init": "style"}, "init='style' needs a style picture"),
        (CONTENT, None, {"style_blend": (1,)}, "each of the 0 style pictures, got 1"),
    ],
)
def test_what_belongs_to_a_missing_picture_is_refused(content, style, options, message):
    with pytest.raises((OptionError, ImageError), match=message):
        stylize(content, style, network="builtin", **options)


def test_each_style_has_its_own_scale_or_all_have_one():
    one = read_inputs(CONTENT, [STYLE, OTHER], TransferOptions(style_scale=1.5))
    assert [style.at(60) for style in one.styles] == [(90, 54), (90, 90)]
    each = read_inputs(CONTENT, [STYLE, OTHER], TransferOptions(style_scale=(1.5, 0.5)))
    assert [style.at(60) for style in each.styles] == [(90, 54), (30, 30)]
    assert TransferOptions(style_scale=[1.5]) == TransferOptions(style_scale=1.5)
