"""Banded and kernel ridge, delays and variance partitioning, against himalaya and scikit-learn on the same folds."""

from __future__ import annotations

from itertools import combinations, pairwise
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

import repcompare as rc
from cases._case import Case, Target, largest, same_and_close
from repcompare.measures.encoding._banded_search import sample_gammas
from repcompare.measures.encoding.delays import delay_features

BANDS = 2


def _banded(n: int, p: int, t: int, small: tuple[int, int, int]):
    """Bands of p / 2 features; 20 weightings, none exactly 0 (which himalaya's solver cannot take)."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, features, targets = small if quick else (n, p, t)
        x = rng.normal(size=(rows, features)) + 1.0
        noise = rng.normal(size=(rows, targets)) * np.geomspace(0.5, 10, targets)
        weights = rng.normal(size=(features, targets)) * np.where(np.arange(features) < features // 2, 1, 0.1)[:, None]
        y = x @ weights / np.sqrt(features) + noise
        gammas = np.maximum(sample_gammas(BANDS, 20, seed=0), 1e-3)
        gammas /= gammas.sum(axis=1, keepdims=True)
        folds = list(KFold(5).split(x))
        apart = sum(np.square(y[test] - y[train].mean(axis=0)).sum(axis=0) for train, test in folds) / rows
        size = f"n={rows} p={features} t={targets} gammas=20 a=10 k=5"
        bands = [slice(0, features // 2), slice(features // 2, features)]
        alphas = np.logspace(0, 4, 10)
        return Data(size=size, x=x, y=y, folds=folds, gammas=gammas, alphas=alphas, apart=apart, bands=bands)

    return make


def _ours_banded(data: Data) -> tuple[Any, Any]:
    """Penalties (n_bands, n_units) and the cross-validated mean squared error."""
    found = rc.encode(
        data.x, data.y, model="banded_ridge", bands=data.bands, gammas=data.gammas, alphas=data.alphas,
        folds=data.folds, nested=False, scoring="r2",
    )  # fmt: skip
    return found.alphas, (1 - found.unit_scores) * data.apart


def _himalaya_banded(data: Data) -> tuple[Any, Any]:
    from himalaya.ridge import solve_group_ridge_random_search

    found = solve_group_ridge_random_search(
        [data.x[:, band] for band in data.bands], data.y, n_iter=data.gammas, alphas=data.alphas,
        fit_intercept=True, cv=KFold(5), return_weights=False, progress_bar=False, warn=False,
    )  # fmt: skip
    return np.exp(-found[0]), -found[2].max(axis=0)


def _same_weightings(ours: Any, peer: Any) -> float:
    """Share of units with other penalties, or the largest difference of errors; himalaya adds 1e-10 to gamma / alpha."""
    apart = ~np.isclose(1 / ours[0], 1 / peer[0], rtol=1e-9, atol=2e-10).all(axis=0)
    return max(float(apart.mean()), largest(ours[1], peer[1]))


def _himalaya_multiple_kernel(data: Data) -> tuple[Any, Any]:
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

    about = data.x - data.x.mean(axis=0)
    kernels = np.array([about[:, band] @ about[:, band].T for band in data.bands])
    found = solve_multiple_kernel_ridge_random_search(
        kernels, data.y, n_iter=data.gammas, alphas=data.alphas, fit_intercept=True, cv=KFold(5),
        return_weights="dual", progress_bar=False,
    )  # fmt: skip
    return np.exp(-found[0]), -found[2].max(axis=0)


def _smooth(rng: np.random.Generator, quick: bool) -> Data:
    n, p, t = (60, 4, 5) if quick else (500, 10, 200)
    x = rng.normal(size=(n, p))
    y = np.sin(x @ rng.normal(size=(p, t))) + 0.5 * rng.normal(size=(n, t))
    return Data(
        size=f"n={n} p={p} t={t} a=10 k=5", x=x, y=y, folds=list(KFold(5).split(x)), alphas=np.logspace(-3, 2, 10)
    )


def _ours_rbf(data: Data) -> Any:
    found = rc.encode(
        data.x, data.y, model="kernel_ridge", kernel="rbf", bandwidth=3.0, bandwidth_scale="absolute",
        alphas=data.alphas, folds=data.folds, nested=False, scoring="r2",
    )  # fmt: skip
    return found.unit_scores


def _sklearn_rbf(data: Data) -> Any:
    """Every penalty in every fold; the best of each unit by its summed error."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.preprocessing import KernelCenterer

    kernel = rbf_kernel(data.x, gamma=1 / 18)
    errors, total = np.zeros((len(data.alphas), data.y.shape[1])), 0.0
    for train, test in data.folds:
        centre = KernelCenterer().fit(kernel[np.ix_(train, train)])
        inside, cross = (centre.transform(kernel[np.ix_(rows, train)].copy()) for rows in (train, test))
        mean = data.y[train].mean(axis=0)
        total = total + np.square(data.y[test] - mean).sum(axis=0)
        for i, alpha in enumerate(data.alphas):
            model = KernelRidge(alpha=alpha, kernel="precomputed").fit(inside, data.y[train] - mean)
            errors[i] += np.square(data.y[test] - mean - model.predict(cross)).sum(axis=0)
    return 1 - errors.min(axis=0) / total


