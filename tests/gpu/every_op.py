"""Runs every op once on small, odd sizes, in both precisions: something for a checker to watch.

Nothing is compared here; the tests do that. Memory comes from the driver, not from CuPy's pool, in
which an access beyond an array's end would still be the program's own.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse

from op_cases import OP_CASES

from pynst.backends import open_backend

MOST_FLOPS = 2e7  # a checker is a hundred times slower
MOST_PIXELS = 600


def small(case) -> bool:
    return case.flops <= MOST_FLOPS and case.sizes["H"] * case.sizes["W"] <= MOST_PIXELS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="cuda")
    given = parser.parse_args()
    if given.backend == "cuda":
        import cupy

        cupy.cuda.set_allocator(None)
    cases = [case for case in OP_CASES if small(case)]
    missing = {case.op for case in OP_CASES} - {case.op for case in cases}
    assert not missing, f"no case of {missing} is small enough"
    for precision in ("accurate", "fast"):
        backend = open_backend(given.backend, precision=precision)
        for case in cases:
            case.outputs(backend)
        print(f"{len(cases)} cases on {backend.name}", flush=True)


if __name__ == "__main__":
    main()
