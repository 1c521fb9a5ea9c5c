"""Noise ceilings of RDMs: what no RDM exceeds, in what order things come, and what halves of one subject say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import pdist

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import as_outcome
from repcompare.measures.rsa import METHODS, compare_rdms, rdm, rsa
from repcompare.measures.rsa.ceilings import noise_ceiling, partition_ceiling

LINEAR = [name for name in METHODS if METHODS[name].linear]
DOTS = [name for name in METHODS if METHODS[name].family in ("dot", "tau")]


def subjects(seed=0, k=9, s=5, noise=1.0, p=30):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(k, p))
    return np.stack([pdist(shared + noise * rng.normal(size=(k, p)), "sqeuclidean") / p for _ in range(s)])


def mean_score(model, data, method):
    return float(np.mean(compare_rdms(model, data, method)))


@pytest.mark.parametrize("method", METHODS)
def test_bounds_are_mean_scores_with_the_pooled_rdm(method):
    data = subjects()
    found = noise_ceiling(data, method)
    assert found.upper == pytest.approx(mean_score(found.pooled, data, method), abs=1e-12)
    rest = [noise_ceiling(np.delete(data, s, axis=0), method).pooled for s in range(5)]
    lower = np.mean([compare_rdms(r, d, method) for r, d in zip(rest, data, strict=True)])
    assert found.lower == pytest.approx(lower, abs=1e-12)
    assert found.lower < found.upper <= METHODS[method].score_range[1]
    assert found.status == ("exact" if METHODS[method].family == "dot" else "heuristic")


@pytest.mark.parametrize("method", METHODS)
def test_counts_are_copies_that_are_left_out_together(method):
    data = subjects()
    counts = np.array([2, 0, 1, 3, 1])
    found = noise_ceiling(data, method, counts=counts)
    copies = np.repeat(data, counts, axis=0)
    assert found.upper == pytest.approx(mean_score(found.pooled, copies, method), abs=1e-10)
    lower = 0.0
    for s in np.flatnonzero(counts):
        others = np.repeat(data, np.where(np.arange(5) == s, 0, counts), axis=0)
        pooled = noise_ceiling(others, method).pooled
        lower += counts[s] * compare_rdms(pooled, data[s], method) / counts.sum()
    assert found.lower == pytest.approx(lower, abs=1e-10)
    assert found.n_rdms == 4


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("sigma", [None, "variances", "matrix"])
def test_no_rdm_exceeds_an_exact_upper_bound(method, sigma):
    rng = np.random.default_rng(2)
    data = subjects(k=5, s=4)
    options = {}
    if METHODS[method].whitened and sigma is not None:
        factor = rng.normal(size=(5, 5))
        options = {
            "stimulus_covariance": rng.uniform(0.3, 3, 5) if sigma == "variances" else factor @ factor.T + np.eye(5)
        }
    found = noise_ceiling(data, method, **options)

    def loss(model):
        return -float(np.mean(compare_rdms(model, data, method, **options)))

    near = found.pooled + 0.3 * np.std(found.pooled) * rng.normal(size=10)
    reached = [-float(minimize(loss, start).fun) for start in (near, rng.gamma(2.0, size=10))]
    assert max(reached) <= found.upper + 1e-12
    assert max(reached) > found.upper - 1e-5  # a gradient search stops short of the maximum
    assert loss(found.pooled) == pytest.approx(-found.upper, abs=1e-12)


def test_pooling_in_the_plain_norm_is_not_the_maximum_of_the_whitened_score():
    data = subjects(k=12, s=4, noise=2.0) * np.array([1, 2, 5, 9])[:, None]
    plain = (data / np.linalg.norm(data, axis=1, keepdims=True)).mean(axis=0)
    assert mean_score(plain, data, "whitened_cosine") < noise_ceiling(data, "whitened_cosine").upper - 1e-6


@pytest.mark.parametrize("method", ["rho_a", "spearman"])
def test_no_order_exceeds_the_upper_bound_of_ranks(method):
    from itertools import permutations

    rng = np.random.default_rng(1)
    data = np.round(3 * rng.gamma(2.0, size=(4, 6)))  # with ties
    best = max(mean_score(np.array(order, dtype=float), data, method) for order in permutations(range(6)))
    found = noise_ceiling(data, method)
    assert found.upper >= best - 1e-12
    if method == "rho_a":
        assert found.upper == pytest.approx(best, abs=1e-12)


def test_tau_a_has_a_certified_bound():
    from itertools import permutations

    rng = np.random.default_rng(1)
    data = rng.gamma(2.0, size=(4, 6))
    best = max(mean_score(np.array(o, dtype=float), data, "kendall_tau_a") for o in permutations(range(6)))
    found = noise_ceiling(data, "kendall_tau_a")
    assert found.upper <= best + 1e-12 <= found.bound + 2e-12
    signs = np.array([[np.sign(d[i] - d[j]) for i in range(6) for j in range(i)] for d in data])
    assert found.bound == pytest.approx(np.abs(signs.mean(axis=0)).mean(), abs=1e-12)
    assert noise_ceiling(data, "kendall_tau_b").bound is None


@pytest.mark.parametrize("method", DOTS)
def test_missing_pairs_weight_each_pair_by_the_rdms_that_have_it(method):
    data = subjects(s=6, k=12)
    full = noise_ceiling(data, method)
    holes = data.copy()
    holes[np.random.default_rng(0).random(data.shape) < 0.1] = np.nan
    found = noise_ceiling(holes, method)
    assert found.status == "heuristic"
    assert found.lower < found.upper
    assert found.upper == pytest.approx(full.upper, abs=0.06)
    assert found.upper == pytest.approx(mean_score(found.pooled, holes, method), abs=1e-12)


def true_and_subjects(seed, k=20, p=8, s=10, noise=8.0):
    rng = np.random.default_rng(seed)
    true = pdist(rng.normal(size=(k, p)), "sqeuclidean")
    return true, true + noise * rng.normal(size=(s, true.size))


def test_v16_lower_true_upper():
    bounds = []
    for seed in range(200):
        true, data = true_and_subjects(seed)
        found = noise_ceiling(data, "pearson")
        bounds.append((found.lower, mean_score(true, data, "pearson"), found.upper))
    bounds = np.array(bounds)
    np.testing.assert_allclose(bounds.mean(axis=0), [0.65, 0.69, 0.73], atol=0.01)
    assert np.mean((bounds[:, 0] < bounds[:, 1]) & (bounds[:, 1] < bounds[:, 2])) >= 0.95


@pytest.mark.parametrize("method", [m for m in METHODS if m != "pearson"])
def test_ten_subjects_of_one_geometry_put_the_true_model_between_the_bounds(method):
    inside = []
    for seed in range(20 if METHODS[method].family in ("bures", "riemannian") else 60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(12, 40))
        true = pdist(x, "sqeuclidean")
        data = np.stack([pdist(x + 0.7 * rng.normal(size=x.shape), "sqeuclidean") for _ in range(10)])
        if method in ("cosine", "whitened_cosine", "bures", "riemannian"):
            true = true + 2 * 0.7**2 * 40  # squared distances of noisy patterns have this mean
        found = noise_ceiling(data, method)
        inside.append(found.lower < mean_score(true, data, method) < found.upper)
    assert np.mean(inside) >= 0.95


def test_one_rdm_has_no_ceiling():
    data = subjects()
    with pytest.raises(MeasureError, match="1 RDM: a noise ceiling needs at least 2 subjects"):
        noise_ceiling(data[:1])
    with pytest.raises(MeasureError, match="1 RDM"):
        noise_ceiling(data, counts=[0, 0, 3, 0, 0])
    with pytest.raises(MeasureError, match="counts has shape"):
        noise_ceiling(data, counts=[1, 1])
    with pytest.raises(OptionError, match="control="):
        noise_ceiling(data, control=data[0])
    with pytest.raises(MeasureError, match=r"rdms\[0\] has a second moment that is not positive definite"):
        noise_ceiling(subjects(p=3), "riemannian")


# One subject: halves of its repeats


def trials(seed, k=40, p=80, repeats=4, noise=2.0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(k, 8)) @ rng.normal(size=(8, p)) / np.sqrt(8)
    return true, true + noise * rng.normal(size=(repeats, k, p)), rng


def halvings(values, rng, count=4):
    for _ in range(count):
        order = rng.permutation(len(values))
        half = len(values) // 2
        yield values[order[:half]].mean(axis=0), values[order[half:]].mean(axis=0)


@pytest.mark.parametrize("distance", ["correlation", "cosine", "squared_euclidean", "euclidean"])
@pytest.mark.parametrize("method", DOTS)
def test_a_perfect_model_reaches_the_ceiling_of_halves(distance, method):
    measure = rsa(distance, method)
    normalised = []
    for seed in range(20):
        true, values, rng = trials(seed)
        full = measure.prepared(values.mean(axis=0))
        score = as_outcome(measure.compare(measure.prepared(true), full)).score
        halves = [[measure.prepared(v) for v in pair] for pair in halvings(values, rng)]
        normalised.append(score / np.sqrt(np.mean([measure.shared(*pair, full) for pair in halves])))
    margin = 0.03 if METHODS[method].ordinal else 0.02  # ranks: by a relation that holds for normal distances
    assert np.mean(normalised) == pytest.approx(1, abs=margin)


def test_squared_distances_of_halves_give_the_ceiling_of_one_subject():
    normalised = []
    for seed in range(20):
        true, values, rng = trials(seed)
        halves = [[rdm(v, "squared_euclidean") for v in pair] for pair in halvings(values, rng)]
        full = rdm(values.mean(axis=0), "squared_euclidean")
        found = partition_ceiling(halves, full, "pearson")
        assert (found.kind, found.status) == ("partition", "heuristic")
        assert found.lower < found.upper
        normalised.append(compare_rdms(rdm(true, "squared_euclidean"), full, "pearson") / found.upper)
    assert np.mean(normalised) == pytest.approx(1, abs=0.02)


def test_halves_that_give_no_ceiling():
    data = subjects()
    with pytest.raises(MeasureError, match="halves has shape"):
        partition_ceiling(data, data[0])
    with pytest.raises(OptionError, match="no ceiling from partitions"):
        partition_ceiling(data[None, :2], data[0], "bures")
    opposed = np.stack([data[0], data[0].max() - data[0]])[None]
    with pytest.raises(MeasureError, match="do not agree"):
        partition_ceiling(opposed, data[0], "pearson")
    assert rsa("squared_euclidean", "bures").ceiling is None
