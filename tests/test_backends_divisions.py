"""The divisions of a convolution that the model of the device finds, and what it counts with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynst.backends.divisions import Division, Divisions, Product

HALVES = {"large": (16, 128, 8, 1), "narrow": (16, 64, 4, 2), "flat": (8, 128, 4, 2)}
HALF = Divisions(HALVES, 8)
sizes = st.builds(
    Product, st.integers(1, 600), st.integers(1, 600), st.integers(1, 300), st.integers(1, 300)
)


def layer(C, N, side):
    return Product(C, N, side, side)


def test_a_layer_of_many_pixels_is_not_cut_into_parts():
    assert HALF.usual(layer(256, 256, 512)).parts == 1


def test_a_layer_of_few_pixels_and_many_channels_is_cut_into_parts():
    assert HALF.usual(layer(512, 512, 16)).parts > 1


def test_64_output_channels_take_the_tile_that_wastes_none():
    assert HALF.usual(layer(64, 64, 512)) == Division("narrow", 1)


def test_large_layers_of_many_channels_take_the_tile_that_reads_least():
    assert HALF.usual(layer(256, 256, 256)) == Division("large", 1)


def test_one_wave_takes_as_long_for_one_block_as_for_one_on_every_multiprocessor():
    flat = Division("flat", 1)
    one, all_of_them = Product(64, 128, 8, 16), Product(64, 128, 8 * 132, 16)
    assert HALF.seconds(one, flat) == HALF.seconds(all_of_them, flat)
    assert HALF.seconds(Product(64, 128, 8 * 265, 16), flat) > HALF.seconds(all_of_them, flat)


def test_the_bytes_are_those_of_tiles_with_their_halo_of_weights_and_of_sums():
    product = Product(64, 128, 16, 16)
    once = 2 * (10 * 18 + 9 * 128) * 2 * 64  # two tiles, halves
    sums = 2 * 4 * 16 * 8 * 128 * 2  # two parts of two tiles
    assert HALF.nbytes(product, Division("flat", 1)) == once
    assert HALF.nbytes(product, Division("flat", 2)) == once + sums


@given(sizes)
def test_every_size_has_a_division_and_parts_make_one_wave_at_most(product):
    candidates = HALF.candidates(product)
    assert HALF.usual(product) in candidates
    assert {each.tile for each in candidates if each.parts == 1} == set(HALVES)
    for tile, parts in candidates:
        height, channels = HALVES[tile][:2]
        blocks = -(-product.N // channels) * -(-product.W // 16) * -(-product.H // height)
        assert parts == 1 or (blocks * parts <= 132 and parts <= -(-product.C // 32))
        # clusters lie within 8 groups of 16 multiprocessors
        assert parts == 1 or blocks <= 8 * (16 // parts)


@given(sizes)
def test_the_chosen_division_is_as_fast_as_any_other_but_for_the_error_of_the_model(product):
    seconds = [HALF.seconds(product, each) for each in HALF.candidates(product)]
    assert HALF.seconds(product, HALF.usual(product)) == pytest.approx(min(seconds), rel=0.03)
