"""Weights of every encoder on all rows: against scikit-learn, against the definition, and against held-out scores."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge

import repcompare as rc
from repcompare.errors import AlignmentError, MeasureError, OptionError
from repcompare.measures.encoding._kernel_fit import fitted_kernel
from repcompare.measures.encoding.delays import canonical_hrf, delay_features, make_lags
from repcompare.measures.encoding.kernel_ridge import Kernel, kernel_ridge
from repcompare.statistics.folds import make_folds

ALPHAS = np.logspace(-1, 3, 5)
BANDS = {"a": slice(0, 3), "b": slice(3, 8)}


def data(seed=0, n=60, p=8, t=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.linspace(0.5, 2, p) + 3
    y = x[:, :3] @ rng.normal(size=(3, t)) + rng.normal(size=(n, t)) * np.geomspace(0.3, 9, t) - 7
    return x, y


def counts(seed=0, n=80, p=5, t=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + 1
    return x, rng.poisson(np.exp(0.3 * (x - 1) @ rng.normal(size=(p, t)) + 0.8))


MODELS = {
    "ridge": {"alphas": ALPHAS},
    "ridge standardized": {"alphas": ALPHAS, "standardize": True},
    "banded_ridge": {"alphas": ALPHAS, "bands": [slice(0, 3), slice(3, 8)], "n_iter": 6},
    "banded_ridge shared": {"alphas": ALPHAS, "bands": [slice(0, 3), slice(3, 8)], "n_iter": 6, "shared": True},
    "banded_ridge refined": {"alphas": ALPHAS, "bands": [slice(0, 3), slice(3, 8)], "n_iter": 3, "refine": True},
    "kernel_ridge": {"alphas": ALPHAS},
    "kernel_ridge rbf": {"alphas": ALPHAS / 100, "kernel": "rbf"},
    "kernel_ridge rbf absolute": {
        "alphas": ALPHAS / 100,
        "kernel": "rbf",
        "bandwidth": 3.0,
        "bandwidth_scale": "absolute",
    },
    "kernel_ridge polynomial": {"alphas": ALPHAS / 100, "kernel": "polynomial", "degree": 2},
    "pls": {"n_components": 3},
    "pls per unit": {"n_components": 4, "selection": "per_unit"},
    "linear": {},
    "best_unit": {},
    "poisson": {"alphas": ALPHAS, "scoring": "pearson"},
}


FIXED = ("pls", "linear", "best_unit")  # nothing is chosen


@pytest.mark.parametrize("which", MODELS)
@pytest.mark.parametrize("p", [8, 90])
def test_a_fit_of_the_training_rows_predicts_as_the_scores_say(which, p):
    """With nothing left to choose, weights on the training rows of a fold give the r of that fold."""
    model, options = which.split()[0], dict(MODELS[which])
    x, y = counts(p=p) if model == "poisson" else data(p=p)
    options |= {"bands": np.arange(p) >= 3} if "bands" in options else {}
    options |= {"gammas": [[0.3, 0.7]]} if "bands" in options else {}
    options |= {"alphas": options["alphas"][2:3]} if "alphas" in options else {}
    options |= {} if model in FIXED else {"nested": False}
    for name in ("refine", "selection"):
        options.pop(name, None)
    test, half = np.arange(0, len(x), 4), np.arange(0, 45, 2)
    train = np.setdiff1d(np.arange(len(x)), test)
    held = rc.encode(x, y, model=model, folds=[(train, test)], **options)
    inside = np.setdiff1d(np.arange(train.size), half)
    fit = rc.encode(x[train], y[train], model=model, folds=[(half, inside), (inside, half)], weights=True, **options)
    predicted = fit.predict(x[test])
    sign = np.sign(fit.coef.sum(axis=0)) if model == "best_unit" else 1.0  # r of the source unit itself
    r = sign * np.array([np.corrcoef(predicted[:, u], y[test, u])[0, 1] for u in range(y.shape[1])])
    np.testing.assert_allclose(r, held.unit_scores, rtol=1e-6, atol=1e-9)


# against scikit-learn


def penalties(found, u):
    return float(np.atleast_2d(found.alphas)[0, u])


@pytest.mark.parametrize("p", [8, 90])
def test_linear_models_equal_scikit_learn(p):
    x, y = data(p=p)
    for model in ("ridge", "kernel_ridge"):
        found = rc.encode(x, y, model=model, alphas=ALPHAS, weights=True)
        for u in range(4):
            peer = Ridge(penalties(found, u)).fit(x, y[:, u])
            np.testing.assert_allclose(found.coef[:, u], peer.coef_, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(found.predict(x[:5] + 1)[:, u], peer.predict(x[:5] + 1), rtol=1e-8)
            assert found.intercept[u] == pytest.approx(peer.intercept_, rel=1e-8)
    found = rc.encode(x, y, model="linear", weights=True)
    peer = LinearRegression().fit(x, y)
    np.testing.assert_allclose(found.coef, peer.coef_.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.intercept, peer.intercept_, rtol=1e-8)
    found = rc.encode(x, y, model="pls", n_components=3, weights=True)
    peer = PLSRegression(3, scale=False, tol=1e-14, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(found.predict(x), peer.predict(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", "polynomial"])
def test_kernels_equal_scikit_learn_about_the_mean(kernel):
    """scikit-learn fits no intercept: it is given the centred kernel of the fitted rows."""
    x, y = data()
    own = {"bandwidth": 2.5, "bandwidth_scale": "absolute"} if kernel == "rbf" else {"degree": 2, "gamma": 0.3}
    found = rc.encode(x, y, model="kernel_ridge", kernel=kernel, alphas=ALPHAS, weights=True, **own)
    about = x - x.mean(axis=0)

    def k(a, b):
        if kernel == "polynomial":
            return (0.3 * a @ b.T + 1) ** 2
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / (2 * 2.5**2))

    new = x[:7] * 1.1
    whole, cross = k(about, about), k(new - x.mean(axis=0), about)
    means = whole.mean(axis=0)
    inside = whole - means - means[:, None] + means.mean()
    across = cross - cross.mean(axis=1, keepdims=True) - means + means.mean()
    for u in range(4):
        peer = KernelRidge(alpha=penalties(found, u), kernel="precomputed").fit(inside, y[:, u] - y[:, u].mean())
        np.testing.assert_allclose(found.predict(new)[:, u], peer.predict(across) + y[:, u].mean(), rtol=1e-8)
    assert found.weights.dims == ("row", "unit")
    with pytest.raises(OptionError, match="has no weights of features"):
        _ = found.coef


@pytest.mark.parametrize("p", [5, 120])
def test_poisson_equals_scikit_learn(p):
    x, y = counts(p=p)
    found = rc.encode(x, y, model="poisson", alphas=[1.0, 10.0], weights=True)
    for u in range(3):
        peer = PoissonRegressor(alpha=penalties(found, u) / len(x), tol=1e-9, solver="newton-cholesky").fit(x, y[:, u])
        np.testing.assert_allclose(found.coef[:, u], peer.coef_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.predict(x[:6])[:, u], peer.predict(x[:6]), rtol=1e-4)
    y[:, 1] = 0
    silent = rc.encode(x, y, model="poisson", alphas=[1.0, 10.0], weights=True)
    assert np.isnan(silent.coef[:, 1]).all()
    np.testing.assert_allclose(silent.coef[:, 0], found.coef[:, 0], rtol=1e-7, atol=1e-12)


# against the definition


@pytest.mark.parametrize("extra", [{}, {"shared": True}, {"refine": True}])
@pytest.mark.parametrize("p", [8, 90])
def test_banded_weights_solve_their_normal_equations(extra, p):
    x, y = data(p=p)
    bands = np.arange(p) >= 3
    found = rc.encode(x, y, model="banded_ridge", bands=bands, n_iter=6, alphas=ALPHAS, weights=True, **extra)
    about, target = x - x.mean(axis=0), y - y.mean(axis=0)
    for u in range(4):
        penalty = found.alphas[:, u][bands.astype(int)]
        kept = np.isfinite(penalty)
        matrix = about[:, kept].T @ about[:, kept] + np.diag(penalty[kept])
        exact = np.linalg.solve(matrix, about[:, kept].T @ target[:, u])
        np.testing.assert_allclose(found.coef[kept, u], exact, rtol=1e-6, atol=1e-9)
        assert (found.coef[~kept, u] == 0).all()


def test_best_unit_is_the_regression_line_of_one_unit():
    x, y = data()
    found = rc.encode(x, y, model="best_unit", weights=True)
    for u in range(4):
        r = [np.corrcoef(x[:, i], y[:, u])[0, 1] for i in range(8)]
        slope, offset = np.polyfit(x[:, np.argmax(r)], y[:, u], 1)
        assert np.flatnonzero(found.coef[:, u]).tolist() == [np.argmax(r)]
        assert found.coef[np.argmax(r), u] == pytest.approx(slope)
        assert found.intercept[u] == pytest.approx(offset)


def test_features_that_do_not_vary_have_no_weight_in_least_squares():
    x, y = data()
    x[:, 4] = 1e6 / 3
    found = rc.encode(x, y, model="linear", weights=True)
    assert (found.coef[4] == 0).all()
    assert (
        np.abs(found.predict(x) - LinearRegression().fit(np.delete(x, 4, 1), y).predict(np.delete(x, 4, 1))).max()
        < 1e-9
    )


# delays


def recordings(seed=0, n=120, p=3, t=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    y = delay_features(x, [1, 2]) @ rng.normal(size=(2 * p, t)) + rng.normal(size=(n, t))
    return x, y


RUNS = np.repeat(np.arange(4), 30)


@pytest.mark.parametrize("p", [3, 80])
@pytest.mark.parametrize("model", ["ridge", "banded_ridge", "kernel_ridge"])
@pytest.mark.parametrize("how", ["delays", "hrf"])
def test_delayed_models_equal_ridge_on_delayed_features(model, p, how):
    x, y = recordings(p=p)
    lag = {"delays": [1, 3]} if how == "delays" else {"hrf": np.array([[0, 1, 0.5, 0], [0, 0, 1, -1.0]])}
    options = lag | {"runs": RUNS, "groups": RUNS, "folds": 4, "alphas": ALPHAS}
    found = rc.encode(x, y, model=model, weights=True, **options)
    features = make_lags(**lag, runs=RUNS).features(x)
    for u in range(2):
        peer = Ridge(penalties(found, u)).fit(features, y[:, u])
        np.testing.assert_allclose(found.coef[:, u], peer.coef_, rtol=1e-6, atol=1e-8)
        assert found.intercept[u] == pytest.approx(peer.intercept_, rel=1e-6, abs=1e-8)
        np.testing.assert_allclose(found.predict(x, runs=RUNS)[:, u], peer.predict(features), rtol=1e-7, atol=1e-8)
        single = make_lags(**lag).features(x[:50])
        np.testing.assert_allclose(found.predict(x[:50])[:, u], peer.predict(single), rtol=1e-7, atol=1e-8)
    name = "delay" if how == "delays" else "basis"
    assert found.weights[name].values[[0, -1]].tolist() == ([1, 3] if how == "delays" else [0, 1])


def test_a_delayed_rbf_kernel_predicts_the_rows_it_was_fitted_on_as_in_one_kernel():
    x, y = recordings()
    found = rc.encode(
        x, y, model="kernel_ridge", kernel="rbf", delays=[1, 2], runs=RUNS, groups=RUNS, folds=4, weights=True
    )
    fitted = found.fitted.kernel
    whole = fitted.cross(x, fitted=True)
    np.testing.assert_allclose(fitted.cross(x, RUNS), whole, atol=1e-12)
    again = (whole - whole.mean(axis=0)) @ found.fitted.dual + y.mean(axis=0)
    np.testing.assert_allclose(found.predict(x, runs=RUNS), whole @ found.fitted.dual + found.intercept, atol=1e-9)
    np.testing.assert_allclose(found.predict(x, runs=RUNS), again, rtol=1e-9, atol=1e-9)


def test_runs_of_a_representation_are_found():
    x, y = recordings()
    sides = [
        rc.representation(v, dims=("time", "unit"), time=np.arange(120.0)).assign_coords(run=("time", RUNS))
        for v in (x, y)
    ]
    found = rc.encode(*sides, delays=[1, 2], gap=2, weights=True)
    by_hand = rc.encode(x, y, delays=[1, 2], runs=RUNS, groups=RUNS, folds=4, weights=True)
    np.testing.assert_allclose(found.predict(sides[0]), by_hand.predict(x, runs=RUNS), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.predict(sides[0]), found.predict(x, runs=RUNS), atol=1e-12)
    np.testing.assert_allclose(found.predict(sides[0], runs="run"), found.predict(x, runs=RUNS), atol=1e-12)
    with pytest.raises(OptionError, match="this model has none"):
        rc.encode(*sides, gap=2, weights=True).predict(x, runs=RUNS)


def test_the_canonical_hrf_as_a_kernel_and_as_features():
    x, y = recordings(n=160)
    runs = np.repeat([0, 1, 2, 3], 40)
    options = {"hrf": canonical_hrf(2.0), "runs": runs, "groups": runs, "folds": 4, "weights": True, "alphas": ALPHAS}
    one, other = rc.encode(x, y, **options), rc.encode(x, y, model="kernel_ridge", **options)
    np.testing.assert_allclose(one.predict(x, runs=runs), other.predict(x, runs=runs), rtol=1e-6, atol=1e-8)


# precomputed kernels


def test_a_precomputed_kernel_predicts_from_the_products_with_the_fitted_rows():
    x, y = data()
    about = x - x.mean(axis=0)
    linear = rc.encode(x, y, model="kernel_ridge", alphas=ALPHAS, weights=True)
    given = rc.encode(about @ about.T, y, model="kernel_ridge", kernel="precomputed", alphas=ALPHAS, weights=True)
    new = (x[:6] * 1.2 - x.mean(axis=0)) @ about.T
    np.testing.assert_allclose(given.predict(new), linear.predict(x[:6] * 1.2), rtol=1e-8)
    with pytest.raises(MeasureError, match="inner products with the rows"):
        given.predict(x)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "polynomial"])
def test_the_kernel_of_all_rows_is_that_of_the_scores(kernel):
    x, _ = data()
    fitted = fitted_kernel(x, Kernel(kernel), None)
    whole = fitted.cross(fitted.x, fitted=True)
    source = kernel_ridge(kernel, nested=False).prepared(
        np.vstack([x, x[:3]]), make_folds(63, [(np.arange(60), np.arange(60, 63))] * 3)
    )
    scored = source.problem.band(0, 0)[:60, :60]
    centre = np.eye(60) - 1 / 60
    np.testing.assert_allclose(centre @ whole @ centre, centre @ scored @ centre, atol=1e-9 * np.abs(whole).max())


# names


def test_weights_carry_the_names_of_units_and_predict_selects_by_name():
    x, y = data()
    sides = [rc.representation(v, stimulus=[f"s{i:02d}" for i in range(60)]) for v in (x, y)]
    sides[0] = sides[0].assign_coords(unit_id=("unit", [f"f{i}" for i in range(8)]))
    for model, options in (("ridge", {}), ("pls", {"n_components": 2}), ("linear", {}), ("kernel_ridge", {})):
        found = rc.encode(*sides, model=model, weights=True, **options)
        assert found.weights.dims == ("feature", "unit")
        assert found.weights["feature_id"].values.tolist() == [f"f{i}" for i in range(8)]
        assert found.weights["unit_id"].values.tolist() == [f"unit/{i}" for i in range(4)]
        turned = sides[0].isel(unit=slice(None, None, -1))
        np.testing.assert_allclose(found.predict(turned), found.predict(x), rtol=1e-9)
        with pytest.raises(AlignmentError, match="without 1 of the 8 that were fitted: 'f7'"):
            found.predict(sides[0].isel(unit=slice(7)))
    assert "feature_id" not in rc.encode(x, y, weights=True).weights.coords
    kernel = rc.encode(*sides, model="kernel_ridge", kernel="rbf", weights=True).weights
    assert kernel["row_id"].values[:2].tolist() == ["s00", "s01"]


def test_units_that_were_dropped_are_not_named():
    x, y = data()
    x[3, 2] = np.nan
    sides = [rc.representation(v, stimulus=[f"s{i:02d}" for i in range(60)]) for v in (x, y)]
    found = rc.encode(*sides, nan="drop_units", weights=True)
    assert found.weights["feature_id"].values.tolist() == [f"unit/{i}" for i in range(8) if i != 2]
    assert found.predict(sides[0].isel(stimulus=[0, 1], unit=[0, 1, 3, 4, 5, 6, 7])).shape == (2, 4)


def test_missing_values_go_with_ridge_alone():
    x, y = data()
    y[3, 1] = np.nan
    assert np.isfinite(rc.encode(x, y, nan="pairwise", weights=True).coef).all()
    for model in ("linear", "pls", "best_unit", "banded_ridge", "kernel_ridge", "poisson"):
        for weights in (True, False):
            with pytest.raises(MeasureError, match="1 missing .* goes with model='ridge' alone"):
                rc.encode(x, y, nan="pairwise", weights=weights, model=model)
    with pytest.raises(MeasureError, match="'drop_stimuli', or fit each unit on the stimuli it has"):
        rc.encode(x, y)
