"""The mean and the covariance of features, and the way back through them.

    mu = F 1 / M,   C = F F^T / M - mu mu^T,   dF += D F + d 1^T

F F^T / M and mu are averages over the pixels: of an image that is walked in windows each core adds
its share of them (`pynst.backends.windows`), and M is the number of all pixels.

The means are taken with NumPy, since only the backends whose arrays are NumPy's need them: features
are (N, h, w), or (ceil(N / 16), h, w, 16) on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend
from pynst.backends.windows import Part

__all__ = ["Averages", "Moments", "add_through_moments", "pixels"]

Matrix = NDArray[np.float64]

_ROWS = 32  # of an image, that are summed in the type of the features before float64 takes over


class Moments(NamedTuple):
    """The mean mu (N,) and the covariance C (N, N) of features."""

    mean: Matrix
    covariance: Matrix


class Averages:
    """The averages over all pixels of which the moments of N channels are made."""

    def __init__(self, backend: Backend, N: int) -> None:
        self._backend = backend
        self._second = backend.empty_gram(N)
        self._mean = np.empty(N)

    def read(self, F: Array) -> None:
        """Take those of these features; of a part of an image, in the first pass, add its share."""
        self._backend.gram(F, self._second)
        if not isinstance(F, Part):
            self._mean[:] = _sums(F, len(self._mean)) / pixels(F)
        elif F.values:
            if F.first:
                self._mean[:] = 0
            self._mean += _sums(F.array[(slice(None), *F.core)], len(self._mean)) / F.pixels

    def moments(self) -> Moments:
        """The moments of the features that were read."""
        mean = self._mean.copy()
        return Moments(mean, self._backend.download_gram(self._second) - np.outer(mean, mean))


def add_through_moments(backend: Backend, F: Array, D: Matrix, d: Matrix, dF: Array) -> None:
    """Add D F + d 1^T to dF; D (N, N) is symmetric, d (N,)."""
    M = pixels(F)
    # The gradient of the style loss with k = M / 4 and A = 0; its value is not asked for.
    backend.style_loss(F, D, np.zeros_like(D), M / 4, None, dF, backend.empty_losses(1))
    rows = dF.reshape(len(dF), dF.shape[1], -1)
    lanes = _lanes(dF)
    padded = np.zeros(len(dF) * lanes)
    padded[: len(d)] = d
    rows += np.tile(padded.reshape(len(dF), 1, lanes), (1, 1, dF.shape[2])).astype(dF.dtype)


def pixels(F: Array) -> int:
    """M, of which there are as many in the whole image where the features are a part."""
    return F.pixels if isinstance(F, Part) else int(F.shape[1] * F.shape[2])


def _sums(F: Array, N: int) -> Matrix:
    """Sums over the pixels, (N,)."""
    sums = np.zeros((len(F), *F.shape[2:]))
    for start in range(0, F.shape[1], _ROWS):
        sums += F[:, start : start + _ROWS].sum(axis=1)
    of_channels: Matrix = sums.reshape(len(F), F.shape[2], _lanes(F)).sum(axis=1).reshape(-1)[:N]
    return of_channels


def _lanes(features: Array) -> int:
    """Channels that lie beside one another."""
    return 1 if features.ndim == 3 else int(features.shape[3])
