"""Slices: every place of an array lies in exactly one of them."""

from __future__ import annotations

import numpy as np
import pytest

from pynst.backends.slices import slices


@pytest.mark.parametrize("n", [0, 1, 8191, 8192, 8193, 30_000])
def test_every_place_is_in_exactly_one_slice(n):
    seen, found = np.zeros(n, int), slices(n)
    for part in found:
        seen[part] += 1
    assert (seen == 1).all()
    assert all(0 < seen[part].size <= 8192 for part in found)