def _recording(rng: np.random.Generator, quick: bool) -> Data:
    n, p, t = (60, 40, 5) if quick else (1200, 4000, 300)
    x = rng.normal(size=(n, p)).astype(np.float64)
    lags = [1, 2, 3, 4]
    y = delay_features(x[:, :3], [2, 3]) @ rng.normal(size=(6, t)) + rng.normal(size=(n, t))
    edges = np.linspace(0, n, 6).astype(int)
    rows = np.arange(n)
    folds = [(rows[(rows < a - 4) | (rows >= b + 4)], rows[a:b]) for a, b in pairwise(edges)]
    return Data(size=f"n={n} p={p} delays=4 t={t}", x=x, y=y, lags=lags, folds=folds, alphas=np.logspace(2, 5, 10))


def _ours_delayed(data: Data) -> Any:
    found = rc.encode(
        data.x, data.y, model="delayed_ridge", delays=data.lags, folds=data.folds, alphas=data.alphas, nested=False
    )
    return found.alphas, found.unit_scores


def _explicit_delays(data: Data) -> Any:
    wide = delay_features(data.x, data.lags)
    found = rc.encode(wide, data.y, folds=data.folds, alphas=data.alphas, nested=False)
    return found.alphas, found.unit_scores


def _layers(rng: np.random.Generator, quick: bool) -> Data:
    n, p, t = (80, 8, 5) if quick else (1500, 160, 300)
    x = rng.normal(size=(n, p)) + np.tile(rng.normal(size=(n, p // 4)), 4)
    y = x @ rng.normal(size=(p, t)) / np.sqrt(p) + rng.normal(size=(n, t)) * np.geomspace(0.5, 10, t)
    return Data(
        size=f"n={n} p={p} in 4 bands t={t} a=10 k=5", x=x, y=y, bands=np.arange(p) // (p // 4),
        folds=list(KFold(5).split(x)), alphas=np.logspace(0, 4, 10),
    )  # fmt: skip


def _ours_partition(data: Data) -> Any:
    found = rc.encode_partition(
        data.x, data.y, bands=data.bands, model="ridge", folds=data.folds, alphas=data.alphas, nested=False
    )
    return found["r2"].values


def _himalaya_partition(data: Data) -> Any:
    """R2 of all 15 sub-models, pooled over folds."""
    from himalaya.ridge import solve_group_ridge_random_search

    total = sum(np.square(data.y[test] - data.y[train].mean(axis=0)).sum(axis=0) for train, test in data.folds)
    rows = []
    for size in range(1, 5):
        for code in combinations(range(4), size):
            found = solve_group_ridge_random_search(
                [data.x[:, np.isin(data.bands, code)]], data.y, n_iter=np.ones((1, 1)), alphas=data.alphas,
                fit_intercept=True, cv=KFold(5), return_weights=False, progress_bar=False, warn=False,
            )  # fmt: skip
            rows.append(1 + found[2][0] * len(data.x) / total)
    return np.array(rows)


CASES = (
    Case(
        name="banded_himalaya",
        peer_name="himalaya group ridge random search, no refit",
        library="himalaya",
        make=_banded(2000, 200, 1000, (100, 10, 8)),
        ours=_ours_banded,
        peer=_himalaya_banded,
        agree=_same_weightings,
        tolerance=1e-6,
        target=Target("faster", 30),
        note="the same weightings and penalties; choices identical for every target; delta_b = log(gamma_b / alpha)",
    ),
    Case(
        name="banded_dual_himalaya",
        peer_name="himalaya multiple kernel random search, with refit",
        library="himalaya",
        make=_banded(400, 1200, 300, (60, 100, 8)),
        ours=_ours_banded,
        peer=_himalaya_multiple_kernel,
        agree=_same_weightings,
        tolerance=1e-6,
        note="more features than rows; the kernels are part of both; theirs also refits on all rows where a weighting wins",
    ),
    Case(
        name="kernel_ridge_sklearn",
        peer_name="scikit-learn KernelRidge per fold and penalty",
        library="sklearn",
        make=_smooth,
        ours=_ours_rbf,
        peer=_sklearn_rbf,
        agree=largest,
        tolerance=1e-8,
    ),
    Case(
        name="delayed_kernel",
        peer_name="ours on explicit delayed features",
        library="numpy",
        make=_recording,
        ours=_ours_delayed,
        peer=_explicit_delays,
        agree=same_and_close,
        tolerance=1e-6,
        note="the delayed features are never formed: one kernel of p features in place of 4 p",
    ),
    Case(
        name="encode_partition_himalaya",
        peer_name="himalaya RidgeCV's solver per sub-model",
        library="himalaya",
        make=_layers,
        ours=_ours_partition,
        peer=_himalaya_partition,
        agree=largest,
        tolerance=1e-8,
        note="15 sub-models of 4 bands; ours also has the product measure and standard errors",
    ),
)
