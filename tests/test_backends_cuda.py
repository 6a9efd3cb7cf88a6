"""The CUDA backend: its kernels, its Python, and whole runs of it.

Everything runs twice: on any machine, compiled with g++ on a stand-in for CUDA (`cuda_on_cpu`);
and, marked `gpu`, on a CUDA device where there is one.
"""

from __future__ import annotations

import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import op_cases
import pytest
from conftest import MEAN, picture, tiny_convolutions, tiny_vgg19
from cuda_on_cpu.build import load
from cuda_on_cpu.host_device import HostDevice
from op_cases import OP_CASES, Bench, OpCase, features, loss_ops, noise
from test_backends import relative_error
from test_forecast import vgg19_of_zeros
from test_objective import Recorder, errors_with_equal_masks

import pynst
from pynst import BackendError, Objective, stylize
from pynst.backends import available_backends, open_backend
from pynst.backends import cuda as cuda_backend
from pynst.backends.circular import circular
from pynst.backends.cuda import CudaBackend
from pynst.backends.cupy_device import CupyDevice
from pynst.backends.device import DeviceArray
from pynst.backends.divisions import Division, Product
from pynst.backends.eights import EIGHT
from pynst.backends.reference import ReferenceBackend
from pynst.forecast import forecast_memory
from pynst.networks import plan
from pynst.networks.calibration import powers_of_two, rescaled
from pynst.networks.gabor import Gabor
from pynst.networks.tiling import tiled
from pynst.networks.vgg19 import VGG19
from pynst.optimizers.device_vectors import sums_of
from pynst.optimizers.lbfgs import PAIRS
from pynst.optimizers.pairs import Pairs

MODES = [("accurate", "tensor"), ("accurate", "simt"), ("fast", "tensor")]
ROUNDED = 5e-4  # a half that is rounded once is off by at most 2^-11
# Outputs of the fast backend that are not halves
WIDE = {"G", "loss", "image_conv3x3_relu_backward", "filter7x7_backward", "total_variation",
        "binomial_down", "binomial_down_backward", "image_input", "image_input_backward",
        }  # fmt: skip


@pytest.fixture(scope="session")
def module():
    return load()


