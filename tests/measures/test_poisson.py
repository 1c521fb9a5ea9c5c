"""Poisson regression: equal to Newton's method per unit and to scikit-learn, and its guards."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.linear_model import PoissonRegressor

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.measures.encoding import _poisson_fit as solver
from repcompare.measures.encoding import poisson as module
from repcompare.measures.encoding.poisson import poisson
from repcompare.measures.encoding.result import encode_arrays
from repcompare.statistics.folds import make_folds
from tests import naive_encoding

ALPHAS = np.logspace(-1, 3, 5)


def simulated(p=6, seed=0, n=60, t=4, strength=0.4):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p)) * np.geomspace(1, 3, p) + 2
    latent = (x - 2)[:, :6] / np.geomspace(1, 3, p)[:6]
    eta = strength * latent @ rng.standard_normal((6, t)) + np.array([0.5, 2.0, -0.5, 1.0])[:t]
    return x, rng.poisson(np.exp(eta)).astype(float)


def in_eigenbasis(x):
    centred = x - x.mean(axis=0)
    lam, vectors = np.linalg.eigh(centred.T @ centred)
    kept = lam > 1e-12 * lam[-1]
    return centred @ vectors[:, kept], lam[kept], vectors[:, kept]


@pytest.mark.parametrize("p", [6, 100])
@pytest.mark.parametrize("alpha", [0.1, 10.0, 1000.0])
def test_weights_equal_newton_per_unit_and_scikit_learn(p, alpha):
    x, y = simulated(p)
    a, lam, basis = in_eigenbasis(x)
    state = solver.fit(a, lam, y, alpha, solver.start(y, lam.size))
    assert state.converged.all()
    for u in range(4):
        weights, offset = naive_encoding.poisson(x, y[:, u], alpha)
        found = basis @ state.weights[:-1, u]
        np.testing.assert_allclose(found, weights, rtol=0, atol=1e-6 * np.abs(weights).max())
        assert state.weights[-1, u] - x.mean(axis=0) @ found == pytest.approx(offset, abs=1e-5)
        peer = PoissonRegressor(alpha=alpha / len(x), tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(
            x, y[:, u]
        )
        np.testing.assert_allclose(found, peer.coef_, rtol=0, atol=1e-5 * np.abs(weights).max())


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_badly_scaled_features_converge(scale):
    x, y = simulated(seed=1)
    x = x * np.array([1, scale, 1, 1, 1 / scale, 1])
    a, lam, basis = in_eigenbasis(x)
    state = solver.fit(a, lam, y, 1.0, solver.start(y, lam.size))
    assert state.converged.all()
    assert state.steps.max() < 60


def test_a_unit_does_not_depend_on_the_others():
    x, y = simulated(t=4, seed=2)
    y = np.hstack([y, np.random.default_rng(0).poisson(20.0, (60, 30))])
    a, lam, _ = in_eigenbasis(x)
    whole = solver.fit(a, lam, y, 1.0, solver.start(y, lam.size))
    for u in (0, 2, 17):
        alone = solver.fit(a, lam, y[:, [u]], 1.0, solver.start(y[:, [u]], lam.size))
        np.testing.assert_allclose(alone.weights[:, 0], whole.weights[:, u], rtol=0, atol=1e-11)
        assert alone.steps[0] == whole.steps[u]


def expected(x, y, splits, alphas, scoring):
    """Scores and penalties (k, t) with inner folds = the other folds, by Newton's method."""

    def errors(u, folds):
        total = np.zeros(len(alphas))
        for train, test in folds:
            for i, alpha in enumerate(alphas):
                weights, offset = naive_encoding.poisson(x[train], y[train, u], alpha)
                total[i] += naive_encoding.deviance(y[test, u], np.exp(x[test] @ weights + offset))
        return total

    scores, chosen = np.zeros(y.shape[1]), np.zeros((len(splits), y.shape[1]))
    for u in range(y.shape[1]):
        rs, dev, null, gain, spikes = [], 0.0, 0.0, 0.0, 0.0
        for f, (train, test) in enumerate(splits):
            inner = [(np.setdiff1d(train, other), other) for g, (_, other) in enumerate(splits) if g != f]
            alpha = alphas[np.argmin(errors(u, inner))] if len(alphas) > 1 else alphas[0]
            chosen[f, u] = alpha
            weights, offset = naive_encoding.poisson(x[train], y[train, u], alpha)
            mu, flat = np.exp(x[test] @ weights + offset), np.full(len(test), y[train, u].mean())
            rs.append(naive_encoding.pearson(mu, y[test, u]))
            dev += naive_encoding.deviance(y[test, u], mu)
            null += naive_encoding.deviance(y[test, u], flat)
            gain += naive_encoding.log_likelihood(y[test, u], mu) - naive_encoding.log_likelihood(y[test, u], flat)
            spikes += y[test, u].sum()
        scores[u] = {"deviance": 1 - dev / null, "pearson": np.mean(rs), "bits_per_spike": gain / spikes / np.log(2)}[
            scoring
        ]
    return scores, chosen


