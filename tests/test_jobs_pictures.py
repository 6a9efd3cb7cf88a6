"""Folders, patterns and files: which pictures a batch takes."""

from __future__ import annotations

import pytest

from pynst import ImageError
from pynst.jobs.pictures import find_pictures


@pytest.fixture
def photos(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.webp", ".thumbs/d.png",
                 "out/made.png", "sub/out2/e.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def labels(*words, folder, **settings):
    return [found.label for found in find_pictures(words, "content", folder, **settings)]


def test_a_folder_gives_its_pictures_by_name_without_hidden_ones(photos):
    assert labels(photos, folder=photos / "out") == ["a", "b"]


def test_subfolders_are_searched_when_asked_but_never_that_of_the_outputs(photos):
    found = labels(photos, folder=photos / "out", recursive=True)
    assert found == ["a", "b", "sub/c", "sub/out2/e"]


def test_patterns_leave_out_the_outputs_too(photos):
    assert labels(str(photos / "*.png"), folder=photos / "out") == ["b"]
    assert labels(str(photos / "**" / "*.png"), folder=photos / "out") == ["b", "e"]


def test_a_file_is_taken_whatever_its_name_and_each_picture_once(photos):
    found = labels(photos / "notes.txt", photos / "b.png", photos, folder=photos / "out")
    assert found == ["notes", "b", "a"]


def test_a_name_with_the_letters_of_a_pattern_is_that_file(photos):
    (photos / "x[1].png").write_bytes(b"x")
    assert labels(str(photos / "x[1].png"), folder=photos / "out") == ["x[1]"]


def test_the_suffix_is_as_the_file_has_it(photos):
    (found,) = find_pictures([photos / "a.JPG"], "content", photos / "out")
    assert (found.label, found.suffix) == ("a", "JPG")


@pytest.mark.parametrize(
    ("word", "message"),
    [("missing", "no such file or folder: .*missing"), ("*.tif", r"no picture is found in .*\.tif"),
     (".thumbs/empty", "no picture is found in"), ("", "no such file or folder")],
)  # fmt: skip
def test_a_word_without_a_picture_is_an_error(word, message, photos):
    (photos / ".thumbs" / "empty").mkdir()
    with pytest.raises(ImageError, match=f"style: {message}"):
        find_pictures([str(photos / word) if word else ""], "style", photos / "out")


def test_the_folder_of_the_outputs_is_no_folder_of_inputs(photos):
    (photos / "link").symlink_to(photos / "sub")
    with pytest.raises(ImageError, match="is also the folder of the outputs"):
        find_pictures([photos / "link"], "content", photos / "sub")


def test_a_folder_that_links_to_itself_ends(photos):
    (photos / "sub" / "loop").symlink_to(photos)
    assert labels(photos / "sub", folder=photos / "out", recursive=True) == ["c", "out2/e"]