@pytest.fixture(params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def device(request):
    """A device to compute on."""
    if request.param == "stand-in":
        return HostDevice(request.getfixturevalue("module"))
    try:
        return CupyDevice()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(params=MODES, ids=" ".join)
def cuda(request, device):
    """A backend in each of its modes."""
    return CudaBackend(*request.param, device)


class Rounded(ReferenceBackend):
    """The oracle on operands that were rounded to halves, as those of the fast backend are."""

    def upload(self, values, kind, out):
        out[...] = values.astype(np.float16) if kind == "features" else values

    def conv3x3_weights(self, weight, bias):
        rounded = weight if weight.shape[1] == 3 else weight.astype(np.float16)
        return super().conv3x3_weights(rounded, bias)

    def image_conv3x3_relu_backward(self, dy, bits, weights, padding, dx):
        rounded = weights._replace(weight=weights.weight.astype(np.float16))
        super().image_conv3x3_relu_backward(dy, bits, rounded, padding, dx)


# ---- numbers and sizes ---------------------------------------------------------------------------


def test_python_and_the_core_agree_about_the_numbers_that_both_use(module):
    assert module.lanes == EIGHT
    assert module.split_scale == cuda_backend._SPLIT
    assert module.scratch_alignment == plan._ALIGNMENT
    assert module.gradient_scale_bytes == 4 * np.dtype(np.uint32).itemsize
    rows = Pairs(PAIRS).rows
    assert rows <= module.most_pair_rows
    assert module.lbfgs_arrive_sums(rows) == sums_of(rows)


SCRATCH = {
    "conv3x3_scratch": ("C", "N", "H", "W"),
    "filter7x7_scratch": ("K", "H", "W"),
    "gram_scratch": ("N", "M"),
    "gram_weighted_scratch": ("N", "M"),
    "style_difference_scratch": ("N",),
    "content_loss_scratch": ("N", "M"),
    "total_variation_scratch": ("H", "W"),
    "lbfgs_arrive_scratch": ("rows", "n"),
}


def scratch(module, op, **sizes):
    division = ("flat", 8, False) if op == "conv3x3_scratch" else ()
    return getattr(module, op)(*(sizes.get(name, 10) for name in SCRATCH[op]), *division)


def test_every_function_of_sizes_is_tried(module):
    assert set(SCRATCH) == {name for name in dir(module) if name.endswith("_scratch")}


@pytest.mark.parametrize("op", SCRATCH)
@pytest.mark.parametrize("wrong", [0, -1, -(2**31), 2**31, 2**32 + 5, 10**12, 2**64, -(10**30)])
def test_a_size_of_nothing_or_of_too_much_is_refused(op, wrong, module):
    for name in SCRATCH[op]:
        with pytest.raises(ValueError, match=rf"^{op}: {name} must be .* got {wrong}$"):
            scratch(module, op, **{name: wrong})


@pytest.mark.parametrize("op", [op for op, names in SCRATCH.items() if {"H", "W"} <= set(names)])
def test_more_pixels_than_the_core_counts_are_refused(op, module):
    with pytest.raises(ValueError, match=rf"^{op}: H times W must be at most 2\^30, got 65536 x"):
        scratch(module, op, H=65536, W=32768)


@pytest.mark.parametrize("op", SCRATCH)
def test_the_largest_sizes_need_a_plausible_amount_of_scratch(op, module):
    pixels = 2**30
    most = {"C": 65536, "N": 65536, "K": 65536, "H": 2**15, "W": 2**15, "M": pixels}
    most |= {"rows": module.most_pair_rows, "n": 2**31 - 1}
    assert 1 <= scratch(module, op, **most) < 2**62


@pytest.mark.parametrize("wrong", [0, -8, 65537, 10**12])
def test_a_convolution_of_no_or_too_many_channels_is_refused(wrong, module):
    for op in ("conv3x3_relu", "conv3x3_relu_backward"):
        for name, sizes in (("C", (wrong, 3)), ("N", (3, wrong))):
            with pytest.raises(ValueError, match=rf"^{op}: {name} must be .* got {wrong}$"):
                getattr(module, op)(
                    None, None, None, None, *sizes, "flat", 1, False, None, None, None, 0
                )
    with pytest.raises(ValueError, match=rf"^image_conv3x3_relu: N must be .* got {wrong}$"):
        module.image_conv3x3_relu(None, None, None, wrong, "zero", None, None, 0)


# ---- ops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", OP_CASES, ids=str)
def test_every_op_agrees_with_float64(case, cuda):
    long = case.op.startswith("conv3x3") and case.sizes["H"] > 1000
    if long and isinstance(cuda.device, HostDevice):
        pytest.skip("the long convolutions take the stand-in minutes: a device runs them")
    fast = "fast" in cuda.name
    wanted = case.outputs(Rounded() if fast else ReferenceBackend())
    for name, found in case.outputs(cuda).items():
        assert found.shape == wanted[name].shape
        assert relative_error(found, wanted[name]) <= tolerance_of(case, name, fast), name


def tolerance_of(case, name, fast):
    """The largest relative error of an output of a case."""
    # With weights, sqrt(m) F is a half, too.
    again = case.op in {"gram", "style_ahead"} and case.sizes.get("weighted")
    rounded = fast and (again or not {name, case.op} & WIDE)
    return ROUNDED if rounded else case.tolerance


every_tile = pytest.mark.parametrize(
    ("mode", "tile"),
    [(MODES[2], "large"), (MODES[2], "narrow"), (MODES[2], "flat"), (MODES[0], "split"),
     (MODES[1], "simt")],
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)  # fmt: skip


def convolutions(wide, narrow, side):
    """Every op that is a 3x3 convolution, with products that take `wide` channels to `narrow`."""
    forward, backward = {"C": wide, "N": narrow}, {"C": narrow, "N": wide}
    for run, sizes in [
        (op_cases.conv3x3_relu, forward),
        (op_cases.conv3x3_relu_backward, backward),
        (op_cases.conv3x3_relu_pool, forward | {"mode": "max"}),
        (op_cases.conv3x3_relu_pool_backward, backward | {"mode": "max"}),
    ]:
        yield OpCase(run.__name__, sizes | {"H": side, "W": side}, run, 3e-6, 0, 0)


@every_tile
@pytest.mark.parametrize("parts", [1, 3])
def test_every_division_of_a_convolution_agrees_with_float64(
    mode, tile, parts, device, monkeypatch
):
    """The model chooses some of them only for layers that are too large for the stand-in."""
    cuda = CudaBackend(*mode, device)
    assert tile in {each.tile for each in cuda.divisions.candidates(Product(72, 136, 17, 17))}
    monkeypatch.setattr(cuda.divisions, "usual", lambda product: Division(tile, parts))
    oracle = Rounded() if mode[0] == "fast" else ReferenceBackend()
    for case in convolutions(72, 136, 17):
        wanted = case.outputs(oracle)
        for name, found in case.outputs(cuda).items():
            tolerance = ROUNDED if mode[0] == "fast" else case.tolerance
            assert relative_error(found, wanted[name]) <= tolerance, (case.op, name)


@every_tile
@pytest.mark.parametrize("parts", [2, 3, 4, 8])
def test_a_cluster_and_a_second_kernel_add_parts_to_equal_bits(
    mode, tile, parts, device, monkeypatch
):
    if device.most_clustered < parts:
        pytest.skip("this device has no clusters of so many blocks")
    cuda = CudaBackend(*mode, device)
    monkeypatch.setattr(cuda.divisions, "usual", lambda product: Division(tile, parts))
    C = 32 * parts - 6
    for case in convolutions(C, 20, 9):
        in_cluster, no_scratch = case.outputs(cuda), cuda.scratch_nbytes(case.op, C, C, 9, 9)
        with monkeypatch.context() as patch:
            patch.setattr(device, "most_clustered", parts - 1)
            in_second_kernel = case.outputs(cuda)
            assert cuda.scratch_nbytes(case.op, C, C, 9, 9) > 0 == no_scratch
        for name, found in in_cluster.items():
            np.testing.assert_array_equal(found, in_second_kernel[name], (case.op, name))


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_parts_that_clusters_add_need_no_scratch(mode, device, monkeypatch):
    """The layers of VGG-19 at 256 pixels: nothing is left for a second kernel to read."""
    cuda = CudaBackend(*mode, device)
    layers = [(64 * C, 64 * N, 256 // k) for C, N, k in
              [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 4, 4), (4, 4, 4), (4, 8, 8), (8, 8, 8),
               (8, 8, 16)]]  # fmt: skip

    def scratch():
        return [cuda.scratch_nbytes("conv3x3_relu", C, N, side, side) for C, N, side in layers]

    assert {cuda.divisions.usual(Product(C, N, side, side)).parts for C, N, side in layers} > {1}
    monkeypatch.setattr(device, "most_clustered", 8)
    assert not any(scratch())
    monkeypatch.setattr(device, "most_clustered", 1)
    assert any(scratch())


def test_a_division_that_the_kernel_does_not_have_is_refused(device):
    backend = CudaBackend(device=device)
    b = Bench(backend)
    weights = backend.conv3x3_weights(np.zeros((8, 8, 3, 3), np.float32), np.zeros(8, np.float32))
    x, y = (b.new("features", (8, 4, 4), np.zeros((8, 4, 4))) for _ in range(2))

    def convolve(tile, parts):
        packed, bias = weights.forward, weights.bias
        backend.launch(
            "conv3x3_relu", x, *packed, bias, 8, 8, tile, parts, False, y, None, backend.scratch
        )

    for tile, parts, message in [
        ("huge", 1, "tile must be 'large', 'narrow', 'flat', 'split' or 'simt', got 'huge'"),
        ("simt", 1, "tile must be of the precision of the weights, got 'simt'"),
        ("flat", 0, "parts must be 1 to 8, got 0"),
        ("flat", 9, "parts must be 1 to 8, got 9"),
    ]:
        with pytest.raises(ValueError, match=f"conv3x3_relu: {message}"):
            convolve(tile, parts)


def test_long_sums_of_the_style_gradient_are_folded(device):
    """Tensor cores truncate: unfolded, 512 channels come out with an error of 7e-7."""
    sizes = {"N": 512, "H": 8, "W": 16, "scaled": False}
    case = OpCase("style_loss", sizes, op_cases.style_loss)
    found = case.outputs(CudaBackend("accurate", "tensor", device))["dF"]
    assert relative_error(found, case.outputs(ReferenceBackend())["dF"]) < 3e-7


def test_an_op_that_is_refused_does_not_make_the_next_one_fail(module, monkeypatch):
    backend = CudaBackend(device=HostDevice(module))
    pool = OpCase("pool2x2", {"C": 16, "H": 4, "W": 4, "mode": "max"}, op_cases.pool2x2)
    for op in ("conv3x3_relu", "conv3x3_relu_backward"):
        convolution = OpCase(op, {"C": 16, "N": 16, "H": 5, "W": 4}, getattr(op_cases, op))
        monkeypatch.setenv("CUDA_ON_CPU_SHARED_KB", "32")
        with pytest.raises(BackendError, match=f"^cuda: {op}: "):
            convolution.outputs(backend)
        pool.outputs(backend)
        monkeypatch.delenv("CUDA_ON_CPU_SHARED_KB")
        convolution.outputs(backend)


def test_equal_inputs_give_equal_bits(cuda):
    for case in OP_CASES:
        if case.flops < 1e6:
            first, again = case.outputs(cuda), case.outputs(cuda)
            for name in first:
                np.testing.assert_array_equal(first[name], again[name])


def test_what_is_uploaded_comes_back(cuda):
    rng, shape = np.random.default_rng(0), (13, 5, 7)
    b = Bench(cuda)
    for kind, values in {
        "features": rng.standard_normal(shape).astype(np.float16),
        "bits": rng.random(shape) < 0.5,
        "choices": rng.integers(0, 4, shape).astype(np.uint8),
    }.items():
        found = b.read(b.new(kind, shape, values), kind, shape)
        np.testing.assert_array_equal(found, values)
    image = rng.standard_normal((3, 5, 7)).astype(np.float32)
    np.testing.assert_array_equal(b.read(b.new("image", image.shape, image), "image", ()), image)


# ---- the objective -------------------------------------------------------------------------------


class CudaRecorder(Recorder):
    """Copies masks within the device."""

    def copy(self, array):
        return self._backend._put(self._backend._fetch(array))


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_the_objective_agrees_with_float64_when_masks_are_equal(cuda, pooling):
    cuda.device.capture = lambda work: work  # masks cannot be read while a graph is recorded
    value_error, gradient_error = errors_with_equal_masks(
        lambda backend: tiny_vgg19(backend, pooling=pooling), CudaRecorder(cuda), 48
    )
    fast = "fast" in cuda.name
    assert value_error < (1e-3 if fast else 1e-6)
    assert gradient_error < (2e-2 if fast else 1e-5)


@pytest.mark.weights
@pytest.mark.slow
def test_the_objective_agrees_with_float64_on_the_real_weights(cuda, real_weights):
    cuda.device.capture = lambda work: work
    weights = pynst.load_weights(real_weights)
    powers = powers_of_two(weights.convolutions, weights.mean, "max")

    def make_network(backend):
        network = VGG19(backend, rescaled(weights.convolutions, powers), weights.mean)
        network.scales = scales_of(network, powers)
        return network

    value_error, gradient_error = errors_with_equal_masks(make_network, CudaRecorder(cuda), 48)
    fast = "fast" in cuda.name
    assert value_error < (1e-3 if fast else 1e-6)
    assert gradient_error < (2e-2 if fast else 1e-5)


def scales_of(network, powers):
    return {layer: np.full(network.shape(layer, 1, 1)[0], 2.0**e) for layer, e in powers.items()}


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_joined_borders_agree_with_float64_when_masks_are_equal(cuda, pooling):
    cuda.device.capture = lambda work: work
    value_error, gradient_error = errors_with_equal_masks(
        lambda backend: tiny_vgg19(circular(backend), pooling=pooling, padding="circular"),
        CudaRecorder(cuda),
        48,
    )
    fast = "fast" in cuda.name
    assert value_error < (1e-3 if fast else 1e-6)
    assert gradient_error < (2e-2 if fast else 1e-5)


def test_joined_borders_give_a_rolled_image_the_same_loss(cuda):
    """Gradients loosely, since masks may differ; with other borders they are off by far more."""
    objective = Objective(
        None, picture(1, 48, 48), image_size=48, tv_weight=3,
        network=tiny_vgg19(circular(cuda), padding="circular"),
    )  # fmt: skip
    x, shift = picture(2, 48, 48), (16, 32)
    value, gradient = objective(x)
    rolled_value, rolled_gradient = objective(np.roll(x, shift, (0, 1)))
    assert rolled_value == pytest.approx(value, rel=1e-3 if "fast" in cuda.name else 1e-6)
    assert relative_error(rolled_gradient, np.roll(gradient, shift, (0, 1))) < 5e-2


def test_a_captured_walk_keeps_the_copies_that_it_was_captured_with(cuda):
    """Another evaluation, of a larger image, lets go of them for larger ones."""
    backend = circular(cuda)
    small, large = (
        Objective(
            None, picture(1, size, size), image_size=size, style_layers=["relu2_1"],
            network=tiny_vgg19(backend, padding="circular"),
        )
        for size in (16, 32)
    )  # fmt: skip
    x = picture(2, 16, 16)
    first = [small(x) for _ in range(3)]
    large(picture(2, 32, 32))
    filled = [cuda.device.allocate(block.nbytes) for block in backend._blocks.values()]
    for block in filled:
        cuda.device.zero(block)
    value, gradient = small(x)
    assert value == first[-1][0]
    np.testing.assert_array_equal(gradient, first[-1][1])


def test_the_builtin_network_is_near_the_oracle(cuda):
    """Loose, since masks may differ: a wrong kernel is off by far more."""
    found = []
    for backend in (ReferenceBackend(), cuda):
        objective = Objective(
            picture(0, 40, 33), picture(1, 36, 40), image_size=40, network=Gabor(backend),
            style_layers=["level1", "level2", "level3"], content_layers="level2",
        )  # fmt: skip
        found.append(objective(picture(2, *objective.shape[:2])))
    (wanted, wanted_gradient), (value, gradient) = found
    assert value == pytest.approx(wanted, rel=1e-3 if "fast" in cuda.name else 1e-5)
    assert relative_error(gradient, wanted_gradient) < 2e-2


def tiny_objective(backend, size=32, **options):
    return Objective(
        picture(0, size, size - 5), picture(1, size, size), image_size=size,
        network=tiny_vgg19(backend), **options,
    )  # fmt: skip


@pytest.mark.parametrize("weight", [2.0**-40, 2.0**40])
def test_the_gradient_scale_follows_the_weights_of_the_terms(cuda, weight):
    usual = tiny_objective(cuda, content_weight=1, style_weight=1, tv_weight=0)
    x = picture(2, *usual.shape[:2])
    value, gradient = usual(x)
    other = tiny_objective(cuda, content_weight=weight, style_weight=weight, tv_weight=0)
    for _ in range(3):  # as it is written, recorded, replayed
        other_value, other_gradient = other(x)
        assert other_value == pytest.approx(weight * value, rel=1e-9)
        assert relative_error(other_gradient, weight * gradient) < 1e-3


def test_a_lost_gradient_is_computed_again_and_only_then(module):
    device = HostDevice(module)
    objective = tiny_objective(CudaBackend(device=device), content_weight=1e9, style_weight=1e9)
    x = picture(2, *objective.shape[:2])

    def walks():
        before = len(device.launches)
        objective(x)
        return device.launches[before:].count("evaluation_end")

    assert walks() > 1, "at the scale one, so strong a gradient overflows"
    assert [walks(), walks()] == [1, 1]


def test_an_interrupted_walk_leaves_no_gradient_behind(module, monkeypatch):
    wanted, found = (tiny_objective(CudaBackend(device=HostDevice(module))) for _ in range(2))
    x = picture(2, *found.shape[:2])
    value, gradient = wanted(x)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(found._backend, "image_conv3x3_relu_backward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            found(1e4 * x)  # with far larger gradients
    again, again_gradient = found(x)
    assert again == value
    np.testing.assert_array_equal(again_gradient, gradient)
    assert found.gradient_scale == wanted.gradient_scale


def test_gradients_beyond_any_scale_are_an_error_that_says_so(module, monkeypatch):
    monkeypatch.setattr("pynst.backends.evaluation._TRIES", 2)
    objective = tiny_objective(
        CudaBackend(device=HostDevice(module)), content_weight=1e12, style_weight=1e12
    )
    with pytest.raises(BackendError, match="gradients leave the range of float16 in 2 tries"):
        objective(picture(2, *objective.shape[:2]))


def test_an_image_that_is_not_finite_is_not_tried_again(cuda):
    objective = tiny_objective(cuda)
    value, _ = objective(np.full(objective.shape, np.nan))
    assert np.isnan(value)


# ---- graphs and memory ---------------------------------------------------------------------------


def test_a_replayed_evaluation_gives_the_same_bits(cuda):
    objective = tiny_objective(cuda)
    images = [picture(seed, *objective.shape[:2]) for seed in (2, 3, 2, 3, 2)]
    found = [objective(x) for x in images]
    for i, j in ((1, 3), (2, 4)):  # the first may have had another gradient scale
        assert found[i][0] == found[j][0]
        np.testing.assert_array_equal(found[i][1], found[j][1])
    assert relative_error(found[0][1], found[2][1]) < 1e-3


def test_what_needs_no_gradient_may_be_computed_as_early_or_as_late_as_it_can(module):
    found = []
    for late in (False, True):
        device = HostDevice(module)
        device.branches_are_late = late
        objective = tiny_objective(CudaBackend("accurate", "simt", device))
        x = picture(2, *objective.shape[:2])
        found += [objective(x) for _ in range(2)]
        before = len(device.launches)
        found.append(objective(x))
        replayed = device.launches[before:]
        back = replayed.index("conv3x3_relu_backward")
        assert replayed[:back].count("gram_difference") == (1 if late else 5)
        assert replayed.count("gram_difference") == replayed.count("style_loss") == 5
        assert not {"gram", "style_difference"} & set(replayed)
    for value, gradient in found[1:]:
        assert value == found[0][0]
        np.testing.assert_array_equal(gradient, found[0][1])


def test_a_replay_launches_nothing_from_python_and_outlives_the_scratch(cuda, monkeypatch):
    objective = tiny_objective(cuda)
    x = picture(2, *objective.shape[:2])
    wanted = [objective(x) for _ in range(2)][-1]
    tiny_objective(cuda, size=90)(picture(2, 90, 85))  # takes a larger scratch instead
    monkeypatch.setattr(cuda, "launch", lambda *arguments: pytest.fail("launched"))
    value, gradient = objective(x)
    assert value == wanted[0]
    np.testing.assert_array_equal(gradient, wanted[1])


def test_objectives_of_several_threads_share_a_backend(module):
    backend = CudaBackend(device=HostDevice(module))
    objectives = [tiny_objective(backend, size=24 + 8 * i) for i in range(2)]
    images = [picture(2, *objective.shape[:2]) for objective in objectives]
    alone = [tiny_objective(CudaBackend(device=HostDevice(module)), size=24 + 8 * i)
             for i in range(2)]  # fmt: skip
    wanted = [[objective(x) for _ in range(3)] for objective, x in zip(alone, images, strict=True)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda o, x: [o(x) for _ in range(3)], objectives, images))
    for one, other in zip(wanted, found, strict=True):
        for (value, gradient), (other_value, other_gradient) in zip(one, other, strict=True):
            assert value == other_value
            np.testing.assert_array_equal(gradient, other_gradient)


def test_an_array_of_another_device_is_refused(module):
    class Elsewhere:
        def __init__(self, array):
            self._array = array

        def __dlpack__(self, stream):
            return self._array.__dlpack__(stream=stream)

        def __dlpack_device__(self):
            return self._array.__dlpack_device__()[0], 1

    x, y = np.zeros((3, 4, 4), np.float32), np.zeros((3, 2, 2), np.float32)
    with pytest.raises(ValueError, match="must lie on the device that is current"):
        module.binomial_down(Elsewhere(x), y, False, 0)


def test_the_stand_in_finds_a_graph_that_outlives_its_memory(module):
    device = HostDevice(module)
    arrays = [device.allocate(64)]
    replay = device.capture(lambda: device.zero(*arrays))
    replay()
    arrays.clear()
    with pytest.raises(AssertionError, match="in no living block"):
        replay()


def test_an_objective_gives_its_memory_back_at_once(module):
    device = HostDevice(module)
    backend = CudaBackend(device=device)
    before = len(device._blocks)
    objective = tiny_objective(backend)
    for _ in range(3):
        objective(picture(2, *objective.shape[:2]))
    assert len(device._blocks) > before
    del objective
    assert len(device._blocks) == before, "without waiting for the garbage collector"


# ---- the range of halves -------------------------------------------------------------------------


def test_a_rescaled_network_is_the_same_network():
    convolutions = tiny_convolutions()
    powers = powers_of_two(convolutions, MEAN, "max")
    assert max(powers.values()) > 3, "else nothing is tested"
    found = []
    for scales, layers in (({}, convolutions), (powers, rescaled(convolutions, powers))):
        network = VGG19(ReferenceBackend(), layers, MEAN)
        network.scales = scales_of(network, scales)
        objective = Objective(
            picture(0, 40, 33), picture(1, 36, 40), image_size=40, network=network
        )
        found.append(objective(picture(2, *objective.shape[:2])))
    (value, gradient), (other_value, other_gradient) = found
    assert other_value == pytest.approx(value, rel=1e-12)
    assert relative_error(other_gradient, gradient) < 1e-12


def test_features_of_the_rescaled_network_are_near_one():
    convolutions = tiny_convolutions()
    powers = powers_of_two(convolutions, MEAN, "max")
    assert set(powers_of_two(rescaled(convolutions, powers), MEAN, "max").values()) <= {0}


# ---- whole runs ----------------------------------------------------------------------------------


@pytest.fixture
def opened(device, monkeypatch):
    """Make the device the one that `backend="cuda"` finds, and the tiny network that of VGG-19."""
    weights = pynst.weights.vgg19_file.VGG19Weights(convolutions=tiny_convolutions(), mean=MEAN)
    monkeypatch.setattr("pynst.networks.open.open_weights", lambda *_: weights)
    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", lambda: device)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("precision", ["fast", "accurate"])
@pytest.mark.parametrize("network", ["vgg19", "builtin"])
def test_stylize_paints(opened, network, precision, optimizer):
    options = {"network": network, "image_size": 32, "iterations": 12, "optimizer": optimizer}
    if network == "builtin":
        options |= {"style_layers": ["level1", "level2", "level3"], "content_layers": "level2"}
    content, style = picture(0, 28, 32), picture(1, 32, 30)
    found = stylize(content, style, backend="cuda", precision=precision, **options)
    assert found.backend.startswith("cuda (")
    assert precision in found.backend
    on_cpu = stylize(content, style, backend="cpu", **options)
    values = [min(terms.total for terms in result.history[0]) for result in (found, on_cpu)]
    assert values[0] == pytest.approx(values[1], rel=0.1)
    assert values[0] < 0.7 * found.history[0][0].total


@pytest.mark.parametrize("formula", ["paper", "gatys-normalised", "gatys", "johnson"])
def test_every_published_formula_runs(opened, formula, tmp_path):
    pynst.save_image(picture(3, 40, 32), tmp_path / "photograph.png")
    result = stylize(
        picture(0, 28, 32), picture(1, 32, 30), image_size=32, iterations=6, levels=1,
        formula=formula, calibration=str(tmp_path), backend="cuda",
    )  # fmt: skip
    assert min(terms.total for terms in result.history[0]) < result.history[0][0].total


def test_auto_takes_cuda_where_it_is_and_else_the_cpu(opened, monkeypatch, caplog):
    assert open_backend().name.startswith("cuda (")
    assert available_backends()["cuda"].startswith("cuda (")

    def missing():
        raise BackendError("no such device")

    monkeypatch.setattr("pynst.backends.cuda.CupyDevice", missing)
    with caplog.at_level(logging.DEBUG, "pynst"):
        assert open_backend().name.startswith("cpu (")
    assert "no such device" in caplog.text
    assert available_backends()["cuda"] == "not available: no such device"


# ---- tiles ---------------------------------------------------------------------------------------

NEAR = {"style_layers": ["relu1_1", "relu2_1"], "content_layers": ["relu2_2"], "image_size": 44}
RAMP = np.linspace(0, 1, 44) * np.ones((40, 1))
IN_TILES = {
    "plain": {},
    "masks": {"style_masks": [np.round(RAMP)], "content_mask": RAMP, "content_mask_weight": 3},
    "neighbours": {"style_loss": "neighbours"},
}


def in_tiles(backend, tile=16, **options):
    """The same objective without and with tiles."""
    network = tiny_vgg19(backend)
    return [
        Objective(picture(0, 40, 44), picture(1, 52, 50), network=each, **{**NEAR, **options})
        for each in (network, tiled(network, tile))
    ]


@pytest.mark.parametrize(
    ("precision", "products", "name"),
    [
        *((*mode, "plain") for mode in MODES),
        ("accurate", "simt", "masks"),
        ("accurate", "simt", "neighbours"),
    ],
)
def test_in_tiles_loss_and_gradient_are_those_of_the_whole_image(precision, products, name, device):
    cuda = CudaBackend(precision, products, device)
    plain, tiles = in_tiles(cuda, **IN_TILES[name])
    x = picture(2, 40, 44)
    (value, gradient), (other, in_windows) = plain(x), tiles(x)
    assert other == pytest.approx(value, rel=2e-4), "the photograph's features are halves"
    assert relative_error(in_windows, gradient) < 2e-3
    for layer, term in plain.terms.layers.items():
        if not layer.startswith("content"):
            assert tiles.terms.layers[layer] == pytest.approx(term, rel=1e-5), layer
    assert tiles.terms.tv == pytest.approx(plain.terms.tv, rel=1e-6)
    again, same = tiles(x)
    assert again == other
    if not cuda.narrow:  # else the gradient scale may have changed
        np.testing.assert_array_equal(same, in_windows)
    narrow, of_32_bits = tiles(x.astype(np.float32))
    assert narrow == pytest.approx(other, rel=1e-5)
    assert of_32_bits.dtype == np.float32
    assert relative_error(of_32_bits, in_windows) < 2e-3


def test_an_image_that_a_tile_holds_is_evaluated_as_without_tiles(device):
    cuda = CudaBackend("accurate", "simt", device)
    plain, tiles = in_tiles(cuda, tile=64, **IN_TILES["masks"])
    for _ in range(3):  # eagerly, captured, and replayed
        (value, gradient), (other, same) = (each(picture(2, 40, 44)) for each in (plain, tiles))
        assert other == value
        np.testing.assert_array_equal(same, gradient)


def test_in_tiles_a_lost_gradient_is_computed_again_and_no_other(module):
    device, x = HostDevice(module), picture(2, 40, 44)
    _, tiles = in_tiles(CudaBackend(device=device), content_weight=1e9, style_weight=1e9)

    def walks():
        before = len(device.launches)
        tiles(x)
        return device.launches[before:].count("evaluation_end")

    assert walks() > 1
    assert walks() == 1
    before = len(device.launches)
    assert np.isnan(tiles(np.full((40, 44, 3), np.nan))[0])
    assert device.launches[before:].count("evaluation_end") == 1


class Measured(HostDevice):
    """A device that knows the most bytes that were ever alive, and has as many as it is given."""

    most, room = 0, 2**33

    def allocate(self, nbytes):
        array = super().allocate(nbytes)
        alive = sum(block.values.nbytes for block in self._blocks.values())
        self.most = max(self.most, alive)
        return array

    def memory(self):
        return self.room, 2**34


RUN = {
    "network": "builtin", "style_layers": ["level1", "level2"], "content_layers": "level2",
    "image_size": 80, "iterations": 3, "levels": 1, "backend": "cuda", "precision": "accurate",
}  # fmt: skip


@pytest.fixture
def measured_device(module, monkeypatch):
    device = Measured(module)
    opened.__wrapped__(device, monkeypatch)
    monkeypatch.setattr("pynst.forecast._TILES", (64,))
    monkeypatch.setattr("pynst.forecast._SMALL_TILES", ())
    return device


def test_a_run_takes_tiles_where_the_device_has_no_room_for_the_whole(
    measured_device, monkeypatch, caplog
):
    content, style = picture(0, 90, 100), picture(1, 52, 50)
    run = {**RUN, "image_size": 100}
    whole = stylize(content, style, **run)
    assert whole.options.tile == "auto"
    measured_device.room, measured_device.most = measured_device.most * 3 // 4, 0
    tiles = stylize(content, style, **run)
    assert tiles.options.tile == 64
    assert "on the device, and" in caplog.text
    assert measured_device.most < measured_device.room
    assert tiles.pixels.shape == whole.pixels.shape
    for here, there in zip(tiles.history[0], whole.history[0], strict=True):
        assert here.total == pytest.approx(there.total, rel=1e-3)
    monkeypatch.setattr("pynst.forecast.available_memory", lambda _: 10**6)
    with pytest.raises(
        BackendError, match=r"needs about \d+ MB more memory, and 1 MB are available"
    ):
        stylize(content, style, **run)
    measured_device.room = 1000
    with pytest.raises(BackendError, match=r"image_size=100 needs about .* free on cuda"):
        stylize(content, style, **run)


@pytest.mark.parametrize("tile", [None, 64])
def test_the_forecast_is_what_a_run_takes_of_the_device(tile, measured_device, monkeypatch):
    forecasts = []

    def spy(network, options, inputs):
        sizes = (72, 80), [(52, 50)]
        forecasts.append(forecast_memory(network, options, *sizes, len(inputs.regions)))
        return options

    monkeypatch.setattr("pynst.transfer.fit_memory", spy)
    stylize(picture(0, 72, 80), picture(1, 52, 50), tile=tile, **RUN)
    assert 0.85 < forecasts[0].total / measured_device.most < 1.15
    assert (forecasts[0].host > 0) == (tile is not None)


@pytest.mark.parametrize(("tile", "room"), [(2048, 4e9), (1024, 1.5e9), (512, 6e8)])
def test_a_picture_of_4096_pixels_fits_into_a_small_card(tile, room, module):
    network = vgg19_of_zeros(CudaBackend(device=HostDevice(module)))
    options = pynst.TransferOptions(image_size=4096, network="vgg19", tile=tile)
    found = forecast_memory(network, options, (4096, 4096), [(1200, 1600)])
    assert found.total < room
    assert found.host < 7e9


def test_a_run_in_tiles_goes_on_to_the_same_bits(opened, tmp_path):
    content, style, path = picture(0, 72, 80), picture(1, 52, 50), tmp_path / "run.npz"
    mask = np.linspace(0, 1, 80) * np.ones((72, 1))
    options = {**RUN, "tile": 64, "style_masks": [mask]}
    whole = stylize(content, style, **options)

    def stop(progress):
        if (progress.level, progress.iteration) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stylize(content, style, checkpoint=path, callback=stop, **options)
    resumed = stylize(content, style, resume=path, style_masks=[mask])
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)


