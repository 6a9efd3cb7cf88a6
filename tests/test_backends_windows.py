"""Losses over windows: the sums over the cores and the gradients of the windows are the whole's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pynst.backends.cpu import CpuBackend
from pynst.backends.reference import ReferenceBackend
from pynst.backends.windows import Part, WindowsBackend
from pynst.errors import BackendError

N, H, W = 19, 12, 15
CUTS = (0, 5, 9, W)  # columns at which the cores begin and end
HALO = 2

WEIGHTS = np.random.default_rng(6).random((H, W))
WEIGHTS[:, :6] = 0  # the first core, and more than a strip of the second one
WEIGHTS[:4] = 0

BACKENDS = {"reference": ReferenceBackend, "cpu": lambda: CpuBackend(2)}


@pytest.fixture(params=BACKENDS)
def inner(request):
    return BACKENDS[request.param]()


@pytest.fixture(autouse=True)
def narrow_strips(monkeypatch):
    """Strips of a few rows, so that a core has several."""
    monkeypatch.setattr("pynst.backends.pieces._STRIP", 1500)


def features(inner, seed):
    """Features (N, H, W) in NumPy and in the backend's memory."""
    values = np.random.default_rng(seed).random((N, H, W)).astype(np.float32)
    return values, uploaded(inner, values)


def uploaded(inner, values):
    block = inner.allocate(inner.nbytes("features", values.shape))
    array = inner.view(block, 0, "features", values.shape)
    inner.upload(values, "features", array)
    return array


def parts(inner, values, *, gradients):
    """The features cut into windows, with their columns and the columns of their cores."""
    for start, end in pairwise(CUTS):
        first, last = max(0, start - HALO), min(W, end + HALO)
        array = uploaded(inner, values[:, :, first:last])
        place = slice(0, H), slice(first, last)
        core = slice(0, H), slice(start - first, end - first)
        yield Part(array, core, place, H * W, start == 0, not gradients), slice(first, last)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())


@pytest.fixture(params=[None, WEIGHTS], ids=["no weights", "weights"])
def weights(request):
    return request.param


def uploaded_weights(backend, weights):
    return None if weights is None else backend.upload_pixel_weights(weights)


def test_the_gram_matrix_is_the_whole_ones(inner, weights):
    (values, F), backend = features(inner, 0), WindowsBackend(inner, type(None))
    whole, G = inner.empty_gram(N), inner.empty_gram(N)
    G[...] = np.nan  # what was there before does not count
    inner.gram(F, whole, uploaded_weights(inner, weights))
    m = uploaded_weights(backend, weights)
    for part, _ in parts(inner, values, gradients=False):
        backend.gram(part, G, m)
    close(inner.download_gram(G), inner.download_gram(whole))
    np.testing.assert_array_equal(G, G.T)
    before = G.copy()
    for part, _ in parts(inner, values, gradients=True):
        backend.gram(part, G, m)
    np.testing.assert_array_equal(G, before), "the second pass leaves it as it is"


def test_weights_of_one_are_no_weights_to_the_bit(inner):
    (values, _), backend = features(inner, 0), WindowsBackend(inner, type(None))
    found = []
    for m in (None, backend.upload_pixel_weights(np.ones((H, W)))):
        G, loss, gradients = inner.empty_gram(N), inner.empty_losses(1), []
        for part, _ in parts(inner, values, gradients=False):
            backend.gram(part, G, m)
        for part, columns in parts(inner, values, gradients=True):
            dF = uploaded(inner, 0 * values[:, :, columns])
            backend.style_loss(part, G, np.eye(N), 0.3, None, dF, loss, m)
            gradients.append(dF)
        found.append([G, loss, *gradients])
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)


def op(name, backend, F, values_of, dF, loss, weights=None):
    """One loss op on features; `values_of` makes an array in the backend's memory."""
    scale = backend.upload_scale(np.random.default_rng(3).uniform(0.5, 2, N))
    if name == "content_loss":
        target = np.random.default_rng(1).random((N, H, W)).astype(np.float32)
        m = uploaded_weights(backend, weights)
        backend.content_loss(F, values_of(target), 0.3, scale, dF, loss, m)
        return
    G, A = (np.random.default_rng(seed).random((N, N)) for seed in (4, 5))
    symmetric = [backend.upload_gram(each + each.T) for each in (G, A)]
    m = uploaded_weights(backend, weights)
    if name == "style_ahead":
        backend.style_ahead(F, *symmetric, 0.3, scale, m)
    backend.style_loss(F, *symmetric, 0.3, scale, dF, loss, m)


