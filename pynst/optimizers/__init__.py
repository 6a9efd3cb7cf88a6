"""Optimisers: from a loss and a start image to the best image found.

`table` names them. Each drives a `descent.Descent`, which counts evaluations, keeps the best image
and ends in time. L-BFGS is `lbfgs`, with `pairs`, `linesearch` and the vectors where the loss is
computed: `vectors` on the host, `device_vectors` on a GPU.
"""

from __future__ import annotations

from pynst.optimizers.table import OPTIMIZERS, optimizer_of

__all__ = ["OPTIMIZERS", "optimizer_of"]
