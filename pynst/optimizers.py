"""Optimisers: from an objective and a start image to the best image found.

Each takes a `Run`, the objective with its bookkeeping, and a start x; it evaluates until the run's
budget, time or patience is over, which the run tells by raising `Stop`. The best iterate is kept by
the run, so no way of ending loses it. Between two steps each tells the run where it stands
(`Run.rest`); given that back as `state`, it goes on as if it had never ended, to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.device_vectors import DeviceVectors, sums_of
from pynst.lbfgs import Memory
from pynst.linesearch import search
from pynst.run import Image, Run, State, Stop
from pynst.vectors import HostVectors, Point, Vector, Vectors, clipped

__all__ = ["OPTIMIZERS", "adam", "lbfgs", "lbfgs_scipy", "state_shapes"]

# Pairs that L-BFGS keeps. More reach a lower loss in a long run at one size (30 pairs, formula
# "gatys", 256 pixels, 150 evaluations: 11 % lower, 14 % more time) and cost memory; peers keep 100.
_MEMORY = 10
_FIRST_STEP = 2.0  # grey levels RMS: SciPy's first trial step has length one in its variables
_ADAM_STEP = 5 / 255
_ADAM_DECAY = (0.9, 0.99)
_ADAM_EPSILON = (
    1e-12  # the gradient of a relative loss over 10^6 values is small: stay far below it
)
_AVERAGE_DECAY = 0.9
_MOMENTS = ("first", "second", "average")


def lbfgs(run: Run, x: Image, state: State | None = None) -> None:
    """L-BFGS over the pixels: the algorithm of SciPy's L-BFGS-B where there are no bounds.

    The first trial step moves the pixels by two grey levels RMS. There are no stop rules but the
    run's. Where the line search finds nothing lower, the memory is dropped and the search goes on
    downhill; where there is nothing to drop, the image is a minimum to rounding.

    Parameters
    ----------
    run : Run
    x : ndarray (H, W, 3)
        Start image, sRGB in [0, 1].
    state : mapping of str to ndarray, optional
        Of an earlier run's `rest`.

    Notes
    -----
    SciPy's own is `lbfgs_scipy`. Against it, this one keeps its pairs in half the memory, its state
    can be saved, and its vectors lie where the objective computes: on a GPU nothing but scalars
    comes to the host. The iterates agree until rounding has grown.
    """
    unit = _FIRST_STEP * math.sqrt(x.size) / 255
    memory = Memory(_MEMORY)
    vectors = _vectors(run, x, memory.rows)
    if state is not None and "g" in state:
        here = _restored(vectors, memory, state)
    else:
        start = np.clip(x, 0, 1)
        run.rest(lambda: {"x": start})
        here = vectors.start(vectors.upload(start))
    while here.g_g > 0:
        run.rest(partial(_state, vectors, here, memory.arrays()))
        c, c_g, slope = memory.direction(here.with_g, here.g_g)
        ahead = _Ahead(vectors, here, vectors.combine(c, c_g, here.g), memory.spare)
        step = 1.0 if memory.order else unit / math.sqrt(here.g_g)
        found = slope < 0 and search(ahead, here.value, slope, step)
        if found and ahead.point.value < here.value:
            memory.add(ahead.point.with_s, ahead.point.with_y)
            here = ahead.point
        elif memory.order:
            memory.clear()
            run.restarts += 1
        else:
            break
    raise Stop("converged")


def _vectors(run: Run, x: Image, rows: int) -> Vectors:
    """Vectors on the device, where the objective can be evaluated in place there."""
    in_place = getattr(run.objective, "in_place", None)
    place = in_place(sums_of(rows)) if in_place is not None else None
    return HostVectors(run, x.shape, rows) if place is None else DeviceVectors(run, place, rows)


class _Ahead:
    """The objective along a line x + t d; keeps the point it last met."""

    def __init__(self, vectors: Vectors, origin: Point, d: Vector, spare: int) -> None:
        self._vectors, self._origin, self._d, self._spare = vectors, origin, d, spare
        self.point = origin

    def __call__(self, t: float) -> tuple[float, float]:
        """Value and slope at a step t."""
        self.point = self._vectors.evaluate(self._origin, self._d, t, self._spare)
        return self.point.value, self.point.slope


def _state(vectors: Vectors, here: Point, memory: State) -> State:
    """All that `_restored` needs; no evaluation after `here` changes anything in it."""
    return {
        "x": vectors.download(here.x),
        "value": np.array(here.value),
        "g": vectors.download(here.g),
        "g_g": np.array(here.g_g),
        "with_g": here.with_g,
        "pairs": vectors.download_pairs(),
        **memory,
    }


def _restored(vectors: Vectors, memory: Memory, state: State) -> Point:
    vectors.upload_pairs(state["pairs"])
    memory.restore(state)
    with_g = state["with_g"].copy()
    return Point(
        vectors.upload(state["x"]),
        vectors.upload(state["g"]),
        float(state["value"]),
        float(state["g_g"]),
        0.0,
        with_g,
        np.zeros_like(with_g),
        np.zeros_like(with_g),
    )


def lbfgs_scipy(run: Run, x: Image, state: State | None = None, *, bounds: bool = False) -> None:
    """L-BFGS over the pixels, driven by SciPy's L-BFGS-B.

    SciPy sees the value divided by its start, and variables in which its first trial step, of
    length one, moves the pixels by two grey levels RMS. Its own stop rules are off. Where the line
    search fails, the search begins afresh from the best image; when it fails twice at the same
    image, that image is a minimum to rounding.

    Parameters
    ----------
    run, x
        As for `lbfgs`.
    state : mapping of str to ndarray, optional
        SciPy does not give its own away: with this, a level is begun again from its start.
    bounds : bool
        Let L-BFGS-B keep every pixel in [0, 1]; it takes half as long again, and wins nothing.
    """
    from scipy.optimize import fmin_l_bfgs_b

    if state is None:
        start = x.copy()
        run.rest(lambda: {"x": start})
    unit = _FIRST_STEP * math.sqrt(x.size) / 255  # of x per unit of y
    scale = 1.0

    def evaluate(y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal scale
        value, gradient = clipped(run, unit * y.reshape(x.shape))
        if len(run.history) == 1:
            scale = 1 / value if value > 0 else 1.0
        return value * scale, gradient.ravel() * (unit * scale)

    limits: Any = [(0.0, 1 / unit)] * x.size if bounds else None
    failed_at = math.inf
    while True:
        outcome = fmin_l_bfgs_b(
            evaluate,
            x.ravel() / unit,
            m=_MEMORY,
            factr=0,
            pgtol=0,
            bounds=limits,
            maxfun=10**9,
            maxiter=10**9,
        )
        if run.best_value >= failed_at or not np.any(outcome[2]["grad"]):
            raise Stop("converged")
        failed_at = run.best_value
        run.restarts += 1
        assert run.best is not None
        x = run.best


def adam(run: Run, x: Image, state: State | None = None, *, bounds: bool = True) -> None:
    """Adam over the pixels, with clipping after each step and an average over the iterates.

    The average is smoother than any iterate; it is evaluated last, and is the result if it is the
    best.

    Parameters
    ----------
    run, x, state
        As for `lbfgs`.
    bounds : bool
        Keep every pixel in [0, 1].

    Notes
    -----
    D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2015. The average is bias
    corrected like the moments.
    """
    x = x.copy()
    first, second, average = (
        state[name].copy() if state and name in state else np.zeros_like(x) for name in _MOMENTS
    )
    t = int(state["t"]) if state and "t" in state else 0
    b1, b2 = _ADAM_DECAY
    try:
        while run.left > 1 or t == 0:
            moments = dict(zip(_MOMENTS, (first, second, average), strict=True))
            run.rest(partial(dict, x=x, t=np.array(t, np.int64), **moments))
            _, gradient = run(x)
            t += 1
            # New arrays, not in place: the run can be interrupted anywhere, and rests on the old.
            first = first + (1 - b1) * (gradient - first)
            second = second + (1 - b2) * (gradient**2 - second)
            step = first / (1 - b1**t) / (np.sqrt(second / (1 - b2**t)) + _ADAM_EPSILON)
            x = x - _ADAM_STEP * step
            if bounds:
                x = np.clip(x, 0, 1)
            average = average + (1 - _AVERAGE_DECAY) * (x - average)
        raise Stop("iterations")
    except Stop:
        if t and run.left > 0:
            run(average / (1 - _AVERAGE_DECAY**t), last=True)
        raise


OPTIMIZERS: dict[str, Callable[..., None]] = {"lbfgs": lbfgs, "scipy": lbfgs_scipy, "adam": adam}


def state_shapes(optimizer: str, shape: tuple[int, ...]) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Types and shapes of the arrays of an optimiser's state, for x of a shape.

    At the start of a level there is ``"x"`` alone.
    """
    image, number = (np.float64, shape), (np.float64, ())
    if optimizer == "adam":
        return {"x": image, "t": (np.int64, ()), **dict.fromkeys(_MOMENTS, image)}
    if optimizer == "scipy":
        return {"x": image}
    rows = 2 * Memory(_MEMORY).rows
    return {
        "x": image,
        "value": number,
        "g": image,
        "g_g": number,
        "with_g": (np.float64, (rows,)),
        "pairs": (np.float32, (rows, math.prod(shape))),
        **Memory.shapes(_MEMORY),
    }
