"""L-BFGS whose vectors stay on the device: its kernels, its steps, and what crosses to the host."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from closures import HostClosure
from conftest import picture, tiny_vgg19
from cuda_on_cpu.build import load
from cuda_on_cpu.host_device import HostDevice
from scipy.optimize import rosen, rosen_der
from test_optimizers_descent import assert_no_interruption_loses_work

import pynst.networks.open
from pynst import BackendError, DivergedError, Interrupted, Objective, stylize
from pynst.backends.cpu import CpuBackend
from pynst.backends.cuda import CudaBackend
from pynst.backends.cupy_device import CupyDevice
from pynst.backends.device import DeviceArray
from pynst.losses.terms import InPlace, LossTerms
from pynst.networks.gabor import Gabor
from pynst.optimizers.descent import Descent, Stop
from pynst.optimizers.device_vectors import CoreOps
from pynst.optimizers.pairs import Pairs
from pynst.optimizers.pyramid import HostOps, Pyramid
from pynst.optimizers.table import adam, lbfgs, lbfgs_scipy


@pytest.fixture(scope="session")
def module():
    return load()


@pytest.fixture
def stand_in(module):
    return HostDevice(module)


class Core:
    """A compiled core with arrays in its memory."""

    def __init__(self, memory, launch, module):
        self.memory, self.launch, self.module = memory, launch, module

    def put(self, values, dtype=np.float32):
        values = np.ascontiguousarray(values, dtype)
        block = self.memory.allocate(values.nbytes)
        if isinstance(block, np.ndarray):
            array = block.view(values.dtype).reshape(values.shape)
        else:
            array = DeviceArray(block.owner, block.pointer, values.dtype, values.shape)
        self.memory.copy_in(values, array)
        return array

    def get(self, array):
        values = np.empty(array.shape, array.dtype)
        self.memory.copy_out(array, values)
        return values

    def allocate(self, nbytes):
        return self.memory.allocate(nbytes)


@pytest.fixture(params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def device(request):
    """A device to compute on."""
    if request.param == "stand-in":
        return HostDevice(request.getfixturevalue("module"))
    try:
        return CupyDevice()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(params=["cpu", "stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def core(request):
    """A core to compute with."""
    if request.param == "cpu":
        images = CpuBackend(2).device_images((1, 1, 3))
        return Core(images.device, images.launch, images.device.core)
    if request.param == "stand-in":
        module = request.getfixturevalue("module")
        memory = HostDevice(module)
    else:
        try:
            memory = CupyDevice()
        except BackendError as error:
            pytest.skip(str(error))
        module = memory.core
    return Core(memory, lambda op, *given: getattr(memory.core, op)(*given, memory.stream), module)


# ---- kernels -------------------------------------------------------------------------------------


def vectors(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


SIZES = [1, 2, 31, 33, 703, 704, 705, 3000]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("count", [0, 1, 7, 22])
def test_the_direction_is_the_sum_of_its_rows(core, n, count):
    rng = np.random.default_rng(n)
    pairs, h = vectors(rng, 22, n), vectors(rng, n)
    rows, c = rng.permutation(22)[:count], rng.standard_normal(count + 1)
    d = core.put(np.full(n, np.nan))
    coefficients = core.module.PairCoefficients(rows.tolist(), c[1:].tolist(), c[0])
    core.launch("lbfgs_direction", core.put(pairs), coefficients, core.put(h), d)
    wanted = c[1:] @ pairs[rows].astype(np.float64) + c[0] * h
    np.testing.assert_allclose(core.get(d), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10, 25])
def test_the_core_finds_the_coefficients_that_numpy_finds(core, count):
    rng, pairs = np.random.default_rng(count), Pairs(10)
    kept = rng.standard_normal((2 * pairs.rows, 50))
    M = np.diag(10 ** rng.uniform(-1, 1, 50))
    for _ in range(count):
        s, z = pairs.spare, pairs.rows + pairs.spare
        kept[s] = rng.standard_normal(50)
        y = 3 * kept[s] + 0.3 * rng.standard_normal(50)
        kept[z] = M @ y
        pairs.add(kept @ y)
    g = rng.standard_normal(50)
    c, c_h, slope = pairs.direction(kept @ g, g @ M @ g)
    found, found_slope = core.module.lbfgs_coefficients(
        pairs.products, pairs.order, kept @ g, float(g @ M @ g)
    )
    spread = np.zeros_like(c)
    spread[found.rows] = found.factors
    np.testing.assert_allclose(spread, c, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose([found.factor_of_h, found_slope], [c_h, slope], rtol=1e-12)


@pytest.mark.parametrize(
    ("products", "order", "with_g", "message"),
    [
        ((22, 22), (), 22, "products must have a row for each"),
        ((24, 12), (), 24, "with_g must be a vector of at most 22 values"),
        ((22, 11), (11,), 22, "order must be of rows of the pairs"),
        ((4, 2), (0, 1, 0), 4, "order must have at most"),
    ],
)
def test_coefficients_of_pairs_that_are_not_there_are_refused(
    core, products, order, with_g, message
):
    with pytest.raises(ValueError, match=f"lbfgs_coefficients: {message}"):
        core.module.lbfgs_coefficients(np.zeros(products), order, np.zeros(with_g), 1.0)


@pytest.mark.parametrize("row", [-1, 22])
def test_rows_that_are_not_there_are_refused(core, row):
    h, d = (core.put(np.zeros(5)) for _ in range(2))
    coefficients = core.module.PairCoefficients([0, row], [1.0, 1.0], 1.0)
    with pytest.raises(ValueError, match=f"lbfgs_direction: rows must be rows of .* got {row}$"):
        core.launch("lbfgs_direction", core.put(np.zeros((22, 5))), coefficients, h, d)


@pytest.mark.parametrize(("rows", "factors"), [(1, 2), (2, 1), (23, 23)])
def test_coefficients_have_as_many_rows_as_factors(core, rows, factors):
    with pytest.raises(ValueError, match="PairCoefficients: rows and factors must be as many"):
        core.module.PairCoefficients([0] * rows, [1.0] * factors, 1.0)


@pytest.mark.parametrize("n", SIZES)
def test_a_step_is_kept_as_it_is_and_seen_clipped(core, n):
    rng = np.random.default_rng(n)
    x, d = vectors(rng, n), vectors(rng, n)
    x[n // 2] = np.nan
    following, seen = (core.put(np.zeros(n)) for _ in range(2))
    core.launch("lbfgs_step", core.put(x), core.put(d), 0.3, following, seen)
    wanted = (x + 0.3 * d.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(core.get(following), wanted)
    np.testing.assert_array_equal(core.get(seen), np.clip(wanted, 0, 1))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 2, 3), np.float32, None),  # an image as it is
        ((12,), np.float32, None),
        ((11,), np.float32, r"d must have 12 values of float32, got float32 of shape \(11,\)"),
        ((2, 2, 3), np.float64, "d must have 12 values of float32, got float64 of shape"),
    ],
)
def test_a_vector_may_have_any_shape_and_must_have_its_values(core, shape, dtype, message):
    x, following, seen = (core.put(np.ones(each)) for each in ((2, 2, 3), 12, (3, 4)))
    d = core.put(np.ones(shape), dtype)
    if message is None:
        core.launch("lbfgs_step", x, d, 0.5, following, seen)
        np.testing.assert_array_equal(core.get(following), np.full(12, 1.5, np.float32))
        return
    with pytest.raises(ValueError, match=f"lbfgs_step: {message}"):
        core.launch("lbfgs_step", x, d, 0.5, following, seen)


def test_vectors_without_values_are_refused(core):
    nothing = core.put(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"x must have 1 to 2\^31 - 1 values of float32, got"):
        core.launch("lbfgs_step", nothing, nothing, 0.5, nothing, nothing)


@pytest.mark.parametrize("n", SIZES)
def test_the_gradient_leads_back_what_left_the_range(core, n):
    rng = np.random.default_rng(n)
    following, gradient = (0.5 + vectors(rng, n)).astype(np.float32), vectors(rng, n)
    g = core.put(np.full(n, np.nan))
    core.launch("lbfgs_gradient", core.put(following), core.put(gradient), 3.0, g)
    beyond = following.astype(np.float64) - np.clip(following, 0, 1)
    wanted = (np.where(beyond, 0, gradient) + 6.0 * beyond).astype(np.float32)
    np.testing.assert_array_equal(core.get(g), wanted)


def arrived(core, n, rows, spare, seed=0):
    """What `lbfgs_arrive` gives (pairs, sums), and the same by NumPy in float64."""
    rng = np.random.default_rng(seed)
    x, g, h, d, next_g, next_h = (vectors(rng, n) for _ in range(6))
    following = (0.5 + vectors(rng, n)).astype(np.float32)
    pairs = vectors(rng, 2 * rows, n)
    kept, sums = core.put(pairs), core.put(np.zeros(4 + 4 * rows), np.float64)
    scratch = core.allocate(core.module.lbfgs_arrive_scratch(rows, n))
    given = (core.put(each) for each in (x, g, h, d, following, next_g, next_h))
    core.launch("lbfgs_arrive", *given, kept, spare, sums, scratch)
    beyond = following.astype(np.float64) - np.clip(following, 0, 1)
    pairs[[spare, rows + spare]] = following - x, next_h - h
    wide = pairs.astype(np.float64)
    g_, h_ = next_g.astype(np.float64), next_h.astype(np.float64)
    own = [beyond @ beyond, g_ @ d, g_ @ h_, h_ @ h_]
    wanted = [pairs, np.concatenate([own, wide @ g_, wide @ (g_ - g)])]
    return [core.get(kept), core.get(sums)], wanted


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("rows", "spare"), [(11, 0), (11, 10), (4, 2), (1, 0)])
def test_all_products_are_those_of_float64(core, n, rows, spare):
    (pairs, sums), (wanted_pairs, wanted) = arrived(core, n, rows, spare)
    np.testing.assert_array_equal(pairs, wanted_pairs)
    np.testing.assert_allclose(sums, wanted, rtol=1e-12, atol=1e-12 * n)


def test_more_tiles_than_blocks_and_equal_bits(core):
    n = 704 * 384 + 1000
    (_, sums), (_, wanted) = arrived(core, n, 2, 1)
    np.testing.assert_allclose(sums, wanted, rtol=1e-11, atol=1e-11 * n)
    np.testing.assert_array_equal(arrived(core, n, 2, 1)[0][1], sums)


# ---- steps ---------------------------------------------------------------------------------------


START = np.full((6, 5, 3), 0.5)


class Function:
    """A function of an image in the stand-in's memory, in place of a network."""

    def __init__(self, backend, shape, function):
        self.backend, self.shape, self.function = backend, shape, function
        self.gradient_scale = 1.0
        self.terms, self.calls = None, []

    def in_place(self, sums):
        backend, device = self.backend, self.backend.device
        report = backend.empty_losses(1 + sums)
        images = backend.device_images(self.shape)
        run = backend.repeated(report[:1])

        def compute(image, gradient, loss):
            x = device._bytes(image).view(np.float32).reshape(self.shape)
            self.calls.append(x.astype(np.float64))
            value, slope = self.function(self.calls[-1])
            device._bytes(gradient).view(np.float32)[:] = slope.ravel()
            device._bytes(loss).view(np.float64)[:] = value

        def evaluate(x, g, after):
            report.owner.arrived = False
            run(lambda: device._do(compute, images.image, images.gradient, report[:1]), after)
            values = backend.download_losses(report)
            self.terms = LossTerms(values[0], values[0], 0.0, 0.0)
            return self.terms, values[1:]

        return InPlace(images, self.shape, report[1:], evaluate)


