"""The same numbers by other code: scipy and scikit-learn, on five kinds of data.

Tall (n >> p), wide (n << p; of low rank for measures of column spaces), rank-deficient, badly scaled (units over 1e-6 ..
1e6) and float32 data, which the other side gets as float64.  Where squaring badly scaled data would cost the other side
its digits, columns are brought to unit norm first (allowed by affine invariance) or the reference goes through QR.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.metrics.pairwise import cosine_similarity, linear_kernel, rbf_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import KernelCenterer, StandardScaler

from repcompare.measures import registry
from repcompare.measures._measure import as_outcome

KINDS = ("tall", "wide", "deficient", "scaled", "float32")
SPACES = {"cca", "shape_distance", "svcca", "gulp", "linear_r2", "eigenspace_overlap", "pwcca"}


def systems(kind, of_column_spaces):
    rng = np.random.default_rng(KINDS.index(kind))

    def two(n, p, q, rank=None):
        z = rng.normal(size=(n, 3))
        found = []
        for width in (p, q):
            inner = rank or width
            x = z @ rng.normal(size=(3, inner)) + rng.normal(size=(n, inner))
            found.append((x @ rng.normal(size=(inner, width)) if rank else x) + rng.normal(size=width))
        return found

    if kind == "tall":
        return two(300, 7, 5)
    if kind == "wide":
        return two(40, 150, 120, 5 if of_column_spaces else None)
    if kind == "deficient":
        return two(60, 16, 12, 4)
    if kind == "scaled":
        x, y = two(80, 5, 5)
        scale = np.geomspace(1e-6, 1e6, 5)
        return [x * scale, y * scale[::-1]]
    return [v.astype(np.float32) for v in two(100, 6, 5)]


def score(x, y, name, **options):
    measure = registry.make(name, **options)
    return as_outcome(measure.compare(measure.prepared(x), measure.prepared(y, side="target"))).score


def centred(x):
    return x - x.mean(0)


def standard(x):
    return StandardScaler().fit_transform(x)


def rank(x):
    return np.linalg.matrix_rank(standard(x))


def pearson(x, y):
    return np.corrcoef(x, y, rowvar=False)[: x.shape[1], x.shape[1] :]


def rho(x, y):
    """Canonical correlations through pivoted QR of standardised columns."""
    bases = []
    for v in (x, y):
        q, _, _ = scipy.linalg.qr(standard(v), mode="economic", pivoting=True)
        bases.append(q[:, : rank(v)])
    return scipy.linalg.svdvals(bases[0].T @ bases[1])


def iterative_cca(x, y):
    k = min(rank(x), rank(y))
    a, b = CCA(n_components=k, max_iter=20_000, tol=1e-13).fit_transform(x, y)
    return np.mean(np.diag(pearson(a, b)))


def svcca(x, y):
    kept = [PCA(n_components=2, svd_solver="full").fit_transform(v) for v in (x, y)]
    return np.mean(scipy.linalg.svdvals(np.linalg.qr(kept[0])[0].T @ np.linalg.qr(kept[1])[0]))


def kernel_cka(x, y, kernel=linear_kernel):
    a, b = (KernelCenterer().fit_transform(kernel(v)).ravel() for v in (centred(x), centred(y)))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def debiased(a, b):
    """Song et al. 2012, eq. 5, with its three sums."""

    def h(k, l):
        n = len(k)
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
        return (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(0) @ l.sum(0)

    return h(a, b) / np.sqrt(h(a, a) * h(b, b))


def smoother(v):
    v = centred(v) * np.sqrt(len(v)) / np.linalg.norm(centred(v))
    return Ridge(alpha=len(v) * 0.1, fit_intercept=False, solver="svd").fit(v, np.eye(len(v))).predict(v)


def explained(x, y):
    return r2_score(y, LinearRegression().fit(standard(x), y).predict(standard(x)), multioutput="variance_weighted")


def transport(gain):
    """Largest mean gain of a plan with uniform masses, as a linear programme."""
    p, q = gain.shape
    rows, columns = np.kron(np.eye(p), np.ones(q)), np.kron(np.ones(p), np.eye(q))
    masses = np.r_[np.full(p, 1 / p), np.full(q, 1 / q)]
    found = scipy.optimize.linprog(-(gain / np.abs(gain).max()).ravel(), A_eq=np.r_[rows, columns], b_eq=masses)
    return -found.fun * np.abs(gain).max()


def paired(r):
    return r[scipy.optimize.linear_sum_assignment(r, maximize=True)]


def shared_neighbours(x, y, metric, k=6):
    lists = [NearestNeighbors(n_neighbors=k, metric=metric).fit(v).kneighbors(return_distance=False) for v in (x, y)]
    return np.array([len(set(a) & set(b)) for a, b in zip(*lists, strict=True)])


def second_order(x, y, k=6):
    lists = [NearestNeighbors(n_neighbors=k, metric="cosine").fit(v).kneighbors(return_distance=False) for v in (x, y)]
    c, d = cosine_similarity(x), cosine_similarity(y)
    unions = [np.union1d(a, b) for a, b in zip(*lists, strict=True)]
    return np.mean([1 - cdist([c[i, u]], [d[i, u]], "cosine").item() for i, u in enumerate(unions)])


def aligned(x, y):
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (x, y))
    x = x @ scipy.linalg.orthogonal_procrustes(x, y)[0]
    return np.mean(np.diag(cosine_similarity(x, y)))


def nuclear(x, y):
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(centred(v), ((0, 0), (0, width - v.shape[1]))) for v in (x, y))
    return scipy.linalg.orthogonal_procrustes(x, y)[1]


def similarity(x, y):
    return nuclear(x, y) / np.linalg.norm(centred(x)) / np.linalg.norm(centred(y))


def participation(x):
    values = PCA(svd_solver="full").fit(x).explained_variance_
    return values.sum() ** 2 / np.square(values).sum()


def overlap(x, y):
    bases = [scipy.linalg.orth(v / np.linalg.norm(v, axis=0), rcond=1e-10) for v in (x, y)]
    return np.square(bases[0].T @ bases[1]).sum() / max(b.shape[1] for b in bases)


def ranks_agree(x, y):
    return scipy.stats.spearmanr(pdist(x, "correlation"), pdist(y, "correlation")).statistic


def distance_correlation(x, y):
    return debiased(squareform(pdist(x)), squareform(pdist(y)))


def permuted(x, y):
    x, y = (centred(v) / np.linalg.norm(centred(v)) for v in (x, y))
    return paired(x.T @ y).sum()


def projected(x, y):
    """sum of rho times the share of x's variance along its canonical variates."""
    q, r = (scipy.linalg.qr(standard(v), mode="economic", pivoting=True)[0][:, : rank(v)] for v in (x, y))
    u, s, _ = np.linalg.svd(q.T @ r)
    u = u[:, : len(s)]
    shares = np.square(centred(x).T @ q @ u).sum(0)
    return (shares / np.square(centred(x)).sum() * s).sum()


