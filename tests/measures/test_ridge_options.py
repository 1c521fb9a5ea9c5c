"""Ridge: each option against plain loops or an independent package."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds
from repcompare.measures.encoding import _options, _press, _press_choice, _search
from repcompare.measures.encoding._factor import make_gram
from repcompare.measures.encoding._refit import refit
from repcompare.measures.encoding._select import choose_alpha
from repcompare.measures.encoding.result import encode_arrays
from repcompare.measures.encoding.ridge import predictions_at
from repcompare.statistics.folds import make_folds
from tests import naive_ridge
from tests.measures.test_ridge import ALPHAS, KINDS, grid, simulated

FOLDS = make_folds(40, 5)


def by_scikit_learn(x, y, folds, alphas):
    """Held-out squared errors (n_folds, n_alphas, n_units) and r, by fitting again each time."""
    errors = np.empty((len(folds), len(alphas), y.shape[1]))
    r = np.empty_like(errors)
    for f, (train, test) in enumerate(folds.splits):
        for i, alpha in enumerate(alphas):
            predicted = Ridge(alpha=alpha, solver="svd").fit(x[train], y[train]).predict(x[test])
            errors[f, i] = ((y[test] - predicted) ** 2).sum(axis=0)
            r[f, i] = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, y[test].T, strict=True)]
    return errors, r


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["tall", "between", "wide", "duplicated", "one_hot", "offset"])
def test_every_penalty_agrees_with_scikit_learn(kind, dtype):
    x, y = simulated(kind, seed=20)
    x, y = x.astype(dtype), y.astype(dtype)
    errors, r = by_scikit_learn(x.astype(float), y.astype(float), FOLDS, ALPHAS)
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    for i, alpha in enumerate(ALPHAS):
        found = encode_arrays(x, y, FOLDS, alphas=alpha)
        np.testing.assert_allclose(found.details["r_fold"], r[:, i], rtol=0, atol=tolerance)
        total = sum(((y[b] - y[a].mean(axis=0)) ** 2).sum(axis=0) for a, b in FOLDS.splits)
        r2 = encode_arrays(x, y, FOLDS, alphas=alpha, scoring="r2").unit_scores
        np.testing.assert_allclose(r2, 1 - errors[:, i].sum(axis=0) / total, rtol=0, atol=tolerance)


def test_both_baselines_of_r2():
    x, y = simulated("tall", seed=21)
    errors, _ = by_scikit_learn(x, y, FOLDS, [3.0])
    found = encode_arrays(x, y, FOLDS, alphas=3.0).details
    for f, (train, test) in enumerate(FOLDS.splits):
        around = [((y[test] - m) ** 2).sum(axis=0) for m in (y[train].mean(axis=0), y[test].mean(axis=0))]
        np.testing.assert_allclose(found["r2_fold"][f], 1 - errors[f, 0] / around[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found["r2_fold_testmean"][f], 1 - errors[f, 0] / around[1], rtol=0, atol=1e-9)


def test_himalaya_chooses_the_same_penalties():
    ridge = pytest.importorskip("himalaya.ridge")
    x, y = simulated("tall", seed=22)
    model = ridge.RidgeCV(alphas=ALPHAS, fit_intercept=True, cv=KFold(5)).fit(x, y)
    folds = make_folds(40, KFold(5))
    found = encode_arrays(x, y, folds, alphas=ALPHAS, nested=False, scoring="r2")
    np.testing.assert_allclose(found.alphas, model.best_alphas_)
    weights = refit(x, y, found.alphas)
    np.testing.assert_allclose(weights.coef, model.coef_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weights.intercept, model.intercept_, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["tall", "between", "wide"])
def test_penalties_in_units_of_the_trace(kind):
    x, y = simulated(kind, seed=23)
    found = encode_arrays(x, y, FOLDS, alphas=ALPHAS, alpha_scale="trace")
    for f, (train, _) in enumerate(FOLDS.splits):
        units = [np.trace(np.cov(x[train].T, bias=True)) * len(train) / x.shape[1]]
        np.testing.assert_allclose(found.fold_alphas[f], found.details["fold_alphas_relative"][f] * units[0])
        for u in range(3):
            total = 0.0
            for a, b in naive_ridge.inner_folds(FOLDS.splits, f, 40):
                unit = np.trace(np.cov(x[a].T, bias=True)) * len(a) / x.shape[1]
                total = total + naive_ridge.errors(x, y[:, u], [(a, b)], ALPHAS * unit)
            assert found.details["fold_alphas_relative"][f, u] == pytest.approx(ALPHAS[naive_ridge.best(total)])
    one = encode_arrays(x, y, FOLDS, alphas=ALPHAS, alpha_scale="trace", scoring="r2")
    two = encode_arrays(1000 * x, y, FOLDS, alphas=ALPHAS, alpha_scale="trace", scoring="r2")
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(two.alphas, 1e6 * one.alphas)


@pytest.mark.parametrize("kind", ["tall", "between", "wide", "constant_feature"])
def test_features_are_standardized_by_training_rows(kind):
    x, y = simulated(kind, seed=24)
    x = x * np.geomspace(0.01, 100, x.shape[1])
    found = encode_arrays(x, y, FOLDS, alphas=10.0, standardize=True)
    held = predictions_at(x, y, FOLDS, {"standardize": True}, found.fold_alphas)
    for f, (train, test) in enumerate(FOLDS.splits):
        sd = x[train].std(axis=0)
        sd = np.where(sd < 1e-9, np.inf, sd)
        model = Ridge(alpha=10.0, solver="svd").fit((x[train] - x[train].mean(axis=0)) / sd, y[train])
        predicted = model.predict((x[test] - x[train].mean(axis=0)) / sd)
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, y[test].T, strict=True)]
        np.testing.assert_allclose(found.details["r_fold"][f], r, rtol=0, atol=1e-9)
        about = predicted - y[train].mean(axis=0)
        size = held[f].truth / (y[test] - y[train].mean(axis=0))  # of each unit
        np.testing.assert_allclose(held[f].predicted / size, about, rtol=0, atol=1e-9)
    leaky = Ridge(alpha=10.0).fit(
        (x[train] - x.mean(axis=0)) / np.where(x.std(axis=0) < 1e-9, 1, x.std(axis=0)), y[train]
    )
    other = leaky.predict((x[test] - x.mean(axis=0)) / np.where(x.std(axis=0) < 1e-9, 1, x.std(axis=0)))
    assert np.abs(other - predicted).max() > 1e-6  # scaling by all rows is another model


def test_one_standard_error():
    x, y = simulated("tall", seed=25)
    found = encode_arrays(x, y, FOLDS, alphas=ALPHAS, one_se=True)
    plain = encode_arrays(x, y, FOLDS, alphas=ALPHAS)
    for f in range(5):
        for u in range(3):
            inner = naive_ridge.inner_folds(FOLDS.splits, f, 40)
            parts = np.array([naive_ridge.errors(x, y[:, u], [pair], ALPHAS) for pair in inner])
            total, at = parts.sum(axis=0), parts.sum(axis=0).argmin()
            error = np.sqrt(len(inner)) * parts[:, at].std(ddof=1)
            assert found.fold_alphas[f, u] == ALPHAS[np.flatnonzero(total <= total[at] + error).max()]
    assert (found.fold_alphas >= plain.fold_alphas).all()
    assert (found.fold_alphas > plain.fold_alphas).any()


def test_selection_by_r():
    x, y = simulated("tall", seed=26)
    found = encode_arrays(x, y, FOLDS, alphas=ALPHAS, select_by="pearson")
    for f in range(5):
        inner = naive_ridge.inner_folds(FOLDS.splits, f, 40)
        folds = Folds(tuple(inner), 40)
        _, r = by_scikit_learn(x, y, folds, ALPHAS)
        np.testing.assert_allclose(found.fold_alphas[f], ALPHAS[r.sum(axis=0).argmax(axis=0)])


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", ["tall", "wide"])
def test_refined_penalties_are_the_minimum_between_those_of_the_grid(kind, nested):
    x, y = simulated(kind, seed=27)
    coarse = np.logspace(-2, 4, 4)
    found = encode_arrays(x, y, FOLDS, alphas=coarse, refine=True, nested=nested)
    plain = encode_arrays(x, y, FOLDS, alphas=coarse, nested=nested)
    for u in range(2):
        fine = np.exp(np.log(plain.alphas[u]) + np.linspace(-np.log(100), np.log(100), 401))
        fine = fine[(fine >= coarse[0]) & (fine <= coarse[-1] * (1 + 1e-12))]
        best = naive_ridge.errors(x, y[:, u], FOLDS.splits, fine).min()
        at_found, at_plain = (
            naive_ridge.errors(x, y[:, u], FOLDS.splits, [alpha])[0] for alpha in (found.alphas[u], plain.alphas[u])
        )
        assert at_found <= best * (1 + 1e-6)
        assert at_found <= at_plain
    assert (found.alphas != plain.alphas).any()
    if not nested:
        np.testing.assert_allclose(found.fold_alphas, np.tile(found.alphas, (5, 1)))


def test_fisher_z_and_double_precision():
    x, y = simulated("tall", seed=28)
    r = encode_arrays(x, y, FOLDS, alphas=1.0).details["r_fold"]
    z = encode_arrays(x, y, FOLDS, alphas=1.0, fisher_z=True).unit_scores
    np.testing.assert_allclose(z, np.tanh(np.arctanh(r).mean(axis=0)), rtol=0, atol=1e-12)
    single = x.astype(np.float32), y.astype(np.float32)
    exact = encode_arrays(*(v.astype(float) for v in single), FOLDS, alphas=1.0).unit_scores
    double = encode_arrays(*single, FOLDS, alphas=1.0, precision="double").unit_scores
    np.testing.assert_array_equal(double, exact)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha_scale": "tracee"}, "did you mean 'trace'"),
        ({"select_by": "r"}, "select_by"),
        ({"precision": "single"}, "precision"),
        ({"refine": True, "alpha_per_unit": False}, "refine=True"),
        ({"one_se": True, "select_by": "pearson"}, "one_se=True"),
        ({"alpha_per_unit": False, "select_by": "pearson"}, "alpha_per_unit=False"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(OptionError, match=message):
        encode_arrays(*simulated("tall"), FOLDS, **options)


# leave-one-out


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_leave_one_out_equals_refitting_every_row(kind, nested):
    x, y = (v[:18] for v in simulated(kind, seed=29))
    folds, some = make_folds(18, "loo"), grid(kind)[::3]
    found = encode_arrays(x, y, folds, alphas=some, scoring="r2", nested=nested)
    assert found.details["solver"] == "leave-one-out in closed form"
    for u in range(3):
        if nested:
            score, alphas = naive_ridge.unit_score(x, y[:, u], folds.splits, some, "r2")
        else:
            total = naive_ridge.errors(x, y[:, u], folds.splits, some)
            alphas = np.full(18, some[naive_ridge.best(total)])
            apart = sum((y[b, u] - y[a, u].mean()) ** 2 for a, b in folds.splits)[0]
            score = 1 - total.min() / apart
            assert found.alphas[u] == alphas[0]
        np.testing.assert_allclose(found.fold_alphas[:, u], alphas)
        assert found.unit_scores[u] == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("kind", ["tall", "wide"])
def test_leave_one_out_with_missing_rows_and_shared_penalties(kind):
    x, y = (v[:20] for v in simulated(kind, seed=30))
    y[[3, 8, 9], 1] = np.nan
    folds = make_folds(20, "loo")
    found = encode_arrays(x, y, folds, alphas=ALPHAS[::3], scoring="r2", nan="pairwise")
    for u in range(3):
        score, _ = naive_ridge.unit_score(x, y[:, u], folds.splits, ALPHAS[::3], "r2")
        assert found.unit_scores[u] == pytest.approx(score, abs=1e-9)
    y = np.nan_to_num(y)
    shared = encode_arrays(x, y, folds, alphas=ALPHAS, scoring="r2", alpha_per_unit=False, nested=False)
    total = 0.0
    for u in range(3):
        squares = sum((y[b, u] - y[a, u].mean()) ** 2 for a, b in folds.splits)
        total = total + naive_ridge.errors(x, y[:, u], folds.splits, ALPHAS) / squares
    assert set(shared.alphas) == {ALPHAS[naive_ridge.best(total)]}
    nested = encode_arrays(x, y, folds, alphas=ALPHAS[::3], scoring="r2", alpha_per_unit=False)
    for f in (0, 17):
        inner, total = naive_ridge.inner_folds(folds.splits, f, 20), 0.0
        for u in range(3):
            squares = sum((y[b, u] - y[a, u].mean()) ** 2 for a, b in inner)
            total = total + naive_ridge.errors(x, y[:, u], inner, ALPHAS[::3]) / squares
        assert nested.fold_alphas[f, 0] == pytest.approx(ALPHAS[::3][naive_ridge.best(total)])


def test_leave_one_out_chooses_as_scikit_learn_and_bounds_exclude_nothing():
    rng = np.random.default_rng(31)
    for n, p in ((120, 40), (60, 200)):
        x = rng.standard_normal((n, p)) * np.linspace(2, 0.1, p) + 1
        y = x @ rng.standard_normal((p, 60)) / np.sqrt(p) + rng.standard_normal((n, 60)) * np.geomspace(0.01, 20, 60)
        alphas = np.logspace(-2, 5, 15)
        found = encode_arrays(x, y, make_folds(n, "loo"), alphas=alphas, scoring="r2", nested=False)
        np.testing.assert_allclose(found.alphas, RidgeCV(alphas=alphas, alpha_per_target=True).fit(x, y).alpha_)
        gram = make_gram(x)
        seen = _press.Residuals.of(_press.make_hat(gram), y)
        scaled = alphas / gram.scale**2
        chosen, residuals = _press_choice.choose_all(seen, _press_choice.make_path(seen.hat, scaled))
        np.testing.assert_array_equal(chosen, choose_alpha(_press.all_errors(seen, scaled)))
        np.testing.assert_allclose(residuals, seen.at(seen.hat.shrink(scaled)[:, chosen]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [40, 200])
@pytest.mark.parametrize("kind", ["plain", "heavy rows", "no noise", "constant", "many penalties"])
def test_leave_one_out_bounds_hold_and_the_choice_is_that_of_all_errors(kind, p):
    rng = np.random.default_rng(p)
    x = rng.standard_normal((120, p)) * np.linspace(2, 0.1, p)
    if kind == "heavy rows":
        x *= np.exp(1.5 * rng.standard_normal((120, 1)))
    y = x @ rng.standard_normal((p, 150)) / np.sqrt(p)
    y += (kind != "no noise") * rng.standard_normal((120, 150)) * np.geomspace(0.01, 20, 150)
    if kind == "constant":
        y[:, :9] = 0.0
    gram = make_gram(x)
    hat = _press.make_hat(gram)
    path = _press_choice.make_path(hat, np.logspace(-2, 5, 200 if kind == "many penalties" else 15) / gram.scale**2)
    seen, found = _press.Residuals.of(hat, y), []
    errors = np.array([path.weights[i] @ seen.at(g) ** 2 for i, g in enumerate(path.g.T)])
    for guess in (0, 4, 14):  # whatever the guess
        own = path.g[:, np.full(150, guess)]
        residuals = seen.at(own)
        squares = residuals**2
        low, high = _press_choice._bounds(
            seen, path, _press_choice._Guess(own, residuals, squares), path.weights @ squares
        )
        assert (low <= errors).all() and (errors <= high).all()
        found.append(low > errors.min(axis=0))
    chosen = _press_choice.choose_all(seen, path)[0]
    np.testing.assert_array_equal(chosen, choose_alpha(errors))
    if kind == "plain":
        assert np.mean(found) > 0.3  # they exclude something even from a poor guess


def test_leave_one_out_in_tiles_of_units_is_that_of_all_at_once(monkeypatch):
    x, y = simulated("tall", seed=34)
    y = np.hstack([y] * 60)
    y[3, 5:9] = np.nan
    folds, options = make_folds(40, "loo"), {"alphas": ALPHAS, "scoring": "r2", "nan": "pairwise", "nested": False}
    whole = encode_arrays(x, y, folds, **options)
    monkeypatch.setattr(_search, "TILE_BYTES", 1)
    monkeypatch.setattr(_search, "LEAST_UNITS", 7)
    tiled = encode_arrays(x, y, folds, **options)
    np.testing.assert_array_equal(tiled.alphas, whole.alphas)
    np.testing.assert_array_equal(tiled.fold_alphas, whole.fold_alphas)
    np.testing.assert_allclose(tiled.unit_scores, whole.unit_scores, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tiled.fold_scores, whole.fold_scores, rtol=0, atol=1e-12)
    assert whole.fold_alphas.shape == (40, y.shape[1])


def test_leave_one_out_of_a_constant_unit_and_of_one_that_varies_in_one_row():
    x, y = simulated("tall", seed=32)
    y[:, 1] = 2.0
    y[:, 2] = 2.0
    y[7, 2] = 5.0
    found = encode_arrays(x, y, make_folds(40, "loo"), alphas=ALPHAS, scoring="r2")
    assert np.isnan(found.unit_scores).tolist() == [False, True, True]
    assert found.counts["units_constant"] == 2


def test_leave_one_out_of_a_row_that_predicts_itself_alone():
    x, y = simulated("tall", seed=40)
    x = np.hstack([x, np.eye(40)[:, [5]]])
    folds = make_folds(40, "loo")
    with pytest.raises(MeasureError, match=r"row 5 is predicted by itself alone .*larger alphas"):
        encode_arrays(x, y, folds, alphas=1e-12, scoring="r2")
    found = encode_arrays(x, y, folds, alphas=1e-6, scoring="r2").unit_scores
    expected = [naive_ridge.unit_score(x, y[:, u], folds.splits, np.array([1e-6]), "r2")[0] for u in range(3)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_leave_one_out_with_options_refits():
    x, y = simulated("tall", seed=33)
    folds = make_folds(40, "loo")
    assert _options.is_leave_one_out(folds)
    plain = encode_arrays(x, y, folds, alphas=2.0, scoring="r2").unit_scores
    trace = np.trace(np.cov(x.T, bias=True)) * 40 / 8
    other = encode_arrays(x, y, folds, alphas=2.0 / trace, scoring="r2", alpha_scale="trace")
    assert other.details["solver"].startswith("primal")
    np.testing.assert_allclose(other.unit_scores, plain, rtol=0, atol=0.02)  # the unit differs a little by fold


# weights


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_refit_equals_scikit_learn(kind, standardize):
    x, y = simulated(kind, seed=34)
    alphas = grid(kind)[[1, 3, 5]] if not standardize else ALPHAS[[1, 3, 5]]
    found = refit(x, y, alphas, standardize=standardize)
    sd = (
        np.where(x.std(axis=0) <= 1e-9 * np.abs(x).max(), np.inf, x.std(axis=0)) if standardize else np.ones(x.shape[1])
    )
    model = Ridge(alpha=alphas, solver="svd").fit((x - x.mean(axis=0)) / sd, y)
    predicted = model.predict((x - x.mean(axis=0)) / sd)
    np.testing.assert_allclose(found.predict(x), predicted, rtol=0, atol=1e-7)
    if kind in ("tall", "wide"):
        np.testing.assert_allclose(found.coef, (model.coef_ / sd).T, rtol=0, atol=1e-9)


def test_refit_in_batches_of_units_and_with_missing_rows(monkeypatch):
    x, y = simulated("tall", seed=35)
    y[[1, 5], 2] = np.nan
    whole = refit(x, y, np.array([1.0, 2.0, 3.0]))
    monkeypatch.setattr("repcompare.measures.encoding._refit.BATCH_BYTES", 1)
    np.testing.assert_allclose(refit(x, y, np.array([1.0, 2.0, 3.0])).coef, whole.coef, rtol=0, atol=1e-12)
    seen = ~np.isnan(y[:, 2])
    np.testing.assert_allclose(whole.coef[:, 2], Ridge(alpha=3.0).fit(x[seen], y[seen, 2]).coef_, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["tall", "between", "wide"])
def test_primal_dual_and_direct_forms_agree(kind):
    """A rotation into more columns of zeros makes the dual form of the same problem."""
    x, y = simulated(kind, seed=36)
    padded = np.hstack([x, np.zeros((40, 60))])
    one, two = (encode_arrays(v, y, FOLDS, alphas=ALPHAS) for v in (x, padded))
    np.testing.assert_allclose(one.unit_scores, two.unit_scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.fold_alphas, two.fold_alphas)
    assert two.details["solver"].startswith("dual")


# what must not matter


@pytest.mark.parametrize("kind", ["tall", "wide"])
def test_threads_row_order_and_order_of_runs_change_nothing(kind):
    x, y = simulated(kind, seed=37)
    base = encode_arrays(x, y, FOLDS, alphas=ALPHAS)
    with threadpool_limits(1):
        one = encode_arrays(x, y, FOLDS, alphas=ALPHAS)
    np.testing.assert_allclose(one.unit_scores, base.unit_scores, rtol=0, atol=1e-12)
    order = np.random.default_rng(37).permutation(40)
    moved = Folds(tuple(tuple(np.sort(np.argsort(order)[part]) for part in pair) for pair in FOLDS.splits), 40)
    np.testing.assert_allclose(
        encode_arrays(x[order], y[order], moved, alphas=ALPHAS).unit_scores, base.unit_scores, rtol=0, atol=1e-9
    )
    runs = Folds(FOLDS.splits[::-1], 40)
    np.testing.assert_allclose(
        encode_arrays(x, y, runs, alphas=ALPHAS).unit_scores, base.unit_scores, rtol=0, atol=1e-9
    )
    alone = make_folds(40, "loo")
    found = [
        encode_arrays(v, w, alone, alphas=ALPHAS, scoring="r2").unit_scores for v, w in ((x, y), (x[order], y[order]))
    ]
    np.testing.assert_allclose(*found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_autocorrelated_delayed_features_equal_plain_loops(dtype):
    rng = np.random.default_rng(38)
    noise = rng.standard_normal((70, 3))
    for i in range(1, 70):
        noise[i] += 0.95 * noise[i - 1]
    x = np.hstack([noise[5 - d : 65 - d] for d in range(5)]).astype(dtype)
    y = (x[:, :3] @ rng.standard_normal((3, 2)) + rng.standard_normal((60, 2))).astype(dtype)
    folds = make_folds(60, 4, sample="time", gap=3)
    found = encode_arrays(x, y, folds, alphas=ALPHAS)
    scores, _ = naive_ridge.ridge_scores(x.astype(float), y.astype(float), folds.splits, ALPHAS)
    np.testing.assert_allclose(found.unit_scores, scores, rtol=0, atol=1e-9 if dtype == np.float64 else 1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"alpha_scale": "trace"}, {"alphas": 3.0}, {"nested": False, "refine": True}])
def test_weights_from_the_products_of_the_scores_are_those_of_a_refit(monkeypatch, dtype, options):
    rng = np.random.default_rng(36)
    x = (3 * rng.standard_normal((90, 20)) + 5).astype(dtype)
    y = (x @ rng.standard_normal((20, 150)) + rng.standard_normal((90, 150)) + 7).astype(dtype) * 1e3
    y[:, 3] = y[0, 3]
    monkeypatch.setattr(_search, "BATCH_BYTES", 1)  # several blocks of units, the last one smaller
    folds = make_folds(90, 5, seed=0)
    found = encode_arrays(x, y, folds, weights=True, **options)
    coef, expected = found.details["coef"], refit(x, y, found.alphas).coef
    assert coef.dtype == dtype
    tolerance = (1e-5 if dtype == np.float32 else 1e-12) * np.abs(expected).max()
    np.testing.assert_allclose(coef, expected, rtol=0, atol=tolerance)
    plain = encode_arrays(x, y, folds, **options)
    np.testing.assert_array_equal(found.unit_scores, plain.unit_scores)
    assert "coef" not in plain.details


def test_weights_are_left_to_a_refit_where_products_are_not_those_of_all_rows():
    rng = np.random.default_rng(37)
    x, y = rng.standard_normal((40, 8)), rng.standard_normal((40, 12))
    gaps, five = y.copy(), make_folds(40, 5)
    gaps[3, 0] = np.nan
    wide, loo = rng.standard_normal((40, 60)), make_folds(40, "loo")
    for source, target, folds, options in (
        (x, gaps, five, {"nan": "pairwise"}),
        (x, y, five, {"standardize": True}),
        (wide, y, five, {}),
        (x, y, loo, {"scoring": "r2", "nested": False}),
    ):
        assert "coef" not in encode_arrays(source, target, folds, weights=True, **options).details


def test_weights_of_rows_that_no_fold_uses_and_of_features_that_need_float64():
    rng = np.random.default_rng(38)
    x, y, rows = rng.standard_normal((40, 8)), rng.standard_normal((40, 12)), np.arange(40)
    some = Folds(tuple((np.setdiff1d(rows[:30], rows[f:30:5]), rows[f:30:5]) for f in range(5)), 40)
    found = encode_arrays(x, y, some, weights=True)
    np.testing.assert_allclose(found.details["coef"], refit(x, y, found.alphas).coef, rtol=0, atol=1e-12)
    steep, single = (x * np.geomspace(1, 1e-4, 8)).astype(np.float32), y.astype(np.float32)
    found = encode_arrays(steep, single, make_folds(40, 5), weights=True, alphas=[1e-9, 1e-6])
    expected = refit(steep.astype(float), single.astype(float), found.alphas).coef
    assert found.details["coef"].dtype == np.float64  # as of the scores
    np.testing.assert_allclose(found.details["coef"], expected, rtol=1e-2, atol=0)
