"""Forecasts of memory and time, and the limits of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from hypothesis import given
from hypothesis import strategies as st

import pynst
from pynst import BackendError, OptionError, TransferOptions, stylize
from pynst.backends.cpu import CpuBackend
from pynst.gabor import Gabor
from pynst.resources import (
    TimeForecast,
    _group_rooms,
    available_memory,
    forecast_memory,
    resident_memory,
)

MEASURE = """
import json, pynst, pynst.transfer, pynst.resources as r
import numpy as np
seen = {}
def spy(network, options, content, styles):
    sizes = [style.shape[:2] for style in styles]
    forecast = r.forecast_memory(network, options, content.shape[:2], sizes)
    seen["forecast"] = r.resident_memory() + forecast.total
pynst.transfer.check_memory = spy
rng = np.random.default_rng(0)
content, style = (rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(2))
result = pynst.stylize(content, style, network="builtin", image_size=SIZE, iterations=3,
                       levels=1, threads=1, optimizer="OPTIMIZER")
print(json.dumps({**seen, "peak": result.peak_bytes}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is measured on Linux")
@pytest.mark.parametrize(("size", "optimizer"), [(256, "lbfgs"), (512, "lbfgs"), (384, "scipy")])
def test_the_forecast_is_within_a_quarter_of_the_peak_of_a_fresh_process(size, optimizer):
    script = MEASURE.replace("SIZE", str(size)).replace("OPTIMIZER", optimizer)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    measured = json.loads(run.stdout)
    assert 0.75 < measured["forecast"] / measured["peak"] < 1.25


@pytest.mark.parametrize("network", [tiny_vgg19(CpuBackend(1)), Gabor(CpuBackend(1))])
def test_the_forecast_contains_the_memory_plan_and_grows_with_the_size(network):
    sizes = [
        forecast_memory(network, TransferOptions(image_size=size), (300, 400), [(300, 400)])
        for size in (200, 400, 800)
    ]
    layers = {*network.content_layers, *network.style_layers}
    for size, forecast in zip((200, 400, 800), sizes, strict=True):
        plan = network.plan(round(size * 3 / 4), size, layers, gradient=True)
        assert forecast.workspace == plan.nbytes
    assert sizes[0].total < sizes[1].total < sizes[2].total


def test_a_large_style_picture_counts():
    network = Gabor(CpuBackend(1))
    small, large = (
        forecast_memory(
            network, TransferOptions(image_size=200, style_scale=scale), (200, 200), [(200, 200)]
        )
        for scale in (1, 6)
    )
    assert large.workspace > 10 * small.workspace


def test_a_run_that_would_not_fit_is_refused_with_the_size_that_would(monkeypatch):
    content, style = picture(0, 60, 80), picture(1, 60, 80)
    options = {"network": "builtin", "iterations": 1, "levels": 1}
    monkeypatch.setenv("PYNST_MEMORY", str(resident_memory() + 60_000_000))
    with pytest.raises(BackendError, match=r"image_size=2000 needs about .* GB more memory, and"
                       r" \d+ MB are available; image_size=(\d+) would fit") as caught:  # fmt: skip
        stylize(content, style, image_size=2000, **options)
    fitting = int(str(caught.value).split("; image_size=")[1].split()[0])
    assert 64 < fitting < 400
    assert (
        stylize(content, style, image_size=fitting // 2, **options).image.shape[1] == fitting // 2
    )


def test_too_little_memory_for_anything_is_said(monkeypatch):
    monkeypatch.setenv("PYNST_MEMORY", "1M")
    with pytest.raises(BackendError, match="no image_size would fit"):
        stylize(picture(0, 60, 80), picture(1, 60, 80), network="builtin", image_size=64)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("4G", 4e9), ("500M", 5e8), ("1.5 GB", 1.5e9), ("2GiB", 2e9), ("123456789", 123456789)],
)
def test_the_limit_is_read_with_its_unit(monkeypatch, text, nbytes):
    monkeypatch.setenv("PYNST_MEMORY", text)
    assert available_memory() == pytest.approx(nbytes - resident_memory(), abs=2e6)


@pytest.mark.parametrize("text", ["much", "-4G", "4X", "nan", "1e9", "4GG"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("PYNST_MEMORY", text)
    with pytest.raises(OptionError, match="PYNST_MEMORY must be like 4G or 500M, got"):
        available_memory()


def test_there_is_some_memory_here():
    room = available_memory()
    assert room is None or 0 < room < 2**50


def test_memory_that_runs_out_all_the_same_is_a_backend_error(monkeypatch):
    def exhausted(self, x):
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr(pynst.objective.Objective, "__call__", exhausted)
    with pytest.raises(BackendError, match="out of memory: Unable to allocate 1 TiB"):
        stylize(picture(0, 40, 40), picture(1, 40, 40), network="builtin", image_size=40)


def test_the_limits_of_control_groups_are_found(tmp_path):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    old = tmp_path / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("5000000\n")
    (old / "memory.usage_in_bytes").write_text("1000000\n")
    assert sorted(_group_rooms(tmp_path)) == [2200000, 4000000]
    (tmp_path / "memory.max").write_text("max\n")
    assert _group_rooms(tmp_path) == [4000000]


@given(st.lists(st.floats(0.001, 1), min_size=3, max_size=20, unique=True))
def test_the_time_left_is_never_negative_and_is_told_from_the_third_evaluation_on(fractions):
    clock = TimeForecast()
    told = [clock.left(fraction) for fraction in sorted(fractions)]
    assert told[:2] == [None, None]
    assert all(left is not None and left >= 0 for left in told[2:])
    if max(fractions) == 1:
        assert told[-1] == 0


def test_the_time_left_is_about_right_for_a_steady_run(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = TimeForecast()
    for i in range(1, 101):
        left = clock.left(i / 100)
        if i >= 3:
            assert left == pytest.approx((100 - i) * 0.5)
        now[0] += 0.5


def test_progress_tells_the_time_left():
    seen = []
    stylize(picture(0, 50, 60), picture(1, 50, 60), network="builtin", image_size=60,
            iterations=6, callback=lambda p: seen.append(p.left))  # fmt: skip
    assert seen[:2] == [None, None]
    assert np.all(np.array(seen[2:], float) >= 0)
    assert seen[-1] == 0
