"""Kernels of resampled RDMs, compiled and as Python, against written-out copies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from repcompare.kernels import resampled as kernels

COUNTS = np.array([2.0, 0.0, 1.0, 3.0, 1.0])
K = COUNTS.size


@pytest.fixture(params=["compiled", "python"])
def pick(request, monkeypatch):
    """Return kernels in one form; as Python also those that they call."""
    if request.param == "python":
        for name in ("_rank_groups", "_number", "_ranked", "dense_codes", "sorted_codes"):
            monkeypatch.setattr(kernels, name, getattr(kernels, name).py_func)
    return lambda name: (
        getattr(getattr(kernels, name), "py_func", getattr(kernels, name))
        if request.param == "python"
        else getattr(kernels, name)
    )


def selected(pick, present=None):
    rows = np.flatnonzero(COUNTS)
    positions, weights = np.empty(6, dtype=np.int64), np.empty(6)
    present = np.ones(10, dtype=np.bool_) if present is None else present
    n = pick("select_pairs")(rows, COUNTS, present, positions, weights)
    return rows, positions[:n], weights[:n]


def test_select_pairs(pick):
    _, positions, weights = selected(pick)
    assert positions.tolist() == [1, 2, 3, 7, 8, 9]  # (0,2) (0,3) (0,4) (2,3) (2,4) (3,4)
    assert weights.tolist() == [2, 6, 2, 3, 1, 3]
    present = np.ones(10, dtype=np.bool_)
    present[[2, 9]] = False
    _, positions, weights = selected(pick, present)
    assert positions.tolist() == [1, 3, 7, 8] and weights.tolist() == [2, 2, 3, 1]


def test_weighted_values(pick):
    values = np.random.default_rng(0).random((10, 3))
    rows, positions, weights = selected(pick)
    means, out = np.empty(3), np.empty((6, 3))
    pick("weighted_means")(values, positions, weights, means)
    np.testing.assert_allclose(means, np.average(values[positions], axis=0, weights=weights), rtol=1e-14)
    pick("fill_weighted")(values, positions, np.sqrt(weights), means, out)
    np.testing.assert_allclose(out, (values[positions] - means) * np.sqrt(weights)[:, None], rtol=1e-14)
    sums, square = np.empty((4, 3)), np.zeros((K, K, 3))
    pulls = COUNTS[rows] / 2
    pick("stimulus_sums")(values, positions, rows, pulls, means, sums)
    square[np.triu_indices(K, 1)] = values - means
    square += square.transpose(1, 0, 2)
    np.testing.assert_allclose(sums, np.einsum("ijr,j->ir", square[np.ix_(rows, rows)], pulls), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("levels", [3, 1000])
def test_ranks_of_copies(pick, levels):
    codes = np.random.default_rng(1).integers(0, levels, size=(2, 10)).astype(np.int32)
    _, positions, weights = selected(pick)
    out = np.empty((2, 6))
    pick("resampled_ranks")(codes, np.full(2, levels), positions, weights, out)
    for row, code in zip(out, codes, strict=True):
        copies = np.repeat(code[positions], weights.astype(int))
        expected = 2 * (rankdata(copies) - (copies.size + 1) / 2)
        np.testing.assert_array_equal(np.repeat(row, weights.astype(int)), expected)


@pytest.mark.parametrize("spread", [0, 5, 3000, 10**9])
def test_codes_and_orders(pick, spread):
    values = np.random.default_rng(2).integers(-spread, spread + 1, size=200).astype(np.float64)
    expected = np.unique(values, return_inverse=True)[1]
    for name in ("dense_codes", "sorted_codes"):
        codes, order = np.empty(200, dtype=np.int32), np.empty(200, dtype=np.int64)
        assert pick(name)(values, codes, order) == expected.max() + 1
        np.testing.assert_array_equal(codes, expected)
        assert (np.diff(values[order]) >= 0).all() and sorted(order) == list(range(200))


def test_pooled_scores(pick):
    rng = np.random.default_rng(3)
    weights = rng.integers(1, 4, size=12).astype(np.float64)
    repeats = weights.astype(int)
    ranks = np.array([2 * (rankdata(np.repeat(row, repeats)) - (weights.sum() + 1) / 2) for row in rng.random((3, 12))])
    first = np.concatenate([[0], np.cumsum(repeats)[:-1]])
    for shares, whole in (([2.0, 0.0, 1.0], True), ([0.7, 1.1, 0.4], False)):
        dots, norms = np.full((2, 2, 3), np.nan)
        pick("pooled_scores")(ranks[:, first].copy(), weights, np.array(shares), whole, dots, norms)
        for s in range(3):
            rest = np.array(shares) * (np.arange(3) != s)
            for row, pool in ((0, rest @ ranks), (1, np.array(shares) @ ranks)):
                if row == 0 and shares[s] == 0:
                    assert np.isnan(dots[0, s])
                    continue
                ranked = 2 * (rankdata(np.round(pool, 9)) - (weights.sum() + 1) / 2)
                assert dots[row, s] == pytest.approx(ranked @ ranks[s], rel=1e-12)
                assert norms[row, s] == pytest.approx(ranked @ ranked, rel=1e-12)


@pytest.mark.parametrize("levels", [2, 4, 100])
def test_agreement_counts_pairs_of_pairs(pick, levels):
    rng = np.random.default_rng(levels)
    a, b = (np.unique(rng.integers(0, levels, 15), return_inverse=True)[1].astype(np.int32) for _ in range(2))
    weights = rng.integers(1, 4, size=15).astype(np.float64)
    x, y = (np.repeat(v, weights.astype(int)) for v in (a, b))
    i, j = np.triu_indices(x.size, 1)
    signs = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
    both = ((x[i] == x[j]) & (y[i] == y[j])).sum()
    order = np.argsort(b, kind="stable")
    found = pick("agreement")(a, a.max() + 1, b, b.max() + 1, order, weights)
    assert found == ((signs < 0).sum(), both)
