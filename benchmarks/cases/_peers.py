"""The numbers of independent packages, each by its shortest recipe: scores of two systems (n_stimuli, n_units)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[Any]
Score = Callable[[Matrix, Matrix], float]


def centred(x: Matrix) -> Matrix:
    return x - x.mean(axis=0)


def rank(x: Matrix) -> int:
    units = centred(x)
    return int(np.linalg.matrix_rank(units / np.linalg.norm(units, axis=0)))


def mean_correlation(a: Matrix, b: Matrix) -> float:
    return float(np.mean([np.corrcoef(u, v)[0, 1] for u, v in zip(a.T, b.T, strict=True)]))


# rsatoolbox


def toolbox(distance: str, method: str) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        from rsatoolbox.data import Dataset
        from rsatoolbox.rdm import calc_rdm, compare

        return float(compare(*(calc_rdm(Dataset(v), method=distance) for v in (x, y)), method=method)[0, 0])

    return score


# mne-rsa


def control(x: Matrix, y: Matrix) -> Matrix:
    """Return features of both systems, whose RDM is what partial correlations control for.

    They have the size of the systems: of RDMs in other units the pseudo-inverse of mne-rsa drops the smaller.
    """
    both = [v.astype(np.float64) for v in (x, y)]
    return np.concatenate([v[:, :2] / v[:, :2].std(axis=0) * v.std() for v in both], axis=1)


def mne(distance: str, metric: str) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        from mne_rsa import compute_rdm, rsa

        first, second, third = (compute_rdm(v, metric=distance) for v in (x, y, control(x, y)))
        models = [second, third] if metric.startswith("partial") else [second]
        return float(rsa([first], models, metric=metric)[0, 0])

    return score


# scikit-learn


def sklearn_cca(x: Matrix, y: Matrix) -> float:
    from sklearn.cross_decomposition import CCA

    model = CCA(n_components=min(rank(x), rank(y)), max_iter=20_000, tol=1e-12)
    return mean_correlation(*model.fit_transform(x, y))


def sklearn_r2(x: Matrix, y: Matrix) -> float:
    from sklearn.linear_model import LinearRegression

    x = centred(x)
    x = x / np.linalg.norm(x, axis=0)  # its cut-off of singular values is absolute in the units of the predictors
    return float(r2(y, LinearRegression().fit(x, y).predict(x)))


def r2(y: Matrix, predicted: Matrix) -> float:
    from sklearn.metrics import r2_score

    return r2_score(y, predicted, multioutput="variance_weighted")


def sklearn_gulp(x: Matrix, y: Matrix, regularization: float = 0.1) -> float:
    """Distance of the smoothers of ridge regression on data of unit mean norm."""
    from sklearn.linear_model import Ridge

    smoothers = []
    for v in (x, y):
        v = centred(v) * np.sqrt(len(v)) / np.linalg.norm(centred(v))
        ridge = Ridge(alpha=len(v) * regularization, fit_intercept=False, solver="svd")
        smoothers.append(ridge.fit(v, np.eye(len(v))).predict(v))
    return float(np.linalg.norm(smoothers[0] - smoothers[1]))


def sklearn_cka(kernel: str) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
        from sklearn.preprocessing import KernelCenterer

        gamma = 0.5 / bandwidth(x) ** 2
        kernels = [
            linear_kernel(centred(v)) if kernel == "linear" else rbf_kernel(centred(v), gamma=gamma) for v in (x, y)
        ]
        a, b = (KernelCenterer().fit_transform(k).ravel() for k in kernels)
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    return score


def bandwidth(x: Matrix) -> float:
    """Of the kernels of both systems."""
    return float(np.median(distances(x.astype(np.float64))))


def distances(x: Matrix) -> Matrix:
    from scipy.spatial.distance import pdist

    return pdist(x)


def sklearn_neighbours(metric: str, union: bool, k: int = 10) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        from sklearn.neighbors import NearestNeighbors

        lists = [
            NearestNeighbors(n_neighbors=k, metric=metric).fit(v).kneighbors(return_distance=False) for v in (x, y)
        ]
        both = np.array([len(set(a) & set(b)) for a, b in zip(*lists, strict=True)])
        return float(np.mean(both / (2 * k - both if union else k)))

    return score


# scipy


def scipy_disparity(x: Matrix, y: Matrix) -> float:
    """Normalised Bures similarity from the disparity 1 - NBS^2 of both, padded to one width."""
    from scipy.spatial import procrustes

    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (x, y))
    return float(np.sqrt(1 - procrustes(x, y)[2]))


def angles(x: Matrix, y: Matrix) -> Matrix:
    """Canonical correlations from the angles between column spaces."""
    from scipy.linalg import orth, subspace_angles

    bases = [orth(centred(v) / np.linalg.norm(centred(v), axis=0), rcond=1e-10) for v in (x, y)]
    return np.cos(subspace_angles(*bases))


def scipy_alpha_zero(x: Matrix, y: Matrix) -> float:
    return float(angles(x, y).sum() / np.sqrt(rank(x) * rank(y)))


def scipy_yanai(x: Matrix, y: Matrix) -> float:
    return float(np.square(angles(x, y)).sum() / np.sqrt(rank(x) * rank(y)))


def scipy_one_to_one(x: Matrix, y: Matrix) -> float:
    from scipy.optimize import linear_sum_assignment

    r = correlations(x, y)
    return float(r[linear_sum_assignment(r, maximize=True)].mean())


def scipy_rsm(x: Matrix, y: Matrix) -> float:
    return float(np.linalg.norm(distances(x) - distances(y)))


def correlations(x: Matrix, y: Matrix) -> Matrix:
    return np.corrcoef(x, y, rowvar=False)[: x.shape[1], x.shape[1] :]


# POT, dcor, cca-zoo, netrep


def pot(kind: str) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        import ot

        x, y = centred(x), centred(y)
        if kind == "shape":
            x, y = (v / np.sqrt(np.square(v).sum(axis=0).mean()) for v in (x, y))
        cost = (
            ot.dist(x.T, y.T)
            if kind == "euclidean"
            else (1 - correlations(x, y) if kind == "correlation" else -x.T @ y)
        )
        unit = np.abs(cost).max()  # the network simplex stops at an absolute precision
        value = ot.emd2([], [], cost / unit, numItermax=10_000_000) * unit
        return float({"correlation": lambda v: 1 - v, "euclidean": np.sqrt, "shape": lambda v: -v}[kind](value))

    return score


def dcor_biased(x: Matrix, y: Matrix) -> float:
    import dcor

    return float(dcor.distance_correlation(x, y))


def dcor_debiased(x: Matrix, y: Matrix) -> float:
    import dcor

    return float(dcor.u_distance_correlation_sqr(x, y))


def zoo(shrinkage: float) -> Score:
    """Each side in units of its mean variance over kept directions: the package shrinks towards the identity."""

    def score(x: Matrix, y: Matrix) -> float:
        from cca_zoo.linear import RidgeCCA

        units = [centred(v) / np.sqrt(np.square(centred(v)).sum() / (len(v) - 1) / rank(v)) for v in (x, y)]
        if shrinkage == 0:  # invariant to the scale of units, which the package is not
            units = [v / np.linalg.norm(v, axis=0) for v in units]
        model = RidgeCCA(n_components=min(rank(x), rank(y)), shrinkage=shrinkage).fit(units)
        return mean_correlation(*model.transform(units))

    return score


def netrep_linear(alpha: float, form: str) -> Score:
    def score(x: Matrix, y: Matrix) -> float:
        from netrep.metrics import LinearMetric

        return float(LinearMetric(alpha=alpha, score_method=form).fit_score(*same_width(x, y)))

    return score


def netrep_permutation(x: Matrix, y: Matrix) -> float:
    from netrep.metrics import PermutationMetric

    return float(PermutationMetric().fit_score(*same_width(x, y)))


def same_width(x: Matrix, y: Matrix) -> list[Matrix]:
    width = max(x.shape[1], y.shape[1])
    return [np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (x, y)]


# References with 50 digits


def exact_cca(shrinkage: float) -> Score:
    """Mean correlation of canonical variates whose weights are ((1 - c) l + c mean(l))^-1/2, in 50 digits."""

    def score(x: Matrix, y: Matrix) -> float:
        import mpmath as mp

        with mp.workdps(50):
            n, sides = len(x), []
            for v in (x, y):
                m = mp.matrix(v.tolist())
                means = [mp.fsum(m[:, j]) / n for j in range(m.cols)]
                m = mp.matrix(n, m.cols, force_type=mp.mpf) + mp.matrix(
                    [[m[i, j] - means[j] for j in range(m.cols)] for i in range(n)]
                )
                values, vectors = mp.eigsy(m.T * m)
                kept = [values[j] for j in range(m.cols)]
                level = mp.fsum(kept) / len(kept)
                w = mp.diag([1 / mp.sqrt((1 - shrinkage) * value + shrinkage * level) for value in kept])
                sides.append(m * vectors * w)
            u, _, vt = mp.svd_r(sides[0].T * sides[1])
            a, b = sides[0] * u, sides[1] * vt.T
            found = [
                mp.fdot(a[:, k], b[:, k]) / mp.sqrt(mp.fdot(a[:, k], a[:, k]) * mp.fdot(b[:, k], b[:, k]))
                for k in range(u.cols)
            ]
            return float(mp.fsum(found) / len(found))

    return score
