"""Forecasts of memory and time, and the limits of this machine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import picture, tiny_vgg19
from hypothesis import given
from hypothesis import strategies as st

import pynst
from pynst import BackendError, TransferOptions, stylize
from pynst.backends.cpu import CpuBackend
from pynst.forecast import TimeForecast, _ways, fit_memory, forecast_memory
from pynst.inputs import read_inputs
from pynst.machine import resident_memory
from pynst.networks.gabor import Gabor
from pynst.networks.vgg19 import VGG19

MEASURE = """
import gc, json, sys, pynst, pynst.transfer, pynst.forecast as f, pynst.machine as m
import numpy as np
gc.disable()
seen = {}
def spy(network, options, inputs):
    size = lambda pixels: pixels.shape[:2]
    sizes = size(inputs.content.pixels), [size(style.pixels) for style in inputs.styles]
    seen["forecast"] = f.forecast_memory(network, options, *sizes, len(inputs.regions)).total
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    seen["before"] = m.resident_memory()
    return options
pynst.transfer.fit_memory = spy
pynst.checkpoint._SECONDS = pynst.checkpoint._RARE = 0  # where there is one, after every step
rng = np.random.default_rng(0)
content, style = (rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(2))
peaks = []
for _ in range(CALLS):
    pynst.stylize(content, STYLES, image_size=SIZE, iterations=12, threads=1, **SETTINGS)
    peaks.append(m.peak_memory() - seen["before"])
