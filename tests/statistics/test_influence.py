"""Leave-one-stimulus-out CKA against recomputing, and calibrated scores."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._pairs import square_kernel
from repcompare.measures.cka import cka
from repcompare.measures.dependence import distance_correlation
from repcompare.statistics.influence import calibrate, leave_one_out
from tests import naive


def systems(n=20, p=6, q=50, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    return z @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)), z @ rng.normal(size=(3, q)) + rng.normal(size=(n, q))


@pytest.mark.parametrize(
    "make", [cka, distance_correlation, lambda: cka("rbf", bandwidth=3.0, bandwidth_scale="absolute")]
)
@pytest.mark.parametrize("n", [5, 6, 20])
def test_equals_preparing_without_each_stimulus(make, n):
    x, y = systems(n, 6, 8)
    measure = make()
    states = [measure.prepared(v) for v in (x, y)]
    found = leave_one_out(*(square_kernel(s) for s in states))
    assert found.score == pytest.approx(measure.compare(*states), abs=1e-12)
    again = [measure.compare(*(measure.prepared(np.delete(v, i, axis=0)) for v in (x, y))) for i in range(n)]
    np.testing.assert_allclose(found.without, again, rtol=0, atol=1e-11)
    mean = np.mean(again)
    assert found.standard_error == pytest.approx(np.sqrt((n - 1) / n * np.sum((again - mean) ** 2)), rel=1e-9)


def test_equals_the_traces():
    x, y = systems(9)
    states = [cka().prepared(v) for v in (x, y)]
    found = leave_one_out(*(square_kernel(s) for s in states)).without
    expected = [naive.cka(np.delete(x, i, 0), np.delete(y, i, 0), naive.hsic_song) for i in range(9)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_float32_kernels():
    x, y = systems(30)
    wide = leave_one_out(*(square_kernel(cka().prepared(v)) for v in (x, y)))
    narrow = leave_one_out(*(square_kernel(cka().prepared(v.astype(np.float32))) for v in (x, y)))
    np.testing.assert_allclose(narrow.without, wide.without, atol=1e-5)


def test_one_stimulus_that_decides_is_named():
    x, y = systems(60)
    none = leave_one_out(*(square_kernel(cka().prepared(v)) for v in (x, y)))
    assert len(none.flagged) == 0
    x[7] += 40
    y[7] += 40
    found = leave_one_out(*(square_kernel(cka().prepared(v)) for v in (x, y)))
    assert list(found.flagged) == [7]
    assert abs(found.score - none.score) > 0.1
    assert found.without[7] == pytest.approx(none.without[7], abs=1e-10)


def test_kernels_that_are_not_what_they_should_be():
    x, y = systems(8)
    good = square_kernel(cka().prepared(x))
    with pytest.raises(MeasureError, match="not U-centred"):
        leave_one_out(x @ x.T, good)
    with pytest.raises(MeasureError, match=r"shape \(4, 4\)"):
        leave_one_out(good[:4, :4], good)
    with pytest.raises(MeasureError, match="is 0"):
        leave_one_out(0 * good, good)
    with pytest.raises(MeasureError, match="missing or infinite"):
        leave_one_out(np.where(good > 0.1, np.nan, good), good)
    with pytest.raises(MeasureError, match="8 stimuli against 7"):
        leave_one_out(good, square_kernel(cka().prepared(x[:7])))


def test_calibrated_by_hand():
    null = np.array([0.5, 0.1, 0.3, 0.2, 0.4, 0.6, 0.8, 0.7, 0.9])
    # ten values with the observed one; the 9th smallest of 0.1 ... 0.9, 0.95 is 0.9
    assert calibrate(0.95, null, alpha=0.1) == pytest.approx((0.95 - 0.9) / (1 - 0.9))
    assert calibrate(0.9, null, alpha=0.1) == pytest.approx(0)
    assert calibrate(0.0, null, alpha=0.5) == pytest.approx(-0.4 / 0.6)
    assert calibrate(-0.95, -null, alpha=0.1, maximum=-1, greater=False) == pytest.approx(0.5)
    assert np.isnan(calibrate(np.nan, null, alpha=0.1))
    assert calibrate(1.0, np.ones(19)) == 0  # every permutation is perfect too


def test_calibrated_scores_are_seldom_positive_without_a_relation():
    rng = np.random.default_rng(0)
    scores, null = rng.normal(size=3000) * 0.1, rng.normal(size=(99, 3000)) * 0.1
    positive = (calibrate(scores, null) > 0).mean()
    assert 0.03 < positive <= 0.07
    layers, drawn = rng.normal(size=(3000, 12)) * 0.1, rng.normal(size=(99, 3000, 12)) * 0.1
    best = (calibrate(layers.max(axis=1), drawn.max(axis=2)) > 0).mean()
    assert 0.03 < best <= 0.07  # a maximum over layers against maxima over layers
    assert (calibrate(layers.max(axis=1), drawn[..., 0]) > 0).mean() > 0.3


def test_calibrated_null_of_cka():
    """Unrelated systems of 20 stimuli: at most 7 % positive at alpha = 0.05 (debiased and biased alike)."""
    rng = np.random.default_rng(1)
    for estimator in ("debiased", "biased"):
        measure, positive = cka(estimator=estimator), 0
        for _ in range(150):
            a, b = (square_kernel(measure.prepared(rng.normal(size=(20, 15)))) for _ in range(2))
            orders = [rng.permutation(20) for _ in range(39)]
            null = np.array([np.vdot(a, b[np.ix_(o, o)]) for o in orders]) / 2
            positive += calibrate(np.vdot(a, b) / 2, null) > 0
        assert positive <= 0.07 * 150 + 4


def test_bad_options():
    with pytest.raises(OptionError, match="alpha=0"):
        calibrate(0.5, np.zeros(99), alpha=0)
    with pytest.raises(OptionError, match="10 permutations cannot place alpha=0.05; expected at least 19"):
        calibrate(0.5, np.zeros(10))
    with pytest.raises(OptionError, match="null has shape"):
        calibrate(np.zeros(3), np.zeros((99, 2)))
