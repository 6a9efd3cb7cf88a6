"""Sheets of pictures: each in its place and of its size, and what is no picture is refused."""

import numpy as np
import pytest

from pynst.demo import compose_sheet, compose_triptych
from pynst.errors import ImageError


def test_triptych_keeps_the_result_and_gives_all_pictures_its_size():
    rng = np.random.default_rng(0)
    content, style, result = (
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((60, 80), (90, 50), (33, 45))
    )
    triptych = compose_triptych(content, style, result)
    assert triptych.dtype == np.uint8
    assert triptych.shape == (33, 3 * 45 + 2 * 2, 3)
    assert np.array_equal(triptych[:, -45:], result)
    assert (triptych[:, 45:47] == 255).all()
    assert (triptych[:, 92:94] == 255).all()


def test_triptych_cuts_the_style_evenly_and_keeps_its_colours():
    style = np.full((40, 200, 3), (10, 200, 90), np.uint8)
    style[:, :50], style[:, 150:] = 255, 0  # only the middle 50 columns and a bit fit
    plain = np.full((80, 100, 3), 77, np.uint8)
    panel = compose_triptych(plain, style, plain)[:, 102:202]
    assert (panel == (10, 200, 90)).all()


def test_triptych_averages_when_it_shrinks():
    checks = np.indices((200, 200)).sum(axis=0) % 2 * np.uint8(200)
    content = np.repeat(checks[..., None].astype(np.uint8), 3, axis=2)
    small = np.zeros((20, 20, 3), np.uint8)
    panel = compose_triptych(content, small, small)[:, :20]
    assert np.abs(panel.astype(int) - 100).max() <= 2


@pytest.mark.parametrize(
    ("bad", "described"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 of shape \(8, 8\)"),
        (np.zeros((8, 8, 3)), r"float64 of shape \(8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 of shape \(0, 8, 3\)"),
    ],
)
def test_triptych_refuses_what_is_not_an_rgb_picture(bad, described):
    good = np.zeros((8, 8, 3), np.uint8)
    wanted = rf"^compose_triptych: style must be uint8 of shape \(H, W, 3\), got {described}$"
    with pytest.raises(ImageError, match=wanted):
        compose_triptych(good, bad, good)


def test_a_sheet_of_two_rows_shows_each_picture_in_its_place():
    colours = [10, 60, 110, 160]
    pictures = [np.full((40, 50, 3), colour, np.uint8) for colour in colours[:3]]
    pictures.append(np.full((33, 45, 3), colours[3], np.uint8))
    sheet = compose_sheet([pictures[:2], pictures[2:]])
    assert sheet.shape == (2 * 33 + 2, 2 * 45 + 2, 3)
    places = [(y, x) for y in (0, 35) for x in (0, 47)]
    for (y, x), colour in zip(places, colours, strict=True):
        assert (sheet[y : y + 33, x : x + 45] == colour).all()
    assert (sheet[33:35] == 255).all()
    assert (sheet[:, 45:47] == 255).all()


def test_a_triptych_is_a_sheet_of_one_row():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(3)]
    assert np.array_equal(compose_triptych(*pictures), compose_sheet([pictures]))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "rows must be equally many pictures each, got none"),
        ([[], []], "rows must be equally many pictures each, got 0, 0"),
        ([[0, 0], [0]], "rows must be equally many pictures each, got 2, 1"),
    ],
)
def test_a_sheet_of_uneven_rows_is_refused(rows, complaint):
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ImageError, match=f"^compose_sheet: {complaint}$"):
        compose_sheet([[picture for _ in row] for row in rows])


def test_a_sheet_names_the_picture_that_is_none():
    good = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ImageError, match=r"^compose_sheet: picture 3 must be uint8 of shape"):
        compose_sheet([[good, good], [good[..., 0], good]])
