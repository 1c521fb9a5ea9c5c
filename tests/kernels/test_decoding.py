"""Sums per class, confusions and ROC areas against plain loops, compiled and as Python."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.kernels import decoding
from tests import naive_decoding as naive

BOTH = pytest.mark.parametrize("compiled", [True, False])


def pick(function, compiled):
    return function if compiled else function.py_func


@pytest.fixture
def sets():
    rng = np.random.default_rng(0)
    return rng.normal(size=(11, 5)), rng.integers(0, 3, size=(4, 11)), rng


@BOTH
def test_class_sums(sets, compiled):
    rows, codes, _ = sets
    sums = np.empty((4, 3, 5))
    pick(decoding.class_sums, compiled)(rows, codes, sums)
    for b in range(4):
        for k in range(3):
            np.testing.assert_allclose(sums[b, k], rows[codes[b] == k].sum(axis=0), atol=1e-14)


@BOTH
def test_class_pair_sums(sets, compiled):
    _, codes, rng = sets
    values, sums = rng.normal(size=(4, 3, 11)), np.empty((4, 3, 3))
    pick(decoding.class_pair_sums, compiled)(values, codes, sums)
    for b in range(4):
        for k in range(3):
            np.testing.assert_allclose(sums[b, :, k], values[b][:, codes[b] == k].sum(axis=1), atol=1e-14)


@BOTH
def test_tally_takes_the_first_of_equal_values(sets, compiled):
    _, codes, rng = sets
    values = rng.integers(0, 3, size=(4, 3, 11)).astype(float)
    counts = np.empty((4, 3, 3), dtype=np.int64)
    pick(decoding.tally, compiled)(values, codes, counts)
    for b in range(4):
        np.testing.assert_array_equal(counts[b], naive.confusion(values[b], codes[b], 3))


@BOTH
@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_area_under_curve_is_the_share_of_pairs_in_order(compiled, levels):
    rng = np.random.default_rng(levels)
    values, positive = rng.integers(0, levels, size=40).astype(float), rng.random(40) < 0.3
    area = pick(decoding.area_under_curve, compiled)(values, positive)
    assert area == pytest.approx(naive.area(values, positive), abs=1e-14)
    assert np.isnan(pick(decoding.area_under_curve, compiled)(values, np.zeros(40, dtype=bool)))
    assert np.isnan(pick(decoding.area_under_curve, compiled)(values, np.ones(40, dtype=bool)))


@BOTH
def test_mean_areas(sets, compiled):
    _, codes, rng = sets
    codes[:, :3] = [0, 1, 2]
    codes[3] = codes[3] % 2
    values, areas = rng.normal(size=(4, 3, 11)), np.empty(4)
    pick(decoding.mean_areas, compiled)(values, codes, areas)
    for b in range(3):
        expected = np.mean([naive.area(values[b, k], codes[b] == k) for k in range(3)])
        assert areas[b] == pytest.approx(expected, abs=1e-14)
    assert np.isnan(areas[3])


@BOTH
def test_standardise_class(compiled):
    rng = np.random.default_rng(1)
    x, offset = rng.normal(size=(9, 4)), np.array([0.0, 1e3, 0.0, 0.0])
    x[:, 2] = 7.0
    x[:, 1] = 1e-12 * rng.normal(size=9)  # rounding of values near 1000
    rows = np.array([1, 4, 5, 8])
    mean, variance, scale = np.empty((3, 4))
    apart, standard = np.empty((2, 4, 4))
    pick(decoding.standardise_class, compiled)(x, rows, offset, (mean, variance, scale, apart, standard))
    np.testing.assert_allclose(mean, x[rows].mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(variance, x[rows].var(axis=0), atol=1e-15)
    np.testing.assert_allclose(scale, np.where([True, False, False, True], variance, 1.0), atol=1e-15)
    np.testing.assert_allclose(apart, x[rows] - x[rows].mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(standard, apart / np.sqrt(scale), atol=1e-14)


@BOTH
@pytest.mark.parametrize(("m", "p"), [(6, 9), (9, 6), (2, 5), (1, 5)])
def test_ledoit_wolf_is_that_of_scikit_learn(compiled, m, p):
    from sklearn.covariance import ledoit_wolf_shrinkage

    rows = np.random.default_rng(m).normal(size=(m, p))
    rows -= rows.mean(axis=0)
    share, mu = pick(decoding.ledoit_wolf, compiled)(rows)
    expected = ledoit_wolf_shrinkage(rows, assume_centered=True) if m > 1 else 0.0
    assert share == pytest.approx(expected, abs=1e-13)
    assert mu == pytest.approx(np.square(rows).sum() / m / p, abs=1e-14)


@BOTH
@pytest.mark.parametrize("p", [5, 30])
def test_shrunk_moments_are_the_covariance_of_scikit_learn(compiled, p):
    """Class 2 has no rows; unit 1 does not vary in class 0."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(p)
    codes = np.array([0, 1, 3, 0, 1, 3, 0, 1, 1, 3, 0, 0])
    x = rng.normal(size=(12, p)) + 5
    x[codes == 0, 1] = 3.3
    offset = x.mean(axis=0)
    starts, rows = np.searchsorted(np.sort(codes), range(5)), np.argsort(codes, kind="stable")
    means, diagonal, variance, weighted = np.empty((4, p)), np.empty(p), np.empty(p), np.empty((12, p))
    out = means, diagonal, variance, weighted
    pick(decoding.shrunk_moments, compiled)(x - offset, (starts, rows), offset, out)
    root = np.sqrt(diagonal) if p > 12 else np.ones(p)
    found = np.diag(diagonal) + (weighted * root).T @ (weighted * root)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", store_covariance=True).fit(x, codes)
    np.testing.assert_allclose(found, peer.covariance_, atol=1e-12)
    np.testing.assert_allclose((means + offset)[[0, 1, 3]], peer.means_, atol=1e-13)
    np.testing.assert_array_equal(means[2], 0)
    expected = sum(x[codes == k].var(axis=0) * (codes == k).mean() for k in (0, 1, 3))
    np.testing.assert_allclose(variance, expected, atol=1e-13)
