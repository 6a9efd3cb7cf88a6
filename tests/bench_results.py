"""What the tests of the benchmarks share: the way to `bench`, and a result as it is stored."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # at the end: an installed PyNST comes first
    sys.path.append(str(ROOT))


def ms(median: float) -> dict:
    return {"median": median, "q1": 0.98 * median, "q3": 1.02 * median, "min": 0.9 * median,
            "runs": [median] * 3}  # fmt: skip


RESULT = {
    "format": 1,
    "name": "a small run",
    "command": "python -m bench",
    "set": "quick",
    "date": "2026-01-02",
    "minutes": 1.0,
    "machine": {
        "processor": "a processor", "threads": 2, "memory_gb": 8.0, "system": "Linux x86_64",
        "huge_pages": "madvise", "python": "3.12.1", "versions": {"numpy": "2.0", "torch": "2.4"},
        "backends": {"cpu": "cpu (avx2, 2 threads)"}, "commit": "0123456789",
    },
    "packages": {"jax": {"version": None, "install": "pip install jax"}},
    "peaks": {"2": {"fma_gflops": None, "sgemm_gflops": 90.0, "copy_gbs": 10.0}},
    "load": {"before": 0.1, "after": 2.0},
    "closure": [
        {"size": 256, "threads": 2, "name": name, "ms": ms(time), "gflops": 10.0,
         "peak_mb": 100.0, "first_s": 1.0, "cores_used": [1.9, 2.0], "quiet_turns": 2}
        for name, time in (("pynst", 100.0), ("torch-best", 290.0), ("torch-usual", 101.0))
    ],
    "ops": [
        {"case": "gram-N4", "op": "gram", "threads": 2, "flops": 1e6, "bytes": 1e5, "ms": ms(1.0),
         "gflops": 1.0, "gbs": 0.1, "of_peak_flops": 0.01, "of_copy": None}
    ],
    "users": {
        "start": [{"what": "import pynst", "ms": ms(20.0)}],
        "picture": [{"network": "builtin", "size": 256, "quality": "normal", "evaluations": 50,
                     "first_s": 0.5, "final_s": 9.0, "peak_mb": None}],
        "installed_mb": {"pynst": 1.5},
    },
    "convergence": {
        "size": 64, "threads": 2, "evaluations": 2, "weights": "random",
        "curves": {"pynst lbfgs": {"seconds": [0.1, 0.2], "loss": [8.0, 4.0],
                                   "cores_used": 1.9},
                   "another": {"seconds": [0.3, 0.6], "loss": [8.0, 5.0],
                               "cores_used": 1.8}},
    },
    "scaling": {
        "pixels": {"rows": [{"size": 64, "threads": 2, "ms": 1.0, "peak_mb": 50.0,
                             "cores_used": 2.0}],
                   "time_exponent": 0.97},
        "threads": [{"size": 256, "threads": 1, "ms": 9.0, "peak_mb": 50.0, "speedup": 1.0,
                     "cores_used": 1.0}],
        "evaluations": {"rows": [], "ms_per_evaluation": 3.0, "ms_constant": 20.0},
    },
    "quality": {
        "formulas": [{"formula": "paper", "value_error": 1e-7, "gradient_error": 2e-6}],
        "drivers": {"size": 64, "after": [1, 2],
                    "rows": [{"driver": "pynst lbfgs", "start": 8.0, "lowest": [6.0, 2.0]}]},
    },
    "breakdown": [
        {"size": 256, "threads": 2, "name": "pynst", "ms": 5.0, "rows": [
            {"call": "gram, 64 channels, 256 x 256", "op": "gram", "sizes": {}, "calls": 1,
             "ms": 2.0, "share": 0.4, "gflop": 0.3, "mb": 17.0, "floor_ms": 0.6},
            {"call": "gram, 128 channels, 128 x 128", "op": "gram", "sizes": {}, "calls": 1,
             "ms": 1.0, "share": 0.2, "gflop": 0.3, "mb": 8.0, "floor_ms": 0.5},
            {"call": "conv3x3_relu, 64 to 128 channels, 128 x 128", "op": "conv3x3_relu",
             "sizes": {"C": 64, "N": 128, "H": 128, "W": 128}, "calls": 1, "ms": 2.0,
             "share": 0.4, "gflop": 2.4, "mb": 13.0, "floor_ms": 4.6}]},
    ],
    "layers": [
        {"C": 64, "N": 128, "size": 128, "way": "forward", "form": "float32", "threads": 2,
         "ms": ms(4.0), "gflops": 600.0}
    ],
}  # fmt: skip
