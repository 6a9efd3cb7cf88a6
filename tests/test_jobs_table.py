"""Tables of jobs, which come from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst import OptionError
from pynst.jobs.table import read_table


def table(tmp_path, data):
    path = tmp_path / "jobs.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_line_is_a_job_with_the_settings_of_its_columns(tmp_path):
    path = table(
        tmp_path,
        "content,style,output,style-weight,iterations,preserve_color,style_layers,image_size\n"
        "a.jpg,b.jpg|c.jpg,x/y.png,0.5,3+4,true,conv1_1+conv2_1=2,content\n"
        "\n"
        " d.jpg ,/e.jpg,,,,,,64\n",
    )
    first, second = read_table(path)
    assert (first.number, first.output) == (2, "x/y.png")
    assert first.content == str(tmp_path / "a.jpg")
    assert first.styles == (str(tmp_path / "b.jpg"), str(tmp_path / "c.jpg"))
    assert first.settings == {
        "style_weight": 0.5, "iterations": [3, 4], "preserve_color": True,
        "style_layers": ["conv1_1", "conv2_1=2"], "image_size": "content",
    }  # fmt: skip
    assert (second.number, second.styles, second.output) == (4, ("/e.jpg",), "")
    assert second.settings == {"image_size": 64}


def test_the_table_of_the_documentation_is_one(tmp_path):
    page = Path(__file__).parents[1] / "docs" / "batch.md"
    text = next(part for part in page.read_text().split("```\n") if part.startswith("content,"))
    first, second = read_table(table(tmp_path, text))
    assert first.settings == {"image_size": "content"}
    assert (len(second.styles), second.settings["style_weight"]) == (2, 0.5)


def test_masks_and_starts_lie_beside_the_table_as_the_pictures_do(tmp_path):
    path = table(
        tmp_path,
        "content,style,style_masks,keep_mask,init\na,b|c,m/sky.png+rest,/k.png,\nd,e,,,noise\n",
    )
    first, second = read_table(path)
    assert first.settings == {
        "style_masks": [str(tmp_path / "m/sky.png"), "rest"], "keep_mask": "/k.png",
    }  # fmt: skip
    assert second.settings == {"init": "noise"}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_write_other_delimiters_and_a_byte_order_mark(delimiter, tmp_path):
    text = "\ufeffcontent,style\r\na.jpg,b.jpg\r\n".replace(",", delimiter)
    (line,) = read_table(table(tmp_path, text))
    assert line.content == str(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "has no column content"),
        ("content\na.jpg\n", "has no column style; the first line names the columns"),
        ("content,style,seed,seed\n", "has two columns seed"),
        ("content,style,sede\n", r"line 1: unknown option 'sede'; did you mean seed\?"),
        ("content,style\na.jpg\n", "line 2: names no style"),
        ("content,style\n,b.jpg\n", "line 2: names no content"),
        ("content,style\na,b,c\n", "line 2: has 3 cells, the table 2 columns"),
        ("content,style,seed\na,b,many\n", "line 2: seed must be int, 0 to .*, got 'many'"),
        ("content,style,keep_alpha\na,b,1\n", "line 2: keep_alpha must be true or false, got '1'"),
        ('content,style\n"a,b\n', "damaged"),
        (b"content,style\n\xff\xfe,b\n", "must be a text in UTF-8"),
        ("content,style\na\0,b\n", "must be a text, got a null character"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(data, message, tmp_path):
    with pytest.raises(OptionError, match=rf"table .*jobs\.csv: {message}"):
        read_table(table(tmp_path, data))


def test_a_table_that_is_missing_or_huge_is_refused(tmp_path):
    with pytest.raises(OptionError, match="cannot be read: No such file"):
        read_table(tmp_path / "no.csv")
    path = table(tmp_path, "content,style\n")
    with path.open("r+b") as file:
        file.truncate(1 << 27)
    with pytest.raises(OptionError, match="must be at most 64 MB large"):
        read_table(path)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(
    lambda text: ("content,style,seed\n" + text).encode(errors="surrogatepass"))))  # fmt: skip
def test_any_file_is_read_or_refused_in_one_sentence(tmp_path, data):
    try:
        lines = read_table(table(tmp_path, data))
    except OptionError as error:
        assert "\n" not in str(error)
    else:
        assert all(line.content and line.styles for line in lines)