# ---- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [20, 134])
def test_pixel_weights_of_one_give_the_bits_of_none(N, cuda):
    ones = cuda.upload_pixel_weights(np.ones((13, 15)))
    for without, weighted in zip(
        loss_ops(cuda, N, 13, 15, None), loss_ops(cuda, N, 13, 15, ones), strict=True
    ):
        np.testing.assert_array_equal(without, weighted)


# ---- what is left to others ----------------------------------------------------------------------


def test_a_style_loss_that_was_begun_ahead_has_the_same_bits_and_no_others(cuda):
    rng, b, shape = np.random.default_rng(1), Bench(cuda), (20, 5, 9)
    F = b.new("features", shape, features(rng, *shape))
    G, A, other = (cuda.upload_gram(np.cov(noise(rng, 20, 50))) for _ in range(3))
    m = cuda.upload_pixel_weights(np.linspace(0, 1, 45).reshape(5, 9))

    def outputs(begin, *given):
        loss, dF = cuda.empty_losses(1), b.new("features", shape, np.zeros(shape))
        begin()
        cuda.style_loss(F, G, *given[:3], dF, loss, *given[3:])
        cuda.zero(G)
        return cuda.download_losses(loss)[0], b.read(dF, "features", shape)

    asked = A, 1e-3, None, m
    wanted = outputs(lambda: cuda.gram(F, G, m), *asked)
    for ahead in (asked, (other, 1e-3, None, m), (A, 1e-2, None, m)):
        value, gradient = outputs(partial(cuda.style_ahead, F, G, *ahead), *asked)
        assert value == wanted[0]
        np.testing.assert_array_equal(gradient, wanted[1])
    wanted = outputs(lambda: cuda.gram(F, G), *asked)
    cuda.style_ahead(F, G, *asked)
    changed = outputs(lambda: cuda.gram(F, G), *asked)
    assert changed[0] == wanted[0] != value


