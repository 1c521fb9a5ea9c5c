"""Permutation tests and intervals of fixed predictions: against plain loops, and calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from repcompare.errors import MeasureError, OptionError
from repcompare.statistics import encoding_intervals as intervals
from repcompare.statistics import encoding_tests as et
from repcompare.statistics.folds import make_folds
from repcompare.statistics.held_out_tests import null_width


def predictions(rng, *, n=60, t=4, folds=3, signal=0.0, length=1, groups=None):
    truth = rng.standard_normal((n, t)) * [1, 2, 3, 4][:t] + 5
    predicted = signal * truth + rng.standard_normal((n, t))
    tests = np.array_split(np.arange(n), folds)
    blocks = et.make_blocks(tests, length=length, groups=groups)
    local = tuple(
        et.Blocks(tuple(rows - test[0] for rows in b.rows), b.n_dropped) for b, test in zip(blocks, tests, strict=True)
    )
    return et.Predictions(
        tuple(predicted[i] for i in tests),
        tuple(truth[i] for i in tests),
        tuple(truth.mean(axis=0) + i.size / 100 for i in tests),
        local,
    )


@pytest.mark.parametrize("length", [1, 4, 7])
def test_look_ups_equal_permuting_the_rows(length):
    rng = np.random.default_rng(0)
    given = predictions(rng, length=length)
    found = et.permutation_test(given, n_permutations=20, seed=3)
    rng = et.stream(3, "encoding permutations")
    orders = [[et.ordered(b, rng) for _ in range(20)] for b in given.blocks]
    null, observed, rows = np.zeros((20, 4)), np.zeros(4), 0
    for f, blocks in enumerate(given.blocks):
        kept = np.concatenate(blocks.rows)
        p, y = (stats.zscore(v[f][kept], axis=0) for v in (given.predicted, given.truth))
        y_of = dict(zip(kept.tolist(), y, strict=True))
        observed += (p * y).sum(axis=0)
        rows += len(kept)
        for i, order in enumerate(orders[f]):
            moved = np.array([y_of[row] for b in order for row in blocks.rows[b].tolist()])
            null[i] += (p * moved).sum(axis=0)
    np.testing.assert_allclose(found.observed, observed / rows, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.null_mean, null.mean(axis=1) / rows, rtol=0, atol=1e-12)
    null += 1e-9  # orders that change nothing count
    raw = (1 + (null >= observed).sum(axis=0)) / 21
    np.testing.assert_allclose(found.pvalues, raw)
    np.testing.assert_allclose(found.pvalues_corrected, [(1 + (null.max(axis=1) >= o).sum()) / 21 for o in observed])


def test_observed_is_the_mean_of_r_over_folds_of_one_size():
    given = predictions(np.random.default_rng(1), signal=0.5)
    r = [
        [np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, y.T, strict=True)]
        for p, y in zip(given.predicted, given.truth, strict=True)
    ]
    found = et.permutation_test(given, n_permutations=9, seed=0)
    np.testing.assert_allclose(found.observed, np.mean(r, axis=0), rtol=0, atol=1e-12)


def test_blocks_are_dropped_and_counted_and_stay_within_pieces():
    rows = np.r_[np.arange(10), np.arange(20, 33)]
    blocks = et.make_blocks([rows], length=5)[0]
    assert [b.tolist() for b in blocks.rows] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [20, 21, 22, 23, 24],
        [25, 26, 27, 28, 29],
    ]
    assert blocks.n_dropped == 3
    given = predictions(np.random.default_rng(2), length=7)
    notes = et.permutation_test(given, n_permutations=9, seed=0).notes
    assert notes[0].startswith("rows_dropped: 18 rows")
    assert notes[1].startswith("few_blocks: 6 blocks")


def test_groups_of_one_size_are_exchanged_whole():
    groups = np.repeat(np.arange(30), 2)
    blocks = et.make_blocks([np.arange(60)], groups=groups)
    order = next(et.shuffled_rows(blocks, 60, 1, seed=0))
    assert (groups[order].reshape(30, 2) == groups[order].reshape(30, 2)[:, :1]).all()
    assert (order != np.arange(60)).any()


def test_p_values_are_uniform_without_signal_and_small_with_it():
    """100 tests: the KS distance at the .001 level is .19; P(p <= .05) has an SE of .022."""
    rng = np.random.default_rng(3)
    pvalues = [et.permutation_test(predictions(rng), n_permutations=99, seed=i).pvalue for i in range(100)]
    assert stats.kstest(pvalues, "uniform").statistic < 0.19
    assert np.mean(np.array(pvalues) <= 0.05) <= 0.05 + 4 * 0.022
    strong = et.permutation_test(predictions(rng, signal=1.0), n_permutations=199, seed=0)
    assert strong.pvalue == 1 / 200
    assert (strong.pvalues_corrected >= strong.pvalues).all()
    assert (strong.pvalues_fdr >= strong.pvalues).all()


def test_constant_units_stay_nan():
    given = predictions(np.random.default_rng(4), signal=1.0)
    given.truth[1][:, 2] = 3.0
    found = et.permutation_test(given, n_permutations=19, seed=0)
    assert np.isnan(found.pvalues).tolist() == [False, False, True, False]
    assert np.isfinite(found.pvalue)


def test_too_few_blocks():
    with pytest.raises(MeasureError, match=r"3 blocks of test rows can be exchanged; expected at least 5"):
        et.permutation_test(predictions(np.random.default_rng(5), folds=1, length=20), n_permutations=9, seed=0)
    with pytest.raises(OptionError, match="confidence=95"):
        intervals.bootstrap(predictions(np.random.default_rng(5)), scoring="r2", confidence=95, seed=0)


@pytest.mark.parametrize("scoring", ["pearson", "r2"])
def test_bootstrap_equals_resampling_the_rows(scoring):
    given = predictions(np.random.default_rng(6), signal=0.7, folds=2)
    found = intervals.bootstrap(given, scoring=scoring, confidence=0.9, seed=1, n_bootstraps=30)
    given = intervals._pooled(given) if scoring == "r2" else given
    rng = et.stream(1, "encoding bootstrap")
    weights = [intervals._weights(b, len(y), 30, rng) for b, y in zip(given.blocks, given.truth, strict=True)]
    scores = np.empty((30, 4))
    for i in range(30):
        parts = []
        for w, p, y, m in zip(weights, given.predicted, given.truth, given.means, strict=True):
            rows = np.repeat(np.arange(len(y)), w[i].astype(int))
            r = [np.corrcoef(p[rows, u], y[rows, u])[0, 1] for u in range(4)]
            parts.append((r, ((y - p)[rows] ** 2).sum(axis=0), ((y - m)[rows] ** 2).sum(axis=0)))
        r, error, total = (np.array(v) for v in zip(*parts, strict=True))
        scores[i] = r.mean(axis=0) if scoring == "pearson" else 1 - error.sum(axis=0) / total.sum(axis=0)
    np.testing.assert_allclose(found.unit_low, np.percentile(scores, 5, axis=0), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.high, np.percentile(scores.mean(axis=1), 95), rtol=0, atol=1e-10)
    assert found.error == pytest.approx(scores.mean(axis=1).std(ddof=1))


@pytest.mark.parametrize(("k", "gap"), [(2, 0), (5, 0), ("loo", 0), (2, 2), (5, 2)])
def test_width_of_the_null_counts_rows_that_predict_each_other(k, gap):
    folds = make_folds(20, k, sample="time", gap=gap) if gap else make_folds(20, k)
    shares = []
    for train, test in folds.splits:
        count = 0
        for row in train.tolist():
            count += any(row in other and set(test.tolist()) <= set(rows.tolist()) for rows, other in folds.splits)
        shares.append(count / len(train))
    assert null_width(folds) == pytest.approx(np.sqrt(1 + np.mean(shares)), rel=1e-12)
    if not gap:
        assert null_width(folds) == pytest.approx(np.sqrt(2), rel=1e-12)


def test_groups_are_refused_where_too_few_have_another_of_their_size():
    groups = np.repeat(np.arange(7), [3, 3, 3, 3, 2, 4, 5])
    with pytest.raises(MeasureError, match="4 of 7 groups have another of their size"):
        et.whole_groups(23, groups)
