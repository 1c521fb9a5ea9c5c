"""Sizes and lengths of columns, compiled and as plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.kernels import units

FORMS = [pytest.param(lambda f: f, id="compiled"), pytest.param(lambda f: f.py_func, id="python")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_largest_sizes(form, dtype):
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(dtype)
    x[:, 2] = 0
    out = np.full(5, np.nan)
    form(units.largest_sizes)(x, out)
    np.testing.assert_array_equal(out, np.abs(x).max(axis=0).astype(float))


@pytest.mark.parametrize("form", FORMS)
def test_to_unit_length(form):
    x = np.random.default_rng(0).normal(size=(7, 4)) * [1.0, 1e-6, 1e6, 0.0]
    x[:, 1] /= np.linalg.norm(x[:, 1])
    floor = np.array([0.0, 2.0, 0.0, 0.0])  # the second column is no longer than rounding, the last is silent
    expected, alive = x / np.maximum(np.linalg.norm(x, axis=0), 1e-300), np.empty(4, bool)
    expected[:, [1, 3]] = 0
    form(units.to_unit_length)(x, floor, alive)
    np.testing.assert_array_equal(alive, [True, False, True, False])
    np.testing.assert_allclose(x, expected, rtol=1e-14)