@pytest.mark.parametrize("name", ["content_loss", "style_loss"])
def test_a_loss_and_its_gradient_are_the_whole_ones(inner, name, weights):
    (values, F), backend = features(inner, 0), WindowsBackend(inner, type(None))

    def values_of(array):
        return uploaded(inner, array)

    dF, whole, loss = uploaded(inner, 0 * values), inner.empty_losses(1), inner.empty_losses(1)
    op(name, inner, F, values_of, dF, whole, weights)
    wanted = inner.download(dF, "features", values.shape)
    for part, _ in parts(inner, values, gradients=False):
        op(name, backend, part, values_of, None, loss, weights)
    for part, columns in parts(inner, values, gradients=True):
        shape = N, H, columns.stop - columns.start
        own = uploaded(inner, np.ones(shape, np.float32))
        op(name, backend, part, values_of, own, loss, weights)
        close(inner.download(own, "features", shape), 1 + wanted[:, :, columns])
    close(inner.download_losses(loss), inner.download_losses(whole))


def planes_in_windows(values):
    """Parts of an image (3, H, W) in 3 x 3 windows, for either pass; some cores are one pixel."""
    for gradients in (False, True):
        first = True
        for top, bottom in pairwise((0, 1, 8, H)):
            for left, right in pairwise((0, 5, 6, W)):
                rows, columns = (
                    slice(max(0, start - HALO), min(end + HALO, length))
                    for start, end, length in ((top, bottom, H), (left, right, W))
                )
                core = (
                    slice(top - rows.start, bottom - rows.start),
                    slice(left - columns.start, right - columns.start),
                )
                array = np.ascontiguousarray(values[:, rows, columns])
                yield Part(array, core, (rows, columns), H * W, first, not gradients)
                first = False


def test_total_variation_over_windows_is_the_whole_ones(inner):
    dtype = inner.view(inner.allocate(24), 0, "image", (3, 1, 1)).dtype
    x = np.random.default_rng(0).random((3, H, W)).astype(dtype)
    backend, wanted = WindowsBackend(inner, type(None)), np.zeros_like(x)
    loss, whole = inner.empty_losses(1), inner.empty_losses(1)
    loss[:] = np.nan  # what was there before does not count
    inner.total_variation(x, 0.3, wanted, whole)
    for part in planes_in_windows(x):
        if part.values:
            backend.total_variation(part, 0.3, None, loss)
            continue
        dx = np.ones_like(part.array)
        backend.total_variation(part, 0.3, dx, loss)
        inside = slice(None), *part.core
        close(dx[inside], 1 + wanted[:, part.place[0], part.place[1]][inside])
    close(loss, whole)


def test_what_is_no_part_is_the_other_backends(inner, weights):
    (values, F), backend = features(inner, 0), WindowsBackend(inner, type(None))
    found = []
    for each in (inner, backend):
        G, dF, loss = each.empty_gram(N), uploaded(inner, 0 * values), each.empty_losses(3)
        each.gram(F, G, uploaded_weights(each, weights))
        op("content_loss", each, F, lambda array: uploaded(inner, array), dF, loss[:1], weights)
        op("style_loss", each, F, None, dF, loss[1:2], weights)
        op("style_ahead", each, F, None, dF, loss[2:], weights)
        found.append((G.copy(), each.download(dF, "features", values.shape), loss.copy()))
    for here, there in zip(*found, strict=True):
        np.testing.assert_array_equal(here, there)
    assert backend.name == inner.name


def test_an_op_that_knows_no_windows_is_refused(inner):
    (values, _), backend = features(inner, 0), WindowsBackend(inner, type(None))
    part, _ = next(parts(inner, values, gradients=True))
    with pytest.raises(BackendError, match="tile: pool2x2 cannot be computed over windows"):
        backend.pool2x2(part, "max", None, None)
