"""What a run tells on its way, and what it gives in the end."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from conftest import picture

import pynst
from pynst import ImageError, stylize

CONTENT, STYLE = picture(0, 40, 60), picture(1, 50, 40)
FAST = {"network": "builtin", "image_size": 80, "levels": 1, "iterations": 3}


@pytest.fixture(scope="module")
def result():
    return stylize(CONTENT, STYLE, **FAST)


def test_its_representation_is_one_line(result):
    text = repr(result)
    assert len(text) < 120
    assert text.startswith("<TransferResult 80 x 53, builtin, loss ")
    assert " after 3 evaluations in " in text


def test_a_stopped_result_says_why_in_its_representation():
    def stop(progress):
        raise StopIteration

    assert "stopped early: callback" in repr(stylize(CONTENT, STYLE, callback=stop, **FAST))


def test_it_is_an_array_of_bytes_or_of_floats(result):
    np.testing.assert_array_equal(np.asarray(result), result.image)
    np.testing.assert_array_equal(np.asarray(result, float), result.pixels)
    assert np.asarray(result, np.float32).dtype == np.float32
    assert np.asarray(result).dtype == np.uint8


def test_progress_and_result_can_be_pickled(result):
    seen = []
    stylize(CONTENT, STYLE, callback=seen.append, **FAST)
    for progress in seen:
        again = pickle.loads(pickle.dumps(progress))
        np.testing.assert_array_equal(again.image(), progress.image())
        assert (again.iteration, again.terms, again.left) == (
            progress.iteration, progress.terms, progress.left
        )  # fmt: skip
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).pixels, result.pixels)


@pytest.mark.parametrize("name", ["png", "jpg", "webp", "tif", "bmp"])
def test_it_is_saved_to_open_files(result, name):
    file = io.BytesIO()
    assert result.save(file, format=name) is None
    file.seek(0)
    loaded = pynst.load_image(file)
    assert np.abs(loaded - result.pixels).mean() < (0.05 if name == "webp" else 0.02)


def test_an_open_file_without_a_name_needs_the_format(result):
    with pytest.raises(ImageError, match="output: an open file needs format"):
        result.save(io.BytesIO())
