"""Which layers a term reads, at which size, and what is too small for them."""

from __future__ import annotations

import pytest
from conftest import picture, tiny_vgg19

from pynst import ImageError, Objective, OptionError
from pynst.backends.reference import ReferenceBackend
from pynst.networks.gabor import Gabor


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
