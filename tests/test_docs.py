"""The documentation: its sentences, pages and pictures are what the package makes."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pynst
from pynst.cli.parser import COMMANDS, parse
from pynst.images import load_image, read_picture
from pynst.images.masks import read_mask
from pynst.options import TransferOptions, with_changes
from pynst.record import pixels_sha256
from pynst.replay import read_record, replay

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

sys.path[:0] = [str(DOCS), str(ROOT / "tools")]
import build_docs  # noqa: E402
import pages  # noqa: E402
from gallery.pictures import FOLDER, INPUTS, PICTURES  # noqa: E402

# --- error sentences -----------------------------------------------------------------------------


def test_each_sentence_of_the_troubleshooting_stands_in_the_sources():
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    said = re.findall(r"^> (.*)$", text, re.M)
    known = pages.sentences()
    assert len(said) > 15
    missing = [each for each in said if not any(sentence.matches(each) for sentence in known)]
    assert not missing


@pytest.mark.parametrize(
    "provoke",
    [
        lambda: TransferOptions(image_size=-1),
        lambda: TransferOptions(content_weight=0, style_weight=0),
        lambda: with_changes(None, {"style_mask": 1}),
        lambda: load_image("missing.jpg"),
        lambda: load_image(np.full((4, 4, 3), 7.0)),
        lambda: read_record(FOLDER / "scene.jpg"),
    ],
)
def test_what_is_raised_is_on_the_page_of_all_sentences(provoke):
    with pytest.raises(pynst.PyNSTError) as caught:
        provoke()
    found = [each for each in pages.sentences() if each.matches(str(caught.value))]
    assert type(caught.value).__name__ in {each.error for each in found}
    assert all(each.text.replace("|", "\\|") in pages.errors_page() for each in found)


def test_every_sentence_is_of_a_class_that_the_page_explains():
    classes = {each.error for each in pages.sentences()}
    public = {name for name in pynst.__all__ if name.endswith("Error")}
    assert classes == public


# --- generated pages -----------------------------------------------------------------------------


def test_the_page_of_the_command_line_has_every_command_and_every_setting():
    text = pages.command_line_page()
    for name in COMMANDS:
        assert f"\n## pynst {name}\n" in text
    for name in TransferOptions.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text


def test_the_page_of_the_python_interface_has_every_public_name():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"auto\w+:: pynst\.(\w+)", text)) == set(pynst.__all__)


def test_a_page_is_written_only_where_it_changed(tmp_path):
    pages.write_all(tmp_path / "pages")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "pages").iterdir()}
    pages.write_all(tmp_path / "pages")
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(written) == 3


# --- gallery -------------------------------------------------------------------------------------


def test_the_gallery_is_small_and_has_no_other_picture():
    files = list(FOLDER.glob("*.jpg"))
    assert {path.stem for path in files} == {*INPUTS, *(each.name for each in PICTURES)}
    assert sum(path.stat().st_size for path in files) < 600_000


@pytest.mark.parametrize("each", PICTURES, ids=lambda each: each.name)
def test_a_picture_of_the_gallery_holds_the_record_of_its_command(each):
    """Its settings are those of the command below it, its pictures the ones that lie beside it."""
    record = read_record(FOLDER / f"{each.name}.jpg")
    given = parse(shlex.split(each.command)[1:])
    settings = {
        name: value for name, value in vars(given).items() if name in vars_of(record.options)
    }
    if given.command[0] == "stylize":
        wanted = with_changes(None, settings)
        # The formula's variables may be named in a record or not.
        assert record.options.over_pyramid() == wanted.over_pyramid()
        assert replace(record.options, variables=None) == replace(wanted, variables=None)
    for name, value in settings.items():
        assert getattr(record.options, name) == getattr(with_changes(None, {name: value}), name)
    for used in record.pictures:
        assert Path(used.path).parent == Path()
        read = read_mask if "mask" in used.name else read_picture
        pixels = read(FOLDER / used.path, used.name).pixels
        assert pixels_sha256(pixels.astype(float)) == used.sha256
    assert record.network == ("builtin" if "builtin" in each.command else "vgg19")


def vars_of(options) -> set[str]:
    return set(type(options).__dataclass_fields__)


def difference_from_replay(name: str, start: str) -> float:
    """How far a stored picture is from its replay, as a share of the way from the start.

    Another instruction set makes other pixels, and JPEG does too: to a few grey levels.
    """
    path = FOLDER / f"{name}.jpg"
    again = replay(read_record(path), beside=path).result.image / 255
    way = np.abs(again - load_image(FOLDER / f"{start}.jpg")).mean()
    return float(np.abs(again - load_image(path)).mean() / way)


def test_the_picture_of_the_built_in_filters_is_made_again_by_replay():
    assert difference_from_replay("filters", "scene") < 0.25


@pytest.mark.weights
@pytest.mark.slow
def test_a_picture_of_vgg19_is_made_again_by_replay(real_weights, monkeypatch):
    monkeypatch.setenv("PYNST_WEIGHTS", str(real_weights))
    assert difference_from_replay("cat-painted", "cat") < 0.25


# --- links ---------------------------------------------------------------------------------------


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"></p><a href="#here"></a><a href="b.html#top"></a>'
    )
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "template.html").write_text('<a href="{{ place }}"></a>')
    (tmp_path / "b.html").write_text('<a name="top"></a><img src="c.png"><a href="a.html#no"></a>')
    assert sorted(build_docs.broken_links(tmp_path)) == ["b.html: a.html#no", "b.html: c.png"]
    (tmp_path / "c.png").touch()
    (tmp_path / "b.html").write_text('<i id="top"></i><a href="https://example.org/x#y"></a>')
    assert list(build_docs.broken_links(tmp_path)) == []
