"""Sums over rows, and products of unions of pieces, against numpy, compiled and as Python."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.kernels import encoding

BOTH = pytest.mark.parametrize("compiled", [True, False])
TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def pick(function, compiled):
    return function if compiled else function.py_func


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(11, 5)), rng.normal(size=(11, 5))


@BOTH
@TYPES
def test_column_sums_and_squares(rows, dtype, compiled):
    values = rows[0].astype(dtype)
    found = np.full(5, np.nan)
    pick(encoding.column_sums, compiled)(values, found)
    np.testing.assert_allclose(found, values.sum(axis=0, dtype=np.float64), atol=1e-14)
    pick(encoding.column_squares, compiled)(values, found)
    np.testing.assert_allclose(found, (values.astype(np.float64) ** 2).sum(axis=0), rtol=1e-14)


@BOTH
def test_column_sums_of_float32_keep_float64_digits(compiled):
    values, found = np.full((4096, 1), 1 + 2**-20, dtype=np.float32), np.empty(1)
    pick(encoding.column_sums, compiled)(values, found)
    assert found[0] == 4096 * (1 + 2**-20)


@BOTH
@TYPES
def test_fold_sums(rows, dtype, compiled):
    below, predicted = (values.astype(dtype) for values in rows)
    error, total, first = (np.full(5, np.nan) for _ in range(3))
    pick(encoding.fold_sums, compiled)(below, predicted, error, total, first)
    rest = (below + predicted).astype(np.float64)
    np.testing.assert_allclose(error, (rest**2).sum(axis=0), rtol=1e-14)
    np.testing.assert_allclose(total, (below.astype(np.float64) ** 2).sum(axis=0), rtol=1e-14)
    np.testing.assert_allclose(first, below.sum(axis=0, dtype=np.float64), atol=1e-14)


@BOTH
@TYPES
@pytest.mark.parametrize("which", [[1], [0, 2], [0, 1, 2]])
def test_union_products(dtype, compiled, which):
    rng = np.random.default_rng(1)
    parts, left, right = (rng.normal(size=shape).astype(dtype) for shape in ((3, 4, 6), 4, 6))
    out = np.full((4, 6), np.nan, dtype)
    pick(encoding.union_products, compiled)(parts, np.array(which), left, right, out)
    tolerance = 1e-14 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(out, parts[which].sum(axis=0) - np.outer(left, right), rtol=0, atol=tolerance)