@pytest.mark.parametrize("losses", [1, 8, 9, 20])
def test_sums_that_are_left_to_the_end_have_the_same_bits(losses, cuda):
    """More than the end has room for are added up at once."""
    rng, b, shape = np.random.default_rng(2), Bench(cuda), (8, 40, 60)
    F, P = (b.new("features", shape, features(rng, *shape)) for _ in range(2))
    dF, found = b.new("features", shape, np.zeros(shape)), cuda.empty_losses(losses)

    def walk():
        for i in range(losses):
            cuda.content_loss(F, P, 1.0 + i, None, dF, found[i : i + 1])

    walk()
    wanted = cuda.download_losses(found)
    evaluate = cuda.repeated(found)
    for _ in range(3):  # as it is written, recorded, replayed
        cuda.zero(found)
        evaluate(walk)
        np.testing.assert_array_equal(cuda.download_losses(found), wanted)


def test_an_evaluation_ends_in_place_as_it_does_on_the_host(cuda):
    """There the last kernel adds up the losses; here that is one which makes no gradient."""
    objective = tiny_objective(cuda, tv_weight=3, content_weight=1e3)
    x = picture(2, *objective.shape[:2]).astype(np.float32)
    place = objective.in_place(0)
    image, gradient = place.images.image, place.images.gradient
    cuda.device.copy_in(x, image)
    for _ in range(3):  # as it is written, recorded, replayed
        value, wanted = objective(x)
        terms, _ = place.evaluate(image, gradient, lambda: None)
        found = np.empty(x.shape, np.float32)
        cuda.device.copy_out(gradient, found)
        assert terms.total == pytest.approx(value, rel=1e-4)
        assert min(terms.content, terms.style, terms.tv) > 0
        assert relative_error(found, wanted) < 1e-3
        assert objective.gradient_scale == objective._evaluation.gradient_scale
    assert (objective.gradient_scale != 1) == cuda.narrow


