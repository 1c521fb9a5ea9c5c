"""Delays: kernels and sums of products against explicit delayed features, within runs."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.measures.encoding import delays as d
from repcompare.measures.encoding.banded import banded_ridge, delayed_ridge
from repcompare.measures.encoding.kernel_ridge import kernel_ridge
from repcompare.measures.encoding.ridge import ridge
from repcompare.statistics.folds import make_folds
from tests import naive_banded as naive
from tests.measures.test_banded import run

RUNS = np.repeat(["b", "a", "c"], [17, 4, 19])
LAGS = [[1], [0, 1, 2], [1, 2, 3, 4], [4, 0, 2], [6, 1]]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("lags", LAGS)
@pytest.mark.parametrize("runs", [None, RUNS])
def test_features_kernel_and_moments_equal_loops(rng, lags, runs):
    x, y = rng.normal(size=(40, 3)) + 1, rng.normal(size=(40, 2))
    z = naive.delayed(x, lags, np.zeros(40) if runs is None else runs)
    np.testing.assert_array_equal(d.delay_features(x, lags, runs), z)
    np.testing.assert_allclose(d.delayed_kernel(x @ x.T, lags, runs), z @ z.T, rtol=0, atol=1e-14 * 40)
    for rows in (np.arange(40), np.r_[2:9, 12:14, 15:22, 39], np.array([0, 1, 17, 18, 21])):
        found = d.delayed_moments(x, y, rows, lags, runs)
        np.testing.assert_allclose(found.xx, z[rows].T @ z[rows], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.xy, z[rows].T @ y[rows], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.sum_x, z[rows].sum(axis=0), rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.sum_y, y[rows].sum(axis=0))
        np.testing.assert_allclose(found.yy, (y[rows] ** 2).sum(axis=0))
        assert found.n == rows.size


@pytest.mark.parametrize("runs", [None, RUNS])
def test_the_convolved_kernel_is_the_double_sum(rng, runs):
    x = rng.normal(size=(40, 3))
    kernel, codes = x @ x.T, np.zeros(40) if runs is None else runs
    basis = rng.normal(size=(2, 4))
    expected = np.zeros((40, 40))
    for i in range(40):
        for j in range(40):
            for h in basis:
                for a in range(4):
                    for b in range(4):
                        if min(i - a, j - b) >= 0 and codes[i - a] == codes[i] and codes[j - b] == codes[j]:
                            expected[i, j] += h[a] * h[b] * kernel[i - a, j - b]
    np.testing.assert_allclose(d.convolved_kernel(kernel, basis, runs), expected, rtol=0, atol=1e-12)
    z = d.convolved_features(x, basis, runs)
    np.testing.assert_allclose(d.convolved_kernel(kernel, basis, runs), z @ z.T, rtol=0, atol=1e-12)


def test_convolution_within_one_run_is_that_of_numpy(rng):
    x, h = rng.normal(size=50), rng.normal(size=7)
    np.testing.assert_allclose(d.convolve(x, h), np.convolve(x, h)[:50], atol=1e-14)


def recording(rng, n=120, p=4, t=3):
    """A response at delays 2 and 3 of two features."""
    x = rng.normal(size=(n, p))
    z = d.delay_features(x, [2, 3])[:, [0, 1, p]]
    return x, z @ rng.normal(size=(3, t)) + 0.5 * rng.normal(size=(n, t))


@pytest.mark.parametrize("width", [4, 70])
def test_models_with_delays_equal_models_of_delayed_features(rng, width):
    """Narrow by explicit features, wide by the kernel alone."""
    x, y = recording(rng, p=width)
    folds = make_folds(120, 4, sample="time", gap=4)
    lags, alphas = [1, 2, 3], np.logspace(0, 3, 4)
    z = d.delay_features(x, lags)
    codes = np.arange(width) % 2
    for with_lags, without in (
        (delayed_ridge(alphas=alphas, delays=lags), ridge(alphas)),
        (kernel_ridge(alphas=alphas, delays=lags), ridge(alphas)),
    ):
        one, two = run(with_lags, x, y, folds), run(without, z, y, folds)
        np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-8)
        np.testing.assert_array_equal(one.details["fold_alphas"], two.details["fold_alphas"])
    one = run(banded_ridge(codes, alphas=alphas, n_iter=6, delays=lags), x, y, folds)
    two = run(banded_ridge(np.tile(codes, 3), alphas=alphas, n_iter=6), z, y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-8)
    np.testing.assert_allclose(one.details["fold_alphas"], two.details["fold_alphas"], rtol=1e-12)
    assert ("solver: primal" if width == 4 else "solver: dual") in one.notes


def test_response_functions_and_runs_reach_the_models(rng):
    x, y = recording(rng)
    runs = np.repeat([0, 1, 2, 3], 30)
    folds = make_folds(120, 4, sample="time", groups=runs)
    weights = d.canonical_hrf(2.0)
    one = run(kernel_ridge(hrf=weights, runs=runs), x, y, folds)
    two = run(ridge(), d.convolved_features(x, weights, runs), y, folds)
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=1e-8)
    assert "lags" in kernel_ridge(hrf=weights, runs=runs).options


def test_delays_find_a_delayed_response(rng):
    x, y = recording(rng)
    folds = make_folds(120, 4, sample="time", gap=4)
    assert run(delayed_ridge(delays=[1, 2, 3, 4]), x, y, folds).score > 0.8
    assert run(ridge(), x, y, folds).score < 0.3


@pytest.mark.parametrize("make", [delayed_ridge, kernel_ridge])
def test_features_far_from_zero_are_noted(rng, make):
    folds = make_folds(60, 4, sample="time", gap=2)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    measure = make(delays=[1, 2], alphas=[1.0])
    assert not any("far_from_zero" in note for note in run(measure, x, y, folds).notes)
    assert any("far_from_zero: 1 of 3" in note for note in run(measure, x + np.array([0, 10, 0]), y, folds).notes)


def test_a_gap_smaller_than_the_longest_delay_raises(rng):
    x, y = recording(rng)
    measure = delayed_ridge(delays=[1, 4])
    for gap, fits in ((3, False), (4, True)):
        folds = make_folds(120, 4, sample="time", gap=gap)
        if fits:
            assert np.isfinite(run(measure, x, y, folds).score)
        else:
            with pytest.raises(MeasureError, match=r"4 rows from a test row.*longest delay is 4.*gap=4"):
                measure.prepared(x, folds)
    with pytest.raises(MeasureError, match="1 rows from a test row"):
        measure.prepared(x, make_folds(120, 4))


def test_other_runs_are_out_of_reach():
    runs = np.repeat([0, 1, 2], 20)
    folds = make_folds(60, 3, sample="time", groups=runs)
    d.check_gap(folds, d.make_lags(delays=[5], runs=runs))
    with pytest.raises(MeasureError, match="1 rows from a test row"):
        d.check_gap(folds, d.make_lags(delays=[5]))
    forced = Folds(folds.splits, 60, forced=("time_shuffle",))
    d.check_gap(forced, d.make_lags(delays=[5]))
    with pytest.raises(MeasureError, match="20 labels; expected one for each of 60"):
        d.check_gap(folds, d.make_lags(delays=[5], runs=np.zeros(20)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delays": [-1]}, "whole numbers"),
        ({"delays": [1, 1]}, "each delay once"),
        ({"delays": [0.5]}, "whole numbers"),
        ({"delays": []}, "whole numbers"),
        ({"delays": [1], "hrf": [1.0]}, "exclude each other"),
        ({"hrf": [0.0, 0.0]}, "no row of zeros"),
        ({"hrf": [1.0, np.nan]}, "finite weights"),
        ({"hrf": "glover"}, "expected weights per lag"),
        ({"runs": [1, 1]}, "give delays= or hrf= too"),
    ],
)
def test_wrong_lags_raise(options, message):
    with pytest.raises(OptionError, match=message):
        d.make_lags(**options)


def test_scattered_runs_raise():
    with pytest.raises(MeasureError, match="come back after another run"):
        d.make_lags(delays=[1], runs=[0, 1, 0])


def test_the_canonical_response():
    """Golden numbers: gamma densities of shapes 6 and 16 by their formula t^(a-1) e^-t / (a-1)!"""
    from math import exp, factorial

    found = d.canonical_hrf(0.5, normalise=False)
    for i in (0, 3, 10, 24, 64):
        t = i * 0.5
        value = t**5 * exp(-t) / factorial(5) - t**15 * exp(-t) / factorial(15) / 6
        assert found[i] == pytest.approx(value, rel=1e-12, abs=1e-300)
    assert len(found) == 65
    assert d.canonical_hrf(0.5).sum() == pytest.approx(1)
    assert 4.5 <= found.argmax() * 0.5 <= 5.5
    assert found.min() < 0
    with pytest.raises(OptionError, match="tr=0"):
        d.canonical_hrf(0)
    with pytest.raises(OptionError, match="duration >= tr"):
        d.canonical_hrf(40.0)
