"""Whole runs, frozen: their pixels and histories as SHA-256, from before the code was rearranged.

Run as a program, it prints the JSON that ``test_golden_runs.py`` compares with ``runs.json``.
``python tests/golden/runs.py > tests/golden/runs.json`` stores new values; that is right only
where a change of the bits was intended, and the commit says why.

The bits of a run depend on the kernels that NumPy, SciPy and their BLAS choose for a processor.
`PINNED` makes all of them choose the same on every x86-64 processor, as far as they can be told;
what remains is recorded in `environment`, and only where that is equal are bits compared.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PINNED = {
    "PYNST_CPU_ISA": "generic",
    "PYNST_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
}
"""Variables of the environment in which the runs are made."""

MEAN = (123.68, 116.779, 103.939)
CHANNELS = (4, 8, 16, 32, 32)


def environment() -> dict[str, str]:
    """What the bits may still depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "pillow")}
    return {**versions, "machine": platform.machine(), "processor": _processor()}


def _processor() -> str:
    """Family and model: the C library and LAPACK choose kernels by it, and cannot all be told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    words = {key.strip(): value.strip() for key, value in found.items()}
    return f"{words.get('vendor_id')} {words.get('cpu family')} {words.get('model')}"


def picture(seed: int, H: int, W: int) -> np.ndarray:
    """A smooth picture (H, W, 3) in [0, 1], multiples of 1/256, from the raw bits of PCG64."""
    raw = np.random.PCG64(seed).random_raw(H * W * 3) >> np.uint64(56)
    noise = raw.astype(np.int64).reshape(H, W, 3)
    for axis in (0, 1):
        for shift in (1, 2, 4):
            noise = (noise + np.roll(noise, shift, axis)) // 2
    return noise / 256


def convolutions() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """VGG-19's table with a sixteenth of the channels and weights from the raw bits of PCG64."""
    stream, made, C = np.random.PCG64(7), {}, 3
    for block, (N, count) in enumerate(zip(CHANNELS, (2, 2, 4, 4, 4), strict=True), 1):
        for index in range(1, count + 1):
            words = (stream.random_raw(N * C * 9 + N) >> np.uint64(40)).astype(np.float64)
            numbers = (words / 2**23 - 1) * np.sqrt(6 / (9 * C))
            weight = numbers[: N * C * 9].reshape(N, C, 3, 3).astype(np.float32)
            made[f"conv{block}_{index}"] = weight, (numbers[N * C * 9 :] / 8).astype(np.float32)
            C = N
    return made


CONTENT, STYLE, OTHER = picture(0, 72, 96), picture(1, 88, 70), picture(2, 64, 81)
BUILTIN = {"network": "builtin", "image_size": 128, "levels": 2, "iterations": (7, 5)}
VGG = {"network": "vgg19", "image_size": 96, "levels": 2, "iterations": (6, 5)}

RUNS: dict[str, tuple[list[np.ndarray], dict[str, Any]]] = {
    "builtin": ([STYLE], BUILTIN),
    "builtin, reference": ([STYLE], {**BUILTIN, "backend": "reference", "image_size": 96}),
    "builtin, scipy, noise": ([STYLE], {**BUILTIN, "optimizer": "scipy", "init": "noise"}),
    "builtin, adam, style": ([STYLE], {**BUILTIN, "optimizer": "adam", "init": "style"}),
    "builtin, two styles, colours matched": (
        [STYLE, OTHER],
        {**BUILTIN, "style_blend": (2, 1), "match_color": "cholesky", "style_scale": 0.8},
    ),
    "builtin, colours kept, layers": (
        [STYLE],
        {
            **BUILTIN,
            "preserve_color": True,
            "style_layers": {"level1": 1, "level2": 3},
            "content_layers": "level2",
            "init": OTHER,
            "tolerance": 0.01,
        },
    ),
    "vgg19, balanced": ([STYLE], VGG),
    "vgg19, balanced, reference, average": (
        [STYLE],
        {**VGG, "backend": "reference", "pooling": "average", "image_size": 96},
    ),
    "vgg19, paper": ([STYLE], {**VGG, "formula": "paper", "init": "noise", "seed": 3}),
    "vgg19, gatys-normalised, scipy": (
        [STYLE],
        {**VGG, "formula": "gatys-normalised", "optimizer": "scipy"},
    ),
    "vgg19, gatys, adam": ([STYLE], {**VGG, "formula": "gatys", "optimizer": "adam"}),
    "vgg19, johnson, two styles, symmetric": (
        [STYLE, OTHER],
        {**VGG, "formula": "johnson", "match_color": "symmetric"},
    ),
    "vgg19, no content": ([STYLE], {**VGG, "content_weight": 0}),
    "vgg19, no style": ([STYLE], {**VGG, "style_weight": 0, "init": "noise"}),
}
"""By name: the style pictures, and the settings."""

BROKEN_OFF = ("builtin", "builtin, adam, style", "vgg19, paper")
"""Runs that are also broken off at their second level and resumed from a checkpoint."""


def main() -> None:
    """Print the results of all runs."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYNST_CACHE_DIR"] = folder
        weights = _weights(Path(folder) / "tiny.npz")
        results = {}
        for name, (styles, options) in RUNS.items():
            settings = {**options, "weights": weights} if name.startswith("vgg") else options
            results[name] = _described(_whole(styles, settings))
            if name in BROKEN_OFF:
                checkpoint = Path(folder) / "run.npz"
                resumed = _described(_resumed(styles, settings, checkpoint))
                assert resumed == results[name], f"{name}: the resumed run has other bits"
    json.dump({"environment": environment(), "runs": results}, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _weights(path: Path) -> str:
    """Write the tiny network as a weights file, and let the reader expect its channels."""
    import pynst.weights.layouts as layouts
    from pynst.weights import VGG19Weights, save_weights

    table = {name: weight.shape[:2] for name, (weight, _) in convolutions().items()}
    layouts.VGG19_CONVOLUTIONS = table
    save_weights(VGG19Weights(convolutions(), MEAN), path)
    return str(path)


def _whole(styles: list[np.ndarray], options: dict[str, Any]) -> Any:
    import pynst

    return pynst.stylize(CONTENT, styles, **options)


def _resumed(styles: list[np.ndarray], options: dict[str, Any], path: Path) -> Any:
    """Stop in the middle of the second level, then go on."""
    import pynst

    def stop(progress: Any) -> None:
        if (progress.level, progress.iteration) == (2, 3):
            raise KeyboardInterrupt

    try:
        pynst.stylize(CONTENT, styles, checkpoint=path, callback=stop, **options)
    except pynst.Interrupted:
        return pynst.stylize(CONTENT, styles, resume=path)
    raise AssertionError("the run was not broken off")


def _described(result: Any) -> dict[str, Any]:
    """Checksums, and the totals at the first evaluation of each level for another machine."""
    terms = [
        [(t.total, t.content, t.style, t.tv, sorted(t.layers.items())) for t in level]
        for level in result.history
    ]
    return {
        "pixels": hashlib.sha256(result.pixels.astype("<f8").tobytes()).hexdigest(),
        "history": hashlib.sha256(json.dumps(terms).encode()).hexdigest(),
        "evaluations": [len(level) for level in result.history],
        "first totals": [level[0].total for level in result.history],
        "mean": float(result.pixels.mean()),
    }


if __name__ == "__main__":
    main()