# ---- bad arguments -------------------------------------------------------------------------------


def test_arrays_of_the_wrong_kind_are_refused_by_name(device):
    backend = CudaBackend(device=device)
    b = Bench(backend)
    rng = np.random.default_rng(0)
    F, G = b.new("features", (8, 3, 4), noise(rng, 8, 3, 4)), backend.empty_gram(8)
    image = b.new("image", (3, 4, 5), noise(rng, 3, 4, 5))
    of_doubles = DeviceArray(F.owner, F.pointer, np.float64, (3, 4, 2))
    shifted = DeviceArray(F.owner, F.pointer + 2, np.float16, (2, 4, 8))
    wrong = [
        (lambda: backend.gram(of_doubles, G),
         r"gram: F must be float32 or float16 of shape \(H, W, padded C\), got float64 of shape"
         r" \(3, 4, 2\)"),
        (lambda: backend.gram(F, backend.empty_gram(9)), r"gram: F must be .*\(H, W, 16\)"),
        (lambda: backend.gram(shifted, G), "gram: F must lie at a multiple of 16 bytes"),
        (lambda: backend.pool2x2(F, "median", F, None), "pool2x2: mode must be 'average' or 'max'"),
        (lambda: backend.pool2x2_backward(F, "max", None, b.new("features", (8, 6, 8))),
         "pool2x2_backward: choices must be given for mode 'max'"),
        (lambda: backend.binomial_down(image, image),
         r"binomial_down: y must be float32 of shape \(3, 2, 3\), got .* of shape \(3, 4, 5\)"),
        (lambda: backend.wrap(image, "image", image),
         r"wrap: y must be uint32 of shape \(3, 6, 7, 1\), got uint32 of shape \(3, 4, 5, 1\)"),
        (lambda: backend.launch("wrap", of_doubles, of_doubles),
         r"wrap: x must be uint32 of shape \(planes, H, W, K\), got float64 of shape \(3, 4, 2\)"),
        (lambda: backend.launch("binomial_down", [1.0], image, False),
         "binomial_down: x must be an array on the device, got list"),
        (lambda: backend.launch("gram", F, None, 12.0, "simt", G, backend.allocate(1)[:0]),
         "gram: scratch must be"),
    ]  # fmt: skip
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