@pytest.mark.parametrize("scoring", ["deviance", "pearson", "bits_per_spike"])
@pytest.mark.parametrize("p", [6, 80])
def test_scores_equal_plain_loops(p, scoring):
    x, y = simulated(p, seed=3, t=2)
    folds = make_folds(60, 4)
    found = encode_arrays(x, y, folds, model="poisson", alphas=ALPHAS[::2], scoring=scoring)
    scores, alphas = expected(x, y, folds.splits, ALPHAS[::2], scoring)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.fold_alphas, alphas)
    assert found.score == pytest.approx(scores.mean(), abs=1e-6)


def test_one_penalty_and_the_same_folds():
    x, y = simulated(seed=4)
    folds = make_folds(60, 5)
    one = encode_arrays(x, y, folds, model="poisson", alphas=10.0)
    scores, _ = expected(x, y, folds.splits, [10.0], "deviance")
    np.testing.assert_allclose(one.unit_scores, scores, rtol=0, atol=1e-7)
    np.testing.assert_allclose(one.details["deviance"], one.unit_scores)
    assert one.notes == ()
    flat = encode_arrays(x, y, folds, model="poisson", alphas=ALPHAS, nested=False)
    assert flat.notes[0].startswith("selection: same_folds")
    np.testing.assert_array_equal(flat.fold_alphas, np.tile(flat.alphas, (5, 1)))
    best = np.max([encode_arrays(x, y, folds, model="poisson", alphas=a).unit_scores for a in ALPHAS], axis=0)
    np.testing.assert_allclose(flat.unit_scores, best, rtol=0, atol=1e-7)


def test_large_penalties_leave_the_training_mean():
    x, y = simulated(seed=5)
    found = encode_arrays(x, y, make_folds(60, 5), model="poisson", alphas=1e12)
    np.testing.assert_allclose(found.unit_scores, 0.0, atol=1e-8)


@pytest.mark.parametrize("p", [6, 90])
def test_invariances(p):
    x, y = simulated(p, seed=6, t=2)
    rng = np.random.default_rng(6)
    folds = make_folds(60, 5)

    grid = ALPHAS[1::2]

    def scores(source, target=y, alphas=grid):
        return encode_arrays(source, target, folds, model="poisson", alphas=alphas).unit_scores

    base = scores(x)
    np.testing.assert_allclose(scores(x @ np.linalg.qr(rng.standard_normal((p, p)))[0]), base, rtol=0, atol=1e-7)
    np.testing.assert_allclose(scores(x + 50), base, rtol=0, atol=1e-7)
    np.testing.assert_allclose(scores(3 * x, alphas=9 * grid), base, rtol=0, atol=1e-7)
    np.testing.assert_allclose(scores(np.hstack([x, x]), alphas=2 * grid), base, rtol=0, atol=1e-7)
    np.testing.assert_allclose(scores(x, y[:, ::-1])[::-1], base, rtol=0, atol=1e-9)


