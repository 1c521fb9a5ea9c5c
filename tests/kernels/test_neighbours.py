"""Kernels of neighbour lists, compiled and as plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.kernels import neighbours as kernels
from tests import naive_neighbours as naive

FORMS = [pytest.param(lambda f: f, id="compiled"), pytest.param(lambda f: f.py_func, id="python")]


def lists(n=9, k=4, seed=0):
    rng = np.random.default_rng(seed)
    others = [np.delete(np.arange(n), i) for i in range(n)]
    return np.array([np.sort(rng.choice(o, k, replace=False)) for o in others], dtype=np.int32)


@pytest.mark.parametrize("form", FORMS)
def test_select_nearest_gives_ties_to_the_lower_index(form):
    near = np.array([[3.0, 1.0, 2.0, 2.0, 2.0], [-np.inf, 0.0, 4.0, 3.0, 1.0], [1.0, 1.0 + 1e-14, 1.0, 1.0, 0.0]])
    threshold = np.partition(near, 3, axis=1)[:, 3]
    found, values, ties = np.empty((3, 2), np.int32), np.empty((3, 2)), np.zeros(3, np.intp)
    form(kernels.select_nearest)(near, threshold, np.full(3, 1e-13), found, values, ties)
    np.testing.assert_array_equal(found, [[0, 2], [2, 3], [0, 1]])
    np.testing.assert_allclose(values, [[3, 2], [4, 3], [1, 1]])
    np.testing.assert_array_equal(ties, [3, 0, 4])


@pytest.mark.parametrize("form", FORMS)
def test_shared_and_merged_lists(form):
    a, b = lists(seed=0), lists(seed=1)
    shared = np.empty(9)
    form(kernels.count_shared)(a, b, shared)
    np.testing.assert_array_equal(shared, [len(set(u) & set(v)) for u, v in zip(a, b, strict=True)])
    rows, columns = np.empty((2, 2 * a.size), np.intp)
    size = form(kernels.merge_lists)(a, b, rows, columns)
    expected = [(i, j) for i in range(9) for j in sorted(set(a[i]) | set(b[i]))]
    assert list(zip(rows[:size], columns[:size], strict=True)) == expected


@pytest.mark.parametrize("form", FORMS)
def test_directed_hsic_of_what_two_lists_share(form):
    a, b = lists(seed=0), lists(seed=1)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, *a.shape))
    out = np.empty((2, a.size))
    starts, columns = form(kernels.intersect_lists)(a, x, b, y, out)
    dense = np.zeros((2, 9, 9))
    for i in range(9):
        for u, v in ((u, v) for u in range(4) for v in range(4) if a[i, u] == b[i, v]):
            dense[0, i, a[i, u]], dense[1, i, b[i, v]] = x[i, u], y[i, v]
    found = form(kernels.directed_hsic)(starts, columns, out[0], out[1])
    assert found == pytest.approx(naive.directed_hsic(*dense), abs=1e-12)
    assert found == pytest.approx(form(kernels.directed_hsic)(starts, columns, out[1], out[0]), abs=1e-13)
