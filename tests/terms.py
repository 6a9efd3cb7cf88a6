"""What the tests of the loss terms share: inputs by hand, and one term's value and gradient."""

from __future__ import annotations

import numpy as np

from pynst import TransferOptions
from pynst.inputs import Inputs, read_inputs


def inputs_of(content=None, styles=()) -> Inputs:
    """Inputs with a photograph, or with paintings and their shares."""
    options = TransferOptions(style_blend=[share for _, share in styles] or None)
    return read_inputs(content, [pixels for pixels, _ in styles] or None, options)


def set_and_added(targets, network, layer, F, before=0.0):
    """The value of one layer, and dF, which held `before` throughout, on the reference backend."""
    F = np.array(F, np.float64)
    dF, losses = np.full(F.shape, before), network.backend.empty_losses(1)
    targets.add(layer, F, dF, losses[:1])
    return float(network.backend.download_losses(losses)[0]), dF


def gradient_error(targets, network, layer, F):
    """Relative error of the gradient along a random direction, by central differences.

    The gradient is added to ones: what was there before counts as an error unless it stays.
    """
    F = np.array(F, np.float64)
    direction = np.random.default_rng(5).standard_normal(F.shape)
    step = 1e-5 * np.abs(F).max()
    above, below = (
        set_and_added(targets, network, layer, F + sign * step * direction)[0] for sign in (1, -1)
    )
    wanted = (above - below) / (2 * step)
    _, dF = set_and_added(targets, network, layer, F, before=1.0)
    return abs(np.sum((dF - 1.0) * direction) - wanted) / abs(wanted)