print(json.dumps({**seen, "peaks": peaks, "resident": m.resident_memory()}))
"""
"""Without the cycle collector: the memory of a level and of a call must not wait for it. L-BFGS has
written all its pairs after 11 evaluations: until then the system gives no memory for them."""


def measured(size, calls=1, styles=1, **settings):
    """What a fresh process forecasts, and by how much it grows."""
    script = MEASURE.replace("SIZE", str(size)).replace("CALLS", str(calls))
    script = script.replace("STYLES", f"[style] * {styles}").replace("SETTINGS", repr(settings))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak is measured on Linux"
)


@on_linux
@pytest.mark.parametrize("optimizer", ["lbfgs", "scipy", "adam"])
@pytest.mark.parametrize(("size", "levels"), [(128, 1), (384, 4)])
def test_the_forecast_is_what_a_fresh_process_takes_over_all_its_levels(size, levels, optimizer):
    found = measured(size, network="builtin", levels=levels, optimizer=optimizer)
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


@on_linux
@pytest.mark.parametrize("loss", ["wasserstein", "neighbours", ["gram", "neighbours"]])
def test_the_forecast_is_what_the_other_style_losses_take(loss):
    found = measured(320, network="builtin", levels=1, style_loss=loss)
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


@on_linux
@pytest.mark.weights
@pytest.mark.parametrize("loss", ["wasserstein", "neighbours"])
@pytest.mark.parametrize("size", [128, 256])
def test_the_forecast_is_what_the_other_style_losses_take_with_vgg19(size, loss, real_weights):
    found = measured(size, weights=str(real_weights), style_loss=loss)
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


@on_linux
@pytest.mark.weights
@pytest.mark.parametrize("optimizer", ["lbfgs", "scipy", "adam"])
@pytest.mark.parametrize("size", [128, 256])
def test_the_forecast_is_what_vgg19_takes(size, optimizer, real_weights):
    found = measured(size, weights=str(real_weights), optimizer=optimizer)
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


@on_linux
@pytest.mark.parametrize(("optimizer", "calls"), [("lbfgs", 12), ("scipy", 4), ("adam", 4)])
def test_many_calls_take_no_more_than_one(optimizer, calls):
    found = measured(160, calls=calls, network="builtin", levels=2, optimizer=optimizer)
    assert max(found["peaks"][1:]) < 1.15 * found["peaks"][0]


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


def test_regions_count():
    network, size = Gabor(CpuBackend(1)), (200, 200)
    options = TransferOptions(image_size=200, style_masks=["a.png", "rest"])
    one, two = (
        forecast_memory(network, options, size, [size, size], regions).targets for regions in (1, 2)
    )
    A = sum(8 * network.shape(layer, *size)[0] ** 2 for layer in network.style_layers)
    assert 2 * A < two - one < 2 * A + 16 * 200 * 200, "each region has its own A and G"


def test_a_run_that_would_not_fit_is_refused_with_the_size_that_would(monkeypatch):
    content, style = picture(0, 60, 80), picture(1, 60, 80)
    options = {"network": "builtin", "iterations": 1, "levels": 1}
    monkeypatch.setenv("PYNST_MEMORY", str(resident_memory() + 60_000_000))
    with pytest.raises(BackendError, match=r"image_size=2000 needs about .* GB more memory, and"
                       r" \d+ MB are available; image_size=(\d+) would fit") as caught:  # fmt: skip
        stylize(content, style, image_size=2000, **options)
    fitting = int(str(caught.value).split("; image_size=")[1].split()[0])
    assert fitting > 64
    with pytest.raises(BackendError, match=f"image_size={2 * fitting} needs about"):
        stylize(content, style, image_size=2 * fitting, **options)
    assert (
        stylize(content, style, image_size=fitting // 2, **options).image.shape[1] == fitting // 2
    )


def test_too_little_memory_for_anything_is_said(monkeypatch):
    monkeypatch.setenv("PYNST_MEMORY", "1M")
    with pytest.raises(BackendError, match="no image_size would fit"):
        stylize(picture(0, 60, 80), picture(1, 60, 80), network="builtin", image_size=64)


def test_memory_that_runs_out_all_the_same_is_a_backend_error(monkeypatch):
    def exhausted(self, sums):
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr(pynst.objective.TotalLoss, "in_place", exhausted)
    with pytest.raises(BackendError, match="out of memory: Unable to allocate 1 TiB"):
        stylize(picture(0, 40, 40), picture(1, 40, 40), network="builtin", image_size=40)


# ---- tiles ---------------------------------------------------------------------------------------

TINY_TILES = {"_TILES": (192, 128), "_SMALL_TILES": (96, 64)}
LARGE = {"network": "builtin", "image_size": 500, "levels": 1, "iterations": 2, "threads": 1,
         "style_layers": ["level1", "level2"], "content_layers": ["level2"]}  # fmt: skip


@pytest.fixture
def tiny_tiles(monkeypatch):
    for name, tiles in TINY_TILES.items():
        monkeypatch.setattr(f"pynst.forecast.{name}", tiles)


def forecast(tile, pairs=None, precision=None, variables=None):
    options = TransferOptions(
        **LARGE, tile=tile, pairs=pairs, pair_precision=precision, variables=variables
    )
    return forecast_memory(Gabor(CpuBackend(1)), options, (300, 400), [(300, 400)]).total


def options_taken(room, monkeypatch, **changes):
    """What a run takes where so many bytes are free."""
    monkeypatch.setattr("pynst.forecast.available_memory", lambda _: room)
    options = TransferOptions(**{**LARGE, **changes})
    inputs = read_inputs(picture(0, 300, 400), picture(1, 300, 400), options)
    return fit_memory(Gabor(CpuBackend(1)), options, inputs)


def test_a_run_that_fits_is_left_as_it_is(tiny_tiles, monkeypatch, caplog):
    taken = options_taken(forecast(None), monkeypatch)
    assert (taken.tile, taken.pairs) == ("auto", None)
    assert not caplog.records


def test_a_run_that_would_not_fit_takes_the_largest_tiles_that_do_and_says_so(
    tiny_tiles, monkeypatch, caplog
):
    taken = options_taken(forecast(128), monkeypatch)
    assert (taken.tile, taken.pairs) == (128, None)
    (line,) = caplog.messages
    assert re.fullmatch(
        r"image_size=500 as a whole would not fit into \d+ MB: tiles of 128 pixels, 4 x 3, give the"
        r" same picture in \d\.\d times the time; about \d+ MB",
        line,
    )


def test_where_tiles_do_not_suffice_pairs_are_kept_in_half_precision_and_then_fewer(
    tiny_tiles, monkeypatch, caplog
):
    taken = options_taken(forecast(128, None, "half"), monkeypatch)
    assert (taken.pair_precision, taken.pairs) == ("half", None)
    assert taken.tile in (128, 192)
    assert "L-BFGS keeps 10 pairs in half precision;" in caplog.text
    taken = options_taken(forecast(128, 6, "half"), monkeypatch)
    assert (taken.pair_precision, taken.pairs in (6, 7)) == ("half", True)
    assert taken.tile in (128, 192)
    taken = options_taken(forecast(64, 3, "half"), monkeypatch)
    assert (taken.tile, taken.pairs, taken.pair_precision) == (64, 3, "half")
    assert taken.variables is None


def test_where_fewer_pairs_do_not_suffice_the_pixels_are_the_variables(
    tiny_tiles, monkeypatch, caplog
):
    taken = options_taken(forecast(64, 3, "half") - 1, monkeypatch)
    assert (taken.pairs, taken.variables) == (3, "pixels")
    assert "it minimises over the pixels" in caplog.text
    with pytest.raises(BackendError, match=r"image_size=500 needs about .* would fit"):
        options_taken(forecast(64, 3, "half", "pixels") - 1, monkeypatch)


def test_what_is_asked_for_is_not_replaced(tiny_tiles, monkeypatch):
    assert options_taken(forecast(128, 10), monkeypatch, pairs=10).tile == 128
    assert options_taken(forecast(96, 3, "half"), monkeypatch, tile=96).pairs == 3
    full = options_taken(forecast(96, 3), monkeypatch, tile=96, pair_precision="full")
    assert (full.pairs, full.pair_precision) == (3, "full")
    with pytest.raises(BackendError, match="image_size=500 needs about"):
        options_taken(forecast(128), monkeypatch, tile=None, pairs=10)


def test_a_run_in_tiles_has_the_losses_of_the_run_as_a_whole(tiny_tiles, caplog):
    content, style = picture(0, 300, 400), picture(1, 300, 400)
    settings = {**LARGE, "iterations": 4}
    whole = stylize(content, style, **settings)
    limit = resident_memory() + forecast(64, 3) + 20_000_000
    tiles = stylize(content, style, memory=limit, **settings)
    assert isinstance(tiles.options.tile, int)
    assert tiles.record.options.tile == tiles.options.tile
    assert tiles.pixels.dtype == np.float64
    for here, there in zip(tiles.history[0], whole.history[0], strict=True):
        assert here.total == pytest.approx(there.total, rel=1e-4)
    assert np.abs(tiles.pixels - whole.pixels).max() < 0.02


WAYS = [
    {},
    {"pair_precision": "half", "pairs": 3},
    {"pair_precision": "half", "pairs": 3, "variables": "pixels"},
    {"optimizer": "adam"},
]


@on_linux
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_forecast_of_a_run_in_tiles_is_what_it_takes(way):
    settings = {name: LARGE[name] for name in ("network", "style_layers", "content_layers")}
    found = measured(480, **settings, levels=1, tile=128, **way)
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


MASKED = {"style_masks": ["mask.png", "rest"], "content_mask": "mask.png", "content_mask_weight": 3}


@on_linux
@pytest.mark.parametrize("loss", ["gram", "wasserstein"])
@pytest.mark.parametrize("tile", [None, 128])
def test_the_forecast_of_a_run_with_masks_is_what_it_takes(tile, loss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pynst.save_image(np.repeat(np.linspace(0, 1, 480)[:, None, None], 640, 1), "mask.png")
    settings = {name: LARGE[name] for name in ("network", "style_layers", "content_layers")}
    found = measured(480, styles=2, **settings, **MASKED, levels=1, tile=tile, style_loss=loss)
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


@on_linux
@pytest.mark.parametrize("tile", [None, 128])
def test_the_forecast_of_the_wasserstein_loss_is_what_it_takes_in_tiles(tile):
    settings = {name: LARGE[name] for name in ("network", "style_layers", "content_layers")}
    found = measured(480, **settings, levels=1, tile=tile, style_loss="wasserstein")
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15


@on_linux
def test_checkpoints_do_not_raise_the_peak_of_a_run_in_tiles(tmp_path):
    settings = {name: LARGE[name] for name in ("network", "style_layers", "content_layers")}
    path = tmp_path / "run.npz"
    found = measured(480, **settings, **WAYS[1], levels=1, tile=128, checkpoint=str(path))
    assert 0.85 < found["forecast"] / found["peaks"][0] < 1.15
    n = 3 * 480 * 360
    assert 27 * n < path.stat().st_size < 29 * n, "x, g, best: 12 bytes; four pairs: 16"


def vgg19_of_zeros(backend):
    """VGG-19 with all its channels, whose weights take no memory."""
    channels, convolutions = 3, {}
    for block, (N, count) in enumerate([(64, 2), (128, 2), (256, 4), (512, 4), (512, 1)], 1):
        for i in range(1, count + 1):
            shapes = (N, channels, 3, 3), (N,)
            convolutions[f"conv{block}_{i}"] = tuple(
                np.broadcast_to(np.float32(0), shape) for shape in shapes
            )
            channels = N
    return VGG19(backend, convolutions, (0.0, 0.0, 0.0))


@pytest.mark.parametrize(("long_side", "gigabytes"), [(4096, 4), (6000, 8), (8192, 8)])
def test_prints_fit_into_the_memory_of_a_small_machine(long_side, gigabytes):
    network, size = vgg19_of_zeros(CpuBackend(2)), (long_side * 3 // 4, long_side)
    options = TransferOptions(image_size=long_side, network="vgg19")
    leanest = _ways(options, network, size)[-1]
    needs = forecast_memory(network, leanest, size, [(1200, 1600)]).total
    # The program and the network, and the photograph as it was stored.
    held = 250_000_000 + 3 * size[0] * size[1]
    assert needs + held < gigabytes * 10**9


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
