"""Replays: a saved result is made again from its record, to the last bit."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from conftest import MEAN, picture, tiny_convolutions

import pynst
from pynst import ImageError, Interrupted, RecordError, stylize
from pynst.replay import read_record, replay

CONTENT, STYLE = picture(0, 70, 90), picture(1, 80, 66)


FAST = {"network": "builtin", "image_size": 90, "iterations": 5}


@pytest.fixture
def paths(tmp_path):
    """Content and style as files."""
    for name, pixels in (("content.png", CONTENT), ("style.png", STYLE)):
        pynst.save_image(pixels, tmp_path / name)
    return tmp_path / "content.png", tmp_path / "style.png"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_saved_result_can_be_made_again_to_the_last_bit(paths, tmp_path, suffix):
    options = {"style_layers": {"level1": 2, "level2": 1}, "tv_weight": 0.1, "seed": 7}
    result = stylize(*paths, init="noise", preserve_color=True, **options, **FAST)
    record = read_record(result.save(tmp_path / f"out{suffix}"))
    assert (record.network, record.backend) == ("builtin", result.backend)
    assert record.picture("content").source == str(paths[0])
    again = replay(record)
    assert again.same
    assert not again.differences
    np.testing.assert_array_equal(again.result.pixels, result.pixels)


def test_a_run_in_tiles_is_repeated_in_the_same_tiles_whatever_limit_it_had(paths, tmp_path):
    options = {"style_layers": ["level1", "level2"], "content_layers": "level2"}
    options |= {"network": "builtin", "image_size": 150, "iterations": 5}
    result = stylize(*paths, tile=64, pairs=4, memory="100G", **options)
    again = replay(read_record(result.save(tmp_path / "out.png")))
    assert again.same
    assert (again.result.options.tile, again.result.options.pairs) == (64, 4)
    assert again.result.options.memory is None


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "scipy"])
def test_a_run_that_was_stopped_is_repeated_as_far_as_it_went(paths, tmp_path, optimizer):
    def stop(progress):
        if (progress.level, progress.iteration) == (1, 4):
            raise StopIteration

    result = stylize(*paths, callback=stop, optimizer=optimizer, network="builtin",
                     image_size=180, levels=2, iterations=9)  # fmt: skip
    assert result.stopped_early == "callback"
    again = replay(read_record(result.save(tmp_path / "out.png")))
    assert again.same
    assert again.result.pixels.shape == result.pixels.shape


def test_an_interrupted_run_is_repeated_too(paths, tmp_path):
    def stop(progress):
        if (progress.level, progress.iteration) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        stylize(*paths, callback=stop, network="builtin", image_size=180, levels=2, iterations=5)
    assert replay(read_record(caught.value.result.save(tmp_path / "out.png"))).same


def test_arrays_have_to_be_given_again(tmp_path):
    start = picture(3, 50, 60)
    result = stylize(CONTENT, [STYLE, CONTENT], init=start, **FAST)
    record = read_record(result.save(tmp_path / "out.png"))
    with pytest.raises(RecordError, match="content: the record names no file; give the picture"):
        replay(record)
    with pytest.raises(RecordError, match="init: the record names no file"):
        replay(record, CONTENT, [STYLE, CONTENT])
    assert replay(record, CONTENT, [STYLE, CONTENT], start).same
    with pytest.raises(RecordError, match="style 2: array is not the picture of the record"):
        replay(record, CONTENT, [STYLE, STYLE], start)


def test_the_weights_are_recorded_and_compared(paths, tmp_path, monkeypatch):
    import pynst.networks.open
    from pynst.weights import VGG19Weights

    weights = [
        VGG19Weights(convolutions=tiny_convolutions(seed), mean=MEAN, source=f"random {seed}")
        for seed in (0, 1)
    ]
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights[0])
    result = stylize(*paths, image_size=64, iterations=3, levels=1)
    assert (result.network, result.weights_source) == ("vgg19", "random 0, training: unknown")
    assert result.weights_sha256 == weights[0].sha256
    record = read_record(result.save(tmp_path / "out.png"))
    assert record.weights_sha256 == weights[0].sha256
    assert replay(record).same
    monkeypatch.setattr(pynst.networks.open, "open_weights", lambda *_: weights[1])
    with pytest.raises(RecordError, match="weights: the record has"):
        replay(record)


def test_another_backend_is_said(paths, tmp_path):
    result = stylize(*paths, backend="reference", network="builtin", image_size=40, iterations=2)
    record = read_record(result.save(tmp_path / "out.png"))
    from dataclasses import replace

    again = replay(replace(record, options=replace(record.options, backend="cpu")))
    assert not again.same
    assert again.differences[0].startswith("backend: the record has reference, this run cpu")


@pytest.mark.parametrize("counts", [(), (0,), (5, 0), (1,) * 40, (3, 3)], ids=str)
def test_a_record_with_other_levels_than_its_settings_make_is_refused(counts):
    from dataclasses import replace

    record = stylize(CONTENT, STYLE, **FAST).record
    with pytest.raises(RecordError, match=r"the record is of \d+ levels, its settings make 1"):
        replay(replace(record, evaluations=counts), CONTENT, STYLE)


STRANGE = {
    "narrow space": "Screenshot 2026-11-29 at 5.30.00\u202fPM.png",
    "wide space": "a\u3000b.png",
    "joiner": "a\u200db.png",
    "newline": "a\nb.png",
    "no UTF-8": os.fsdecode(b"a\xff\xfeb.png"),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_pictures_of_any_name_are_found_again(tmp_path, kind, suffix):
    content = tmp_path / STRANGE[kind]
    pynst.save_image(CONTENT, content)
    result = stylize(content, STYLE, **FAST)
    record = read_record(result.save(tmp_path / f"out{suffix}"))
    assert record.picture("content").path == str(content)
    assert record.picture("content").source.isprintable()
    assert replay(record, style=STYLE).same


def test_pictures_are_looked_for_beside_the_result(paths, tmp_path):
    result = stylize(*paths, **FAST)
    moved = tmp_path / "moved"
    moved.mkdir()
    out = result.save(moved / "out.png")
    for path in paths:
        path.rename(moved / path.name)
    with pytest.raises(ImageError, match="content: no such file"):
        replay(read_record(out))
    assert replay(read_record(out), beside=out).same


def test_a_picture_that_the_record_has_must_not_be_missing(paths, tmp_path):
    record = read_record(stylize(*paths, **FAST).save(tmp_path / "out.png"))
    one, two = (replace(record.pictures[1], name=f"style {i}") for i in (1, 2))
    several = replace(record, pictures=(record.pictures[0], one, two))
    with pytest.raises(RecordError, match=r"style 1: the record has .*, this run has none"):
        replay(several, style=paths[1])


def test_a_texture_and_a_reconstruction_are_repeated_too(paths, tmp_path):
    for pictures in ((None, paths[1]), (paths[0], None)):
        result = stylize(*pictures, init="noise", **FAST)
        assert replay(read_record(result.save(tmp_path / "out.png"))).same
