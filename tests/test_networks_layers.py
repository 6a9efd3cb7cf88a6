"""Which layers a term reads, at which size, and what is too small for them."""

from __future__ import annotations

import pytest
from conftest import picture, tiny_vgg19

from pynst import ImageError, Objective, OptionError, TransferOptions
from pynst.backends.reference import ReferenceBackend
from pynst.networks.gabor import Gabor
from pynst.networks.layers import LayerChoice, deepest, layers_read


def test_default_layers_that_a_small_picture_has_no_room_for_are_left_out():
    network = Gabor(ReferenceBackend())
    objective = Objective(picture(0, 16, 40), picture(1, 30, 30), image_size=40, network=network)
    objective(picture(2, 16, 40))
    assert [name for name in objective.terms.layers if "style" in name] == [
        "style level1", "style level2", "style level3"
    ]  # fmt: skip


def test_too_small_pictures_and_unknown_layers_are_refused_by_name():
    network = tiny_vgg19()
    with pytest.raises(ImageError, match=r"content: 30 x 12 pixels are too few.*relu5_1.*16"):
        Objective(
            picture(0, 12, 30), picture(1, 30, 30), image_size=30, network=network,
            style_layers="relu5_1",
        )  # fmt: skip
    with pytest.raises(ImageError, match=r"style: .* too few"):
        Objective(picture(0, 30, 30), picture(1, 8, 30), image_size=30, network=network)
    with pytest.raises(OptionError, match=r"unknown layer 'relu9_1'.*relu1_1"):
        Objective(picture(0, 30, 30), picture(1, 30, 30), network=network, style_layers="relu9_1")
    with pytest.raises(OptionError, match="style_blend must have one weight for each of the 2"):
        Objective(
            picture(0, 30, 30), [picture(1, 30, 30)] * 2, network=network, style_blend=(1, 2, 3)
        )


def test_the_weights_of_the_layers_that_are_named_add_up_to_one():
    choice = LayerChoice((("relu1_1", 3.0), ("relu2_1", 0.0), ("relu3_1", 1.0)), ("relu5_1",))
    assert choice.names() == ("relu1_1", "relu3_1")
    assert choice.at(tiny_vgg19(), 32, 32) == {"relu1_1": 0.75, "relu3_1": 0.25}


def test_defaults_are_weighted_equally_and_left_out_where_they_do_not_fit():
    choice = LayerChoice(None, ("relu1_1", "relu2_1", "relu5_1"))
    assert choice.names() == ("relu1_1", "relu2_1", "relu5_1")
    assert choice.at(tiny_vgg19(), 16, 40) == dict.fromkeys(choice.names(), 1 / 3)
    assert choice.at(tiny_vgg19(), 15, 40) == {"relu1_1": 0.5, "relu2_1": 0.5}


def test_the_first_of_the_defaults_must_fit():
    with pytest.raises(ImageError, match=r"40 x 15 pixels are too few for layer relu5_1.* 16"):
        LayerChoice(None, ("relu5_1",)).at(tiny_vgg19(), 15, 40)


def test_the_deepest_layer_is_the_last_in_the_network_however_they_are_named():
    assert deepest(tiny_vgg19(), ["relu4_2", "relu1_1", "relu3_4"]) == "relu4_2"


def test_a_run_reads_the_layers_of_both_terms_once_each():
    options = TransferOptions(content_layers="relu2_1", style_layers=["relu1_1", "relu2_1"])
    assert list(layers_read(options, tiny_vgg19())) == ["relu2_1", "relu1_1"]
