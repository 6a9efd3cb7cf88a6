"""The files that settings name: paths are told from words and from pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pynst import TransferOptions
from pynst.jobs.files import paths_of, with_paths

MASK = np.ones((3, 4))


def test_paths_are_changed_and_words_and_pictures_are_not():
    settings = {
        "style_masks": ["sky.png", "rest", "all", MASK], "style_source_masks": ["all", "rest"],
        "content_mask": Path("face.png"), "keep_mask": MASK, "regions": None, "init": "noise",
        "weights": "vgg.npz", "quality": "fine", "seed": 3,
    }  # fmt: skip
    changed = with_paths(settings, lambda path: f"there/{path}")
    assert changed.pop("keep_mask") is MASK
    assert changed["style_masks"].pop() is MASK
    assert changed == {
        "style_masks": ["there/sky.png", "rest", "all"],
        "style_source_masks": ["all", "there/rest"],
        "content_mask": "there/face.png", "init": "noise", "weights": "there/vgg.npz",
    }  # fmt: skip
    assert with_paths({"init": "start.png"}, str.upper) == {"init": "START.PNG"}


def test_the_paths_of_settings_are_those_of_files_alone():
    assert paths_of(TransferOptions()) == []
    options = TransferOptions(
        init="start.png", style_masks=("sky.png", "rest"), keep_mask=MASK, weights="vgg.npz"
    )
    assert paths_of(options) == ["start.png", "sky.png", "vgg.npz"]
