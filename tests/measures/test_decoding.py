"""Decoders against refits by plain linear algebra, against scikit-learn, and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.measures.decoding import _hat
from repcompare.measures.decoding import crossvalidate as crossvalidation
from repcompare.measures.decoding._linear import fit_linear, principal, total_scale, votes
from repcompare.measures.decoding._margins import fit_margin
from repcompare.measures.decoding._shrunk import fit_shrunk
from repcompare.measures.decoding.crossvalidate import Task, _smoothers, crossvalidate, fit, prepare, smoothed
from repcompare.measures.decoding.models import make_model
from tests import naive_decoding as naive

WIDE, TALL = (40, 70), (60, 12)
ALL = [
    ("ridge", {}),
    ("ridge", {"alpha": 2.0}),
    ("lda", {"alpha": 0.1}),
    ("lda", {"shrinkage": 0.3}),
    ("lda", {}),
    ("nearest_centroid", {}),
]


def problem(n, p, classes=3, seed=0, k=4, offset=3.0):
    """Unequal classes, unequal folds, rows that no fold tests (a gap)."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.minimum(np.arange(n) % (classes + 1), classes - 1))
    x = rng.normal(size=(n, p)) * np.linspace(2, 0.3, p) + 0.5 * rng.normal(size=(classes, p))[y] + offset
    order = rng.permutation(n)
    tests = [np.sort(v[f:]) for f, v in enumerate(np.array_split(order, k))]
    folds = Folds(tuple((np.setdiff1d(order, v)[f:], v) for f, v in enumerate(tests)), n)
    return x, y, folds


def task(y, folds, model, scoring="balanced_accuracy", **options):
    codes = np.atleast_2d(y)
    return Task(
        codes=codes, n_classes=codes.max() + 1, folds=folds, model=make_model(model, **options), scoring=scoring
    )


def centred(values):
    return values - values.mean(axis=-2, keepdims=True)


def expected(x, y, train, test, model, options):
    classes, p, scale = y.max() + 1, x.shape[1], total_scale(x)
    if model == "ridge":
        return naive.ridge_values(x, y, train, test, classes, options.get("alpha", 0.1) * scale)
    if model == "nearest_centroid":
        return naive.centroid_values(x, y, train, test, classes)
    if "alpha" in options:
        covariance = (naive.within(x, y, train, classes) + options["alpha"] * scale * np.eye(p)) / len(train)
        return naive.lda_values(x, y, train, test, classes, covariance)
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=options.get("shrinkage", "auto"))
    values = peer.fit(x[train], y[train]).decision_function(x[test])
    return values.T if values.ndim == 2 else np.stack([-values / 2, values / 2])


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("model", "options"), ALL, ids=str)
def test_values_are_those_of_a_refit(size, classes, model, options):
    x, y, folds = problem(*size, classes=classes)
    job = task(y, folds, model, **options)
    smoothers = _smoothers(prepare(x), job)
    for f, (train, test) in enumerate(folds.splits):
        labels = y[None, train]
        truth = centred(expected(x, y, train, test, model, options))
        fitted = fit(x[train], labels, job, train, total_scale(x))
        found = [fitted.decide(x[test])[0]]
        if smoothers[f] is not None:
            found.append(smoothed(job.model, smoothers[f], labels, classes)[0][0])
        for values in found:
            np.testing.assert_allclose(centred(values), truth, rtol=0, atol=1e-10 * np.abs(truth).max())
    assert (smoothers[0] is not None) == (size == WIDE and job.model.smooths)


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["wide", "tall"])
def test_lda_in_closed_form_is_exact(size):
    """Against the explicit inverse of a well-conditioned covariance: 13 digits."""
    x, y, folds = problem(*size, offset=0.0)
    train, test = folds.splits[0]
    job = task(y, folds, "lda", alpha=1.0)
    covariance = (naive.within(x, y, train, 3) + total_scale(x) * np.eye(x.shape[1])) / len(train)
    truth = centred(naive.lda_values(x, y, train, test, 3, covariance))
    smoother = _hat.ridge_smoothers(_hat.centred_kernel(x), folds, total_scale(x))[0]
    found = centred(smoothed(job.model, smoother, y[None, train], 3)[0][0])
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-13 * np.abs(truth).max())


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("scoring", ["balanced_accuracy", "accuracy", "auc"])
@pytest.mark.parametrize(("model", "options"), ALL[2:], ids=str)
def test_scores_of_many_sets_of_labels_are_those_of_each(size, model, options, scoring):
    x, y, folds = problem(*size)
    rng = np.random.default_rng(1)
    sets = np.stack([y, *(rng.permutation(y) for _ in range(4))])
    together = crossvalidate(x, task(sets, folds, model, scoring, **options))
    assert together.score.shape == (5,)
    for b, labels in enumerate(sets):
        tables, areas = [], []
        for train, test in folds.splits:
            values = expected(x, labels, train, test, model, options)
            tables.append(naive.confusion(values, labels[test], 3))
            comparable = values - values.mean(axis=0)
            if model == "lda":
                comparable = naive.log_odds(values)
            if len(np.unique(labels[test])) == 3:
                areas.append(np.mean([naive.area(comparable[k], labels[test] == k) for k in range(3)]))
        table = np.sum(tables, axis=0)
        truth = {
            "balanced_accuracy": naive.balanced_accuracy(table),
            "accuracy": np.trace(table) / table.sum(),
            "auc": np.mean(areas) if areas else np.nan,
        }[scoring]
        assert together.score[b] == pytest.approx(truth, abs=1e-12)
        if b == 0:
            np.testing.assert_array_equal(together.confusion, table)


