"""Reweighted inner products against RDMs that are built explicitly."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.rsa._resampled import RESAMPLED, resample, scores, stack_rdms
from repcompare.measures.rsa._resampled_ceilings import ceilings, mean_ceiling
from repcompare.measures.rsa.ceilings import noise_ceiling
from tests import naive_rsa_inference as naive

K, S, M = 6, 4, 2
DRAWS = {
    "usual": [2, 0, 1, 1, 2, 0],
    "all once": [1, 1, 1, 1, 1, 1],
    "three distinct": [0, 4, 0, 1, 1, 0],  # 2 - 2 * 4 + 6 = 0: one stimulus fills half of the draw and more
    "beyond half": [5, 0, 0, 1, 1, 0],
}
SUBJECTS = {"all": [1, 1, 1, 1], "drawn": [2, 0, 1, 1], "two": [3, 1, 0, 0]}


def rdms(ties=False, seed=0):
    rng = np.random.default_rng(seed)
    n = K * (K - 1) // 2
    shared = rng.random(n)
    values = shared + rng.random((S + M, n)) + 0.2
    return np.round(values * 4) if ties else values


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("who", SUBJECTS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("method", RESAMPLED)
def test_equals_explicit_resampling(method, ties, who, draw):
    values, counts, b = rdms(ties), DRAWS[draw], SUBJECTS[who]
    check(values, method, counts, b, None)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("method", ["whitened_cosine", "whitened_pearson"])
def test_stimulus_variances(method, draw):
    check(rdms(), method, DRAWS[draw], [1, 2, 0, 1], [0.5, 1.0, 2.0, 1.5, 0.7, 3.0])


def check(values, method, counts, b, variances):
    models, data = values[:M], values[M:]
    expected, lower, upper = naive.sample(models, data, method, counts, b, variances)
    drawn = resample(stack_rdms(values, method, variances), counts)
    table = scores(drawn, range(M), range(M, M + S))
    got_lower, got_upper = ceilings(drawn, range(M, M + S), b)
    np.testing.assert_allclose(table @ b / np.sum(b), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        [mean_ceiling(got_lower, b), mean_ceiling(got_upper, b)], [lower, upper], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("method", ["whitened_cosine", "whitened_pearson"])
@pytest.mark.parametrize("shift", [0.0, 1e-9, -1e-4, 0.3])
def test_a_stimulus_that_fills_half_of_the_draw(method, shift):
    """a_i = 2 s_i + s_i^2 t - 2 c_i s_i is zero, nearly zero, or of either sign."""
    counts = np.array([4, 1, 1, 0, 0, 0])  # with s = 2, t = 4 / 2 + 1 / s_1 + 1 / s_2
    variances = np.array([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    variances[0] = 2.0 + shift

    check(rdms(), method, counts, [1, 1, 1, 1], variances)


def test_random_draws_of_all_kinds():
    rng = np.random.default_rng(0)
    values = rdms(seed=4)
    for _ in range(6):
        counts = np.bincount(rng.integers(0, K, K), minlength=K)
        b = np.bincount(rng.integers(0, S, S), minlength=S)
        if np.count_nonzero(counts) >= 3 and np.count_nonzero(b) >= 2:
            for method in ("rho_a", "whitened_pearson", "kendall_tau_b"):
                check(values, method, counts, b, None)


@pytest.mark.parametrize("method", RESAMPLED)
def test_units_of_the_rdms_do_not_matter(method):
    values = rdms()
    counts = DRAWS["usual"]
    one = scores(resample(stack_rdms(values, method), counts), range(M), range(M, M + S))
    scaled = values * np.array([1e-200, 1e150, 1.0, 3.0, 1e5, 1e-9])[:, None]
    two = scores(resample(stack_rdms(scaled, method), counts), range(M), range(M, M + S))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["pearson", "rho_a", "kendall_tau_a"])
def test_an_offset_does_not_matter(method):
    values = rdms()
    one, two = (
        scores(resample(stack_rdms(v, method), DRAWS["usual"]), range(M), range(M, M + S))
        for v in (values, values + 1e6)
    )
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-9)  # 1e6 leaves 10 digits of the distances


def test_draws_without_enough_stimuli_give_nothing():
    stack = stack_rdms(rdms(), "rho_a")
    assert resample(stack, [3, 3, 0, 0, 0, 0]) is None
    assert resample(stack, [6, 0, 0, 0, 0, 0]) is None
    missing = rdms()
    missing[0, :4] = np.nan  # pairs (0, 1) ... (0, 4)
    assert resample(stack_rdms(missing, "rho_a"), [1, 1, 1, 0, 0, 0]) is None


@pytest.mark.parametrize("method", RESAMPLED)
def test_constant_on_a_draw_is_nan_for_that_rdm_alone(method):
    values = rdms()
    values[0, [0, 1, 5]] = 0.0 if method in ("cosine", "whitened_cosine") else 0.7  # the pairs of stimuli 0, 1, 2
    found = scores(resample(stack_rdms(values, method), [2, 2, 2, 0, 0, 0]), range(M), range(M, M + S))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("method", ["pearson", "rho_a", "kendall_tau_a", "cosine"])
def test_missing_pairs_are_left_out_of_all(method):
    values = rdms()
    values[1, 2] = values[3, 7] = np.nan
    kept = np.setdiff1d(np.arange(15), [2, 7])
    found = scores(resample(stack_rdms(values, method), np.ones(K)), range(M), range(M, M + S))
    expected = [[naive.similarity(a[kept], b[kept], method) for b in values[M:]] for a in values[:M]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_refusals():
    with pytest.raises(OptionError, match="method='bures'"):
        stack_rdms(rdms(), "bures")
    values = rdms()
    values[0, 0] = np.nan
    with pytest.raises(MeasureError, match="1 pairs are missing; method='whitened_cosine' needs complete RDMs"):
        stack_rdms(values, "whitened_cosine")
    values[0, 0] = np.inf
    with pytest.raises(MeasureError, match="infinite"):
        stack_rdms(values, "pearson")
    values[0] = np.nan
    with pytest.raises(MeasureError, match="share 0 pairs"):
        stack_rdms(values, "pearson")


def test_the_upper_ceiling_is_the_best_score_of_any_rdm():
    from scipy.optimize import minimize

    values = rdms()[M:]
    for method in ("cosine", "pearson", "whitened_cosine"):
        stack = stack_rdms(values, method)
        upper = ceilings(resample(stack, np.ones(K)), range(S), np.ones(S))[1].mean()

        def loss(rdm, method=method):
            both = stack_rdms(np.vstack([rdm, values]), method)
            return -scores(resample(both, np.ones(K)), [0], range(1, S + 1)).mean()

        found = minimize(loss, values.mean(axis=0), method="BFGS", options={"gtol": 1e-9})
        assert -found.fun == pytest.approx(upper, abs=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("method", RESAMPLED)
def test_ceilings_equal_those_of_the_full_rdms(method, ties):
    """Two ways to one number: :func:`noise_ceiling` pools RDMs, here inner products or weighted ranks are used."""
    values, b = rdms(ties)[M:], np.array([2, 0, 1, 3])
    expected = noise_ceiling(values, method, counts=b)
    lower, upper = ceilings(resample(stack_rdms(values, method), np.ones(K)), range(S), b)
    assert mean_ceiling(lower, b) == pytest.approx(expected.lower, abs=1e-12)
    assert mean_ceiling(upper, b) == pytest.approx(expected.upper, abs=1e-12)
