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
def test_hsic_of_what_two_lists_share(form):
    a, b = lists(seed=0), lists(seed=1)
    x, y = np.random.default_rng(2).normal(size=(2, *a.shape))
    backs = np.empty((2, *a.shape), np.int32)
    for side, back in zip((a, b), backs, strict=True):
        form(kernels.find_back)(side, back)
        for i in range(9):
            for u in range(4):
                mirror = np.flatnonzero(side[side[i, u]] == i)
                assert back[i, u] == (mirror[0] if len(mirror) else -1)
    assert (backs >= 0).any()
    assert (backs < 0).any()
    dense = np.zeros((2, 9, 9))
    for i in range(9):
        for u, v in ((u, v) for u in range(4) for v in range(4) if a[i, u] == b[i, v]):
            dense[0, i, a[i, u]], dense[1, i, b[i, v]] = x[i, u], y[i, v]
    found = form(kernels.shared_hsic)(a, x, backs[0], b, y, backs[1])
    assert found == pytest.approx(naive.directed_hsic(*dense), abs=1e-12)
    assert found == pytest.approx(form(kernels.shared_hsic)(b, y, backs[1], a, x, backs[0]), abs=1e-13)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("same", [False, True])
def test_all_pairs_of_lists(form, same):
    a = np.stack([lists(seed=s) for s in range(3)])
    b = a if same else np.stack([lists(seed=s) for s in (4, 0)])
    rng = np.random.default_rng(0)
    worth = rng.normal(size=5)
    x = rng.normal(size=(3, 9, 9))
    y = x if same else rng.normal(size=(2, 9, 9))
    shared, cosines = np.zeros((2, 3, len(b)))
    form(kernels.tally_shared)(a, b, worth, same, shared)
    least = form(kernels.tally_cosines)(a, x, b, y, same, cosines)
    lengths = []
    for s in range(3):
        for t in range(s if same else 0, len(b)):
            unions = [sorted(set(u) | set(v)) for u, v in zip(a[s], b[t], strict=True)]
            found = [(x[s, i, union], y[t, i, union]) for i, union in enumerate(unions)]
            assert shared[s, t] == pytest.approx(sum(worth[8 - len(union)] for union in unions), abs=1e-12)
            expected = sum(p @ q / np.sqrt((p @ p) * (q @ q)) for p, q in found)
            assert cosines[s, t] == pytest.approx(expected, abs=1e-12)
            lengths += [min(p @ p, q @ q) for p, q in found]
    assert least == pytest.approx(min(lengths), rel=1e-12)
    if same:
        assert not np.tril(shared, -1).any()
        assert not np.tril(cosines, -1).any()