def test_an_object_that_only_seems_to_be_an_array_is_no_crash(module):
    for seems in ({}, {"dtype": np.dtype(np.float32), "shape": 3, "pointer": 256}):
        strange = SimpleNamespace(described=None, **seems)
        message = "binomial_down: x must be an array on the device, got SimpleNamespace"
        with pytest.raises(ValueError, match=message):
            module.binomial_down(strange, None, False, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": (256, True)}, "y must be writable, got a read-only array"),
        ({"strides": (48, 12, 4)}, "y must be C-contiguous, got a strided view"),
        ({"data": (0, False)}, "y must lie at a multiple of"),
        ({"shape": (3, 2, 2**33)}, "y must be float32 of shape"),
    ],
)
def test_an_output_has_to_be_writable_and_dense(module, change, message):
    dense = {"shape": (3, 2, 3), "typestr": "<f4", "data": (256, False), "version": 3}
    x = HostDevice(module).allocate(240)
    source = DeviceArray(x.owner, x.pointer, np.float32, (3, 4, 5))
    with pytest.raises(ValueError, match=f"binomial_down: {message}"):
        module.binomial_down(
            source, SimpleNamespace(__cuda_array_interface__=dense | change), False, 0
        )


@pytest.mark.parametrize("shape", [(-3, -4), (-(2**62), 4), (2**40, 2**40), (0, 5)])
def test_a_vector_of_no_length_that_there_is_is_refused(module, shape):
    interface = {"shape": shape, "typestr": "<f4", "data": (256, False), "version": 3}
    vector = SimpleNamespace(__cuda_array_interface__=interface)
    message = r"lbfgs_step: x must have 1 to 2\^31 - 1 values of float32, got float32 of shape"
    with pytest.raises(ValueError, match=message):
        module.lbfgs_step(vector, vector, 0.5, vector, vector, 0)


