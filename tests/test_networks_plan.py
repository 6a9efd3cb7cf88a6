"""The memory plan: nothing that lives at the same time may share an address."""

from __future__ import annotations

import numpy as np
from conftest import tiny_vgg19
from hypothesis import given
from hypothesis import strategies as st

from pynst.backends.reference import ReferenceBackend
from pynst.networks.gabor import Gabor
from pynst.networks.plan import Buffer, Plan, Workspace

BACKEND = ReferenceBackend()

buffers = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 8), st.integers(0, 8)),
    min_size=1, max_size=12,
)  # fmt: skip


@given(buffers)
def test_buffers_that_live_together_never_overlap(rows):
    plan = Plan.of(
        [
            Buffer(f"b{i}", "features", (4, H, W), min(a, b), max(a, b))
            for i, (H, W, a, b) in enumerate(rows)
        ],
        BACKEND,
    )
    spans = {
        name: (plan.offsets[name], plan.offsets[name] + BACKEND.nbytes(each.kind, each.shape))
        for name, each in plan.buffers.items()
    }
    for one in plan.buffers.values():
        assert spans[one.name][1] <= plan.nbytes
        for other in plan.buffers.values():
            apart = one.last < other.first or other.last < one.first
            disjoint = (
                spans[one.name][1] <= spans[other.name][0]
                or spans[other.name][1] <= spans[one.name][0]
            )
            assert one.name == other.name or apart or disjoint


def test_buffers_that_live_apart_share_their_address():
    plan = Plan.of([Buffer(f"b{t}", "features", (4, 8, 8), t, t) for t in range(10)], BACKEND)
    assert plan.nbytes == BACKEND.nbytes("features", (4, 8, 8))


def test_a_poisoned_workspace_changes_nothing():
    """Every buffer is written before it is read: the walk gives the same from NaN as from zeros."""
    for network, layers in (
        (tiny_vgg19(pooling="max"), ("relu1_1", "relu3_2", "relu4_2")),
        (Gabor(BACKEND), ("level1", "level3")),
    ):
        results = []
        for poison in (0, 255):
            workspace = network.workspace(40, 36, layers, gradient=True)
            workspace._block[...] = poison  # bytes of 255 are NaN as floating-point numbers
            workspace["x"][...] = np.random.default_rng(0).random((3, 40, 36))
            network.forward(workspace, layers)
            kept = {layer: workspace[layer].copy() for layer in layers}

            def add(layer, F, dF, kept=kept):
                np.testing.assert_array_equal(F, kept[layer])
                dF += F

            results.append(network.backward(workspace, layers, add).copy())
        np.testing.assert_array_equal(*results)
        assert np.isfinite(results[0]).all()


def test_the_plan_is_far_smaller_than_all_its_buffers():
    network = tiny_vgg19(pooling="average")
    plan = network.plan(256, 256, network.style_layers, gradient=True)
    everything = sum(BACKEND.nbytes(each.kind, each.shape) for each in plan.buffers.values())
    assert plan.nbytes < everything / 2
    assert isinstance(Workspace(plan, BACKEND)["x"], np.ndarray)
