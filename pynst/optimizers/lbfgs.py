"""L-BFGS over the pixels, on the host or on a device: the algorithm of SciPy's L-BFGS-B."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from pynst.backends.host import HostMemory
from pynst.errors import OptionError
from pynst.optimizers.descent import Descent, Given, Image, State, Stop, StopReason, taken
from pynst.optimizers.device_vectors import DeviceVectors, sums_of
from pynst.optimizers.linesearch import search
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.vectors import HostVectors, Point, Vector, Vectors

__all__ = ["FIRST_STEP", "PAIRS", "lbfgs"]

PAIRS = 10
"""Pairs that L-BFGS keeps; the CUDA core takes at most as many (``kMostPairRows`` in kernels.h).

More reach a lower loss in a long run at one size (30 pairs, formula "gatys", 256 pixels, 150
evaluations: 11 % lower, 14 % more time) and cost memory; other programs keep 100.
"""

FIRST_STEP = 2.0
"""Grey levels RMS by which the first trial step moves the pixels; in SciPy its length is one."""


def lbfgs(
    descent: Descent,
    x: Given[Image],
    state: Given[State] | None = None,
    *,
    pyramid: float | None = None,
    half: bool = False,
) -> None:
    """L-BFGS over the pixels: the algorithm of SciPy's L-BFGS-B where there are no bounds.

    The first trial step moves the pixels by two grey levels RMS. There are no stop rules but the
    descent's. Where the line search finds nothing lower, the pairs are dropped and the search goes
    on downhill; where there is nothing to drop, the image is a minimum to rounding.

    Parameters
    ----------
    descent : Descent
    x : ndarray (H, W, 3)
        Start image, sRGB in [0, 1]; or what `handed_over` gives for it.
    state : mapping of str to ndarray, optional
        The state in an earlier descent's `Snapshot`, to go on from it; it may be handed over, too.
    pyramid : float, optional
        Minimise over the variables of a pyramid, the finest with this factor, see
        `pynst.optimizers.pyramid`; over the pixels by default.
    half : bool
        Keep the pairs in half precision, see `pynst.optimizers.kept_vectors`.

    Raises
    ------
    OptionError
        Half precision is asked for on a GPU.

    Notes
    -----
    SciPy's own is `lbfgs_scipy`. Against it, this one keeps its pairs in half the memory, its state
    can be saved, and its vectors lie where the objective computes: on a GPU nothing but scalars
    comes to the host. The iterates agree until rounding has grown.
    """
    x, state = taken(x), taken(state)
    unit = FIRST_STEP * math.sqrt(x.size) / 255
    pairs = Pairs(PAIRS if descent.pairs is None else descent.pairs)
    dtype = x.dtype
    vectors = _vectors(descent, x, pairs.rows, pyramid, half)
    if state is not None and "g" in state:
        here = _restored(vectors, pairs, state)
    else:
        start = np.clip(x, 0, 1)
        descent.between_steps(partial(dict, x=start))
        here = vectors.start(descent, vectors.upload(start))
        del start
    del x, state
    while here.g_h > 0:
        descent.between_steps(partial(_state, vectors, here, pairs.kept(), dtype))
        d, slope = vectors.direction(pairs, here)
        ahead = _Ahead(descent, vectors, here, d, pairs.spare)
        step = 1.0 if pairs.order else unit / math.sqrt(here.h_h)
        found = slope < 0 and search(ahead, here.value, slope, step)
        point = ahead.point
        del ahead, d  # at print sizes each vector is as large as all of a small run
        if found and point.value < here.value:
            pairs.add(point.with_y)
            here = point
        elif pairs.order:
            pairs.clear()
            descent.restarts += 1
        else:
            break
    raise Stop(StopReason.CONVERGED)


def _vectors(descent: Descent, x: Image, rows: int, pyramid: float | None, half: bool) -> Vectors:
    """Vectors where a core computes, if the loss can be evaluated in place there; else in NumPy."""
    place = descent.closure.in_place(sums_of(rows))
    if place is None:
        return HostVectors(x.shape, rows, pyramid=pyramid, half=half)
    if half and not isinstance(place.images.device, HostMemory):
        raise OptionError("pair_precision='half' needs memory of the host: ask for backend='cpu'")
    return DeviceVectors(place, rows, pyramid=pyramid, half=half)


class _Ahead:
    """The loss along a line x + t d; keeps the point it last met."""

    def __init__(
        self, descent: Descent, vectors: Vectors, origin: Point, d: Vector, spare: int
    ) -> None:
        self._descent, self._vectors = descent, vectors
        self._origin, self._d, self._spare = origin, d, spare
        self.point = origin

    def __call__(self, t: float) -> tuple[float, float]:
        """Value and slope at a step t."""
        self.point = self._origin  # the trial before this one makes room
        self.point = self._vectors.evaluate(self._descent, self._origin, self._d, t, self._spare)
        return self.point.value, self.point.slope


def _state(vectors: Vectors, here: Point, pairs: Callable[[], State], dtype: DTypeLike) -> State:
    """All that `_restored` needs; no evaluation after `here` changes anything in it."""
    return {
        "x": vectors.download(here.x).astype(dtype, copy=False),
        "value": np.array(here.value),
        "g": vectors.download(here.g).astype(dtype, copy=False),
        "g_h": np.array(here.g_h),
        "h_h": np.array(here.h_h),
        "with_g": here.with_g,
        **vectors.download_pairs(),
        **pairs(),
    }


def _restored(vectors: Vectors, pairs: Pairs, state: State) -> Point:
    """The point, the kept vectors and their bookkeeping, as `_state` gave them."""
    vectors.upload_pairs(state)
    pairs.restore(state)
    with_g, g = state["with_g"].copy(), vectors.upload(state["g"])
    value, g_h, h_h = (float(state[name]) for name in ("value", "g_h", "h_h"))
    x, h = vectors.upload(state["x"]), vectors.precondition(g)
    return Point(x, g, h, value, 0.0, g_h, h_h, with_g, np.zeros_like(with_g))
