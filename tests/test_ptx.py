"""Do the kernels that nvcc compiles compute what they should, and as cheaply as they should?

An interpreter in NumPy (`ptx`) runs nvcc's own PTX, launched by nvcc's own host code; no GPU is
needed. It shares nothing but the bindings with `cuda_on_cpu`, where g++ compiles the same kernels.
It refuses what a device would punish or leave to chance: addresses outside of memory, misaligned
ones, and warps that touch the same bytes of shared memory without a barrier between. Shared memory
that nothing has written holds NaN.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from dataclasses import replace

import numpy as np
import op_cases
import pytest
import test_optimizers_device_vectors as vectors
from conftest import picture, tiny_vgg19
from op_cases import OP_CASES, OpCase
from ptx import build
from ptx.assembly import members_of
from ptx.interpreter import MOST_SHARED, Interpreter
from ptx.machine import Fault, Program
from ptx.traffic import Count, Traffic
from test_backends import relative_error
from test_backends_cuda import MODES, CudaRecorder, Rounded, tolerance_of
from test_objective import errors_with_equal_masks

from pynst import BackendError, Objective
from pynst.backends.cuda import CudaBackend
from pynst.backends.divisions import Division, Divisions
from pynst.backends.reference import ReferenceBackend
from pynst.optimizers.device_vectors import CoreOps
from pynst.optimizers.pyramid import HostOps, Pyramid

ACCURATE, SIMT, FAST = MODES
pytestmark = pytest.mark.skipif(build.compiler() is None, reason="there is no nvcc")
the_long_rest = pytest.mark.skipif(
    not os.environ.get("PYNST_TEST_PTX"), reason="takes long: PYNST_TEST_PTX=1 asks for it"
)


@pytest.fixture(scope="session")
def compiled():
    return Interpreter(*build.load())


@pytest.fixture
def interpreter(compiled):
    """With no observer, warps in step, and sums that round."""
    compiled.observe, compiled.seed, compiled.truncating = None, None, False
    return compiled


def check(case, mode, device, tolerance=None):
    """Compare an op with float64, on operands that are rounded as the backend rounds them."""
    fast = mode[0] == "fast"
    wanted = case.outputs(Rounded() if fast else ReferenceBackend())
    for name, found in case.outputs(CudaBackend(*mode, device)).items():
        limit = tolerance or tolerance_of(case, name, fast)
        assert relative_error(found, wanted[name]) <= limit, f"{case}, {name}"


# ---- results -------------------------------------------------------------------------------------

IMAGE = {"H": 5, "W": 9}
SAMPLE = [
    *((mode, run, {"N": 20, "padding": padding} | IMAGE)
      for mode in (ACCURATE, FAST)
      for padding in ("zero", "replicate")
      for run in (op_cases.image_conv3x3_relu, op_cases.image_conv3x3_relu_backward)),
    *((mode, run, {"C": 20, "H": 5, "W": 7, "mode": pooling})
      for mode in (ACCURATE, FAST)
      for pooling in ("average", "max")
      for run in (op_cases.pool2x2, op_cases.pool2x2_backward)),
    *((mode, run, IMAGE)
      for mode in (ACCURATE, FAST)
      for run in (op_cases.filter7x7, op_cases.filter7x7_backward)),
    *((mode, op_cases.wrap, {"C": 20, "kind": kind, "larger": larger} | IMAGE)
      for mode in (ACCURATE, FAST)
      for kind in ("image", "features", "bits")
      for larger in (True, False)),
    *((mode, op_cases.content_loss, {"N": 20, "scaled": True, "weighted": True} | IMAGE)
      for mode in (ACCURATE, FAST)),
    *((mode, op_cases.gram, {"N": N, "weighted": N == 20} | IMAGE)
      for mode, sizes in ((ACCURATE, (20, 72)), (SIMT, (20, 72)), (FAST, (20, 72, 134, 150)))
      for N in sizes),
    *((mode, op_cases.style_loss, {"N": N, "scaled": True, "weighted": N == 20} | IMAGE)
      for mode, sizes in ((ACCURATE, (20, 72)), (SIMT, (20, 72)), (FAST, (20, 72, 134)))
      for N in sizes),
    *((FAST, run, IMAGE) for run in (op_cases.binomial_down, op_cases.binomial_down_backward)),
    *((FAST, run, IMAGE | {"image": "held"})
      for run in (op_cases.image_input, op_cases.image_input_backward)),
    *((FAST, op_cases.total_variation, IMAGE | {"circular": circular})
      for circular in (False, True)),
]  # fmt: skip
TILES = [
    (FAST, "large"), (FAST, "narrow"), (FAST, "flat"), (ACCURATE, "split"), (SIMT, "simt"),
]  # fmt: skip
# More input channels of the product than a part has at least, so that two parts are added.
CONVOLUTIONS = [
    (op_cases.conv3x3_relu, {"C": 40, "N": 20, "H": 9, "W": 18}),
    (op_cases.conv3x3_relu_backward, {"C": 20, "N": 40, "H": 9, "W": 18}),
    (op_cases.conv3x3_relu_pool, {"C": 40, "N": 20, "H": 9, "W": 18, "mode": "max"}),
    (op_cases.conv3x3_relu_pool_backward, {"C": 20, "N": 40, "H": 9, "W": 18, "mode": "max"}),
]


def divide_by(monkeypatch, tile, parts):
    monkeypatch.setattr(Divisions, "usual", lambda self, product: Division(tile, parts))


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_every_kernel_agrees_with_float64(architecture, interpreter, monkeypatch):
    """The model chooses some tiles only for layers that are too large to be interpreted."""
    interpreter.seed = 5 if architecture == "90" else None
    device = interpreter.device(architecture)
    interpreter.ran[architecture].clear()
    for mode, run, sizes in SAMPLE:
        check(OpCase(run.__name__, sizes, run, 2e-6), mode, device)
    for most_clustered in {device.most_clustered, 1}:  # on compute capability 7.5 both are 1
        monkeypatch.setattr(device, "most_clustered", most_clustered)
        for mode, tile in TILES:
            divide_by(monkeypatch, tile, 2)
            for run, sizes in CONVOLUTIONS:
                check(OpCase(run.__name__, sizes, run, 3e-6), mode, device)
    monkeypatch.undo()
    check_vectors_of_lbfgs(device)
    check_preconditioner(device)
    check_objective(FAST, device)
    missing = set(interpreter.programs[architecture]) - interpreter.ran[architecture]
    assert not missing


def check_vectors_of_lbfgs(device):
    core = vectors.Core(
        device, lambda op, *given: getattr(device.core, op)(*given, device.stream), device.core
    )
    vectors.test_the_direction_is_the_sum_of_its_rows(core, 705, 7)
    vectors.test_a_step_is_kept_as_it_is_and_seen_clipped(core, 705)
    vectors.test_the_gradient_leads_back_what_left_the_range(core, 705)
    for rows, spare in [(1, 0), (11, 10)]:
        vectors.test_all_products_are_those_of_float64(core, 705, rows, spare)


def check_preconditioner(device):
    shape = 7, 13, 3
    images = CudaBackend(device=device).device_images(shape)
    g = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    images.device.copy_in(g, images.gradient)
    Pyramid(CoreOps(images), shape)(images.gradient, images.image)
    found = np.empty(shape, np.float32)
    images.device.copy_out(images.image, found)
    wanted = np.empty(shape)
    Pyramid(HostOps(), shape)(g.astype(np.float64), wanted)
    np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max())


def check_objective(mode, device):
    """With ReLUs that are open where those of the interpreted network are."""
    device.capture = lambda work: work  # masks cannot be read while a graph is recorded
    errors = errors_with_equal_masks(tiny_vgg19, CudaRecorder(CudaBackend(*mode, device)), 32)
    most = (1e-3, 2e-2) if mode == FAST else (1e-6, 1e-5)
    assert (np.array(errors) < most).all(), errors


def test_an_accurate_objective_agrees_with_float64(interpreter):
    check_objective(ACCURATE, interpreter.device("90"))


def test_no_kernel_runs_for_the_sums_of_the_losses_or_for_the_gradient_scale(interpreter):
    device = interpreter.device("90")
    plain = build.plain_names(list(interpreter.programs["90"]))
    objective = Objective(
        picture(0, 32, 32), picture(1, 32, 32), image_size=32, tv_weight=3,
        network=tiny_vgg19(CudaBackend(*FAST, device)),
    )  # fmt: skip
    x = picture(2, 32, 32)
    wanted = objective(x)[0]
    place = objective.in_place(0)
    image, gradient = place.images.image, place.images.gradient
    device.copy_in(x.astype(np.float32), image)
    kernels = []
    interpreter.observe = lambda kernel: kernels.append(plain[kernel])
    terms, _ = place.evaluate(image, gradient, lambda: None)
    assert kernels[-1] == "image_input_backward_kernel"
    assert "evaluation_end_kernel" not in kernels
    assert terms.total == pytest.approx(wanted, rel=1e-3)
    assert min(terms.content, terms.tv) > 0


@pytest.mark.parametrize(
    ("mode", "tile", "parts"),
    [(FAST, "large", 3), (FAST, "narrow", 8), (FAST, "flat", 4), (ACCURATE, "split", 3)],
)
def test_a_cluster_adds_parts_as_the_second_kernel_does(
    mode, tile, parts, interpreter, monkeypatch
):
    """In any order of the warps of the blocks."""
    device = interpreter.device("90")
    divide_by(monkeypatch, tile, parts)
    interpreter.ran["90"].clear()
    sizes = {"C": 32 * parts - 6, "N": 20, "H": 9, "W": 18}
    case = OpCase("conv3x3_relu", sizes, op_cases.conv3x3_relu)
    with monkeypatch.context() as patch:
        patch.setattr(device, "most_clustered", parts - 1)
        wanted = case.outputs(CudaBackend(*mode, device))
    assert adding_kernels(interpreter) == 1
    for interpreter.seed in (None, 1, 2):
        for name, found in case.outputs(CudaBackend(*mode, device)).items():
            np.testing.assert_array_equal(found, wanted[name])
    assert adding_kernels(interpreter) == 0


def test_kernels_that_were_compiled_for_older_devices_have_no_clusters(interpreter, monkeypatch):
    assert interpreter.device("90").most_clustered == 8
    device = interpreter.device("75")
    assert device.most_clustered == 1
    divide_by(monkeypatch, "flat", 2)
    monkeypatch.setattr(device, "most_clustered", 8)
    with pytest.raises(BackendError, match="error 912"):  # cudaErrorInvalidClusterSize
        check(DIVIDED, FAST, device)


def adding_kernels(interpreter):
    """How many kernels that add parts have run since this was asked for."""
    ran = interpreter.ran["90"]
    found = sum("sum_parts" in each for each in ran)
    ran.clear()
    return found


MOST_FLOPS = 2e5  # of a case: an interpreter is slow
MOST_ROWS = 400
CASES = [
    case
    for case in OP_CASES
    if case.flops <= MOST_FLOPS and max(case.sizes.get("H", 0), case.sizes.get("W", 0)) < MOST_ROWS
]


@the_long_rest
@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
@pytest.mark.parametrize("mode", MODES, ids=" ".join)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_op_agrees_with_float64(case, mode, architecture, interpreter):
    check(case, mode, interpreter.device(architecture))


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_long_sums_are_folded_before_tensor_cores_truncate_them_too_often(
    architecture, interpreter
):
    interpreter.truncating = True
    for run, sizes in [
        (op_cases.style_loss, {"N": 512, "H": 1, "W": 16, "scaled": False}),
        (op_cases.gram, {"N": 16, "H": 16, "W": 64}),
    ]:
        check(OpCase(run.__name__, sizes, run), ACCURATE, interpreter.device(architecture), 5e-7)


# ---- cost ----------------------------------------------------------------------------------------

# Sectors of global memory, and passes over the banks of shared memory, as multiples of the least
# number that the same accesses could take. A kernel without a row has to keep to USUAL.
USUAL = {
    FAST: (1.3, 1.1),
    ACCURATE: (2.1, 1.3),  # eight channels of a pixel as floats are two accesses of 16 bytes
}
MOST = {
    FAST: {
        # bits: one byte for eight channels of a pixel
        "filter7x7_backward_kernel": (2.0, 1.3),
        "filter7x7_kernel": (1.6, 1.2),
        "image_conv3x3_relu_kernel": (1.6, 1.1),
        "binomial_down_kernel": (2.1, 1.1),  # every second pixel of the planes
        # It reads factors and sums as single floats, 32 bytes from lane to lane.
        "product_tensor_kernel": (1.5, 2.6),
    },
    ACCURATE: {
        "image_conv3x3_relu_kernel": (3.1, 1.8),  # single floats of the image
        "image_conv3x3_relu_backward_kernel": (2.5, 1.1),
        "product_tensor_kernel": (1.3, 1.6),
    },
}
TRAFFIC = [
    (op_cases.conv3x3_relu, {"C": 32, "N": 64, "H": 16, "W": 32}),
    (op_cases.conv3x3_relu_backward, {"C": 64, "N": 32, "H": 16, "W": 16}),
    (op_cases.conv3x3_relu, {"C": 64, "N": 64, "H": 16, "W": 16}),  # in two parts
    (op_cases.conv3x3_relu_pool, {"C": 32, "N": 64, "H": 16, "W": 32, "mode": "max"}),
    (op_cases.conv3x3_relu_pool_backward, {"C": 64, "N": 32, "H": 16, "W": 32, "mode": "max"}),
    (op_cases.style_loss, {"N": 64, "H": 16, "W": 32, "scaled": False}),
    (op_cases.style_loss, {"N": 128, "H": 8, "W": 32, "scaled": False}),
    (op_cases.gram, {"N": 64, "H": 16, "W": 32}),
    (op_cases.gram, {"N": 264, "H": 2, "W": 32}),  # of several tiles
    (op_cases.style_ahead, {"N": 64, "H": 16, "W": 32, "scaled": False}),
    (op_cases.content_loss, {"N": 64, "H": 16, "W": 32, "scaled": False}),
    (op_cases.image_conv3x3_relu, {"N": 64, "H": 16, "W": 32, "padding": "zero"}),
    (op_cases.image_conv3x3_relu_backward, {"N": 64, "H": 20, "W": 60, "padding": "zero"}),
    (op_cases.pool2x2, {"C": 64, "H": 16, "W": 32, "mode": "max"}),
    (op_cases.pool2x2_backward, {"C": 64, "H": 16, "W": 32, "mode": "max"}),
    (op_cases.filter7x7, {"H": 16, "W": 32}),
    (op_cases.filter7x7_backward, {"H": 16, "W": 32}),
    (op_cases.total_variation, {"H": 32, "W": 64, "circular": False}),
    (op_cases.binomial_down, {"H": 32, "W": 64}),
    (op_cases.binomial_down_backward, {"H": 32, "W": 64}),
]


@pytest.mark.parametrize("mode", [FAST, ACCURATE], ids=" ".join)
def test_kernels_move_little_more_than_they_use(mode, interpreter, monkeypatch):
    """Loads of single bytes once made `style_loss` slow; every result was right."""
    traffic = defaultdict(Traffic)
    plain = build.plain_names(list(interpreter.programs["90"]))
    interpreter.observe = lambda kernel: traffic[plain[kernel]]
    device = interpreter.device("90")
    backend = CudaBackend(*mode, device)
    for run, sizes in TRAFFIC:
        OpCase(run.__name__, sizes, run).outputs(backend)
    assert traffic["conv3x3_tensor_kernel"].total("shared::cluster").requests > 0
    # As on devices without clusters, where a second kernel adds the parts.
    monkeypatch.setattr(device, "most_clustered", 1)
    divide_by(monkeypatch, "flat" if mode == FAST else "split", 2)
    OpCase("conv3x3_relu", {"C": 64, "N": 64, "H": 16, "W": 16}, op_cases.conv3x3_relu).outputs(
        backend
    )
    assert "conv3x3_sum_parts_kernel" in traffic
    assert len(traffic) >= 18
    for kernel, counted in sorted(traffic.items()):
        limits = MOST[mode].get(kernel, USUAL[mode])
        for space, most in zip(("global", "shared"), limits, strict=True):
            total = counted.total(space)
            assert total.per_least <= most, f"{kernel}: {total} in {space} memory"


# ---- what must not go unseen ---------------------------------------------------------------------

CONVOLUTION = OpCase("conv3x3_relu", {"C": 24, "N": 40, "H": 9, "W": 19}, op_cases.conv3x3_relu)
DIVIDED = OpCase("conv3x3_relu", {"C": 40, "N": 40, "H": 9, "W": 19}, op_cases.conv3x3_relu)
GRAM = OpCase("gram", {"N": 20, "H": 5, "W": 9}, op_cases.gram)
POOLING = OpCase("pool2x2", {"C": 8, "H": 4, "W": 4, "mode": "average"}, op_cases.pool2x2)


def plant(interpreter, monkeypatch, kernel, change):
    """Change every statement of a kernel, in all of its variants."""
    programs, changed = interpreter.programs["90"], 0
    for name, program in list(programs.items()):
        if kernel in name:
            statements = [change(each) for each in program.kernel.statements]
            changed += statements != program.kernel.statements
            monkeypatch.setitem(
                programs, name, Program(replace(program.kernel, statements=statements))
            )
    assert changed, "nothing is changed"


def without_barriers(it):
    return it._replace(opcode="bar.warp.sync") if it.opcode == "bar.sync" else it


def with_barriers_of_a_block_for_the_cluster(it):
    if not it.opcode.startswith("barrier.cluster"):
        return it
    return it._replace(opcode="bar.sync" if "wait" in it.opcode else "bar.warp.sync")


def without_barriers_before_the_end():
    """Every second barrier of the cluster is missing: arrival and wait are two statements."""
    number = itertools.count()

    def change(it):
        if "barrier.cluster" in it.opcode and next(number) % 4 >= 2:
            return it._replace(opcode="bar.warp.sync")
        return it

    return change


def without_the_first_wait(it):
    """Three groups of copies may be under way where the kernel allows one."""
    return it._replace(operands=("3",)) if it.opcode.endswith("wait_group") else it


def with_rows_of_a_exchanged(it):
    if not it.opcode.startswith("mma"):
        return it
    first, second, *others = members_of(it.operands[1])
    a = "{" + ", ".join([second, first, *others]) + "}"
    return it._replace(operands=(it.operands[0], a, *it.operands[2:]))


def with_transposed_matrices(it):
    return it._replace(opcode=it.opcode.replace(".x4.shared", ".x4.trans.shared"))


def without_stores_to_shared_memory(it):
    """What nothing has written there is NaN."""
    if not it.opcode.startswith("st.shared"):
        return it
    return it._replace(opcode="mov.u32", operands=("%r1", "%r1"))


def moved(nbytes):
    """Loads of global memory that many bytes further on."""

    def change(it):
        if not it.opcode.startswith("ld.global"):
            return it
        base, _, offset = it.operands[1].strip("[]").partition("+")
        return it._replace(operands=(it.operands[0], f"[{base}+{int(offset or 0) + nbytes}]"))

    return change


@pytest.mark.parametrize(
    ("case", "kernel", "change", "message"),
    [
        (CONVOLUTION, "conv3x3_tensor_kernel", without_barriers, "no barrier between"),
        (
            DIVIDED,
            "conv3x3_tensor_kernel",
            with_barriers_of_a_block_for_the_cluster,
            "reads what another block writes",
        ),
        (DIVIDED, "conv3x3_tensor_kernel", without_barriers_before_the_end(), "block returns"),
        (POOLING, "pool2x2_kernel", moved(16), "outside global memory"),
        (POOLING, "pool2x2_kernel", moved(2), "not aligned to 16 bytes"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_a_device_would_punish_is_refused(
    case, kernel, change, message, interpreter, monkeypatch
):
    divide_by(monkeypatch, "narrow", 2)  # where there are channels enough
    check(case, FAST, interpreter.device("90"))
    plant(interpreter, monkeypatch, kernel, change)
    with pytest.raises(Fault, match=message):
        check(case, FAST, interpreter.device("90"))


@pytest.mark.parametrize(
    ("mode", "case", "kernel", "change"),
    [
        (FAST, CONVOLUTION, "conv3x3_tensor_kernel", with_rows_of_a_exchanged),
        (FAST, CONVOLUTION, "conv3x3_tensor_kernel", with_transposed_matrices),
        (FAST, CONVOLUTION, "conv3x3_tensor_kernel", without_the_first_wait),
        (ACCURATE, GRAM, "gram_tensor_kernel", without_stores_to_shared_memory),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_a_device_would_do_wrongly_gives_wrong_results(
    mode, case, kernel, change, interpreter, monkeypatch
):
    plant(interpreter, monkeypatch, kernel, change)
    with pytest.raises(AssertionError, match=case.op):
        check(case, mode, interpreter.device("90"))


def test_a_launch_beyond_the_limits_of_a_device_or_a_kernel_is_refused(interpreter, monkeypatch):
    programs = interpreter.programs["90"]
    for name, program in list(programs.items()):
        small = Program(replace(program.kernel, threads=32))
        monkeypatch.setitem(programs, name, small)
    with pytest.raises(Fault, match="threads, the kernel is made for 32"):
        check(CONVOLUTION, FAST, interpreter.device("90"))
    monkeypatch.undo()
    monkeypatch.setitem(MOST_SHARED, "90", 40 * 1024)
    monkeypatch.setattr(Divisions, "usual", lambda self, product: Division("large", 1))
    with pytest.raises(BackendError, match="error 1"):  # cudaErrorInvalidValue
        check(CONVOLUTION, FAST, interpreter.device("90"))
    # The runtime keeps an error until somebody asks for it; the next launch must not be blamed.
    monkeypatch.undo()
    check(CONVOLUTION, FAST, interpreter.device("90"))


def test_traffic_is_counted_as_a_device_counts_it():
    traffic, warp = Traffic(), np.ones(32, bool)
    traffic("global", "read", 4 * np.arange(32), 4, warp)
    traffic("global", "read", 64 * np.arange(32), 1, warp)
    traffic("shared", "read", 128 * np.arange(32), 4, warp)
    traffic("shared", "read", 16 * np.arange(32), 16, warp)
    traffic("shared", "read", np.zeros(32, int), 4, warp)
    assert traffic.counts == {
        ("global", "read", 4): Count(1, 4, 4),
        ("global", "read", 1): Count(1, 32, 1),
        ("shared", "read", 4): Count(2, 32 + 1, 1 + 1),
        ("shared", "read", 16): Count(1, 4, 4),
    }