def test_arrays_that_speak_dlpack_are_read_and_written_in_place(module):
    """NumPy's speak it, and on the stand-in their memory is the device's."""
    x = np.random.default_rng(0).random((3, 5, 8)).astype(np.float32)
    wanted = np.empty((3, 3, 4))
    ReferenceBackend().binomial_down(x.astype(float), wanted)
    y = np.zeros((4, 3, 4), np.float32)
    module.binomial_down(x, y[1:], False, 0)
    np.testing.assert_allclose(y[1:], wanted, rtol=1e-6)
    assert not y[0].any()
    for wrong, message in [
        (x.astype(np.float64), r"x must be float32 of shape \(3, 5, 8\), got float64 of shape"),
        (x[:, :, ::2], "x must be C-contiguous"),
        (x.astype(np.complex64), "x must be float32 .* got type 5 of 64 bits"),
    ]:
        with pytest.raises(ValueError, match=f"binomial_down: {message}"):
            module.binomial_down(wrong, y[1:], False, 0)


def last_wait(module):
    """The stream that waited last, and the one that it waited for."""
    pair = ctypes.CDLL(module.__file__).cuda_on_cpu_last_wait
    pair.restype = ctypes.POINTER(ctypes.c_size_t)
    return tuple(pair()[:2])


@pytest.mark.parametrize(
    ("stream", "producer", "waited"),
    [(0, 2, (1, 2)), (0, 40, (1, 40)), (40, 1, (40, 1)), (40, 56, (40, 56))],
)
def test_an_op_waits_for_the_stream_that_an_array_is_written_on(module, stream, producer, waited):
    x, y = np.ones((3, 4, 4), np.float32), np.zeros((3, 2, 2), np.float32)
    interface = {"shape": x.shape, "typestr": "<f4", "data": (x.ctypes.data, False), "version": 3}
    written = SimpleNamespace(__cuda_array_interface__=interface | {"stream": producer})
    module.binomial_down(written, y, False, stream)
    assert last_wait(module) == waited
    np.testing.assert_array_equal(y, 1)
    for ready in ({}, {"stream": None}, {"stream": stream or 1}):
        array = SimpleNamespace(__cuda_array_interface__=interface | ready)
        module.binomial_down(array, y, False, stream)
        assert last_wait(module) == waited, "there was nothing to wait for"
    written.__cuda_array_interface__["stream"] = 0
    with pytest.raises(ValueError, match="x must name its stream by 1, 2 or a handle, got 0"):
        module.binomial_down(written, y, False, stream)


