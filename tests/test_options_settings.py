"""Settings: every wrong one is refused in one sentence that names it."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst import OptionError, TransferOptions
from pynst.options import GROUPS, describe, with_changes
from pynst.options.formulas import FORMULAS

WRONG = [
    ({"style_wieght": 1}, r"unknown option 'style_wieght'; did you mean style_weight\?"),
    ({"zzz": 1}, "unknown option 'zzz'; the fields of TransferOptions are known"),
    ({"style_weight": -1.0}, r"style_weight must be a number of at least 0, got -1\.0"),
    ({"style_weight": float("nan")}, "style_weight must be a number"),
    ({"style_weight": "much"}, "style_weight must be a number of at least 0, got 'much'"),
    ({"content_weight": True}, "content_weight must be a number"),
    ({"content_weight": 0, "style_weight": 0}, "must not both be 0"),
    ({"image_size": 15}, "image_size must be a whole number from 16 to 32768, got 15"),
    ({"image_size": 99.5}, "image_size must be a whole number"),
    ({"iterations": []}, "iterations must not be empty"),
    ({"iterations": [5, 0]}, "iterations must be a whole number"),
    ({"iterations": None, "levels": 0}, "levels must be a whole number"),
    ({"formula": "gatsy"}, "formula must be one of balanced, gentle, strong, paper"),
    ({"network": 3}, "network must be one of auto, vgg19, builtin, got 3"),
    ({"style_loss": "sliced"}, "style_loss must be of gram, wasserstein, neighbours, got 'sliced'"),
    ({"style_loss": ["gram=0"]}, "style_loss must name at least one loss with a positive weight"),
    ({"style_loss": {"gram": -1}}, "style_loss: weight of gram must be a number of at least 0"),
    ({"style_loss": ["gram", "gram=2"]}, "style_loss names a loss twice"),
    ({"style_loss": 3}, "style_loss must be loss names, got 3"),
    (
        {"style_loss": "wasserstein", "formula": "paper"},
        r"needs a formula whose terms are relative .*\(balanced, gentle, strong\), got .*'paper'",
    ),
    ({"style_layers": []}, "style_layers must name at least one layer"),
    ({"style_layers": {"relu1_1": 0}}, "style_layers must name at least one layer"),
    ({"style_layers": {"relu1_1": -1}}, "style_layers: weight of relu1_1 must be"),
    ({"style_layers": ["relu1_1", "conv1_1"]}, "style_layers names a layer twice"),
    ({"style_layers": 7}, "style_layers must be layer names, got 7"),
    ({"style_layers": [7]}, "style_layers must be layer names, got 7"),
    ({"style_blend": (0, 0)}, "style_blend must have at least one positive weight"),
    ({"weights": 3}, "weights must be a path, got 3"),
    ({"weights": ""}, "weights must be a path"),
    ({"init": 3}, "init must be content, style, noise or an image, got 3"),
    ({"preserve_color": "yes"}, "preserve_color must be True or False, got 'yes'"),
    ({"seed": -1}, "seed must be a whole number"),
    ({"threads": 0}, "threads must be a whole number"),
    ({"minutes": -1}, "minutes must be a number of at least 0"),
    ({"tolerance": 2}, "tolerance must be a number from 0 to 1, got 2"),
    ({"network": np.zeros(3)}, "network must be one of auto, vgg19, builtin, got array"),
    ({"network": ["auto"]}, "network must be one of auto, vgg19, builtin, got \\['auto'\\]"),
    ({"preserve_color": np.zeros(3)}, "preserve_color must be True or False, got array"),
    ({"preserve_color": 2}, "preserve_color must be True or False, got 2"),
    ({"style_weight": np.array([3.0])}, r"style_weight must be a number of at least 0, got array"),
    ({"style_weight": b"3"}, "style_weight must be a number of at least 0, got b'3'"),
    ({"style_weight": 10**400}, "style_weight must be a number of at least 0, got 1000"),
    ({"seed": 10**5000}, "seed must be a whole number .*, got a number of thousands of digits"),
    ({"style_layers": np.zeros((50, 50))}, "style_layers must be layer names, got array"),
    ({"iterations": {}}, "iterations must not be empty"),
    ({"iterations": "many"}, "iterations must be one value or a list of them, got 'many'"),
    ({"iterations": object}, "iterations must be one value or a list of them, got <class"),
    ({"memory": "much"}, "memory must be like 4G or 500M, got 'much'"),
    ({"memory": 0}, "memory must be like 4G or 500M, got 0"),
    ({"memory": "-4G"}, "memory must be like 4G or 500M, got '-4G'"),
    ({"tile": 63}, "tile must be 'auto', None or a whole number from 64 to 32768, got 63"),
    ({"tile": "large"}, "tile must be 'auto', None or a whole number from 64 to 32768, got 'lar"),
    ({"tile": np.zeros(2)}, "tile must be 'auto', None or a whole number"),
    ({"pairs": 2}, "pairs must be a whole number from 3 to 10, got 2"),
    ({"pair_precision": "some"}, "pair_precision must be one of full, half, got 'some'"),
    ({"style_blend": "x" * 10**6}, "style_blend must be one value or a list of them, got 'xxx"),
]


@pytest.mark.parametrize(
    ("changes", "message"), WRONG, ids=lambda value: value[:60] if isinstance(value, str) else ""
)
def test_a_wrong_setting_is_refused_in_one_sentence(changes, message):
    with pytest.raises(OptionError, match=message) as caught:
        with_changes(None, changes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "value", "clean"),
    [
        ("iterations", np.int64(5), (5,)),
        ("iterations", np.array([5, 7]), (5, 7)),
        ("iterations", np.array(5), (5,)),
        ("iterations", range(1, 4), (1, 2, 3)),
        ("image_size", np.float32(64), 64),
        ("style_weight", Fraction(1, 2), 0.5),
        ("preserve_color", np.True_, True),
        ("preserve_color", 1, True),
        ("memory", "6 GB", 6 * 10**9),
        ("memory", np.int64(500), 500),
        ("memory", "1.5GiB", 15 * 10**8),
        ("tile", "none", None),
        ("tile", np.int64(512), 512),
        ("tile", "auto", "auto"),
        ("weights", Path("a/b.npz"), str(Path("a/b.npz"))),
        ("style_layers", [["relu1_1", 2]], (("relu1_1", 2.0),)),
        ("style_loss", "gram", (("gram", 1.0),)),
        ("style_loss", ["gram=1", "neighbours=3"], (("gram", 0.25), ("neighbours", 0.75))),
        ("style_loss", {"gram": 0, "wasserstein": 5}, (("wasserstein", 1.0),)),
    ],
    ids=str,
)
def test_what_means_the_same_is_taken(name, value, clean):
    found = getattr(TransferOptions(**{name: value}), name)
    assert found == clean
    assert type(found) is type(clean)


def test_options_of_another_type_are_refused():
    with pytest.raises(OptionError, match="options must be a TransferOptions, got dict"):
        with_changes({"seed": 1}, {})


def test_layers_may_be_names_words_or_a_mapping():
    wanted = (("relu1_1", 1.0), ("relu4_2", 2.5))
    for given_layers in (["conv1_1", "relu4_2=2.5"], {"relu1_1": 1, "conv4_2": 2.5}, wanted):
        assert TransferOptions(style_layers=given_layers).style_layers == wanted
    assert TransferOptions(content_layers="conv4_2").content_layers == (("relu4_2", 1.0),)


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 512, 2**63 - 1])
def test_large_whole_numbers_are_kept_to_the_last_digit(seed):
    assert TransferOptions(seed=seed).seed == seed
    with pytest.raises(OptionError, match="from 0 to 9223372036854775807, got 9223372036854775808"):
        TransferOptions(seed=2**63)


def test_changes_keep_what_they_do_not_name():
    options = with_changes(TransferOptions(seed=5), {"iterations": 7})
    assert (options.seed, options.iterations) == (5, (7,))


def test_the_schedule_follows_quality_levels_and_iterations():
    assert TransferOptions().schedule(3) == (36, 22, 15)
    assert TransferOptions().schedule(5) == (36, 22, 15, 15, 15)
    assert TransferOptions(quality="draft").schedule(2) == (24, 14)
    assert TransferOptions().schedule(3, 0.8) == (36, 29, 29)
    assert TransferOptions(levels=1).schedule(1) == (73,), "one size does the work of all"
    assert TransferOptions(iterations=9).schedule(3) == (9, 9, 9)
    assert TransferOptions(iterations=(3, 2)).schedule(2) == (3, 2)
    with pytest.raises(OptionError, match="one for each of the 3 levels, got 2"):
        TransferOptions(iterations=(3, 2)).schedule(3)


def test_the_papers_setting():
    options = TransferOptions.paper(image_size=300)
    assert (options.formula, options.network, options.init, options.levels) == (
        "paper", "vgg19", "noise", 1,
    )  # fmt: skip
    assert FORMULAS["paper"].normalised
    assert FORMULAS["paper"].pooling == "average"


@given(
    st.dictionaries(
        st.sampled_from([*TransferOptions.__dataclass_fields__, "nonsense"]),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
            st.binary(max_size=3),
            st.lists(st.one_of(st.integers(), st.text(max_size=3), st.floats()), max_size=3),
            st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_any_setting_is_taken_or_refused_with_an_option_error(changes):
    try:
        options = with_changes(None, changes)
    except OptionError as error:
        assert str(error)
    else:
        assert with_changes(options, {}).seed == options.seed, "clean values stay clean"


# ---- equality ------------------------------------------------------------------------------------

ARRAY = np.random.default_rng(0).random((4, 5, 3))


def test_options_with_the_same_settings_are_equal():
    assert TransferOptions() == TransferOptions()
    assert hash(TransferOptions()) == hash(TransferOptions())
    assert TransferOptions(seed=1) != TransferOptions(seed=2)
    assert TransferOptions(style_layers="relu1_1") == TransferOptions(style_layers={"conv1_1": 1})
    assert TransferOptions() != "options"
    assert len({TransferOptions(), TransferOptions(), TransferOptions(seed=1)}) == 2


@pytest.mark.parametrize("name", [each.name for each in fields(TransferOptions)])
def test_a_difference_in_any_setting_makes_options_differ(name):
    other = {
        "image_size": 64, "aspect": (3, 2), "style_scale": 2, "style_blend": (1, 2),
        "style_masks": "x.png", "style_source_masks": ARRAY, "regions": ARRAY,
        "style_regions": ["x.png", ARRAY], "content_mask": "x.png", "content_mask_weight": 2,
        "keep_mask": ARRAY[:, :, 0], "guidance": "gatys",
        "init": "noise", "seed": 3, "keep_alpha": False, "content_weight": 3, "style_weight": 3,
        "tv_weight": 3, "style_loss": "wasserstein",
        "formula": "gatys", "network": "vgg19", "style_layers": "relu1_1",
        "content_layers": "relu1_1", "pooling": "max", "padding": "zero", "normalised": True,
        "quality": "fine", "iterations": 3, "levels": 2, "minutes": 3, "tolerance": 0.1,
        "optimizer": "adam", "variables": "pixels", "preserve_color": True,
        "match_color": "cholesky", "backend": "cpu",
        "threads": 3, "precision": "accurate", "memory": "4G", "tile": 512, "pairs": 5,
        "pair_precision": "half",
        "weights": "x.npz", "calibration": "folder",
    }[name]  # fmt: skip
    assert TransferOptions(**{name: other}) != TransferOptions()
    assert TransferOptions(**{name: other}) == TransferOptions(**{name: other})


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        (ARRAY, ARRAY, True),
        (ARRAY, ARRAY.copy(), True),
        (ARRAY, ARRAY + 1e-9, False),
        (ARRAY, ARRAY[:3], False),
        (ARRAY, ARRAY[:1, :1], False),
        (ARRAY, ARRAY.astype(np.float32), False),
        (ARRAY, "content", False),
        ("content", ARRAY, False),
        (np.ones((1, 1, 3)), np.ones((2, 2, 3)), False),
        ("noise", "noise", True),
        (Path("x.png"), Path("x.png"), True),
        (PIL.Image.new("RGB", (3, 2)), PIL.Image.new("RGB", (3, 2)), True),
        (PIL.Image.new("RGB", (3, 2)), PIL.Image.new("RGB", (2, 3)), False),
    ],
)
def test_starts_that_are_pictures_are_compared_by_their_pixels(here, there, same):
    one, other = TransferOptions(init=here), TransferOptions(init=there)
    assert (one == other) is same
    assert not same or hash(one) == hash(other)


def test_copies_of_options_are_equal():
    options = TransferOptions(init=ARRAY, style_layers={"relu1_1": 2}, seed=7)
    for same in (copy.copy(options), copy.deepcopy(options), replace(options),
                 pickle.loads(pickle.dumps(options))):  # fmt: skip
        assert same == options


# ---- documentation and types ---------------------------------------------------------------------


def test_the_docstring_explains_every_setting():
    text = inspect.getdoc(TransferOptions)
    head, _, parameters = text.partition("\nParameters\n----------\n")
    assert head.startswith("Settings of a style transfer.")
    entries = dict(re.findall(r"^(\w+) : (.*)$", parameters, re.M))
    assert list(entries) == [each.name for each in fields(TransferOptions)]
    for name, _, meaning in describe():
        assert re.search(rf"^{name} : .+\n    {re.escape(meaning)}$", parameters, re.M)
    assert entries["image_size"] == "int, 16 to 32768, default 512"
    assert entries["network"] == "{'auto', 'vgg19', 'builtin'}, default 'auto'"
    assert entries["style_weight"] == "float, at least 0, optional"
    assert entries["iterations"] == "int or sequence of int, 1 to 1000000, optional"
    assert entries["preserve_color"] == "bool, default False"


def test_every_setting_has_a_group_and_a_check():
    for each in fields(TransferOptions):
        assert each.metadata["group"] in GROUPS
        check = each.metadata["check"]
        assert check.clean(each.name, each.default) == each.default or each.name == "iterations"
