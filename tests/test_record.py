"""Records: what a result tells of its run comes back from the file it is saved in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st

import pynst
from pynst import PyNSTError, RecordError, TransferOptions, stylize
from pynst.record import Record
from pynst.replay import read_record

CONTENT, STYLE = picture(0, 70, 90), picture(1, 80, 66)
FAST = {"network": "builtin", "image_size": 90, "iterations": 5}


@pytest.fixture
def paths(tmp_path):
    """Content and style as files."""
    for name, pixels in (("content.png", CONTENT), ("style.png", STYLE)):
        pynst.save_image(pixels, tmp_path / name)
    return tmp_path / "content.png", tmp_path / "style.png"


def test_threads_change_no_bit_and_are_no_difference():
    results = [stylize(CONTENT, STYLE, threads=count, **FAST).record for count in (1, 2)]
    assert results[0].backend != results[1].backend
    assert results[0].pixels_sha256 == results[1].pixels_sha256
    assert not results[0].other_programs(results[1])


def test_only_programs_that_a_result_depends_on_are_compared():
    class Unwalked(dict):
        def walked(self, *_):
            raise AssertionError("a file decides how long this is")

        __iter__ = keys = items = values = walked

    own = stylize(CONTENT, STYLE, **FAST).record
    others = {f"package {number}": "1" for number in range(1000)}
    named = {name: version for name, version in own.versions.items() if name != "scipy"}
    record = replace(own, versions=Unwalked({**others, **named, "numpy": "0.1"}))
    assert record.other_programs(own) == (
        f"numpy: the record has 0.1, this run {own.versions['numpy']}",
        f"scipy: the record has none, this run {own.versions['scipy']}",
    )


def test_a_result_may_be_saved_without_its_record(paths, tmp_path):
    result = stylize(*paths, **FAST)
    with pytest.raises(RecordError, match="holds no record"):
        read_record(result.save(tmp_path / "out.png", record=False))
    with pytest.raises(RecordError, match="holds no record"):
        read_record(paths[0])


def test_the_notes_of_the_pictures_are_kept(tmp_path):
    import PIL.Image

    frames = [PIL.Image.new("RGB", (60, 50), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "style.gif", save_all=True, append_images=frames[1:])
    PIL.Image.new("CMYK", (60, 50), (10, 80, 20, 0)).save(tmp_path / "content.jpg")
    result = stylize(tmp_path / "content.jpg", tmp_path / "style.gif", **FAST)
    assert result.notes == (
        "content: converted from CMYK without an ICC profile: colours are approximate",
        "style: animated: first of 3 frames used",
    )
    assert read_record(result.save(tmp_path / "out.png")).pictures == result.record.pictures


def test_transparency_is_kept_where_the_format_has_it(tmp_path):
    alpha = np.ones((70, 90))
    alpha[:, :45] = 0.25
    rgba = np.dstack([CONTENT, alpha])
    result = stylize(rgba, STYLE, **FAST)
    assert result.alpha.shape == (70, 90)
    for suffix in (".png", ".webp", ".tif"):
        loaded = pynst.images.pictures.read_picture(result.save(tmp_path / f"out{suffix}"), "image")
        np.testing.assert_allclose(loaded.alpha, alpha, atol=0.01)
    opaque = pynst.images.pictures.read_picture(result.save(tmp_path / "out.jpg"), "image")
    assert opaque.alpha is None
    assert stylize(rgba, STYLE, keep_alpha=False, **FAST).alpha is None
    assert stylize(CONTENT, STYLE, **FAST).alpha is None


@pytest.mark.parametrize("method", ["cholesky", "symmetric"])
def test_the_style_is_matched_to_the_colours_of_the_content(method):
    from pynst.images.color import match_color

    matched = stylize(CONTENT, STYLE, match_color=method, **FAST)
    by_hand = stylize(CONTENT, match_color(STYLE, CONTENT, method), **FAST)
    np.testing.assert_array_equal(matched.pixels, by_hand.pixels)
    assert np.any(matched.pixels != stylize(CONTENT, STYLE, **FAST).pixels)
    settings = {"network": "builtin", "image_size": 90}
    values = [
        pynst.Objective(CONTENT, style, **settings, match_color=way)(CONTENT)[0]
        for style, way in ((STYLE, method), (match_color(STYLE, CONTENT, method), "none"))
    ]
    assert values[0] == values[1]


# ---- JSON ----------------------------------------------------------------------------------------


def record_of(options):
    return Record(
        options=options, pictures=(), network="builtin", weights_source="", weights_sha256="",
        backend="cpu", versions={"pynst": "1"}, evaluations=(3, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        TransferOptions(),
        TransferOptions.paper(weights="w.npz", image_size=300),
        TransferOptions(style_layers={"level1": 2, "level2": 0.125}, style_blend=(1, 2.5)),
        TransferOptions(iterations=(3, 4), minutes=0.1, tolerance=1e-3, normalised=True),
    ],
    ids=["default", "paper", "layers", "numbers"],
)
def test_settings_survive_the_metadata(options):
    record = record_of(options)
    back = Record.from_metadata(json.loads(json.dumps(record.to_metadata())))
    assert back.to_json() == record.to_json()
    for name in TransferOptions.__dataclass_fields__:
        assert getattr(back.options, name) == getattr(options, name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*Record.__dataclass_fields__, "more"]), VALUES, max_size=4))
def test_anything_in_a_record_is_taken_or_refused_with_a_record_error(changes):
    data = {**record_of(TransferOptions()).to_json(), **changes}
    try:
        record = Record.from_json(data)
        Record.from_metadata(record.to_metadata())
    except PyNSTError as error:
        assert isinstance(error, RecordError)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=30), max_size=5))
def test_anything_in_the_metadata_is_refused_with_a_record_error(metadata):
    with pytest.raises(RecordError):
        Record.from_metadata(metadata)
