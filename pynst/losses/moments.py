"""The mean and the covariance of features, and the way back through them.

    mu = F 1 / M,   C = F F^T / M - mu mu^T,   dF += D F + d 1^T

The means are taken with NumPy, since only the backends whose arrays are NumPy's need them: features
are (N, h, w), or (ceil(N / 16), h, w, 16) on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array, Backend

__all__ = ["Moments", "add_through_moments", "moments"]

Matrix = NDArray[np.float64]

_ROWS = 32  # of an image, that are summed in the type of the features before float64 takes over


class Moments(NamedTuple):
    """The mean mu (N,) and the covariance C (N, N) of features."""

    mean: Matrix
    covariance: Matrix


def moments(backend: Backend, F: Array, G: Array) -> Moments:
    """Compute the moments of features.

    Parameters
    ----------
    backend : Backend
    F : Array
        Features of N channels.
    G : Array
        Memory for a Gram matrix (N, N); overwritten.
    """
    backend.gram(F, G)
    second = backend.download_gram(G)
    mean = _mean(F, len(second))
    return Moments(mean, second - np.outer(mean, mean))


def add_through_moments(backend: Backend, F: Array, D: Matrix, d: Matrix, dF: Array) -> None:
    """Add D F + d 1^T to dF; D (N, N) is symmetric, d (N,)."""
    M = F.shape[1] * F.shape[2]
    # The gradient of the style loss with k = M / 4 and A = 0; its value is not asked for.
    backend.style_loss(F, D, np.zeros_like(D), M / 4, None, dF, backend.empty_losses(1))
    rows = _rows(dF)
    lanes = 1 if F.ndim == 3 else F.shape[3]
    padded = np.zeros(len(F) * lanes)
    padded[: len(d)] = d
    rows += np.tile(padded.reshape(len(F), 1, lanes), (1, 1, F.shape[2])).astype(F.dtype)


def _mean(F: Array, N: int) -> Matrix:
    """Mean over the pixels, (N,)."""
    rows = _rows(F)
    sums = np.zeros((len(F), rows.shape[2]))
    for start in range(0, rows.shape[1], _ROWS):
        sums += rows[:, start : start + _ROWS].sum(axis=1)
    lanes = 1 if F.ndim == 3 else F.shape[3]
    means: Matrix = sums.reshape(len(F), F.shape[2], lanes).sum(axis=1).reshape(-1)[:N]
    means /= F.shape[1] * F.shape[2]
    return means


def _rows(features: Array) -> Array:
    """A view of features as (blocks, h, w times lanes): what lies one after another in memory."""
    return features.reshape(len(features), features.shape[1], -1)