def function_on(device, function, shape=START.shape):
    return Function(CudaBackend("accurate", "simt", device), shape, function)


class OnHost(HostClosure):
    """The same function for the host's drivers."""

    def __init__(self, function):
        self.function, self.terms, self.calls = function, None, []

    def __call__(self, x):
        self.calls.append(x.copy())
        value, gradient = self.function(x)
        self.terms = LossTerms(value, value, 0.0, 0.0)
        return value, gradient


def quadratic(shape, seed=0, reach=0.3):
    rng = np.random.default_rng(seed)
    target, weight = 0.5 + reach * (rng.random(shape) - 0.5), 10 ** rng.uniform(-1, 2, shape)

    def function(x):
        return float(np.sum(weight * (x - target) ** 2)), 2 * weight * (x - target)

    return function


def rosenbrock(x):
    return float(rosen(x.ravel())), rosen_der(x.ravel()).reshape(x.shape)


def run_to_the_end(optimizer, objective, budget, x, **settings):
    run = Descent(objective, budget, **settings)
    with pytest.raises(Stop) as stop:
        optimizer(run, x)
    return run, str(stop.value)


CASES = {
    "quadratic": (quadratic((6, 5, 3)), np.full((6, 5, 3), 0.5), 25, 2e-5),
    "larger": (quadratic((20, 20, 3), 1), np.full((20, 20, 3), 0.5), 25, 2e-5),
    "rosenbrock": (rosenbrock, np.zeros((1, 20, 3)), 20, 2e-3),
    "beyond the bounds": (quadratic((6, 5, 3), 2, reach=3), np.full((6, 5, 3), 0.5), 12, 1e-4),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("oracle", [lbfgs_scipy, lbfgs], ids=["scipy", "host"])
def test_the_device_goes_where_scipys_and_the_hosts_go(name, oracle, stand_in):
    function, start, evaluations, tolerance = CASES[name]
    ours = function_on(stand_in, function, start.shape)
    theirs = OnHost(function)
    run_to_the_end(lbfgs, ours, evaluations, start)
    run_to_the_end(oracle, theirs, evaluations, start)
    np.testing.assert_allclose(ours.calls, theirs.calls, atol=tolerance)


def test_it_finds_the_minimum_and_its_best_iterate(stand_in):
    objective = function_on(stand_in, quadratic(START.shape))
    run, _ = run_to_the_end(lbfgs, objective, 150, START)
    values = [terms.total for terms in run.history]
    assert run.best_value == min(values) < 1e-8
    np.testing.assert_array_equal(run.best, objective.calls[int(np.argmin(values))])


def test_what_was_the_best_image_stays_as_it_was(stand_in):
    objective, kept = function_on(stand_in, quadratic(START.shape)), []
    run, _ = run_to_the_end(
        lbfgs, objective, 20, START, on_evaluation=lambda run: kept.append(run.best_image)
    )
    values = [terms.total for terms in run.history]
    for i, image in enumerate(kept):
        np.testing.assert_array_equal(image(), objective.calls[int(np.argmin(values[: i + 1]))])


def test_whoever_keeps_a_preview_keeps_nothing_else(stand_in):
    run, _ = run_to_the_end(lbfgs, function_on(stand_in, quadratic(START.shape)), 20, START)
    image = run.best_image
    del run
    gc.collect()
    assert [block.values.nbytes for block in stand_in._blocks.values()] == [4 * START.size]
    assert image().shape == START.shape


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_ends_the_run_and_keeps_the_best(stand_in, poison):
    plain = quadratic((6, 5, 3))

    def poisoned(x):
        value, gradient = plain(x)
        if len(objective.calls) == 5:
            gradient[2, 3, 1] = poison
        return value, gradient

    objective = function_on(stand_in, poisoned)
    run = Descent(objective, 50)
    with pytest.raises(DivergedError, match="not finite at evaluation 5"):
        lbfgs(run, START)
    assert np.isfinite(run.best).all()


def test_an_interruption_at_any_line_keeps_all_work_but_the_step_under_way(stand_in):
    function = quadratic((4, 5, 3), 5, reach=1.5)

    def make():
        return function_on(stand_in, function, (4, 5, 3))

    assert_no_interruption_loses_work(lbfgs, make, 14, stride=23)


# ---- the preconditioner --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (21, 30, 3)])
def test_the_preconditioner_is_captured_once_and_replayed(device, monkeypatch, shape):
    captured, capture = [], device.capture
    monkeypatch.setattr(device, "capture", lambda work: captured.append(1) or capture(work))
    pyramid = Pyramid(CoreOps(CudaBackend(device=device).device_images(shape)), shape)
    host = Pyramid(HostOps(), shape)
    rng = np.random.default_rng(4)
    for _ in range(4):  # vectors that it has not seen before, each time
        values, found, wanted = vectors(rng, *shape), np.empty(shape, np.float32), np.empty(shape)
        g, h = device.empty(shape), device.empty(shape)
        device.copy_in(values, g)
        pyramid(g, h)
        device.copy_out(h, found)
        host(values.astype(np.float64), wanted)
        np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())
    assert len(captured) == (1 if min(shape[:2]) > 1 else 0)


