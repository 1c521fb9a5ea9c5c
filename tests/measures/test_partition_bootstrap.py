"""Intervals of a variance partitioning: against resampled RDMs that are built, and against fresh experiments."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import MeasureError, OptionError
from repcompare.measures.rsa._partition_bootstrap import Regression, bootstrap_r2
from repcompare.measures.rsa._resampled_bootstrap import FACTORS
from repcompare.measures.rsa._resampled_folds import assign
from repcompare.measures.rsa.partitioning import prepared
from repcompare.statistics.two_factor import draw_counts, draw_uniform, two_factor_variance
from tests import naive_rsa_missing as naive

K, S, SAMPLES = 22, 5, 4
N = K * (K - 1) // 2


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def problem(rng, holes=0.0):
    groups = [rng.random((m, N)) for m in (1, 2)]
    data = groups[0][0] + groups[1].sum(axis=0) + rng.random((S, N))
    return groups, np.where(rng.random(data.shape) < holes, np.nan, data)


def drawn(rng, assignments=2):
    draws = draw_counts(K, SAMPLES, 3, "stimuli"), draw_counts(S, SAMPLES, 3, "subjects")
    keys = rng.random((SAMPLES, assignments, K)), rng.random((SAMPLES, assignments, S))
    return draws, keys


@pytest.mark.parametrize("holes", [0.0, 0.05])
@pytest.mark.parametrize("n_folds", [None, (2, 2), (2, 1)])
def test_draws_equal_resampled_rdms(rng, holes, n_folds):
    groups, data = problem(rng, holes)
    (c, b), keys = drawn(rng)
    subsets, chosen, given = prepared(groups, data, ranked=False)
    found = bootstrap_r2(Regression(given, chosen, False, n_folds), (c, b), keys, FACTORS["stimuli_and_subjects"])
    stack, once = np.concatenate(groups), (np.ones(K, dtype=int), np.ones(S, dtype=int))
    compared = 0
    for factor, values in found.items():
        for i in range(SAMPLES):
            counts = once[0] if factor == "subjects" else c[i]
            who = once[1] if factor == "stimuli" else b[i]
            for a in range(values.shape[1]):
                folds = (None, None)
                if n_folds:
                    folds = assign(keys[0][i, a], counts, n_folds[0]), assign(keys[1][i, a], who, n_folds[1])
                    if n_folds[1] == 1:
                        continue  # all subjects train and test: below
                expected = [naive.bootstrap_r2(stack[columns], data, counts, who, *folds) for columns in chosen]
                np.testing.assert_allclose(values[i, a], expected, rtol=1e-8, atol=1e-10)
                compared += 1
    assert compared or n_folds == (2, 1)
    assert len(subsets) == 3 and all(np.isfinite(values).all() for values in found.values())


def test_ranked_draws_equal_resampled_rdms(rng):
    groups, data = problem(rng)
    (c, b), keys = drawn(rng)
    _, chosen, given = prepared(groups, data, ranked=True)
    found = bootstrap_r2(Regression(given, chosen, False, None), (c, b), keys, ("stimuli",))["stimuli"]
    stack = np.concatenate(groups)[chosen[0]]
    own = [naive.drawn_r2(stack, data[[s]], c[1], c[1], [0], ranked=True)[0] for s in range(S)]
    assert found[1, 0, 0] == pytest.approx(np.mean(own), rel=1e-8)


def test_one_subject_fold_trains_and_tests_all(rng):
    groups, data = problem(rng)
    (c, b), keys = drawn(rng, 1)
    _, chosen, given = prepared(groups, data, ranked=False)
    found = bootstrap_r2(Regression(given, chosen, False, (2, 1)), (c, b), keys, ("stimuli_and_subjects",))
    stack = np.concatenate(groups)
    for i in range(SAMPLES):
        fold, who = assign(keys[0][i, 0], c[i], 2), [s for s in range(S) for _ in range(b[i, s])]
        parts = []
        for f in range(2):
            train, test = np.where(fold == f, 0, c[i]), np.where(fold == f, c[i], 0)
            parts.append(naive.drawn_r2(stack[chosen[-1]], data, train, test, who)[who].mean())
        assert found["stimuli_and_subjects"][i, 0, -1] == pytest.approx(np.mean(parts), rel=1e-8)


def test_variances_are_those_of_the_draws(rng):
    groups, data = problem(rng)
    models = {"one": groups[0], "two": groups[1]}
    found = rc.variance_partitioning(data, models, cross_validated=False, n_bootstraps=30, seed=4)
    draws = draw_counts(K, 30, 4, "stimuli"), draw_counts(S, 30, 4, "subjects")
    keys = draw_uniform(2 * K, 30, 0, "x").reshape(30, 2, K), draw_uniform(2 * S, 30, 0, "x").reshape(30, 2, S)
    _, chosen, given = prepared(groups, data, ranked=False)
    r2 = bootstrap_r2(Regression(given, chosen, False, None), draws, keys, FACTORS["stimuli_and_subjects"])
    v = {f: values[:, 0].var(axis=0, ddof=1) for f, values in r2.items()}
    expected = two_factor_variance(v["subjects"], v["stimuli"], v["stimuli_and_subjects"], (S, K))
    np.testing.assert_allclose(found["r2_variance"], expected, rtol=1e-10)
    unique = {f: values[:, 0, 2] - values[:, 0, 1] for f, values in r2.items()}  # of the first model
    v = {f: values.var(ddof=1) for f, values in unique.items()}
    expected = two_factor_variance(v["subjects"], v["stimuli"], v["stimuli_and_subjects"], (S, K))
    assert found["unique_variance"].sel(model="one").item() == pytest.approx(expected, rel=1e-9)
    assert found["dof"] == S - 1 and found["n_samples_used"] + found["n_samples_dropped"] == 30
    np.testing.assert_allclose(found["part_mean"], found["part"].mean("rdm"))
    np.testing.assert_allclose(found["r2_high"] - found["r2_mean"], found["r2_mean"] - found["r2_low"])
    assert "warnings" not in found.attrs
    few = rc.variance_partitioning(data[:, :105], {"one": groups[0][:, :105]}, cross_validated=False, n_bootstraps=9)
    assert few.attrs["warnings"][0].startswith("few_stimuli: 15")


@pytest.mark.parametrize("cross_validated", [True, False])
def test_one_rdm_has_intervals_over_stimuli(rng, cross_validated):
    groups, data = problem(rng)
    models = {"one": groups[0], "two": groups[1]}
    options = {"cross_validated": cross_validated, "bootstrap": "stimuli", "n_bootstraps": 60, "folds": 2}
    found = rc.variance_partitioning(data[0], models, **options)
    assert (found["r2_low"] <= found["r2_high"]).all() and found["dof"] == K - 1
    again = rc.variance_partitioning(data[0], models, **options)
    assert found.identical(again)
    none = rc.variance_partitioning(data[0], models, cross_validated=cross_validated, folds=2)
    assert "r2_low" not in none and np.array_equal(none["r2"], found["r2"])


def experiment(rng, patterns, shared, subjects=8):
    """RDMs of subjects that see all of what the models are made of, each with noise of their own."""
    k = len(patterns[0])
    i, j = np.triu_indices(k, 1)

    def rdm(x):
        return ((x[i] - x[j]) ** 2).mean(axis=1)

    stacked = np.concatenate(patterns, axis=1)
    data = []
    for _ in range(subjects):
        gains = np.exp(0.5 * rng.normal(size=stacked.shape[1]))
        data.append(rdm(stacked * gains) + shared * rng.normal(size=len(i)))
    return {f"m{n}": rdm(x) for n, x in enumerate(patterns)}, np.array(data)


@pytest.mark.slow
def test_variance_is_that_of_fresh_experiments():
    """New stimuli and new subjects: the corrected variance of R^2 and of a unique part is right, the raw one is not."""
    rng = np.random.default_rng(0)

    def fresh():
        x = rng.normal(size=(24, 6))
        return experiment(rng, (x[:, :3], x[:, 3:]), 0.5)

    truth = []
    for _ in range(200):
        models, data = fresh()
        found = rc.variance_partitioning(data, models, cross_validated=False)
        truth.append([found["r2"][-1].mean(), found["unique"][0].mean()])
    truth = np.var(truth, axis=0, ddof=1)
    centre = np.array(
        [
            [f["r2"][-1].mean(), f["unique"][0].mean()]
            for f in [rc.variance_partitioning(*fresh()[::-1], cross_validated=False) for _ in range(200)]
        ]
    ).mean(axis=0)
    estimates, covered = [], []
    for _ in range(30):
        models, data = fresh()
        found = rc.variance_partitioning(data, models, cross_validated=False, n_bootstraps=150)
        estimates.append([found["r2_variance"][-1], found["unique_variance"][0]])
        low = [found["r2_low"][-1], found["unique_low"][0]]
        high = [found["r2_high"][-1], found["unique_high"][0]]
        covered.append((low <= centre) & (centre <= high))
    ratio = np.mean(estimates, axis=0) / truth
    print(ratio, np.mean(covered, axis=0))
    assert (ratio > 0.7).all() and (ratio < 1.6).all()
    assert np.mean(covered, axis=0).min() >= 0.85


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_bootstraps": 1}, OptionError, "n_bootstraps=1"),
        ({"n_bootstraps": True}, OptionError, "n_bootstraps=True"),
        ({"bootstrap": "stimulus", "n_bootstraps": 9}, OptionError, "bootstrap='stimulus'"),
        ({"confidence": 95, "n_bootstraps": 9}, OptionError, "confidence=95"),
        ({"n_bootstraps": 9, "folds": 7}, MeasureError, "0 of 9 bootstrap samples"),
    ],
)
def test_messages(rng, options, error, match):
    groups, data = problem(rng)
    with pytest.raises(error, match=match):
        rc.variance_partitioning(data, {"one": groups[0]}, **options)
    with pytest.raises(MeasureError, match="bootstrap='stimuli'"):
        rc.variance_partitioning(data[0], {"one": groups[0]}, n_bootstraps=9)
