"""The optimisers by name, and what a checkpoint holds of each.

Each takes a `Descent`, the loss with its bookkeeping, and a start x; it evaluates until the budget,
time or patience of the descent is over, which the descent says by raising `Stop`. The descent keeps
the best image, so no way of ending loses it. Between two steps an optimiser says how its state can
be fetched (`Descent.between_steps`); given that state, it goes on as if it had never ended, to the
same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from pynst.optimizers.adam import MOMENTS, adam
from pynst.optimizers.kept_vectors import RUN
from pynst.optimizers.lbfgs import PAIRS, lbfgs
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.pyramid import FIRST, LATER
from pynst.optimizers.scipy_lbfgs import lbfgs_scipy
from pynst.options import TransferOptions

__all__ = ["OPTIMIZERS", "optimizer_of", "state_shapes"]

OPTIMIZERS: dict[str, Callable[..., None]] = {"lbfgs": lbfgs, "scipy": lbfgs_scipy, "adam": adam}
"""By the name of the option ``optimizer``; each ends by raising `Stop`."""


def optimizer_of(options: TransferOptions, *, first: bool = True) -> Callable[..., None]:
    """The optimiser that a run's settings name, over the variables that they name.

    `first` is whether it is for the first level of a run.
    """
    minimise = OPTIMIZERS[options.optimizer]
    if options.optimizer == "adam":
        return minimise
    if options.over_pyramid():
        minimise = partial(minimise, pyramid=FIRST if first else LATER)
    half = options.optimizer == "lbfgs" and options.pair_precision == "half"
    return partial(minimise, half=True) if half else minimise


def state_shapes(
    optimizer: str,
    shape: tuple[int, ...],
    dtype: type = np.float64,
    pairs: int | None = None,
    *,
    half: bool = False,
) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Types and shapes of the arrays of an optimiser's state, for x of a shape and type.

    At the start of a level there is ``"x"`` alone. `pairs` is how many L-BFGS keeps, if it is not
    as many as it would, and `half` whether in half precision.
    """
    image, number, pairs = (dtype, shape), (np.float64, ()), PAIRS if pairs is None else pairs
    if optimizer == "adam":
        return {"x": image, "t": (np.int64, ()), **dict.fromkeys(MOMENTS, image)}
    if optimizer == "scipy":
        return {"x": image}
    rows, n = 2 * Pairs(pairs).rows, math.prod(shape)
    runs = {"factors": (np.float32, (rows, -(-n // RUN)))} if half else {}
    return {
        "x": image,
        "value": number,
        "g": image,
        "g_h": number,
        "h_h": number,
        "with_g": (np.float64, (rows,)),
        "pairs": (np.int16 if half else np.float32, (rows, n)),
        **runs,
        **Pairs.shapes(pairs),
    }
