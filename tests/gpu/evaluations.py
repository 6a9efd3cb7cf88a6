"""Three evaluations of a loss: as it is written, captured, replayed. Something for a profiler."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import os

import numpy as np

import pynst
from pynst.demo import draw_painting, draw_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    weights = os.environ.get("PYNST_TEST_WEIGHTS")
    size = given.size, given.size * 3 // 4
    objective = pynst.Objective(
        draw_scene(*size), draw_painting(*size), image_size=given.size, backend=given.backend,
        network="vgg19" if weights else "builtin", weights=weights,
    )  # fmt: skip
    x = np.random.default_rng(0).random(objective.shape)
    print([objective(x)[0] for _ in range(3)])


if __name__ == "__main__":
    main()
