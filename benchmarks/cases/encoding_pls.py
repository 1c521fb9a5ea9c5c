"""PLS and Poisson encoding, against scikit-learn and ikpls, on the same splits."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np
from sklearn.model_selection import ShuffleSplit

import repcompare as rc
from cases._case import Case, Target, largest, same_and_close

COMPONENTS = 25


def _systems(n: int, p: int, t: int, k: int, small: tuple[int, int, int]):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, features, targets = small if quick else (n, p, t)
        latent = rng.normal(size=(rows, 60)) * np.geomspace(3, 0.3, 60)
        x = latent @ rng.normal(size=(60, features)) / 8 + rng.normal(size=(rows, features))
        y = latent @ rng.normal(size=(60, targets)) / 8 + 2 * rng.normal(size=(rows, targets))
        folds = list(ShuffleSplit(k, test_size=0.1, random_state=1).split(x))
        size = f"n={rows} p={features} t={targets} m={COMPONENTS} k={k}"
        return Data(size=size, x=x, y=y, folds=folds)

    return make


def _ours_exact(data: Data) -> Any:
    return rc.encode(data.x, data.y, model="pls", n_components=COMPONENTS, folds=data.folds).unit_scores


def _ours_nipals(data: Data) -> tuple[Any, Any]:
    found = rc.encode(data.x, data.y, model="pls", n_components=COMPONENTS, folds=data.folds, solver="nipals")
    return found.details["iterations"], found.unit_scores


def _columns_r(a: Any, b: Any) -> Any:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0))


def _sklearn(data: Data) -> tuple[Any, Any]:
    from sklearn.cross_decomposition import PLSRegression

    counts, scores = [], []
    for train, test in data.folds:
        model = PLSRegression(COMPONENTS, scale=False).fit(data.x[train], data.y[train])
        counts.append(model.n_iter_)
        scores.append(_columns_r(model.predict(data.x[test]), data.y[test]))
    return np.array(counts), np.mean(scores, axis=0)


def _ikpls(data: Data) -> Any:
    from ikpls.numpy import PLS

    scores = []
    for train, test in data.folds:
        model = PLS(algorithm=1, scale_X=False, scale_Y=False)
        model.fit(data.x[train], data.y[train], COMPONENTS)
        scores.append(_columns_r(model.predict(data.x[test], COMPONENTS), data.y[test]))
    return np.mean(scores, axis=0)


def _counts(rng: np.random.Generator, quick: bool) -> Data:
    n, p, t = (100, 5, 4) if quick else (1000, 50, 20)
    x = rng.normal(size=(n, p)) * np.linspace(1.5, 0.5, p)
    y = rng.poisson(np.exp(0.5 * x @ rng.normal(size=(p, t)) / np.sqrt(p) + 1)).astype(float)
    folds = list(ShuffleSplit(5, test_size=0.2, random_state=1).split(x))
    return Data(size=f"n={n} p={p} t={t} k=5", x=x, y=y, folds=folds, alpha=10.0)


def _ours_poisson(data: Data) -> Any:
    found = rc.encode(data.x, data.y, model="poisson", alphas=data.alpha, folds=data.folds, scoring="pearson")
    return found.unit_scores


def _sklearn_poisson(data: Data) -> Any:
    from sklearn.linear_model import PoissonRegressor

    scores = []
    for train, test in data.folds:
        model = PoissonRegressor(alpha=data.alpha / len(train), tol=1e-6, max_iter=1000)
        predicted = [model.fit(data.x[train], unit).predict(data.x[test]) for unit in data.y[train].T]
        scores.append(_columns_r(np.array(predicted).T, data.y[test]))
    return np.mean(scores, axis=0)


CASES = (
    Case(
        name="pls_wide_sklearn",
        peer_name="scikit-learn PLSRegression(scale=False)",
        library="sklearn",
        make=_systems(3000, 4000, 200, 10, (80, 120, 30)),
        ours=_ours_nipals,
        peer=_sklearn,
        agree=same_and_close,
        tolerance=1e-10,
        target=Target("faster", 30),
        note="the same iteration counts; about 2 min a round",
    ),
    Case(
        name="pls_narrow_sklearn",
        peer_name="scikit-learn PLSRegression(scale=False)",
        library="sklearn",
        make=_systems(1500, 600, 168, 5, (100, 40, 30)),
        ours=_ours_nipals,
        peer=_sklearn,
        agree=same_and_close,
        tolerance=1e-10,
        target=Target("faster", 8),
        note="the same iteration counts",
    ),
    Case(
        name="pls_wide_ikpls",
        peer_name="ikpls PLS(algorithm=1) per split",
        library="ikpls",
        make=_systems(3000, 4000, 200, 10, (80, 120, 30)),
        ours=_ours_exact,
        peer=_ikpls,
        agree=largest,
        tolerance=1e-8,
        target=Target("faster", 3),
        note="its fast cross-validation needs X'X, which is larger than the data here",
    ),
    Case(
        name="pls_narrow_ikpls",
        peer_name="ikpls PLS(algorithm=1) per split",
        library="ikpls",
        make=_systems(1500, 600, 168, 10, (100, 40, 30)),
        ours=_ours_exact,
        peer=_ikpls,
        agree=largest,
        tolerance=1e-8,
    ),
    Case(
        name="poisson_sklearn",
        peer_name="scikit-learn PoissonRegressor per unit",
        library="sklearn",
        make=_counts,
        ours=_ours_poisson,
        peer=_sklearn_poisson,
        agree=largest,
        tolerance=1e-5,
        note="one penalty; alpha = n s",
    ),
)
