"""Ridge encoding, against himalaya and scikit-learn, on the same folds and penalties."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, PredefinedSplit

import repcompare as rc
from cases._case import Case, Target, same_and_close

NO_REFIT = "both without a refit on all rows; alphas identical for every target"


def _regression(n: int, p: int, t: int, n_alphas: int, small: tuple[int, int, int], dtype: type = np.float64):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, features, targets = small if quick else (n, p, t)
        x = rng.normal(size=(rows, features)) * np.linspace(2, 0.1, features) + 1.0
        noise = rng.normal(size=(rows, targets)) * np.geomspace(0.5, 20, targets)
        y = x @ rng.normal(size=(features, targets)) / np.sqrt(features) + noise
        folds = list(KFold(5).split(x))
        apart = sum(np.square(y[test] - y[train].mean(axis=0)).sum(axis=0) for train, test in folds) / rows
        alphas = np.logspace(0, 5, n_alphas)
        size = f"n={rows} p={features} t={targets} a={n_alphas} k=5"
        data = {"x": x.astype(dtype), "y": y.astype(dtype), "alphas": alphas.astype(dtype)}
        return Data(size=f"{size} {np.dtype(dtype)}", **data, folds=folds, apart=apart)

    return make


def _ours_cv(data: Data) -> tuple[Any, Any]:
    """Penalty of each target and its cross-validated mean squared error, from r2 = 1 - SSE / SST."""
    found = rc.encode(data.x, data.y, folds=data.folds, alphas=data.alphas, nested=False, scoring="r2")
    return found.alphas, (1 - found.unit_scores) * data.apart


def _ours_refit(data: Data) -> tuple[Any, Any]:
    """Cross-validation, and the weights of a refit on all rows."""
    found = rc.encode(
        data.x, data.y, folds=data.folds, alphas=data.alphas, nested=False, scoring="r2", weights=True
    )  # fmt: skip
    return found.alphas, (1 - found.unit_scores) * data.apart, found.coef


def _himalaya_cv(data: Data) -> tuple[Any, Any]:
    """Solver of himalaya's RidgeCV, without its refit."""
    from himalaya.ridge import solve_group_ridge_random_search

    found = solve_group_ridge_random_search(
        [data.x], data.y, n_iter=np.ones((1, 1)), alphas=data.alphas, fit_intercept=True, cv=KFold(5),
        return_weights=False, progress_bar=False, warn=False,
    )  # fmt: skip
    return np.exp(-found[0][0]), -found[2][0]


def _himalaya_estimator(data: Data) -> tuple[Any, Any]:
    from himalaya.ridge import RidgeCV

    model = RidgeCV(alphas=data.alphas, fit_intercept=True, cv=KFold(5)).fit(data.x, data.y)
    return model.best_alphas_, -model.cv_scores_, model.coef_


def _himalaya_kernel_estimator(data: Data) -> tuple[Any, Any]:
    from himalaya.kernel_ridge import KernelRidgeCV

    model = KernelRidgeCV(alphas=data.alphas, fit_intercept=True, cv=KFold(5)).fit(data.x, data.y)
    return model.best_alphas_, -model.cv_scores_


def _weights_too(ours: Any, peer: Any) -> float:
    """Difference of choices and scores, or of weights as a share of the largest."""
    apart = np.abs(np.asarray(ours[2]) - np.asarray(peer[2])).max() / np.abs(peer[2]).max()
    return max(same_and_close(ours[:2], peer[:2]), float(apart))


def _almost_always(ours: Any, peer: Any) -> float:
    """In float32 a choice may differ where two penalties are as good: then only errors and their size count."""
    share = float(np.mean(~np.isclose(ours[0], peer[0], rtol=1e-4, atol=0)))
    errors = float((np.abs(ours[1] - peer[1]) / np.abs(peer[1])).max())
    return max(errors, share / 10)


