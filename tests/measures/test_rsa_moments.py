"""Comparators of second moments (Bures, Riemannian), conventions of other packages, and merging of partial RDMs."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures.rsa import compare_rdms, conventions, rdm
from repcompare.measures.rsa._condensed import take
from repcompare.measures.rsa._methods import comparator
from repcompare.measures.rsa.comparators import embed, score
from repcompare.measures.rsa.partial import merge_partial
from tests import naive_rsa_comparators as naive
from tests.measures.test_rsa_comparators import K, N, controls, covariance, two


def squared(seed=0, k=K, p=30, share=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(k, p))
    y = share * x + (1 - share) * rng.normal(size=(k, p))
    return x, y, rdm(x, "squared_euclidean"), rdm(y, "squared_euclidean")


def test_bures_is_the_normalised_bures_similarity():
    x, y, a, b = squared(p=5)
    assert compare_rdms(a, b, "bures") == pytest.approx(naive.bures(a, b), abs=1e-7)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    procrustes = np.linalg.svd(x.T @ y)[1].sum() / (np.linalg.norm(x) * np.linalg.norm(y))
    assert compare_rdms(a, b, "bures") == pytest.approx(procrustes, abs=1e-10)
    assert compare_rdms(3 * a, b, "bures") == pytest.approx(procrustes, abs=1e-10)


def test_bures_of_distances_that_are_not_euclidean_sets_negative_eigenvalues_to_zero():
    a, b = two()
    how = comparator("bures")
    found = score(embed(a, how), embed(b, how))
    assert found.value == pytest.approx(naive.bures(a, b), abs=1e-6)
    values = np.linalg.eigvalsh(naive.moment(a))
    assert found.details["negative_a"] == pytest.approx(-values[values < 0].sum() / np.abs(values).sum(), abs=1e-10)
    assert found.details["negative_a"] > 0.05
    with pytest.raises(MeasureError, match="no positive eigenvalue"):
        compare_rdms(-squared()[2], b, "bures")


@pytest.mark.parametrize("kind", ["none", "variances", "matrix"])
def test_riemannian_finds_the_best_ridge(kind):
    *_, a, b = squared()
    sigma = covariance(kind)
    found = compare_rdms(a, b, "riemannian", stimulus_covariance=sigma)
    grid = naive.riemannian(a, b, sigma)
    assert grid <= found <= grid + 1e-4  # never worse than 4000 ridges, and hardly better
    fixed = compare_rdms(a, b, "riemannian", stimulus_covariance=sigma, ridge=False)
    assert fixed == pytest.approx(naive.riemannian(a, b, sigma, ridges=[0.0]), abs=1e-9)
    assert fixed <= found + 1e-12


def test_a_model_that_only_hurts_gets_an_infinite_ridge():
    """Large where the data are small: every finite share of it takes the noise further from the data."""
    data = np.random.default_rng(0).normal(size=(6, 40))
    data -= data.mean(axis=0)
    a, b = (rdm(patterns, "squared_euclidean") for patterns in (np.linalg.pinv(data).T, data))
    logs = np.log(np.linalg.eigvalsh(naive.moment(b))[1:])
    assert compare_rdms(a, b, "riemannian") == pytest.approx(-np.linalg.norm(logs - logs.mean()), rel=1e-9)


def test_riemannian_without_a_ridge_is_a_distance_of_shapes():
    x, y, a, b = squared(p=40)
    value = compare_rdms(a, b, "riemannian", ridge=False)
    assert compare_rdms(b, a, "riemannian", ridge=False) == pytest.approx(value, abs=1e-9)
    assert compare_rdms(7 * a, b, "riemannian", ridge=False) == pytest.approx(value, abs=1e-9)
    assert compare_rdms(a, a, "riemannian") == pytest.approx(0, abs=1e-9)
    # the same contrasts of stimuli on both sides change nothing: a congruence of both second moments
    mix = np.random.default_rng(1).normal(size=(K, K))
    mix -= (mix.sum(axis=1, keepdims=True) - 1) / K  # rows sum to one: pattern offsets stay offsets
    moved = [rdm(mix @ v, "squared_euclidean") for v in (x, y)]
    assert compare_rdms(*moved, "riemannian", ridge=False) == pytest.approx(value, abs=1e-7)


def test_riemannian_names_the_smallest_eigenvalue():
    *_, a, b = squared()
    *_, low, _ = squared(p=3)
    with pytest.raises(MeasureError, match="second RDM has a second moment that is not positive definite .smallest"):
        compare_rdms(a, low, "riemannian")
    assert np.isfinite(compare_rdms(low, a, "riemannian"))
    with pytest.raises(MeasureError, match="first RDM"):
        compare_rdms(low, a, "riemannian", ridge=False)
    indefinite, _ = two()  # a model that needs noise to be a covariance at all
    assert compare_rdms(indefinite, a, "riemannian") < compare_rdms(b, a, "riemannian")


@pytest.mark.parametrize("name", ["bures", "riemannian"])
def test_second_moments_need_all_pairs_of_the_shared_stimuli(name):
    x, y, a, b = squared(k=12, p=40)
    hole = np.ones((12, 12))
    hole[4] = hole[:, 4] = np.nan
    rows = np.delete(np.arange(12), 4)
    found = compare_rdms(a * hole[np.triu_indices(12, 1)], b, name)
    assert found == pytest.approx(compare_rdms(take(a, rows), take(b, rows), name), abs=1e-12)
    a[3] = np.nan
    with pytest.raises(MeasureError, match="1 of the 66 pairs"):
        compare_rdms(a, b, name)


@pytest.mark.parametrize("package", ["rsatoolbox", "mne-rsa"])
def test_names_of_other_packages(package):
    a, b = two()
    *_, c, d = squared()
    for name, theirs in conventions.COMPARATORS[package].items():
        options = {"control": controls(count=1)} if theirs.controlled else {}
        left, right = (c, d) if theirs.method in ("bures", "riemannian") else (a, b)
        found = conventions.compare_as(left, right, name, package, **options)
        if not theirs.squared_bures:
            assert found == compare_rdms(left, right, theirs.method, **options)
    with pytest.raises(OptionError, match="not a name of"):
        conventions.compare_as(a, b, "rho_b", package)
    with pytest.raises(OptionError, match="give control="):
        conventions.compare_as(a, b, "partial", "mne-rsa")


def test_squared_bures_distance_is_the_squared_procrustes_distance():
    x, y, a, b = squared(p=6)
    x, y = ((v - v.mean(axis=0)) / np.sqrt(6) for v in (x, y))  # distances are divided by the number of units
    distance = np.sum(x**2) + np.sum(y**2) - 2 * np.linalg.svd(x.T @ y)[1].sum()
    assert conventions.compare_as(a, b, "bures_metric", "rsatoolbox") == pytest.approx(distance, abs=1e-9)


def test_partial_rdms_come_to_one_scale():
    rng = np.random.default_rng(0)
    truth = rng.gamma(2.0, size=N)
    gains = np.array([0.01, 1.0, 70.0, 3.0])
    rdms = gains[:, None] * truth
    rdms[rng.random(rdms.shape) < 0.4] = np.nan
    found = merge_partial(rdms, rescale="alternating")
    here = np.isfinite(found.pooled)
    np.testing.assert_allclose((found.pooled / truth)[here] / (found.pooled / truth)[here][0], 1, atol=1e-6)
    np.testing.assert_allclose(found.scales / found.scales[0], gains / gains[0], rtol=1e-6)
    np.testing.assert_array_equal(found.n_rdms, np.isfinite(rdms).sum(axis=0))
    noisy = rdms * rng.uniform(0.8, 1.2, size=rdms.shape)
    one = merge_partial(noisy, rescale="alternating")
    other = merge_partial(noisy * np.array([1, 50, 0.1, 9])[:, None], rescale="alternating")
    np.testing.assert_allclose(one.rdms / np.nanmean(one.rdms), other.rdms / np.nanmean(other.rdms), rtol=1e-6)
    plain = merge_partial(noisy)
    np.testing.assert_allclose(plain.pooled[here], np.nanmean(noisy[:, here], axis=0))
    assert plain.n_iterations == 0


def test_scales_that_cannot_be_told_raise():
    rdms = np.ones((2, 6))
    rdms[0, :3], rdms[1, 3:] = np.nan, np.nan
    with pytest.raises(MeasureError, match="2 groups without shared pairs"):
        merge_partial(rdms, rescale="alternating")
    noisy = np.random.default_rng(0).gamma(2.0, size=(3, 6))
    noisy[0, :2] = np.nan
    with pytest.raises(MeasureError, match="did not settle within 1 steps"):
        merge_partial(noisy, rescale="alternating", max_iterations=1)
    with pytest.raises(MeasureError, match=r"rdms\[0\] has no finite pair"):
        merge_partial(np.vstack([np.full(6, np.nan), noisy]))
