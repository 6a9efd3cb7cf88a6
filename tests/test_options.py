"""Settings: every wrong one is refused in one sentence that names it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst import OptionError, TransferOptions
from pynst.formulas import FORMULAS
from pynst.options import with_changes

WRONG = [
    ({"style_wieght": 1}, r"unknown option 'style_wieght'; did you mean style_weight\?"),
    ({"zzz": 1}, "unknown option 'zzz'; known: image_size"),
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
    ({"formula": "gatsy"}, "formula must be one of balanced, paper"),
    ({"network": 3}, "network must be one of auto, vgg19, builtin, got 3"),
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
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_setting_is_refused_in_one_sentence(changes, message):
    with pytest.raises(OptionError, match=message) as caught:
        with_changes(None, changes)
    assert "\n" not in str(caught.value)


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
    assert TransferOptions().schedule(5) == (50, 35, 25, 20, 14)
    assert TransferOptions().schedule(7) == (50, 35, 25, 20, 14, 14, 14)
    assert TransferOptions(quality="draft").schedule(3) == (30, 20, 12)
    assert TransferOptions().schedule(3, 0.8) == (50, 40, 40)
    assert TransferOptions(levels=1).schedule(1) == (144,), "one size does the work of all"
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
