"""Feature weights inside bootstrap samples equal regressions on the copies of every pair, written out."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError
from repcompare.measures.rsa import crossvalidation
from repcompare.measures.rsa._feature_weights import normal_equations
from repcompare.measures.rsa._resampled_features import drawn_equations, fit_drawn
from repcompare.measures.rsa._resampled_folds import Problem, assign, evaluate_folds
from repcompare.measures.rsa.models import fixed, reweighted
from repcompare.measures.rsa.reweighted import checked_features, fit_weights, inner_parts
from tests import naive_rsa_inference as naive

K, P, S = 12, 3, 4
COUNTS = np.array([1, 2, 0, 1, 3, 1, 1, 0, 2, 1, 1, 1])


def study(k=K, p=P, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(k, p)) + 5.0
    i, j = np.triu_indices(k, 1)
    truth = np.square(x[i] - x[j]) @ np.arange(1.0, p + 1)
    return x, np.array([truth + 0.5 * truth.std() * rng.random(truth.size) for _ in range(S)])


def copies(x, data, counts):
    """Return the squared differences and the RDMs of a draw, one row per pair of copies of different stimuli."""
    pairs = naive.resampled(data[0], counts)[1]
    rows = np.repeat(np.arange(len(counts)), counts)
    f = np.array([np.square(x[rows[a]] - x[rows[b]]) for a, b in pairs])
    return f, np.array([naive.resampled(d, counts)[0] for d in data])


def ridge(f, y, penalty):
    """Return weights and intercept of a regression on standardised columns."""
    z = (f - f.mean(axis=0)) / f.std(axis=0)
    system = z.T @ z / len(z) + penalty * np.eye(z.shape[1])
    theta = np.linalg.solve(system, z.T @ (y - y.mean()) / len(z)) / f.std(axis=0)
    return theta, y.mean() - f.mean(axis=0) @ theta


def written_out(x, data, counts, who, penalties, seed=0):
    """Fit the mean of the standardised RDMs of the subjects drawn; the penalty by folds over distinct stimuli."""
    drawn = np.flatnonzero(counts)
    f, d = copies(x, data, counts)
    chosen = [s for s, n in enumerate(who) for _ in range(n)]
    z = np.array([(d[s] - d[s].mean()) / d[s].std() for s in chosen]).mean(axis=0)
    square = {}  # the target of each pair of different stimuli, to be drawn again inside folds
    rows = np.repeat(np.arange(len(counts)), counts)
    for value, (a, b) in zip(z, naive.resampled(data[0], counts)[1], strict=True):
        square[rows[a], rows[b]] = value
    i, j = np.triu_indices(len(counts), 1)
    target = np.array([square.get((a, b), 0.0) for a, b in zip(i, j, strict=True)])
    best = penalties[0]
    if len(penalties) > 1:
        error = dict.fromkeys(penalties, 0.0)
        for train, test in inner_parts(len(drawn), [seed]):
            parts = []
            for side in (train, test):
                kept = np.zeros_like(counts)
                kept[drawn[side]] = counts[drawn[side]]
                parts.append(copies(x, [target], kept))
            for penalty in penalties:
                theta, intercept = ridge(parts[0][0], parts[0][1][0], penalty)
                error[penalty] += np.square(parts[1][0] @ theta + intercept - parts[1][1][0]).sum()
        best = min(sorted(penalties, reverse=True), key=error.get)
    return ridge(f, z, best)[0] * np.mean([d[s].std() for s in chosen])


@pytest.mark.parametrize("penalties", [(0.1,), (1e-3, 0.03, 1.0, 30.0)])
def test_weights_equal_a_regression_on_copies(penalties):
    x, data = study()
    whos = [np.array([1, 1, 1, 1]), np.array([2, 0, 1, 1])]
    found = fit_drawn(checked_features(x, penalties), COUNTS, data, whos)
    for theta, who in zip(found, whos, strict=True):
        np.testing.assert_allclose(theta, written_out(x, data, COUNTS, who, penalties), rtol=1e-9)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("p", [3, 80])  # more features than pairs: by the rows
def test_once_each_is_the_fit_without_a_bootstrap(nonnegative, p):
    x, data = study(p=p)
    features = checked_features(x, (0.01, 1.0, 10.0), nonnegative)
    (found,) = fit_drawn(features, np.ones(K, dtype=np.int64), data, [np.ones(S, dtype=np.int64)])
    np.testing.assert_allclose(found, fit_weights(features, data), rtol=1e-7, atol=1e-9 * np.abs(found).max())


def test_rows_and_columns_give_the_same_weights():
    x, data = study(k=9, p=60)
    counts = np.array([1, 2, 1, 3, 1, 1, 1, 2, 1])
    f, d = copies(x, data, counts)
    z = np.mean([(row - row.mean()) / row.std() for row in d], axis=0)
    expected = ridge(f, z, 0.5)[0] * d.std(axis=1).mean()
    (found,) = fit_drawn(checked_features(x, 0.5), counts, data, [np.ones(S, dtype=np.int64)])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_the_equations_of_a_draw():
    x, data = study()
    centred = data - data.mean(axis=1, keepdims=True)
    once, usual = drawn_equations(x, np.ones(K), centred), normal_equations(x, centred)
    for name in ("gram", "cross", "mean", "scale"):
        np.testing.assert_allclose(getattr(once, name), getattr(usual, name), rtol=1e-10, atol=1e-12)


def test_held_out_scores_in_a_sample_equal_explicit_ones():
    x, data = study()
    models = (reweighted(x, penalty=0.1), fixed(data.mean(axis=0)))
    problem = Problem(models=models, data=data, method="pearson", variances=None, n_folds=(2, 2))
    rng, who = np.random.default_rng(1), np.array([2, 1, 0, 1])
    fold, fold_of = assign(rng.random(K), COUNTS, 2), assign(rng.random(S), who, 2)
    (found,) = evaluate_folds(problem, COUNTS, fold, [(who, fold_of)])
    scores = [[] for _ in range(S)]
    for f in range(2):
        train, test = np.where(fold == f, 0, COUNTS), np.where(fold == f, COUNTS, 0)
        columns, held = copies(x, data, test)
        for s in np.flatnonzero(who):
            others = np.where(fold_of == fold_of[s], 0, who)
            theta = written_out(x, data, train, others, (0.1,))
            scores[s].append(np.corrcoef(columns @ theta, held[s])[0, 1])
    expected = [np.mean(v) if v else np.nan for v in scores]
    np.testing.assert_allclose(found.table[0], expected, rtol=0, atol=1e-10)


def test_without_a_bootstrap_it_is_cross_validation():
    x, data = study()
    model = reweighted(x, penalty=1.0)
    problem = Problem(models=(model,), data=data, method="pearson", variances=None, n_folds=(3, 2))
    rng = np.random.default_rng(0)
    ones = np.ones(K, dtype=np.int64), np.ones(S, dtype=np.int64)
    fold, of = assign(rng.random(K), ones[0], 3), assign(rng.random(S), ones[1], 2)
    (found,) = evaluate_folds(problem, ones[0], fold, [(ones[1], of)])
    folds = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(3)]
    subjects = [(np.flatnonzero(of != h), np.flatnonzero(of == h)) for h in range(2)]
    splits = tuple(crossvalidation.Split(*a, *b) for a in folds for b in subjects)
    expected = crossvalidation.cross_validate(model, data, splits, "pearson")
    np.testing.assert_allclose(found.table[0], expected.scores, atol=1e-10)


def test_inference_on_reweighted_features():
    """The features hold the geometry, in other proportions: fitted they beat equal weights, in a pair of models too."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4))
    i, j = np.triu_indices(24, 1)
    truth = np.square(x[i] - x[j]) @ np.array([4.0, 1.0, 0.2, 0.0])
    data = truth + truth.std() * rng.normal(size=(8, truth.size))
    models = [
        rc.rdm_models.reweighted(x, penalty=0.1, name="fitted"),
        rc.rdm_models.fixed(np.square(x[i] - x[j]).sum(axis=1), name="equal"),
    ]
    found = rc.rsa_inference(models, data, method="pearson", n_bootstraps=60, seed=1)
    score = found["score"].sel(model=["fitted", "equal"]).values
    assert score[0] > score[1] + 0.05 and score[0] < float(found["score_ceiling_upper"])
    assert float(found["pvalue_pair"].sel(model="fitted", model_b="equal")) < 0.05
    assert found["theta"].sizes["parameter"] == 4
    again = rc.rsa_inference(models, data, method="pearson", n_bootstraps=60, seed=1, n_jobs=2)
    np.testing.assert_array_equal(again["score_variance"], found["score_variance"])
    noise = rc.rsa_inference(models[0], rng.normal(size=(8, truth.size)), method="rho_a", n_bootstraps=40)
    assert abs(float(noise["score"][0])) < 0.08


def test_constant_rdms_and_few_stimuli_have_no_weights():
    x, data = study()
    flat = data.copy()
    flat[1] = 2.0
    features = checked_features(x, (0.1, 1.0))
    found = fit_drawn(features, COUNTS, flat, [np.array([1, 1, 1, 1]), np.array([1, 0, 2, 0]), np.array([0, 0, 0, 0])])
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all() and np.isnan(found[2]).all()
    few = np.zeros(K, dtype=np.int64)
    few[:5] = 2
    assert np.isnan(fit_drawn(features, few, data, [np.ones(S, dtype=np.int64)])[0]).all()


def test_messages():
    x, data = study()
    with pytest.raises(MeasureError, match="about 3 distinct stimuli, too few to choose among penalties"):
        rc.rsa_inference([rc.rdm_models.reweighted(x)], data, n_bootstraps=5)
    lacking = data.copy()
    lacking[0, 3] = np.nan
    with pytest.raises(MeasureError, match="resampled with complete RDMs"):
        rc.rsa_inference([rc.rdm_models.reweighted(x, penalty=1.0)], lacking, n_bootstraps=5, nan="common")
