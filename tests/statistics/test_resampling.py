"""Intervals, p-values and ceilings on arrays, against what theory says of them."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import OptionError
from repcompare.measures.cka import cka
from repcompare.statistics.ceilings import spearman_brown, unit_correlation
from repcompare.statistics.resampling import interval, permutation_pvalues, permutations, stream, subsets


def test_streams_are_named_and_seeded():
    assert stream(1, "a").random() == stream(1, "a").random()
    assert len({stream(s, n).random() for s in (0, 1) for n in ("a", "b")}) == 4


def test_permutations_do_not_depend_on_how_many_are_drawn():
    few, many = permutations(20, 3, 5), permutations(20, 8, 5)
    np.testing.assert_array_equal(few, many[:3])


def test_jackknife_of_a_mean_is_the_textbook_interval():
    x = np.random.default_rng(0).normal(size=30)
    kind, kept = subsets(30, 0)
    assert kind == "jackknife"
    from scipy import stats

    low, high = interval(np.array(x.mean()), np.array([x[rows].mean() for rows in kept]), 30, 0.95)
    expected = stats.t.interval(0.95, 29, x.mean(), stats.sem(x))
    np.testing.assert_allclose([low, high], expected, atol=1e-12)


def test_half_sampling_of_a_mean_has_its_standard_error():
    x = np.random.default_rng(0).normal(size=1000)
    kind, kept = subsets(1000, 0)
    assert kind == "half-sampling"
    assert all(len(np.unique(rows)) == 500 for rows in kept)
    low, high = interval(np.array(x.mean()), np.array([x[rows].mean() for rows in kept]), 1000, 0.95)
    assert (high - low) / 2 == pytest.approx(1.96 * x.std(ddof=1) / np.sqrt(1000), rel=0.15)


def test_intervals_of_debiased_cka_cover():
    """V26 in small: 95 % intervals cover the large-sample value in at least 90 % of 100 data sets."""
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(10, 30)), rng.normal(size=(10, 30))
    measure = cka()

    def states(n):
        z = rng.normal(size=(n, 10))
        x, y = z @ w + 2 * rng.normal(size=(n, 30)), (z * np.linspace(0, 1, 10)) @ v + 2 * rng.normal(size=(n, 30))
        return measure.prepare(x), measure.prepare(y)

    truth = np.mean([measure.compare(*states(2000)) for _ in range(3)])
    covered = 0
    for _ in range(100):
        a, b = states(60)
        kept = subsets(60, 0)[1]
        resampled = np.array([measure.compare(measure.restrict(a, r), measure.restrict(b, r)) for r in kept])
        low, high = interval(np.array(measure.compare(a, b)), resampled, 60, 0.95)
        covered += low <= truth <= high
    assert covered >= 90


def test_pvalues_count_and_correct():
    score = np.array([[0.5, 0.1]])
    null = np.array([[[0.2, 0.3]], [[0.6, 0.0]], [[0.1, 0.05]]])
    raw, corrected = permutation_pvalues(score, null, greater=True)
    np.testing.assert_allclose(raw, [[2 / 4, 2 / 4]])
    np.testing.assert_allclose(corrected, [[2 / 4, 4 / 4]])
    raw, _ = permutation_pvalues(score, null, greater=False)
    np.testing.assert_allclose(raw, [[3 / 4, 3 / 4]])
    raw, corrected = permutation_pvalues(np.array([[np.nan, 0.1]]), null, greater=True)
    assert np.isnan(raw[0, 0])
    assert np.isnan(corrected[0, 0])


def test_type_one_error_of_permutations():
    """V23 in small: p of unrelated systems is uniform."""
    measure = cka()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        a, b = (measure.prepare(rng.normal(size=(20, 10))) for _ in range(2))
        null = np.array([measure.compare(a, measure.restrict(b, rng.permutation(20))) for _ in range(39)])
        found.append(permutation_pvalues(np.array(measure.compare(a, b)), null, greater=True)[0])
    found = np.array(found)
    assert 0.01 <= (found <= 0.05).mean() <= 0.10
    assert found.min() >= 1 / 40
    grid = np.linspace(0.05, 1, 20)
    assert np.abs([(found <= g).mean() - g for g in grid]).max() < 0.12


def test_spearman_brown():
    np.testing.assert_allclose(spearman_brown([0.0, 0.5, 1.0]), [0, 2 / 3, 1])
    assert np.isnan(spearman_brown(-1.0))


def test_unit_correlation_equals_corrcoef_over_common_stimuli():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    x[3, 0] = y[7, 0] = np.nan
    x[:, 2] = 1.0
    both = np.delete(np.arange(20), [3, 7])
    found = unit_correlation(x, y)
    assert found[0] == pytest.approx(np.corrcoef(x[both, 0], y[both, 0])[0, 1], abs=1e-12)
    assert found[1] == pytest.approx(np.corrcoef(x[:, 1], y[:, 1])[0, 1], abs=1e-12)
    assert np.isnan(found[2])


def test_confidence_must_be_a_share():
    with pytest.raises(OptionError, match="confidence=95"):
        interval(np.array(0.0), np.zeros((3,)), 3, 95)
