"""What is fitted to RDMs with missing pairs: against regressions on the pairs that are there, and against dropping them."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError
from repcompare.labels.rdms import rdm_set
from repcompare.measures.rsa import models
from repcompare.measures.rsa._feature_weights import path_present, weight_path
from repcompare.measures.rsa._model_inner import gram_present
from repcompare.measures.rsa.crossvalidation import cross
from repcompare.measures.rsa.partitioning import partition_variance
from repcompare.measures.rsa.reweighted import checked_features, fit_present, fit_targets
from repcompare.statistics.folds import make_folds
from tests import naive_rsa_missing as naive
from tests import naive_rsa_models

K = 12
N = K * (K - 1) // 2


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def components(rng):
    return rng.random((3, N))


@pytest.fixture
def data(rng, components):
    return components.sum(axis=0) + rng.random((4, N))


def holed(rng, rdms, share=0.15):
    return np.where(rng.random(rdms.shape) < share, np.nan, rdms)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize(
    ("method", "kind"),
    [(m, k) for m in models.LINEAR for k in ("none", "variances", "matrix") if k == "none" or m.startswith("whitened")],
)
def test_weights_equal_a_regression_on_the_pairs_that_are_there(rng, components, data, method, nonnegative, kind):
    covariance = None
    if kind != "none":
        root = rng.normal(size=(K, K))
        covariance = rng.random(K) + 0.5 if kind == "variances" else root @ root.T + K * np.eye(K)
    given, partial = holed(rng, components), holed(rng, data)
    found = models.fit(models.weighted(given, nonnegative=nonnegative), partial, method, stimulus_covariance=covariance)
    expected = naive.weighted(given, partial, method, covariance, nonnegative)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", models.LINEAR)
def test_without_missing_pairs_it_is_the_complete_fit(components, data, method):
    model = models.weighted(components)
    for one, two in zip(models.gram_of(model, data, method), gram_present("m", components, data, method), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["cosine", "pearson", "whitened_cosine", "rho_a"])
@pytest.mark.parametrize("kind", ["weighted", "interpolated", "select"])
def test_shared_holes_are_as_good_as_left_out(rng, components, data, method, kind):
    """With one mask for all the fit has the largest mean score on the pairs that are left."""
    lost = rng.random(N) < 0.2
    given, partial = np.where(lost, np.nan, components), np.where(lost, np.nan, data)
    model = getattr(models, kind)(given)
    theta = models.fit(model, partial, method)

    def score(weights):
        return np.mean([rc.compare_rdms(weights @ components, row, method=method) for row in partial])

    best = score(theta)
    linear = method if method in models.LINEAR else "pearson"
    if kind == "select":
        assert best == pytest.approx(max(score(row) for row in np.eye(3)))
    elif method == linear:
        for _ in range(40):
            other = theta * np.exp(0.3 * rng.normal(size=3))
            if kind == "interpolated":
                w, i = rng.random(), rng.integers(2)
                other = np.eye(3)[i] * w + np.eye(3)[i + 1] * (1 - w)
            assert score(other) <= best + 1e-12


def test_components_are_chosen_on_the_same_pairs():
    """A component must not win because the pairs it fails on are missing."""
    truth = np.arange(15.0)
    good, bad = truth + 0.1 * np.sin(truth), truth.copy()
    bad[10:] = np.nan  # perfect on what it has
    good[12] = 0.0  # fails only where the other has nothing
    theta = models.fit(models.select([good, bad]), truth[None], "pearson")
    np.testing.assert_array_equal(theta, [0, 1])
    bad[0] = 9.0
    np.testing.assert_array_equal(models.fit(models.select([good, bad]), truth[None], "pearson"), [1, 0])


def test_predictions_lack_what_their_components_lack():
    model = models.weighted([[1.0, np.nan, 3, 1, 2, 5], [2.0, 1, 1, 4, np.nan, 3]])
    np.testing.assert_array_equal(models.predict(model, [1.0, 0.0]), [1, np.nan, 3, 1, 2, 5])
    np.testing.assert_array_equal(models.predict(model, [1.0, 2.0]), [5, np.nan, 5, 9, np.nan, 11])


def test_held_out_scores_count_the_pairs_they_rest_on(rng, components, data):
    names = [f"s{i:02d}" for i in range(K)]
    partial = holed(rng, data, 0.1)
    sets = rdm_set(partial, stimulus=names, rdm=list("abcd"))
    model = rc.rdm_models.weighted(rdm_set(components, stimulus=names, rdm=["x", "y", "z"]))
    found = rc.rdm_models.cross_validate(model, sets, method="pearson", folds=2, subject_folds=1)
    total = np.zeros(4)
    for split in cross(make_folds(K, 2, seed=0), 4, 1):
        inside = np.array([naive_rsa_models.within(row, split.test_stimuli, K) for row in partial])
        total += np.isfinite(inside).sum(axis=1)
    np.testing.assert_array_equal(found["n_pairs_used"].values[0], total)
    assert rc.rdm_models.fit(model, sets).attrs["n_pairs_used"] == N
    complete = rc.rdm_models.cross_validate(model, rdm_set(data, stimulus=names), folds=2)
    assert (complete["n_pairs_used"] == 30).all()


@pytest.mark.parametrize("features", [4, 90])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_feature_weights_equal_one_regression_over_all_rdms(rng, data, features, nonnegative):
    x, rows = rng.normal(size=(K, features)), holed(rng, data, 0.3)
    found, mean, centre = path_present(x, rows, [1.0, 0.1], nonnegative)
    for weights, penalty in zip(found, [1.0, 0.1], strict=True):
        np.testing.assert_allclose(weights, naive.reweighted(x, rows, penalty, nonnegative), rtol=1e-6, atol=1e-9)
    f = naive_rsa_models.squared_differences(x)
    np.testing.assert_allclose(mean, [f[np.isfinite(row)].mean(axis=0) for row in rows])
    np.testing.assert_allclose(centre, np.nanmean(rows, axis=1))


@pytest.mark.parametrize("features", [4, 90])
def test_complete_rdms_have_the_same_feature_weights_either_way(rng, data, features):
    x = rng.normal(size=(K, features))
    target = data[:1] - data[:1].mean()
    np.testing.assert_allclose(
        path_present(x, target, [0.5], False)[0], weight_path(x, target, [0.5], False)[0][..., 0], rtol=1e-7, atol=1e-10
    )
    checked = checked_features(x)
    z = (data - data.mean(axis=1, keepdims=True)) / data.std(axis=1, keepdims=True)
    one, two = fit_present(checked, x, z, [3]), fit_targets(checked, x, z.mean(axis=0)[None], [3])
    np.testing.assert_array_equal(one.penalty, two.penalty)
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(one.intercept, two.intercept, atol=1e-9)


@pytest.mark.parametrize("level", ["rdm", "group"])
def test_fr_rsa_finds_the_weights_from_what_is_there(rng, level):
    x, true = rng.normal(size=(20, 4)), np.array([3.0, 0.0, 1.0, 0.0])
    d = naive_rsa_models.squared_differences(x) @ true + rng.normal(size=(3, 190)) * 0.01
    partial = holed(rng, d, 0.1)
    found = rc.fr_rsa(x, partial, level=level, repeats=1, penalty=1e-6)
    np.testing.assert_allclose(found["weight"].values, np.broadcast_to(true, found["weight"].shape), atol=0.02)
    np.testing.assert_allclose(found["intercept"].values, 0, atol=0.05)
    assert (found["score"] > 0.99).all()
    np.testing.assert_array_equal(found["n_pairs_used"], np.isfinite(partial).sum(axis=1))
    again = rc.fr_rsa(x, np.where(np.isfinite(partial), 5 * partial, np.nan), level=level, repeats=1, penalty=1e-6)
    np.testing.assert_allclose(again["score"].values, found["score"].values, rtol=1e-9)


@pytest.mark.parametrize("ranked", [False, True])
def test_parts_of_partial_rdms_equal_regressions_on_their_pairs(rng, components, data, ranked):
    given, partial = holed(rng, components, 0.05), holed(rng, data, 0.1)
    found = partition_variance(list(given[:, None]), partial, ranked=ranked)
    mask = np.isfinite(given).all(axis=0)
    for subset, row in zip(found.subsets, found.r2, strict=True):
        chosen = np.where(mask, given[list(subset)], np.nan)
        own = [naive.drawn_r2(chosen, partial[[s]], np.ones(K), np.ones(K), [0], ranked)[0] for s in range(4)]
        np.testing.assert_allclose(row, own, rtol=1e-8)
    np.testing.assert_array_equal(found.n_pairs, (np.isfinite(partial) & mask).sum(axis=1))


@pytest.mark.parametrize("ranked", [False, True])
def test_held_out_parts_of_partial_rdms_equal_plain_loops(rng, components, data, ranked):
    partial = holed(rng, data, 0.1)
    rows = np.arange(K)
    splits = cross([(rows[:6], rows[6:]), (rows[6:], rows[:6])], 4, 2, seed=1)
    found = partition_variance(list(components[:, None]), partial, splits=splits, ranked=ranked)
    for subset, row in zip(found.subsets, found.r2, strict=True):
        table = np.full((4, 4), np.nan)
        for f, split in enumerate(splits):
            train, test = np.isin(rows, split.train_stimuli), np.isin(rows, split.test_stimuli)
            r2 = naive.drawn_r2(components[list(subset)], partial, train, test, split.train_rdms, ranked)
            table[f, split.test_rdms] = r2[split.test_rdms]
        np.testing.assert_allclose(row, np.nanmean(table, axis=0), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["pearson", "cosine", "rho_a"])
def test_inference_on_fitted_models_takes_the_common_pairs(rng, components, data, method):
    partial = holed(rng, data, 0.02)
    given = [rc.rdm_models.weighted(components), rc.rdm_models.select(components), rc.rdm_models.fixed(components[0])]
    options = {"method": method, "nan": "common", "n_bootstraps": 40, "bootstrap": "subjects"}
    found = rc.rsa_inference(given, partial, **options)
    common = np.isfinite(partial).all(axis=0)
    assert found.attrs["n_pairs_used"] == common.sum() < N
    lost = np.where(common, data, np.nan)  # the same pairs missing everywhere: the same numbers
    again = rc.rsa_inference(given, lost, **options)
    np.testing.assert_allclose(found["score"].values, again["score"].values, rtol=1e-10)
    spoiled = [rc.rdm_models.weighted(np.where(common, components, 99.0)), *given[1:]]
    np.testing.assert_allclose(
        rc.rsa_inference(spoiled, partial, **options)["score"].values, found["score"].values, rtol=1e-10
    )
    with pytest.raises(MeasureError, match="nan='common'"):
        rc.rsa_inference(given, partial)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda d, x: rc.rdm_models.fixed(np.where(np.arange(N) < 2, d[0], np.nan)), "RDM 0 has 2 finite pairs"),
        (lambda d, x: rc.rdm_models.fixed(np.where(np.arange(N) < 2, d[0], np.inf)), "64 values are infinite"),
        (
            lambda d, x: rc.rdm_models.weighted(
                [np.where(np.arange(N) < 33, d[0], np.nan), np.where(np.arange(N) > 30, d[1], np.nan)]
            ),
            "weighted: 2 pairs of stimuli are in all",
        ),
        (
            lambda d, x: rc.rdm_models.fit(
                rc.rdm_models.weighted(np.where(np.arange(N) < 20, d[:2], np.nan)),
                np.where(np.arange(N) > 18, d, np.nan),
            ),
            "data RDM 0 has 1 of the pairs of weighted",
        ),
        (
            lambda d, x: rc.rdm_models.cross_validate(
                rc.rdm_models.fixed(d[0]), np.where(np.arange(N) > 40, d, np.nan)
            ),
            "data RDM .* fewer folds",
        ),
        (lambda d, x: rc.fr_rsa(x, np.where(np.arange(N) > 40, d, np.nan)), "expected at least 3; leave it out"),
        (lambda d, x: rc.fr_rsa(x, np.where(np.arange(N) > 40, d, np.inf)), "infinite; expected RDMs"),
        (
            lambda d, x: rc.variance_partitioning(np.where(np.arange(N) > 64, d, np.nan), {"a": d[0]}),
            "data RDM 0 shares 1 pairs",
        ),
        (
            lambda d, x: rc.variance_partitioning(np.where(np.arange(N) > 40, d, np.nan), {"a": d[0]}),
            "shares fewer than 3 pairs .* fewer folds",
        ),
        (lambda d, x: rc.variance_partitioning(d, {"a": np.where(d[0] > 1, np.inf, d[0])}), "models: .* infinite"),
    ],
)
def test_messages(rng, data, call, message):
    with pytest.raises(MeasureError, match=message):
        call(data, rng.normal(size=(K, 3)))