@pytest.mark.parametrize(("device", "stream", "told"), [(1, 40, None), (2, 40, 40), (2, 0, 1)])
def test_a_producer_of_dlpack_is_told_the_stream_of_the_op(module, device, stream, told):
    class Producer:
        def __init__(self, array):
            self._array = array

        def __dlpack__(self, stream):
            self.stream = stream
            return self._array.__dlpack__()

        def __dlpack_device__(self):
            return device, 0

    x, y = Producer(np.ones((3, 4, 4), np.float32)), np.zeros((3, 2, 2), np.float32)
    module.binomial_down(x, y, False, stream)
    assert x.stream == told
    np.testing.assert_array_equal(y, 1)


def test_an_array_is_described_to_the_core_once(module):
    host = [np.zeros((3, 4, 6), np.float32), np.zeros((3, 2, 3), np.float32)]
    x, y = (DeviceArray(each, each.ctypes.data, np.float32, each.shape) for each in host)
    described = []
    for value in (1.0, 2.0):
        host[0][...] = value
        module.binomial_down(x, y, False, 0)
        np.testing.assert_array_equal(host[1], value)
        described.append((x.described, y.described))
    assert all(first is again for first, again in zip(*described, strict=True))
    with pytest.raises(ValueError, match="binomial_down: y must be"):
        module.binomial_down(x, x, False, 0)


def test_slices_of_an_array_share_its_memory():
    array = DeviceArray(None, 1024, np.float64, (5, 2))
    rows = array[1:4]
    assert (rows.pointer, rows.shape, rows.nbytes, len(rows)) == (1040, (3, 2), 48, 3)
    assert array[3:1].shape == (0, 2)
    with pytest.raises(ValueError, match="must follow one another"):
        array[::2]
