"""The mean and the covariance of features, and the way back through them.

    mu = F m / sum m,   C = F diag(m) F^T / sum m - mu mu^T,   dF_p += m_p (D F_p + d)

m are weights of the pixels p, or ones; then sum m is M. F diag(m) F^T / sum m and mu are averages
over the pixels: of an image that is walked in windows each core adds its share of them
(`pynst.backends.windows`), and sum m is that of all pixels.

The means are taken with NumPy, since only the backends whose arrays are NumPy's need them: features
are (N, h, w), or (ceil(N / 16), h, w, 16) on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend
from pynst.backends.windows import Part
from pynst.images.masks import Mask

__all__ = ["Averages", "Moments"]

Matrix = NDArray[np.float64]

_ROWS = 32  # of an image that are worked on at a time, and summed in the type of the features


class Moments(NamedTuple):
    """The mean mu (N,) and the covariance C (N, N) of features."""

    mean: Matrix
    covariance: Matrix


class Averages:
    """The averages over all pixels of which the moments of N channels are made.

    Parameters
    ----------
    backend : Backend
    N : int
    m : ndarray (h, w), optional
        Weights of the pixels, at least 0 and not 0 everywhere; ones by default.
    """

    def __init__(self, backend: Backend, N: int, m: Mask | None = None) -> None:
        self._backend = backend
        self._m = m
        self._sum = 0.0 if m is None else float(m.sum(dtype=np.float64))
        self._weights = None if m is None else backend.upload_pixel_weights(m)
        self._second = backend.empty_gram(N)
        self._mean = np.empty(N)

    def total(self, F: Array) -> float:
        """Sum of the weights of all pixels; of a part of an image, of the whole image's."""
        if self._m is not None:
            return self._sum
        return float(F.pixels if isinstance(F, Part) else F.shape[1] * F.shape[2])

    def read(self, F: Array) -> None:
        """Take those of these features; of a part of an image, in the first pass, add its share."""
        self._backend.gram(F, self._second, self._weights)
        if not isinstance(F, Part):
            self._mean[:] = _sums(F, len(self._mean), self._m) / self.total(F)
        elif F.values:
            if F.first:
                self._mean[:] = 0
            core = F.array[(slice(None), *F.core)]
            m = None if self._m is None else self._m[F.core_place]
            self._mean += _sums(core, len(self._mean), m) / self.total(F)

    def moments(self) -> Moments:
        """The moments of the features that were read."""
        mean = self._mean.copy()
        return Moments(mean, self._backend.download_gram(self._second) - np.outer(mean, mean))

    def add(self, F: Array, D: Matrix, d: Matrix, dF: Array) -> None:
        """Add m_p (D F_p + d) to each pixel p of dF; D (N, N) is symmetric, d (N,)."""
        # The gradient of the style loss with k = sum m / 4 and A = 0; its value is not asked for.
        unread, k = self._backend.empty_losses(1), self.total(F) / 4
        self._backend.style_loss(F, D, np.zeros_like(D), k, None, dF, unread, self._weights)
        rows = dF.reshape(len(dF), dF.shape[1], -1)
        lanes = _lanes(dF)
        padded = np.zeros(len(dF) * lanes)
        padded[: len(d)] = d
        added = np.tile(padded.reshape(len(dF), 1, lanes), (1, 1, dF.shape[2])).astype(dF.dtype)
        if self._m is None:
            rows += added
            return
        m = self._m[F.place] if isinstance(F, Part) else self._m
        for start in range(0, rows.shape[1], _ROWS):  # never a product as large as all features
            strip = slice(start, start + _ROWS)
            rows[:, strip] += added * np.repeat(m[strip], lanes, axis=1).astype(dF.dtype)


def _sums(F: Array, N: int, m: Mask | None) -> Matrix:
    """Sums over the pixels, times their weights, (N,)."""
    sums = np.zeros((len(F), *F.shape[2:]))
    for start in range(0, F.shape[1], _ROWS):
        rows = F[:, start : start + _ROWS]
        if m is not None:
            weights = m[start : start + _ROWS].astype(F.dtype)
            rows = rows * weights.reshape(1, *weights.shape, *(1,) * (F.ndim - 3))
        sums += rows.sum(axis=1)
    of_channels: Matrix = sums.reshape(len(F), F.shape[2], _lanes(F)).sum(axis=1).reshape(-1)[:N]
    return of_channels


def _lanes(features: Array) -> int:
    """Channels that lie beside one another."""
    return 1 if features.ndim == 3 else int(features.shape[3])