# ---- with a network ------------------------------------------------------------------------------

CONTENT, STYLE = picture(0, 24, 34), picture(1, 30, 28)


MODES = [("accurate", "simt"), ("fast", "tensor")]


def small(backend, network=tiny_vgg19, **options):
    return Objective(CONTENT, STYLE, network=network(backend), image_size=34, **options)


def counted(device, monkeypatch):
    """Sizes of the copies from the device, and to it, as they happen."""
    out, into = [], []
    copy_out, copy_in = device.copy_out, device.copy_in
    monkeypatch.setattr(device, "copy_out", lambda a, to: (out.append(a.nbytes), copy_out(a, to)))
    monkeypatch.setattr(device, "copy_in", lambda v, to: (into.append(v.nbytes), copy_in(v, to)))
    return out, into


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_an_evaluation_brings_one_small_copy_to_the_host(module, monkeypatch, mode):
    device = HostDevice(module)
    objective = small(CudaBackend(*mode, device), Gabor)
    seen = []

    def watch(run):
        if len(run.history) == 2:
            seen.append(counted(device, monkeypatch))

    run, _ = run_to_the_end(lbfgs, objective, 12, objective.content, on_evaluation=watch)
    out, into = seen[0]
    assert len(out) == 10, "evaluations since the second one"
    assert max(out) < 1000, "bytes"
    assert into == []
    assert run.best_value < run.history[0].total