def uniformities(x, y):
    return abs(np.log(rbf_kernel(centred(x), gamma=1e-3).mean()) - np.log(rbf_kernel(centred(y), gamma=1e-3).mean()))


def concentricities(x, y):
    return abs(cosine_similarity(x, x.mean(0)[None]).mean() - cosine_similarity(y, y.mean(0)[None]).mean())


OTHERS = [
    ("cca", {"held_out": False, "degenerate": "allow"}, iterative_cca, 1e-9),
    ("cca", {"held_out": False}, lambda x, y: rho(x, y).mean(), 1e-10),
    ("cca", {"held_out": False, "summary": "mean_squared"}, lambda x, y: np.square(rho(x, y)).mean(), 1e-10),
    (
        "cca",
        {"held_out": False, "summary": "yanai"},
        lambda x, y: np.square(rho(x, y)).sum() / np.sqrt(rank(x) * rank(y)),
        1e-10,
    ),
    ("svcca", {"n_components": 2}, svcca, 1e-9),
    ("pwcca", {"weights": "squared"}, projected, 1e-10),
    ("gulp", {"squared": True}, lambda x, y: rank(x) + rank(y) - 2 * np.square(rho(x, y)).sum(), 1e-9),
    ("gulp", {"regularization": 0.1}, lambda x, y: np.linalg.norm(smoother(x) - smoother(y)), 1e-10),
    ("linear_r2", {}, explained, 1e-10),
    (
        "shape_distance",
        {"alpha": 0.0, "score": "similarity"},
        lambda x, y: rho(x, y).sum() / np.sqrt(rank(x) * rank(y)),
        1e-10,
    ),
    ("eigenspace_overlap", {}, overlap, 1e-10),
    ("cka", {"estimator": "biased"}, kernel_cka, 1e-11),
    (
        "cka",
        {"estimator": "biased", "kernel": "rbf", "bandwidth": 2.5, "bandwidth_scale": "absolute"},
        lambda x, y: kernel_cka(x, y, lambda v: rbf_kernel(v, gamma=0.08)),
        1e-10,
    ),
    ("cka", {}, lambda x, y: debiased(linear_kernel(centred(x)), linear_kernel(centred(y))), 1e-10),
    ("ensd", {}, lambda x, y: kernel_cka(x, y) * np.sqrt(participation(x) * participation(y)), 1e-10),
    ("procrustes", {"score": "similarity"}, similarity, 1e-11),
    ("procrustes", {}, lambda x, y: np.arccos(similarity(x, y)), 1e-10),
    ("permutation", {"score": "similarity"}, permuted, 1e-11),
    ("soft_match", {}, lambda x, y: transport(pearson(x, y)), 1e-9),
    ("one_to_one", {}, lambda x, y: paired(pearson(x, y)).mean(), 1e-11),
    ("semi_match", {}, lambda x, y: pearson(x, y).max(0).mean(), 1e-11),
    ("distance_correlation", {}, distance_correlation, 1e-10),
    ("rsm_norm", {}, lambda x, y: np.linalg.norm(pdist(x) - pdist(y)), 1e-9),
    ("rsa", {"method": "spearman"}, ranks_agree, 1e-10),
    ("mutual_knn", {"k": 6}, lambda x, y: shared_neighbours(x, y, "cosine").mean() / 6, 1e-12),
    (
        "mutual_knn",
        {"k": 6, "neighbours": "euclidean"},
        lambda x, y: shared_neighbours(x, y, "euclidean").mean() / 6,
        1e-12,
    ),
    ("jaccard", {"k": 6}, lambda x, y: (lambda h: (h / (12 - h)).mean())(shared_neighbours(x, y, "cosine")), 1e-12),
    ("second_order_cosine", {"k": 6}, second_order, 1e-11),
    ("aligned_cosine", {}, aligned, 1e-10),
    ("magnitude_difference", {}, lambda x, y: abs(np.linalg.norm(x.mean(0)) - np.linalg.norm(y.mean(0))), 1e-11),
    ("uniformity_difference", {"t": 1e-3}, uniformities, 1e-11),
    ("concentricity_difference", {}, concentricities, 1e-11),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "options", "other", "tolerance"),
    OTHERS,
    ids=[f"{o[0]}-{'-'.join(map(str, o[1].values()))}" for o in OTHERS],
)
def test_scipy_and_scikit_learn_find_the_same(name, options, other, tolerance, kind):
    x, y = systems(kind, name in SPACES)
    expected = other(x.astype(np.float64), y.astype(np.float64))
    found = score(x, y, name, **options)
    close = 1e-6 if kind == "float32" else tolerance
    assert found == pytest.approx(expected, rel=close, abs=close)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kinds_are_what_they_are_called(kind):
    for of_column_spaces in (True, False):
        for x in systems(kind, of_column_spaces):
            n, p = x.shape
            spread = np.ptp(np.log10(x.std(0)))
            assert (n > 40 * p) == (kind == "tall")
            assert (p >= 3 * n) == (kind == "wide")
            assert (rank(x) < min(n - 1, p)) == (kind == "deficient" or (kind == "wide" and of_column_spaces))
            assert (spread > 11) == (kind == "scaled")
            assert x.dtype == (np.float32 if kind == "float32" else np.float64)
