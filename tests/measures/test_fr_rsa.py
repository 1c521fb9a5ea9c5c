"""Feature-reweighted RSA: normal equations against the matrix that is formed, and scores on held-out stimuli."""

from __future__ import annotations

import numpy as np
import pytest

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError
from repcompare.labels.rdms import rdm_set, select_stimuli
from repcompare.measures.rsa import _feature_weights as weights_of
from repcompare.measures.rsa import reweighted
from repcompare.measures.rsa._subsets import parts, shuffle_splits
from tests import naive_rsa
from tests import naive_rsa_models as naive


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def problem(rng, k, p, t=2):
    x = rng.normal(size=(k, p)) + rng.normal(size=p)
    d = naive.squared_differences(x) @ rng.exponential(size=(p, t)) + rng.normal(size=(k * (k - 1) // 2, t))
    return x, d.T


@pytest.mark.parametrize("k, p", [(4, 2), (8, 5), (11, 40)])
def test_normal_equations_equal_the_formed_matrix(rng, k, p):
    x, d = problem(rng, k, p)
    d = d - d.mean(axis=1, keepdims=True)
    f = naive.squared_differences(x)
    found = weights_of.normal_equations(x + 1e3, d)
    z = (f - f.mean(axis=0)) / f.std(axis=0)
    np.testing.assert_allclose(found.mean, f.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.scale, f.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.gram, z.T @ z / len(f), atol=1e-9)
    np.testing.assert_allclose(found.cross, z.T @ d.T / len(f), atol=1e-9 * np.abs(d).max())


@pytest.mark.parametrize("k, p", [(8, 5), (7, 40)], ids=["primal", "dual"])
def test_ridge_equals_the_regression_on_the_formed_matrix(rng, k, p):
    x, d = problem(rng, k, p)
    x[:, 1] = 3.0  # a feature that does not differ
    for penalty in (0.01, 1.0, 50.0):
        found = reweighted.fit_targets(reweighted.checked_features(x, penalty), x, d, [0])
        for t in range(2):
            w, intercept = naive.ridge(x, d[t], penalty)
            np.testing.assert_allclose(found.weights[:, t], w, rtol=1e-7, atol=1e-9 * np.abs(w).max())
            assert found.intercept[t] == pytest.approx(intercept, rel=1e-8)


def test_primal_equals_dual(rng, monkeypatch):
    x, d = problem(rng, 9, 20)
    d = d - d.mean(axis=1, keepdims=True)
    monkeypatch.setattr(weights_of, "BLOCK", 100)  # several blocks of features
    primal, mean = weights_of.weight_path(x, d, [10.0, 0.1], False)
    dual, other = weights_of._dual_path(x, d, [10.0, 0.1])
    np.testing.assert_allclose(dual, primal, rtol=1e-8, atol=1e-10 * np.abs(primal).max())
    np.testing.assert_allclose(other, mean, rtol=1e-10)


def test_nonnegative_weights_equal_scipy(rng):
    x, d = problem(rng, 9, 6)
    d[1] -= 3 * naive.squared_differences(x)[:, 0]
    for penalty in (1e-3, 0.5):
        features = reweighted.checked_features(x, [penalty, 100.0], True)
        path, _ = weights_of.weight_path(x, d - d.mean(axis=1, keepdims=True), features.penalties, True)
        for t in range(2):
            w, _ = naive.nonnegative_ridge(x, d[t], penalty)
            np.testing.assert_allclose(path[1, :, t], w, rtol=1e-7, atol=1e-9 * w.max())
            assert path.min() >= 0


def test_weighted_distances_in_blocks(rng, monkeypatch):
    x, w = rng.normal(size=(7, 3)), rng.normal(size=(3, 2))
    monkeypatch.setattr(weights_of, "BLOCK", 7)
    np.testing.assert_allclose(weights_of.weighted_distances(x, w), naive.squared_differences(x) @ w, rtol=1e-12)


def test_the_penalty_has_the_least_held_out_error(rng):
    x, d = problem(rng, 16, 10)
    penalties = (100.0, 1.0, 0.01)
    found = reweighted.fit_targets(reweighted.checked_features(x, penalties), x, d, [3])
    error = np.zeros((3, 2))
    for train, test in parts(16, 5, [3]):
        for t in range(2):
            inside, held = naive.within(d[t], train, 16), naive.within(d[t], test, 16)
            for v, penalty in enumerate(penalties):
                w, intercept = naive.ridge(x[train], inside, penalty)
                error[v, t] += np.sum((held - intercept - naive.squared_differences(x[test]) @ w) ** 2)
    np.testing.assert_array_equal(found.penalty, np.array(penalties)[np.argmin(error, axis=0)])


@pytest.mark.parametrize("level", ["rdm", "group"])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_held_out_scores_equal_plain_loops(rng, level, method):
    k = 16
    x, d = problem(rng, k, 4, 3)
    found = reweighted.fr_rsa(reweighted.checked_features(x, 0.3, seed=2), d, method=method, level=level, repeats=2)
    table, equal = [], []
    for repeat in range(2):
        for train, test in shuffle_splits(k, 5, [2, repeat]):
            assert not set(train) & set(test) and len(test) == 4
            inside = np.array([naive.within(row, train, k) for row in d])
            z = (inside - inside.mean(axis=1, keepdims=True)) / inside.std(axis=1, keepdims=True)
            target = [z.mean(axis=0)] * 3 if level == "group" else z
            f = naive.squared_differences(x[test])
            held = [naive.within(row, test, k) for row in d]
            fits = [naive.ridge(x[train], row, 0.3)[0] for row in target]
            table.append([naive_rsa.compare(f @ w, row, method) for w, row in zip(fits, held, strict=True)])
            equal.append([naive_rsa.compare(f.sum(axis=1), row, method) for row in held])
    np.testing.assert_allclose(found.fold_scores, table, rtol=1e-7, atol=1e-9)
    limit = 1 - 1e-6
    np.testing.assert_allclose(found.scores, np.tanh(np.arctanh(np.clip(table, -limit, limit)).mean(axis=0)), rtol=1e-7)
    np.testing.assert_allclose(
        found.equal_scores, np.tanh(np.arctanh(np.clip(equal, -limit, limit)).mean(axis=0)), rtol=1e-7
    )


def test_outer_folds_and_test_sets():
    assert [reweighted.outer_folds(k) for k in (9, 13, 14, 92)] == [3, 3, 5, 5]
    for k in (9, 13, 14, 15, 22):
        folds = reweighted.outer_folds(k)
        tests = [test for _, test in shuffle_splits(k, folds, [0])]
        assert {len(test) for test in tests} == {-(-k // folds)} and min(map(len, tests)) >= 3
        assert set(np.concatenate(tests)) == set(range(k))
    with pytest.raises(MeasureError, match="8 stimuli; .* at least 9"):
        reweighted.outer_folds(8)


def test_reweighting_finds_features_that_equal_weights_miss(rng):
    x = rng.normal(size=(30, 12))
    d = rc.rdm(x[:, :2], distance="squared_euclidean", normalize_units=False) + 0.3 * rng.normal(size=435)
    found = rc.fr_rsa(x, d, repeats=2)
    assert found["score"][0] > 0.95 > 0.7 > found["score_equal"][0]
    assert set(np.argsort(found["weight"].values[0])[-2:]) == {0, 1}
    np.testing.assert_allclose(found["weight"].values[0, :2], 1, atol=0.1)  # in the units of the data


def test_features_without_relation_score_nothing(rng):
    scores = []
    for _ in range(20):
        found = rc.fr_rsa(rng.normal(size=(16, 5)), rng.random(120), repeats=1, penalty=[0.1, 10.0])
        scores.append(float(found["score"][0]))
    assert abs(np.mean(scores)) < 3 * np.std(scores, ddof=1) / np.sqrt(20)


def test_constant_predictions_score_nothing_and_are_counted(rng):
    x = rng.normal(size=(15, 1))
    d = -naive.squared_differences(x).sum(axis=1)
    found = rc.fr_rsa(x, d, nonnegative=True, penalty=1.0, repeats=1)
    assert found["score"].values.tolist() == [0.0]
    assert found.attrs["n_predictions_constant"] == 5
    assert rc.fr_rsa(x, d, penalty=1e-6, repeats=1)["score"][0] > 0.99


def test_labels_decide_alignment(rng):
    names = np.array([f"s{i:02}" for i in range(15)])
    x, d = problem(rng, 15, 4)
    rep = rc.representation(x, stimulus=names, unit_id=list("abcd"))
    sets = rdm_set(d, stimulus=names, rdm=["one", "two"])
    options = {"penalty": [0.1, 1.0], "repeats": 1, "level": "rdm"}
    first = rc.fr_rsa(rep, sets, **options)
    order = rng.permutation(15)
    other = rc.fr_rsa(rep.isel(stimulus=order), select_stimuli(sets, names[order[::-1]]), **options)
    np.testing.assert_allclose(first["score"].values, other["score"].values, rtol=1e-9)
    np.testing.assert_allclose(first["weight"].values, other["weight"].values, rtol=1e-7)
    assert first["rdm"].values.tolist() == ["one", "two"] and first["unit"].values.tolist() == list("abcd")
    with pytest.raises(AlignmentError, match="s00"):
        rc.fr_rsa(rep, select_stimuli(sets, names[1:]))
    shared = rc.fr_rsa(rep, select_stimuli(sets, names[1:]), stimuli="intersection", **options)
    assert shared.attrs["n_stimuli"] == 14


def test_group_weights_are_one_set(rng):
    x, d = problem(rng, 15, 4, 3)
    found = rc.fr_rsa(x, d, level="group", repeats=1, penalty=0.1)
    assert found["weight"].shape == (1, 4) and found["score"].shape == (3,)
    scaled = rc.fr_rsa(x, d * np.array([[1.0], [100.0], [0.01]]), level="group", repeats=1, penalty=0.1)
    np.testing.assert_allclose(scaled["score"].values, found["score"].values, rtol=1e-9)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x, d: rc.fr_rsa(x[:8], d[:28]), MeasureError, "8 stimuli"),
        (lambda x, d: rc.fr_rsa(x, d[:91]), MeasureError, r"expected RDMs \(n_rdms, 105\)"),
        (lambda x, d: rc.fr_rsa(x, np.where(d > 1, np.nan, d)), MeasureError, "2 of the 3 pairs"),
        (lambda x, d: rc.fr_rsa(x, np.ones(105)), MeasureError, "constant"),
        (lambda x, d: rc.fr_rsa(x * np.nan, d), MeasureError, "missing or infinite"),
        (lambda x, d: rc.fr_rsa(x, d, penalty=np.inf), OptionError, "penalty"),
        (lambda x, d: rc.fr_rsa(x, d, level="groups"), OptionError, "did you mean 'group'"),
        (lambda x, d: rc.fr_rsa(x, d, method="pearsn"), OptionError, "did you mean"),
        (lambda x, d: rc.fr_rsa(x, d, repeats=0), OptionError, "repeats=0"),
        (
            lambda x, d: rc.rdm_models.cross_validate(rc.rdm_models.reweighted(x[:6]), d[:15]),
            MeasureError,
            "cannot choose among penalties",
        ),
    ],
)
def test_messages(rng, call, error, message):
    with pytest.raises(error, match=message):
        call(rng.normal(size=(15, 3)), 2 * rng.random(105))