def test_the_device_and_the_host_go_the_same_way_with_a_network(device):
    """To float32 rounding, which both backends have, each its own."""
    ours = small(CudaBackend("accurate", "simt", device))
    theirs = small(CpuBackend(1))
    found, _ = run_to_the_end(lbfgs, ours, 15, ours.content)
    wanted, _ = run_to_the_end(lbfgs, theirs, 15, theirs.content)
    totals = [[terms.total for terms in run.history] for run in (found, wanted)]
    np.testing.assert_allclose(*totals, rtol=2e-3)
    np.testing.assert_allclose(totals[0][:6], totals[1][:6], rtol=1e-5)
    assert np.sqrt(np.mean((found.best - wanted.best) ** 2)) < 1 / 255


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_equal_runs_give_equal_bits(device, mode):
    runs = [
        run_to_the_end(lbfgs, small(CudaBackend(*mode, device), Gabor), 12, CONTENT)[0]
        for _ in range(2)
    ]
    assert runs[0].history == runs[1].history
    np.testing.assert_array_equal(runs[0].best, runs[1].best)


def test_the_objective_can_still_be_called_from_the_host(stand_in):
    objective = small(CudaBackend("accurate", "simt", stand_in), Gabor)
    before = [objective(objective.content) for _ in range(3)]
    run_to_the_end(lbfgs, objective, 5, objective.content)
    value, gradient = objective(objective.content)
    assert value == before[-1][0]
    np.testing.assert_array_equal(gradient, before[-1][1])


