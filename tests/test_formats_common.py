"""What all readers share: sizes that are refused before memory is taken, and text of any kind."""

from __future__ import annotations

import io

import pytest

from pynst.formats.common import DamagedFile, checked_size, read_exactly, show


@pytest.mark.parametrize(
    ("shape", "size"), [((), 4), ((0, 5), 0), ((2, 3), 24), ((1,) * 8, 4), ((1 << 38,), 1 << 40)]
)
def test_the_size_of_an_array_is_that_of_its_numbers(shape, size):
    assert checked_size(shape, 4, "x") == size


@pytest.mark.parametrize(
    "shape", [(-1,), (3, -2), (1,) * 9, ((1 << 38) + 1,), (1 << 62, 1 << 62), (10**400,)]
)
def test_a_shape_that_no_file_has_is_refused_in_a_short_line(shape):
    with pytest.raises(DamagedFile, match=r"^damaged: the array 'w' ") as refused:
        checked_size(shape, 4, "the array 'w'")
    assert len(str(refused.value)) < 200


def test_exactly_the_bytes_that_are_asked_for_are_read():
    file = io.BytesIO(b"abcdef")
    assert read_exactly(file, 4, "x") == b"abcd"
    with pytest.raises(DamagedFile, match="truncated: the header needs 3 bytes, 2 are left"):
        read_exactly(file, 3, "the header")


def test_a_size_below_zero_is_not_all_there_is():
    with pytest.raises(DamagedFile, match="claims to have -1 bytes"):
        read_exactly(io.BytesIO(b"abcdef"), -1, "x")


@pytest.mark.parametrize("value", ["é\x1b[31m\n", b"\x00" * 999, list(range(999)), "\ud800"])
def test_anything_is_shown_in_one_short_line_of_ascii(value):
    text = show(value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 80