def test_batches_change_nothing(monkeypatch):
    x, y = simulated(seed=7)
    y = np.tile(y, (1, 10))
    folds = make_folds(60, 5)
    whole = encode_arrays(x, y, folds, model="poisson", alphas=ALPHAS)
    monkeypatch.setattr(module, "BATCH_BYTES", 1)
    parts = encode_arrays(x, y, folds, model="poisson", alphas=ALPHAS)
    np.testing.assert_allclose(parts.unit_scores, whole.unit_scores, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(parts.alphas, whole.alphas)


def test_silent_and_constant_units_are_counted():
    x, y = simulated(seed=8, t=4)
    folds = make_folds(60, 5)
    only_there = np.zeros(60)
    only_there[folds.splits[2][1]] = 3.0  # silent in the training rows of fold 2
    y = np.column_stack([y, np.zeros(60), only_there, np.full(60, 2.0)])
    found = encode_arrays(x, y, folds, model="poisson", alphas=ALPHAS)
    assert np.isnan(found.unit_scores).tolist() == [False] * 4 + [True] * 3
    assert found.counts == {"units_silent": 2, "units_constant": 1, "units_undefined": 0}
    assert found.score == pytest.approx(np.nanmean(found.unit_scores))
    assert np.isnan(found.alphas).tolist() == [False] * 4 + [True] * 3
    with pytest.raises(MeasureError, match="of 2 target units 2 silent"):
        encode_arrays(x, np.zeros((60, 2)), folds, model="poisson")


def test_separable_counts_stay_finite():
    rng = np.random.default_rng(9)
    x = rng.standard_normal((60, 100))
    y = rng.poisson(0.2, (60, 5)).astype(float)
    found = encode_arrays(x, y, make_folds(60, 4), model="poisson", alphas=[1e-6, 1e-3, 1.0, 1e3])
    assert np.isfinite(found.unit_scores).all()


def test_perfectly_aligned_rates_approach_what_noise_allows():
    rng = np.random.default_rng(10)
    x = rng.standard_normal((800, 3))
    eta = x @ rng.standard_normal((3, 5)) * 0.5 + 1
    y = rng.poisson(np.exp(eta))
    found = encode_arrays(x, y, make_folds(800, 5), model="poisson")
    best = [
        1
        - naive_encoding.deviance(y[:, u], np.exp(eta[:, u]))
        / naive_encoding.deviance(y[:, u], np.full(800, y[:, u].mean()))
        for u in range(5)
    ]
    np.testing.assert_allclose(found.unit_scores, best, rtol=0, atol=0.02)


def test_bad_input():
    x, y = simulated(seed=11)
    folds = make_folds(60, 5)
    half = y.copy()
    half[4, 1] = 0.5
    with pytest.raises(MeasureError, match=r"1 values of the target are not counts, the first 0.5 \(row 4, unit 1\)"):
        encode_arrays(x, half, folds, model="poisson")
    with pytest.raises(MeasureError, match="not counts, the first -"):
        encode_arrays(x, y - 1, folds, model="poisson")
    with pytest.raises(OptionError, match="> 0"):
        encode_arrays(x, y, folds, model="poisson", alphas=[0.0, 1.0])
    with pytest.raises(OptionError, match="scoring"):
        encode_arrays(x, y, folds, model="poisson", scoring="r2")
    measure = poisson(ALPHAS)
    states = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    again = pickle.loads(pickle.dumps((measure, *states)))
    assert again[0].compare(*again[1:]).score == measure.compare(*states).score
    assert states[0].nbytes > x.nbytes
    assert states[1].nbytes == y.nbytes


def test_the_public_door():
    x, y = simulated(seed=12)
    found = rc.encode(x, y.astype(int), model="poisson", alphas=ALPHAS, folds=4)
    ours = encode_arrays(x, y, make_folds(60, 4), model="poisson", alphas=ALPHAS)
    assert found.score == ours.score
    assert found.model == "poisson"
    assert set(found.details) == {"bits_per_spike", "deviance"}
    with pytest.raises(OptionError, match="model='poisson' has no option 'alpha'; did you mean 'alphas'"):
        rc.encode(x, y, model="poisson", alpha=1.0)