@pytest.mark.parametrize("optimizer", [lbfgs, adam])
def test_halves_go_on_with_the_gradient_scale_that_was_found(device, optimizer):
    """Which numbers fall below the range of halves depends on it, and so do the bits."""

    def objective():
        # so that the scale one would do, and a larger one is better
        weights = {"content_weight": 2.0**12, "style_weight": 2.0**12, "tv_weight": 0}
        return small(CudaBackend("fast", "tensor", device), Gabor, **weights)

    def end(run):
        if len(run.history) == 5:
            raise KeyboardInterrupt

    whole, _ = run_to_the_end(optimizer, objective(), 9, CONTENT)
    broken = Descent(objective(), 9, on_evaluation=end)
    with pytest.raises(KeyboardInterrupt):
        optimizer(broken, CONTENT)
    rest = broken.snapshot
    assert rest.gradient_scale > 1
    resumed = Descent(objective(), 9, resume=rest)
    with pytest.raises(Stop):
        optimizer(resumed, rest.state["x"], rest.state)
    assert resumed.history == whole.history
    np.testing.assert_array_equal(resumed.best, whole.best)


@pytest.fixture(params=MODES, ids=" ".join)
def opened(monkeypatch, device, request):
    """`stylize(backend="cuda")` computes on the device of the test."""
    monkeypatch.setattr(
        pynst.networks.open,
        "open_backend",
        lambda name, **settings: CudaBackend(*request.param, device),
    )
    return device


FAST = {"network": "builtin", "image_size": 34, "iterations": 14, "levels": 1}


def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(opened, tmp_path):
    whole = stylize(CONTENT, STYLE, **FAST)
    for where in (1, 2, 13):

        def end(progress, where=where):
            if progress.iteration == where:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted) as caught:
            stylize(CONTENT, STYLE, checkpoint=tmp_path / "run.npz", callback=end, **FAST)
        assert caught.value.result.pixels.shape == whole.pixels.shape
        resumed = stylize(CONTENT, STYLE, resume=tmp_path / "run.npz")
        assert resumed.history == whole.history
        np.testing.assert_array_equal(resumed.pixels, whole.pixels)


def test_a_preview_is_fetched_only_when_it_is_asked_for(opened, monkeypatch):
    out, _ = counted(opened, monkeypatch)
    images = []

    def watch(progress):
        if progress.iteration == 1:
            del out[:]  # what the content picture was needed for
        if progress.iteration == 4:
            images.append(progress.image())

    result = stylize(CONTENT, STYLE, callback=watch, **FAST)
    assert len([nbytes for nbytes in out if nbytes > 1000]) == 2, "the preview, and the result"
    assert images[0].shape == result.pixels.shape
