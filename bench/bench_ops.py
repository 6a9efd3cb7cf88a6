"""The ops under pytest-benchmark: ``pytest bench``, with its own options to store and compare.

A group is one op and shape, so that its rows with different thread counts stand side by side.
``PYNST_BENCH_SIZE`` is the side of the picture in pixels, default 256.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import pytest

from bench import ops
from bench.machine import all_threads, describe
from bench.measure import Worker
from pynst.backends import open_backend

SIZE = int(os.environ.get("PYNST_BENCH_SIZE", "256"))


@cache
def machine() -> dict[str, Any]:
    return describe()


@cache
def peaks(threads: int) -> dict[str, float | None]:
    return dict(Worker(threads)("peaks", threads=threads))


@pytest.mark.parametrize("threads", sorted({1, all_threads()}))
@pytest.mark.parametrize("case", ops.layer_cases(SIZE), ids=str)
def bench_op(benchmark: Any, case: Any, threads: int) -> None:
    backend = open_backend("cpu", threads=threads)
    call = ops.checked_call(case, backend)
    benchmark.group = str(case)
    about = machine()
    benchmark.extra_info.update(
        threads=threads, backend=backend.name, commit=about["commit"], versions=about["versions"]
    )
    benchmark.pedantic(call, rounds=10, iterations=1, warmup_rounds=2)
    if benchmark.stats is not None:  # None with --benchmark-disable
        seconds = benchmark.stats.stats.median
        benchmark.extra_info.update(ops.rates(case, seconds, peaks(threads)))
