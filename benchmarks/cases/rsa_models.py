"""Fitted models of RDMs, against rsatoolbox and against normal equations of the matrix that is formed."""

from __future__ import annotations

from types import SimpleNamespace as Data
from typing import Any

import numpy as np
import scipy.optimize
from scipy.spatial.distance import pdist

from cases._case import Case, Target, largest, relative
from repcompare.measures.rsa import models, partitioning
from repcompare.measures.rsa._feature_weights import normal_equations
from repcompare.measures.rsa._least_squares import solve_normal


def _weighted(rng: np.random.Generator, quick: bool) -> Data:
    k, s, m = (20, 4, 3) if quick else (92, 20, 5)
    components = np.array([pdist(rng.normal(size=(k, 20)), "sqeuclidean") for _ in range(m)])
    data = rng.exponential(size=m) @ components + 20 * rng.random((s, components.shape[1]))
    return Data(size=f"{m} components, K={k} S={s}", components=components, data=data)


def _ours_weighted(data: Data) -> Any:
    return models.fit(models.weighted(data.components), data.data, "pearson")


def _toolbox_weighted(data: Data) -> Any:
    from rsatoolbox.model import ModelWeighted
    from rsatoolbox.model.fitter import fit_optimize_positive
    from rsatoolbox.rdm import RDMs

    model = ModelWeighted("weighted", RDMs(data.components))
    return np.asarray(fit_optimize_positive(model, RDMs(data.data), method="corr"))


def _same_direction(ours: Any, peer: Any) -> float:
    return largest(ours / np.linalg.norm(ours), peer / np.linalg.norm(peer))


def _features(k: int, p: int, small: tuple[int, int]):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        n, units = small if quick else (k, p)
        x = rng.normal(size=(n, units))
        d = pdist(x * rng.random(units), "sqeuclidean")
        return Data(size=f"K={n} P={units}", x=x, d=(d - d.mean())[None])

    return make


def _ours_equations(data: Data) -> Any:
    found = normal_equations(data.x, data.d)
    return np.column_stack([found.gram, found.cross])


def _formed_equations(data: Data) -> Any:
    i, j = np.triu_indices(len(data.x), 1)
    f = np.square(data.x[i] - data.x[j])
    f -= f.mean(axis=0)
    f /= np.sqrt(np.einsum("ij,ij->j", f, f) / len(f))
    return np.column_stack([f.T @ f, f.T @ data.d.T]) / len(f)


def _nnls(rng: np.random.Generator, quick: bool) -> Data:
    count, m, n = (20, 5, 200) if quick else (500, 8, 4186)
    tables = rng.normal(size=(8, n, m)) + 0.7 * rng.normal(size=(8, n, 1))
    ys = rng.normal(size=(8, n)) + tables.mean(axis=2)
    grams = [(f.T @ f, f.T @ y) for f, y in zip(tables, ys, strict=True)]
    return Data(size=f"{count} problems, m={m}", count=count, grams=grams)


def _ours_nnls(data: Data) -> Any:
    return np.array([solve_normal(*data.grams[i % 8], nonnegative=True) for i in range(data.count)])


def _scipy_nnls(data: Data) -> Any:
    """Solve the same normal equations: the Cholesky factor stands for the tall matrix."""
    out = []
    for i in range(data.count):
        gram, g = data.grams[i % 8]
        factor = np.linalg.cholesky(gram).T
        out.append(scipy.optimize.nnls(factor, np.linalg.solve(factor.T, g))[0])
    return np.array(out)


def _partition(rng: np.random.Generator, quick: bool) -> Data:
    k, s, m = (20, 2, 3) if quick else (92, 20, 6)
    stack = rng.random((m, k * (k - 1) // 2)) + rng.random(k * (k - 1) // 2)
    data = stack.sum(axis=0) + 2 * rng.random((s, stack.shape[1]))
    return Data(size=f"{m} models, K={k} S={s}", stack=stack, data=data)


def _ours_partition(data: Data) -> Any:
    return partitioning.partition_variance([row[None] for row in data.stack], data.data).r2


def _regressed_partition(data: Data) -> Any:
    """Regress every RDM on every subset by least squares."""
    y = data.data - data.data.mean(axis=1, keepdims=True)
    total = np.square(y).sum(axis=1)
    out = []
    for subset in partitioning.all_subsets(len(data.stack)):
        x = data.stack[list(subset)].T
        x = x - x.mean(axis=0)
        residual = y.T - x @ np.linalg.lstsq(x, y.T, rcond=None)[0]
        out.append(1 - np.square(residual).sum(axis=0) / total)
    return np.array(out)


CASES = (
    Case(
        name="rdm_weighted_fit_rsatoolbox",
        peer_name="rsatoolbox fit_optimize_positive",
        library="rsatoolbox",
        make=_weighted,
        ours=_ours_weighted,
        peer=_toolbox_weighted,
        agree=_same_direction,
        tolerance=1e-2,
        target=Target("faster", 200),
        note="theirs searches by BFGS over square roots of the weights and stops early; ours is exact",
    ),
    Case(
        name="fr_rsa_equations_numpy",
        peer_name="numpy: F formed, F'F",
        library="numpy",
        make=_features(92, 500, (20, 30)),
        ours=_ours_equations,
        peer=_formed_equations,
        agree=largest,
        tolerance=1e-10,
        target=Target("faster", 8),
        note="K/4 = 23 times fewer multiplications; eigendecompositions, the same for both, are not in it",
    ),
    Case(
        name="nnls_small_scipy",
        peer_name="scipy nnls on the Cholesky factor",
        library="scipy",
        make=_nnls,
        ours=_ours_nnls,
        peer=_scipy_nnls,
        agree=relative,
        tolerance=1e-10,
    ),
    Case(
        name="variance_partitioning_numpy",
        peer_name="numpy lstsq of every subset",
        library="numpy",
        make=_partition,
        ours=_ours_partition,
        peer=_regressed_partition,
        agree=largest,
        tolerance=1e-10,
    ),
)