def _grid_search(data: Data) -> tuple[Any, Any]:
    """Penalty of each target and its cross-validated mean squared error, by a grid search per target."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV

    grid, chosen, errors = {"alpha": data.alphas}, [], []
    for target in data.y.T:
        search = GridSearchCV(Ridge(), grid, cv=data.folds, scoring="neg_mean_squared_error").fit(data.x, target)
        chosen.append(search.best_params_["alpha"])
        errors.append(-search.best_score_)
    return np.array(chosen), np.array(errors)


def _ours_nested(data: Data) -> tuple[Any, Any]:
    found = rc.encode(data.x, data.y, folds=data.folds, alphas=data.alphas)
    return found.fold_alphas, found.unit_scores


def _columns_r(a: Any, b: Any) -> Any:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))


def _inner_folds(data: Data, fold: int) -> list[Any]:
    """Return the other folds as (train, test), in rows of the whole data."""
    train = data.folds[fold][0]
    others = [test for f, (_, test) in enumerate(data.folds) if f != fold]
    return [(np.setdiff1d(train, test), test) for test in others]


def _sklearn_nested(data: Data) -> tuple[Any, Any]:
    from sklearn.linear_model import Ridge

    chosen, scores = [], []
    for fold, (train, test) in enumerate(data.folds):
        errors = np.zeros((len(data.alphas), data.y.shape[1]))
        for inside, validation in _inner_folds(data, fold):
            for i, alpha in enumerate(data.alphas):
                model = Ridge(alpha=alpha).fit(data.x[inside], data.y[inside])
                errors[i] += np.square(data.y[validation] - model.predict(data.x[validation])).sum(axis=0)
        best = data.alphas[errors.argmin(axis=0)]
        predicted = Ridge(alpha=best).fit(data.x[train], data.y[train]).predict(data.x[test])
        chosen.append(best)
        scores.append(_columns_r(predicted, data.y[test]))
    return np.array(chosen), np.mean(scores, axis=0)


def _himalaya_nested(data: Data) -> tuple[Any, Any]:
    from himalaya.ridge import solve_group_ridge_random_search

    label = np.empty(len(data.x), dtype=int)
    for fold, (_, test) in enumerate(data.folds):
        label[test] = fold
    chosen, scores = [], []
    for train, test in data.folds:
        deltas, weights, _, intercept = solve_group_ridge_random_search(
            [data.x[train]], data.y[train], n_iter=np.ones((1, 1)), alphas=data.alphas, fit_intercept=True,
            cv=PredefinedSplit(label[train]), return_weights=True, progress_bar=False, warn=False,
        )  # fmt: skip
        chosen.append(np.exp(-deltas[0]))
        scores.append(_columns_r(data.x[test] @ weights + intercept, data.y[test]))
    return np.array(chosen), np.mean(scores, axis=0)


def _ours_loo(data: Data) -> Any:
    return rc.encode(data.x, data.y, folds="loo", alphas=data.alphas, nested=False, scoring="r2").alphas


def _sklearn_loo(data: Data) -> Any:
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=data.alphas, alpha_per_target=True).fit(data.x, data.y).alpha_


def _share_apart(ours: Any, peer: Any) -> float:
    return same_and_close((ours, 0.0), (peer, 0.0))


def _coarse(data: Data) -> Any:
    return _ours_cv(Data(**{**vars(data), "alphas": data.alphas[::10]}))


def _never_worse(fine: Any, coarse: Any) -> float:
    """How much larger an error the finer grid has; it contains the coarse one."""
    return float(np.maximum(fine[1] - coarse[1], 0).max())


CASES = (
    Case(
        name="ridge_cv_himalaya",
        peer_name="himalaya RidgeCV's solver, no refit",
        library="himalaya",
        make=_regression(5000, 800, 1000, 20, (100, 10, 8)),
        ours=_ours_cv,
        peer=_himalaya_cv,
        agree=same_and_close,
        tolerance=1e-6,
        target=Target("faster", 10),
        note=NO_REFIT,
    ),
    Case(
        name="ridge_cv_refit_himalaya",
        peer_name="himalaya RidgeCV",
        library="himalaya",
        make=_regression(5000, 800, 1000, 20, (100, 10, 8)),
        ours=_ours_refit,
        peer=_himalaya_estimator,
        agree=_weights_too,
        tolerance=1e-6,
        target=Target("faster", 15),
        note="both with weights of a refit on all rows; ours also scores",
    ),
    Case(
        name="ridge_cv_float32_himalaya",
        peer_name="himalaya RidgeCV, float32",
        library="himalaya",
        make=_regression(3000, 1000, 20000, 10, (100, 10, 8), np.float32),
        ours=_ours_refit,
        peer=_himalaya_estimator,
        agree=_almost_always,
        tolerance=1e-3,
        target=Target("faster", 5),
        note="both with weights of a refit on all rows; at most 1 % of the choices may differ",
    ),
    Case(
        name="ridge_cv_many_alphas",
        peer_name="ours with a tenth of the penalties",
        library="numpy",
        make=_regression(5000, 800, 1000, 191, (100, 10, 8)),
        ours=_ours_cv,
        peer=_coarse,
        agree=_never_worse,
        tolerance=1e-9,
        target=Target("cost", 1.5),
        note="191 penalties, which contain the 20 of the other side",
    ),
    Case(
        name="ridge_dual_himalaya",
        peer_name="himalaya KernelRidgeCV",
        library="himalaya",
        make=_regression(3000, 10000, 1000, 20, (60, 100, 8)),
        ours=_ours_cv,
        peer=_himalaya_kernel_estimator,
        agree=same_and_close,
        tolerance=1e-6,
        target=Target("faster", 3),
        note="the linear kernel is part of both; theirs also refits on all rows (one decomposition in six)",
    ),
    Case(
        name="ridge_nested_himalaya",
        peer_name="himalaya RidgeCV's solver per outer fold",
        library="himalaya",
        make=_regression(2000, 400, 500, 20, (100, 10, 8)),
        ours=_ours_nested,
        peer=_himalaya_nested,
        agree=same_and_close,
        tolerance=1e-6,
        note="the default of encode(): penalties chosen inside the training rows; ours also has those of a refit",
    ),
    Case(
        name="ridge_nested_sklearn",
        peer_name="scikit-learn Ridge, grid search per fold",
        library="sklearn",
        make=_regression(1000, 200, 200, 20, (100, 10, 8)),
        ours=_ours_nested,
        peer=_sklearn_nested,
        agree=same_and_close,
        tolerance=1e-6,
        note="one penalty per target, so GridSearchCV does not apply; ours also has those of a refit",
    ),
    Case(
        name="ridge_loo_sklearn",
        peer_name="scikit-learn RidgeCV(alpha_per_target=True)",
        library="sklearn",
        make=_regression(1000, 300, 1000, 20, (40, 5, 8)),
        ours=_ours_loo,
        peer=_sklearn_loo,
        agree=_share_apart,
        tolerance=0.0,
        target=Target("faster", 5),
        note="theirs with a refit; ours also scores",
    ),
    Case(
        name="ridge_loo_narrow_sklearn",
        peer_name="scikit-learn RidgeCV(alpha_per_target=True)",
        library="sklearn",
        make=_regression(1000, 60, 1000, 20, (40, 3, 8)),
        ours=_ours_loo,
        peer=_sklearn_loo,
        agree=_share_apart,
        tolerance=0.0,
        target=Target("faster", 3),
        note="few features: passes over the residuals cost more than products",
    ),
    Case(
        name="ridge_loo_wide_sklearn",
        peer_name="scikit-learn RidgeCV(alpha_per_target=True)",
        library="sklearn",
        make=_regression(500, 2000, 1000, 20, (20, 40, 8)),
        ours=_ours_loo,
        peer=_sklearn_loo,
        agree=_share_apart,
        tolerance=0.0,
        target=Target("faster", 5),
        note="more features than rows",
    ),
    Case(
        name="ridge_grid_sklearn",
        peer_name="scikit-learn GridSearchCV per target",
        library="sklearn",
        make=_regression(2000, 200, 8, 20, (100, 10, 8)),
        ours=_ours_refit,
        peer=_grid_search,
        agree=lambda ours, peer: same_and_close(ours[:2], peer),
        tolerance=1e-6,
        target=Target("faster", 50),
        note="one penalty per target on both sides, with a refit",
    ),
)
