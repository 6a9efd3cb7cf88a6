"""Plans: names of outputs, and what is refused before the first picture."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from batches import make_pictures
from conftest import picture

import pynst
from pynst import ImageError, OptionError, TransferOptions
from pynst.jobs import plan as plans
from pynst.jobs.plan import Plan


def names(tmp_path, **settings):
    plan = Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out", **settings)
    return [job.name for job in plan.jobs()]


def test_names_are_made_of_content_and_style(tmp_path):
    make_pictures(tmp_path, 2, 1)
    assert names(tmp_path) == ["p0--a0.png", "p1--a0.png"]
    assert names(tmp_path, name="{style}/{content}.jpg") == ["a0/p0.jpg", "a0/p1.jpg"]
    other = names(tmp_path, name="{content}.{content_suffix}-{style_suffix}{{x}}.tif")
    assert other[0] == "p0.png-png{x}.tif"


def test_subfolders_become_part_of_the_name(tmp_path):
    make_pictures(tmp_path, 1, 1)
    (tmp_path / "photos" / "sub").mkdir()
    pynst.save_image(picture(0, 32, 32), tmp_path / "photos" / "sub" / "p0.png")
    assert names(tmp_path, recursive=True) == ["p0--a0.png", "sub/p0--a0.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{artist}.png", r"must be made of \{content\}, \{style\}"),
        ("{content.__class__}.png", "must be made of"),
        ("{content!r}.png", "must be made of"),
        ("{content:>9}.png", "must be made of"),
        ("{}.png", "must be made of"),
        ("{content.png", "name"),
        ("../{content}.png", "must be a path inside the output folder"),
        ("/{content}.png", "must be a path inside the output folder"),
        (".pynst/{content}.png", "must be a path inside the output folder"),
        ("{content}", "output: must end in .png"),
        ("{content}" + "x" * 300 + ".png", "cannot be: File name too long"),
        ("{content}.bmp", "holds no record"),
        ("same.png", "would both be written to .*same.png: tell them apart by name"),
        ("./{style}.png", "would both be written to"),
    ],
)
def test_names_that_cannot_be_are_refused(name, message, tmp_path):
    make_pictures(tmp_path, 2, 1)
    (tmp_path / "out").mkdir()
    with pytest.raises((OptionError, ImageError), match=message):
        names(tmp_path, name=name)


def test_16_bits_need_a_format_that_has_them(tmp_path):
    make_pictures(tmp_path, 1, 1)
    assert names(tmp_path, bits=16) == ["p0--a0.png"]
    with pytest.raises(ImageError, match="16 bits per channel need"):
        names(tmp_path, bits=16, name="{content}.jpg")


def test_two_inputs_with_one_stem_are_told_apart_by_their_suffix(tmp_path):
    make_pictures(tmp_path, 1, 1)
    pynst.save_image(picture(5, 36, 48), tmp_path / "photos" / "p0.jpg")
    with pytest.raises(OptionError, match=r"p0\.jpg with .*a0\.png and .*p0\.png with"):
        names(tmp_path)
    assert names(tmp_path, name="{content}-{content_suffix}--{style}.png") == [
        "p0-jpg--a0.png", "p0-png--a0.png",
    ]  # fmt: skip


def test_names_that_differ_by_case_alone_are_one_file_where_the_disk_has_it_so(
    tmp_path, monkeypatch
):
    make_pictures(tmp_path, 1, 1)
    pynst.save_image(picture(5, 36, 48), tmp_path / "photos" / "P0.png")
    assert len(names(tmp_path)) == 2
    monkeypatch.setattr(plans, "_ignores_case", lambda folder: True)
    with pytest.raises(OptionError, match="would both be written to"):
        names(tmp_path)


def test_no_output_overwrites_an_input(tmp_path):
    make_pictures(tmp_path, 1, 1)
    plan = Plan(
        tmp_path / "photos" / "p0.png", tmp_path / "art", tmp_path / "photos", "{content}.png"
    )
    with pytest.raises(OptionError, match=r"output .*p0\.png would overwrite an input"):
        plan.jobs()


def test_no_output_overwrites_a_mask(tmp_path):
    make_pictures(tmp_path, 1, 1)
    options = TransferOptions(keep_mask=tmp_path / "photos" / "p0.png")
    plan = Plan(tmp_path / "art", tmp_path / "art", tmp_path / "photos", "p0.png", options=options)
    with pytest.raises(OptionError, match=r"output .*p0\.png would overwrite an input"):
        plan.jobs()


def test_a_picture_may_be_as_large_as_its_content(tmp_path):
    make_pictures(tmp_path, 2, 1)
    pynst.save_image(picture(5, 70, 40), tmp_path / "photos" / "p1.png")
    plan = Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out", as_content=True)
    assert [job.options.image_size for job in plan.jobs()] == [48, 70]
    (tmp_path / "jobs.csv").write_text(
        "content,style,image_size\nphotos/p1.png,art/a0.png,content\nphotos/p0.png,art/a0.png,32\n"
    )
    plan = Plan(tmp_path / "jobs.csv", None, tmp_path / "out")
    assert [job.options.image_size for job in plan.jobs()] == [70, 32]


def test_lines_of_a_table_change_the_settings_of_all(tmp_path):
    (tmp_path / "jobs.csv").write_text(
        "content,style,output,seed\na.png,b.png|c.png,,7\nd,e,f.jpg,\n"
    )
    options = TransferOptions(seed=3, quality="draft")
    first, second = Plan(tmp_path / "jobs.csv", None, tmp_path / "out", options=options).jobs()
    assert (first.name, first.options) == ("a--b+c.png", replace(options, seed=7))
    assert (second.name, second.options) == ("f.jpg", options)
    (tmp_path / "jobs.csv").write_text("content,style,seed\na.png,b.png,-1\n")
    with pytest.raises(OptionError, match=r"jobs\.csv: line 2: seed must be .*got -1"):
        Plan(tmp_path / "jobs.csv", None, tmp_path / "out").jobs()


def test_without_styles_the_content_is_a_table(tmp_path):
    with pytest.raises(OptionError, match=r"style must be pictures or folders, or content a \.csv"):
        Plan(tmp_path, None, tmp_path / "out").jobs()


def test_the_key_of_a_job_is_that_of_its_work(tmp_path, monkeypatch):
    make_pictures(tmp_path, 1, 1)
    monkeypatch.chdir(tmp_path)
    (job,) = Plan("photos", "art", "out").jobs()
    (same,) = Plan(tmp_path / "photos", "art", "out", options=TransferOptions(threads=3)).jobs()
    assert job.key == same.key, "neither the spelling of a path nor threads change the picture"
    others = [replace(job, bits=16), replace(job, options=TransferOptions(seed=1)),
              replace(job, content="other.png"), replace(job, name="x.png")]  # fmt: skip
    assert len({job.key, *(other.key for other in others)}) == 5


def test_the_stamp_tells_that_a_picture_has_changed(tmp_path):
    make_pictures(tmp_path, 1, 1)
    (job,) = Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out").jobs()
    before = job.stamp()
    assert job.stamp() == before
    os.utime(tmp_path / "art" / "a0.png", ns=(1, 1))
    assert job.stamp() != before
    assert replace(job, content="a\0b").stamp().startswith("none ")


def test_the_stamp_tells_that_a_mask_has_changed(tmp_path):
    make_pictures(tmp_path, 1, 1)
    mask = tmp_path / "mask.png"
    options = TransferOptions(keep_mask=mask)
    (job,) = Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out", options=options).jobs()
    before = job.stamp()
    pynst.save_image(picture(3, 36, 48), mask)
    assert job.stamp() != before
    assert job.files[2:] == (str(mask),)
