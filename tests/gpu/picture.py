"""Styles the demo's scene after the demo's painting with each network, and checks the result.

The loss that the device reports for the last image must be that of the reference on the CPU: so a
picture that only looks right does not pass.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

import pynst
from pynst.demo import draw_painting, draw_scene

TOLERANCE = {"fast": 1e-2, "accurate": 1e-4}  # of the loss, relative to the CPU's float32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--quality", default="normal")
    given = parser.parse_args()
    weights = os.environ.get("PYNST_TEST_WEIGHTS")
    width, height = given.size, given.size * 3 // 4
    content, style = draw_scene(width, height), draw_painting(width, height)
    failed = False
    for network in ("builtin", "vgg19"):
        if network == "vgg19" and not weights:
            print("vgg19 is skipped: PYNST_TEST_WEIGHTS names no weights")
            continue
        for precision in ("accurate", "fast"):
            options = {
                "network": network, "image_size": given.size, "quality": given.quality,
                "weights": weights if network == "vgg19" else None, "precision": precision,
            }  # fmt: skip
            failed |= not check(content, style, given, options)
    return int(failed)


def check(content, style, given, options) -> bool:
    """One picture; says what came out and whether it is right."""
    result = pynst.stylize(content, style, backend=given.backend, **options)
    name = f"{options['network']}, {options['precision']}"
    losses = [terms.total for terms in result.history[-1]]
    evaluations = sum(len(level) for level in result.history)
    path = given.folder / f"picture-{options['network']}.png"
    pynst.save_image(result.image, path)
    x = np.asarray(result.image, np.float64) / 255
    values = [
        pynst.Objective(content, style, backend=backend, **options)(x)[0]
        for backend in (given.backend, "cpu")
    ]
    height, width = result.image.shape[:2]
    apart = abs(values[0] / values[1] - 1)
    right = (
        given.backend in result.backend
        and np.isfinite(losses).all()
        and min(losses) < 0.9 * losses[0]
        and np.ptp(result.image) > 50
        and apart < TOLERANCE[options["precision"]]
    )
    print(
        f"{'right' if right else 'WRONG'}: {name}: {width} x {height} in {result.seconds:.2f} s,"
        f" {evaluations} evaluations, last level {losses[0]:.4g} to {min(losses):.4g},"
        f" off the CPU's loss by {apart:.1e}, {result.backend}"
    )
    return right


if __name__ == "__main__":
    sys.exit(main())