def test_a_fold_that_is_fitted_closely_is_refitted(monkeypatch):
    """Where I - H_RR is nearly singular the values come from a fit of their own, to ten digits all the same."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 300)), np.arange(24) % 2
    folds = Folds(tuple((np.flatnonzero(np.arange(24) % 3 != f), np.arange(f, 24, 3)) for f in range(3)), 24)
    scale = total_scale(x)
    assert _hat.ridge_smoothers(_hat.centred_kernel(x), folds, 1e-9 * scale)[0] is None
    assert _hat.ridge_smoothers(_hat.centred_kernel(x), folds, 0.1 * scale)[0] is not None
    monkeypatch.setattr(crossvalidation, "score_fold", lambda values, *_: found.append(values))
    monkeypatch.setattr(crossvalidation, "combine", lambda *_: (np.zeros(1), np.zeros((1, 3)), np.zeros((1, 2, 2))))
    found: list[np.ndarray] = []
    crossvalidate(x, task(y, folds, "ridge", alpha=1e-9))
    for (train, test), values in zip(folds.splits, found, strict=True):
        apart = x[train] - x[train].mean(axis=0)  # least squares with rows sqrt(alpha) I: no squared condition number
        rows = np.concatenate([apart, np.sqrt(1e-9 * scale) * np.eye(300)])
        onehot = np.eye(2)[y[train]]
        w = np.linalg.lstsq(rows, np.concatenate([onehot - onehot.mean(axis=0), np.zeros((300, 2))]), rcond=None)[0]
        truth = (x[test] - x[train].mean(axis=0)) @ w + onehot.mean(axis=0)
        np.testing.assert_allclose(values[0], truth.T, rtol=0, atol=1e-10)


def test_the_ridge_direction_of_two_classes_is_the_lda_direction():
    x, y, _ = problem(50, 20, classes=2)
    scale = total_scale(x)
    a, b = (fit_linear(make_model(m, alpha=0.5), x, y[None], 2, scale).unit_weights()[0] for m in ("ridge", "lda"))
    a, b = a[1] - a[0], b[1] - b[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(1.0, abs=1e-12)


def test_lda_with_much_shrinkage_is_the_nearest_centroid_of_equal_classes():
    x, _, _ = problem(60, 15)
    y = np.arange(60) % 3
    values = fit_linear(make_model("lda", alpha=1e9), x, y[None], 3, 1.0).decide(x)[0] * 1e9 / 60
    prior = np.log(1 / 3) * 1e9 / 60
    centroid = fit_linear(make_model("nearest_centroid"), x, y[None], 3, 1.0).decide(x)[0]
    np.testing.assert_allclose(centred(values - prior), centred(centroid), atol=1e-5)


@pytest.mark.parametrize(("model", "options"), [c for c in ALL if c != ("lda", {})], ids=str)
def test_invariances(model, options):
    """Rotation, offset and scale of x change nothing; neither does the order of units."""
    x, y, folds = problem(*WIDE)
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.normal(size=(70, 70)))[0]
    job = task(y, folds, model, "auc", **options)
    score = crossvalidate(x, job).score[0]
    for moved in (x @ q, x + 1e3, x * 1e-6, x * 1e6, x[:, ::-1]):
        assert crossvalidate(moved, job).score[0] == pytest.approx(score, abs=1e-9)


def test_sets_of_labels_are_cut_into_batches(monkeypatch):
    x, y, folds = problem(*WIDE)
    rng = np.random.default_rng(1)
    job = task(np.stack([y, *(rng.permutation(y) for _ in range(20))]), folds, "lda", alpha=0.1)
    whole = crossvalidate(x, job)
    monkeypatch.setattr("repcompare.measures.decoding.crossvalidate.BATCH_BYTES", 10_000)
    parts = crossvalidate(x, job)
    np.testing.assert_array_equal(whole.score, parts.score)
    np.testing.assert_array_equal(whole.confusion, parts.confusion)


def test_constant_units_change_no_decision():
    x, y, folds = problem(*WIDE)
    for model, options in ALL:
        job = task(y, folds, model, **options)
        with_constant = np.concatenate([x, np.full((len(x), 1), 7.0)], axis=1)
        tolerance = (
            0.1 if "alpha" in options or "shrinkage" in options or model == "ridge" else 0
        )  # the unit of alpha moves
        assert crossvalidate(with_constant, job).score[0] == pytest.approx(
            crossvalidate(x, job).score[0], abs=tolerance
        )


def test_units_silent_in_one_class_agree_with_scikit_learn():
    x, y, _ = problem(50, 30)
    x[y == 1, 4] = 0.0
    x[:, 6] = 2.0
    truth = expected(x, y, np.arange(50), np.arange(50), "lda", {})
    found = fit_shrunk(x, y[None], 3).decide(x)[0]
    np.testing.assert_allclose(centred(found), centred(truth), atol=1e-10 * np.abs(truth).max())


def test_two_rows_per_class_determine_no_shrinkage():
    rng = np.random.default_rng(0)
    with pytest.raises(MeasureError, match="use alpha=0.1"):
        fit_shrunk(rng.normal(size=(4, 20)), np.array([[0, 0, 1, 1]]), 2)
    with pytest.raises(MeasureError, match="do not vary within the classes"):
        fit_linear(
            make_model("lda", shrinkage=0.5), np.repeat(np.eye(2, 9), 3, axis=0), np.repeat([[0, 1]], 3, 1), 2, 1.0
        )


def test_no_variance_raises():
    _, y, folds = problem(*WIDE)
    for model in ("ridge", "lda", "nearest_centroid", "svm"):
        with pytest.raises(MeasureError, match="no variance"):
            crossvalidate(np.full(WIDE, 3.0), task(y, folds, model))


# Logistic regression and support vector machines


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("model", ["logistic", "svm"])
def test_margins_are_those_of_scikit_learn_on_scaled_rows(size, classes, model):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    x, y, folds = problem(*size, classes=classes)
    estimator = (
        LogisticRegression(C=0.3, max_iter=5000, tol=1e-9)
        if model == "logistic"
        else SVC(C=0.3, kernel="linear", break_ties=classes > 2, tol=1e-8)
    )
    for train, test in folds.splits:
        peer = make_pipeline(StandardScaler(), estimator).fit(x[train], y[train])
        fitted = fit_margin(make_model(model, C=0.3), x[train], y[None, train], classes, None)
        values = fitted.decide(x[test])[0]
        assert (values.argmax(axis=0) == peer.predict(x[test])).mean() == 1.0
        if model == "logistic":
            odds = np.exp(values - values.max(axis=0))
            np.testing.assert_allclose((odds / odds.sum(axis=0)).T, peer.predict_proba(x[test]), atol=2e-3)


def test_votes_of_pairs():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(6, 30))
    found = votes(pairs[None], 4)[0]
    np.testing.assert_array_equal(np.round(found), naive.votes(pairs, 4))
    assert np.abs(found - np.round(found)).max() < 1 / 3


def test_a_list_of_penalties_is_chosen_inside_the_training_rows(monkeypatch):
    from repcompare.measures.decoding import _margins

    x, y, folds = problem(60, 30, classes=2)
    seen = []
    original = _margins._inner

    def inner(labels, groups):
        splits = original(labels, groups)
        seen.append((len(labels), None if groups is None else groups.copy(), splits))
        return splits

    monkeypatch.setattr(_margins, "_inner", inner)
    crossvalidate(x, task(y, folds, "svm", C=[1e-3, 1.0]))
    assert [n for n, _, _ in seen] == [len(train) for train, _ in folds.splits]
    groups = np.arange(60) // 6
    grouped = Folds(
        tuple((np.flatnonzero(groups % 5 != f), np.flatnonzero(groups % 5 == f)) for f in range(5)), 60, groups=groups
    )
    seen.clear()
    crossvalidate(x, task(y, grouped, "logistic", C=[1e-3, 1.0]))
    for _, held, splits in seen:
        for a, b in splits:
            assert not np.intersect1d(held[a], held[b]).size


def test_a_penalty_that_is_too_small_is_not_chosen():
    rng = np.random.default_rng(3)
    y = (np.arange(60) % 3 == 0).astype(int)  # with a tiny C everything is decoded as the larger class
    x = rng.normal(size=(60, 4)) * 0.3 + y[:, None]
    chosen = [fit_margin(make_model("svm", C=c), x, y[None], 2, None).weights for c in (1e-6, 1.0, [1e-6, 1.0])]
    np.testing.assert_array_equal(chosen[2], chosen[1])
    assert np.abs(chosen[0] - chosen[1]).max() > 1e-3


# Options


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("ldaa", {}, "did you mean 'lda'"),
        ("ridge", {"shrinkage": 0.1}, "has no option 'shrinkage'; it has alpha"),
        ("nearest_centroid", {"alpha": 0.1}, "it has none"),
        ("lda", {"alpha": 0.1, "shrinkage": "auto"}, "exclude each other"),
        ("lda", {"alpha": 0.0}, "expected a number above 0"),
        ("lda", {"shrinkage": 1.0}, "between 0 and 1"),
        ("lda", {"shrinkage": "aut"}, "did you mean 'auto'"),
        ("svm", {"C": [1, -1]}, "expected a number above 0"),
    ],
)
def test_options_that_do_not_exist(name, options, match):
    with pytest.raises(OptionError, match=match):
        make_model(name, **options)


def test_principal_scores_keep_all_products():
    for size in (WIDE, TALL):
        x, _, _ = problem(*size)
        parts = principal(x)
        apart = x - x.mean(axis=0)
        np.testing.assert_allclose(parts.scores @ parts.scores.T, apart @ apart.T, atol=1e-9)
        np.testing.assert_allclose(parts.scores, apart @ parts.basis, atol=1e-9)
        np.testing.assert_allclose(parts.scores.T @ parts.scores, np.diag(parts.lam), atol=1e-9)


def test_many_sets_of_labels_are_smoothed_even_where_there_are_fewer_units_than_rows():
    """120 rows and 80 units: one problem of the rows serves a thousand sets; the scores do not depend on the form."""
    x, y, _ = problem(120, 80, classes=2)
    folds = Folds(tuple((np.flatnonzero(np.arange(120) % 5 != f), np.arange(f, 120, 5)) for f in range(5)), 120)
    rng = np.random.default_rng(0)
    sets = np.stack([y, *(rng.permutation(y) for _ in range(300))])
    for model in ("ridge", "lda"):
        job = task(sets, folds, model, "auc", alpha=0.1)
        assert _smoothers(prepare(x), job)[0] is not None
        assert _smoothers(prepare(np.tile(x, (20, 1))), task(np.tile(y, 20), folds, model, alpha=0.1))[0] is None
        few = crossvalidate(x, task(sets[:2], folds, model, "auc", alpha=0.1)).score
        np.testing.assert_allclose(crossvalidate(x, job).score[:2], few, atol=1e-12)
