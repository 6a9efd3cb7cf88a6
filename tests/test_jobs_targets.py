"""Targets that jobs share are made once, and no job gets those of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from batches import SMALL, make_pictures
from conftest import picture, tiny_vgg19

import pynst
from pynst.jobs import targets
from pynst.jobs.plan import Plan
from pynst.jobs.work import Workplace
from pynst.losses.content import ContentTerm
from pynst.losses.style import GramTerm
from pynst.networks.tiling import tiled


@pytest.fixture
def made(monkeypatch):
    """Which targets are made."""
    found = []
    for kind in (ContentTerm, GramTerm):

        def at(self, network, inputs, H, W, real=kind.at):
            found.append(self.name)
            return real(self, network, inputs, H, W)

        monkeypatch.setattr(kind, "at", at)
    return found


def run(jobs):
    """Have one workplace do jobs after each other."""
    workplace = Workplace()
    (jobs[0].output.parent / ".pynst").mkdir(parents=True)
    for job in jobs:
        assert workplace.do(job, lambda progress: None).state == "done"


def check(jobs):
    """Each picture equals that of a run of its own, to the bit."""
    for job in jobs:
        single = pynst.stylize(job.content, list(job.styles), job.options)
        np.testing.assert_array_equal(pynst.load_image(job.output), single.image / 255)


def plan(tmp_path, contents, styles, **changes):
    make_pictures(tmp_path, contents, styles)
    options = pynst.TransferOptions(**SMALL | changes)
    return Plan(tmp_path / "photos", tmp_path / "art", tmp_path / "out", options=options).jobs()


def test_a_style_that_photographs_share_is_read_once(tmp_path, made):
    jobs = plan(tmp_path, 3, 1)
    run(jobs)
    assert made == ["content", "style", "content", "content"]
    check(jobs)


def test_a_content_with_several_styles_is_read_once(tmp_path, made):
    jobs = plan(tmp_path, 1, 3)
    run(jobs)
    assert made == ["content", "style", "style", "style"]
    check(jobs)


def test_matched_colours_belong_to_both_pictures(tmp_path, made):
    jobs = plan(tmp_path, 2, 1, match_color="cholesky")
    run(jobs)
    assert made == ["content", "style"] * 2
    check(jobs)


def test_other_settings_sizes_and_pictures_make_others(tmp_path, made):
    first, second = plan(tmp_path, 2, 1)
    pynst.save_image(picture(3, 48, 48), second.content)  # another aspect, so that sizes differ
    third = replace(second, options=replace(second.options, style_weight=3.0), name="third.png")
    jobs = [first, second, third]
    run(jobs)
    assert made == ["content", "style"] * 3
    check(jobs)


def test_targets_of_large_images_are_not_kept(tmp_path, made, monkeypatch):
    monkeypatch.setattr(targets, "_LARGEST", 1000)
    jobs = plan(tmp_path, 1, 2)
    run(jobs)
    assert made == ["content", "style"] * 2
    check(jobs)


def test_a_run_in_tiles_has_targets_of_its_own():
    class Term:
        name = "content"

        def at(self, network, inputs, H, W):
            return object()

    memory, network = targets.TargetMemory(), tiny_vgg19()
    keeping = targets._Keeping(Term(), "key", memory)
    found = [keeping.at(each, None, 96, 96) for each in (network, tiled(network, 64))]
    memory._before, memory._now = memory._now, {}
    again = [keeping.at(each, None, 96, 96) for each in (network, tiled(network, 64))]
    assert again == found
    assert found[0] is not found[1]
    assert keeping.at(tiled(network, 32), None, 96, 96) not in found
