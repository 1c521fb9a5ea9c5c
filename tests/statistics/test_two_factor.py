"""Variances over two factors, draws and corrections, against formulas and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from repcompare.errors import OptionError
from repcompare.statistics.two_factor import (
    benjamini_hochberg,
    bootstrap_variance,
    cross_validated_variance,
    draw_counts,
    draw_uniform,
    holm,
    one_factor_variance,
    t_pvalue,
    two_factor_variance,
)


@pytest.mark.parametrize("n", [1, 5, 8, 93])
def test_draws_depend_on_seed_name_and_position_alone(n):
    many = draw_counts(n, 50, 3, "stimuli")
    assert many.shape == (50, n)
    assert (many.sum(axis=1) == n).all() and (many >= 0).all()
    np.testing.assert_array_equal(draw_counts(n, 7, 3, "stimuli"), many[:7])
    if n > 1:
        assert (draw_counts(n, 50, 4, "stimuli") != many).any()
        assert (draw_counts(n, 50, 3, "subjects") != many).any()


def test_draws_are_multinomial():
    counts = draw_counts(6, 20000, 0, "stimuli")
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=4 * np.sqrt(5 / 6 / 20000))
    np.testing.assert_allclose(counts.var(axis=0), 5 / 6, rtol=0.05)
    assert np.cov(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(-1 / 6, abs=0.03)
    assert 0 <= draw_uniform(5, 3, 0, "x").min() < 1


def test_two_factor_variance_is_exact_for_a_table_of_means():
    """Score = grand mean of subject + stimulus effects (no interaction): the variances add, and so must the estimate."""
    rng = np.random.default_rng(0)
    s, p = 12, 20
    table = rng.normal(size=(s, 1)) + rng.normal(size=(1, p))
    b, c = draw_counts(s, 20000, 0, "subjects") / s, draw_counts(p, 20000, 0, "stimuli") / p
    v_s, v_p = (table.mean(1) @ b.T).var(ddof=1), (table.mean(0) @ c.T).var(ddof=1)
    v_d = np.einsum("ks,sp,kp->k", b, table, c).var(ddof=1)
    expected = table.mean(1).var(ddof=1) / s + table.mean(0).var(ddof=1) / p
    # with v_d = v_s + v_p the formula exceeds its upper limit v_d by the factors n / (n - 1) and is clipped to it
    assert float(two_factor_variance(v_s, v_p, v_d, (s, p))) == pytest.approx(expected, rel=0.12)


def test_two_factor_formula_and_limits():
    v_s, v_p, v_d, sizes = 1.0, 2.0, 4.0, (10, 20)
    raw = 10 / 9 + 2 * 20 / 19 - 200 / 171 * (v_d - v_s - v_p)
    assert float(two_factor_variance(v_s, v_p, v_d, sizes)) == pytest.approx(max(raw, 2 * 20 / 19), abs=1e-14)
    assert float(two_factor_variance(v_s, v_p, v_d, sizes, "large")) == 2.0
    assert float(two_factor_variance(1.0, 2.0, 3.2, sizes)) == pytest.approx(10 / 9 + 40 / 19 - 200 / 171 * 0.2)
    assert float(two_factor_variance(1.0, 2.0, 2.5, sizes)) == 2.5  # never above the variance of drawing both
    assert float(two_factor_variance(1.0, 2.0, 9.0, sizes)) == pytest.approx(40 / 19)  # never below one factor
    assert float(one_factor_variance(2.0, 5)) == 2.5
    with pytest.raises(OptionError, match="form='medium'"):
        two_factor_variance(1, 1, 1, sizes, "medium")


def test_interaction_is_counted_once():
    """A table of independent entries: var = 1 / (S P); drawing both gives about three times as much."""
    rng = np.random.default_rng(1)
    s, p, ratios = 12, 20, []
    b, c = draw_counts(s, 400, 0, "subjects") / s, draw_counts(p, 400, 0, "stimuli") / p
    for _ in range(60):
        table = rng.normal(size=(s, p))
        v_s, v_p = (table.mean(1) @ b.T).var(ddof=1), (table.mean(0) @ c.T).var(ddof=1)
        v_d = np.einsum("ks,sp,kp->k", b, table, c).var(ddof=1)
        ratios.append([float(two_factor_variance(v_s, v_p, v_d, (s, p))) * s * p, v_d * s * p])
    corrected, uncorrected = np.mean(ratios, axis=0)
    assert (
        0.9 < corrected < 1.5
    )  # the lower limits max(v_s, v_p) push it above 1 where there is nothing but interaction
    assert uncorrected > 2.4


def test_variance_of_cross_validation_is_removed():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(40000, 1, 3)) + 2 * rng.normal(size=(40000, 2, 3))
    np.testing.assert_allclose(cross_validated_variance(draws), 1, atol=0.15)
    np.testing.assert_allclose(bootstrap_variance(draws.mean(axis=1)), 3, rtol=0.05)
    one = draws[:, :1]
    np.testing.assert_array_equal(cross_validated_variance(one), one[:, 0].var(axis=0, ddof=1))


def test_samples_with_nan_are_left_out():
    draws = np.array([[1.0, 2.0], [np.nan, 7.0], [3.0, 5.0]])
    np.testing.assert_array_equal(bootstrap_variance(draws), [2.0, 4.5])
    assert np.isnan(bootstrap_variance(draws[:1])).all()


@pytest.mark.parametrize("side", ["greater", "less", "two-sided"])
def test_t_pvalues_equal_scipy(side):
    x = np.random.default_rng(0).normal(0.4, 1, 15)
    expected = stats.ttest_1samp(x, 0, alternative=side).pvalue
    assert float(t_pvalue(x.mean(), x.var(ddof=1) / 15, 14, side)) == pytest.approx(expected, rel=1e-12)


def test_t_pvalues_at_the_edges():
    assert 0 < float(t_pvalue(60.0, 1.0, 19, "greater")) < 1e-19
    assert float(t_pvalue(0.0, 0.0, 9, "two-sided")) == 1.0
    assert np.isnan(t_pvalue([1.0, 1.0, 0.0], [0.0, -1.0, np.nan], 9, "greater")).all()
    with pytest.raises(OptionError, match="side='upper'"):
        t_pvalue(1.0, 1.0, 3, "upper")


def test_corrections_equal_their_definitions():
    p = np.random.default_rng(0).random(9) ** 3
    rank = p.argsort().argsort() + 1
    naive_bh = [min(1, min(9 * p[j] / rank[j] for j in range(9) if p[j] >= p[i])) for i in range(9)]
    naive_holm = [min(1, max((9 - rank[j] + 1) * p[j] for j in range(9) if p[j] <= p[i])) for i in range(9)]
    np.testing.assert_allclose(benjamini_hochberg(p), naive_bh, rtol=1e-14)
    np.testing.assert_allclose(holm(p), naive_holm, rtol=1e-14)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-14)
    with_gap = holm([[0.01, np.nan], [0.04, 0.03]])
    np.testing.assert_allclose(with_gap, [[0.03, np.nan], [0.06, 0.06]])
