"""Kernels, compiled and as plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.kernels import gram as kernels
from repcompare.measures._linalg import gram

FORMS = [pytest.param(lambda f: f, id="compiled"), pytest.param(lambda f: f.py_func, id="python")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centre_columns(form, dtype):
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(dtype) + 100
    x[:, 3] = 1e4
    out = np.empty((7, 3), dtype)
    form(kernels.centre_columns)(x, 1, 4, out)
    expected = x[:, 1:4].astype(float) - x[:, 1:4].astype(float).mean(0)
    np.testing.assert_allclose(out, expected, atol=1e-12 if dtype == np.float64 else 1e-7)
    assert (out[:, 2] == 0).all()  # a constant column is exactly zero


@pytest.mark.parametrize("form", FORMS)
def test_pairs(form):
    k = np.random.default_rng(0).normal(size=(6, 6))
    k = k + k.T
    lower = np.tril(k)
    sums = form(kernels.offdiagonal_sums)(lower)
    np.testing.assert_allclose(sums, (k - np.diag(np.diag(k))).sum(1), atol=1e-12)
    out = np.empty(15)
    squares = form(kernels.pack_pairs)(lower, sums, 0.5, out)
    i, j = np.tril_indices(6, -1)
    np.testing.assert_allclose(out, k[i, j] - sums[i] - sums[j] + 0.5, atol=1e-12)
    assert squares == pytest.approx((out**2).sum(), rel=1e-14)
    full = np.zeros((6, 6))
    form(kernels.unpack_pairs)(out, full)
    np.testing.assert_array_equal(full[i, j], out)
    np.testing.assert_array_equal(full, full.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 3), (40, 30_000), (3, 1)], ids=str)
def test_gram_over_blocks(dtype, shape):
    x = (np.random.default_rng(0).normal(size=shape) + 50).astype(dtype)
    centred = x.astype(float) - x.astype(float).mean(0)
    expected = np.tril(centred @ centred.T)
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(gram(x), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(gram(np.asfortranarray(x)), gram(x))
