"""CKA, shape metrics and CCA, against textbook numpy, scipy and scikit-learn."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace as Data
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

import repcompare as rc
from cases._case import Case, Target, largest
from repcompare.measures.cca import cca
from repcompare.measures.cka import cka
from repcompare.measures.shape import procrustes

Matrix = npt.NDArray[np.float64]


def _systems(count: int, n: int, p: int, small: tuple[int, int, int]):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        systems, rows, units = small if quick else (count, n, p)
        latent = rng.normal(size=(rows, 10))
        xs = [latent @ rng.normal(size=(10, units)) + rng.normal(size=(rows, units)) for _ in range(systems)]
        return Data(size=f"L={systems} n={rows} p={units}", xs=xs)

    return make


def _all_pairs(xs: list[Matrix], score: Any) -> Matrix:
    """Score every two systems from their data, as packages without a notion of preparation do."""
    out = np.empty((len(xs), len(xs)))
    for i in range(len(xs)):
        out[i, i] = score(xs[i], xs[i])
    for i, j in combinations(range(len(xs)), 2):
        out[i, j] = out[j, i] = score(xs[i], xs[j])
    return out


def _ours_all_pairs(measure: Any) -> Any:
    def ours(data: Data) -> Any:
        states = [measure.prepared(x) for x in data.xs]
        if measure.compare_many is not None:
            return measure.compare_many(states, states)
        return _all_pairs(states, measure.compare)

    return ours


def _u_centred(kernel: Matrix) -> Matrix:
    n = len(kernel)
    kernel = kernel.copy()
    np.fill_diagonal(kernel, 0)
    means = kernel.sum(axis=0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    kernel -= means[:, None]
    kernel -= means[None, :]
    np.fill_diagonal(kernel, 0)
    return kernel


def gram_cka(x: Matrix, y: Matrix) -> float:
    """Debiased linear CKA from Gram matrices (Kornblith et al. 2019, Song et al. 2012)."""
    k, h = _u_centred(x @ x.T), _u_centred(y @ y.T)
    return float(k.ravel() @ h.ravel() / (np.linalg.norm(k) * np.linalg.norm(h)))


def feature_cka(x: Matrix, y: Matrix) -> float:
    """Debiased linear CKA from feature products (Kornblith et al. 2019)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    n, sx, sy = len(x), np.square(x).sum(axis=1), np.square(y).sum(axis=1)

    def debiased(product: float, a: Matrix, b: Matrix) -> float:
        return product - n / (n - 2) * float(a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2))

    xy = debiased(np.linalg.norm(x.T @ y) ** 2, sx, sy)
    xx = debiased(np.linalg.norm(x.T @ x) ** 2, sx, sx)
    yy = debiased(np.linalg.norm(y.T @ y) ** 2, sy, sy)
    return float(xy / np.sqrt(xx * yy))


def align_and_measure(x: Matrix, y: Matrix) -> float:
    """Angle between two systems after rotating both onto each other: centre, whiten by the power 0, SVD, rotate."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    u, _, vt = np.linalg.svd(x.T @ y)
    return float(np.arccos(np.clip(np.sum((x @ u) * (y @ vt.T)), -1, 1)))


def _shape_of_scipy(data: Data) -> float:
    x, y = (v - v.mean(axis=0) for v in data.xs)
    _, overlap = scipy.linalg.orthogonal_procrustes(x / np.linalg.norm(x), y / np.linalg.norm(y))
    return float(overlap)


def _cosines(ours: Any, peer: Any) -> float:
    """Difference of the cosines: of a system with itself the arccosine has no more than half the digits."""
    return largest(np.cos(ours), np.cos(peer))


def _related(n: int, p: int, small: tuple[int, int]):
    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, units = small if quick else (n, p)
        x = rng.normal(size=(rows, units))
        weights = np.linalg.qr(rng.normal(size=(units, units)))[0] * np.linspace(2, 0.2, units)
        return Data(size=f"n={rows} p={units}", x=x, y=x @ weights + rng.normal(size=(rows, units)))

    return make


def _ours_cca(data: Data) -> float:
    measure = cca(held_out=False)
    return float(measure.compare(measure.prepared(data.x), measure.prepared(data.y)).score)


def _textbook_cca(data: Data) -> float:
    qx, qy = (np.linalg.qr(v - v.mean(axis=0))[0] for v in (data.x, data.y))
    return float(np.linalg.svd(qx.T @ qy, compute_uv=False).mean())


def _sklearn_cca(data: Data) -> float:
    from sklearn.cross_decomposition import CCA

    model = CCA(n_components=data.x.shape[1], scale=False, max_iter=20_000, tol=1e-12)
    a, b = model.fit_transform(data.x, data.y)
    return float(np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(a.shape[1])]))


CASES = (
    Case(
        name="cka_all_pairs_gram",
        peer_name="textbook numpy, Grams per pair",
        library="numpy",
        make=_systems(12, 300, 1000, (3, 40, 60)),
        ours=_ours_all_pairs(cka()),
        peer=lambda data: _all_pairs(data.xs, gram_cka),
        agree=largest,
        tolerance=1e-12,
        target=Target("faster", 12),
        note="the textbook takes each pair (and each diagonal) once, i <= j",
    ),
    Case(
        name="cka_all_pairs_features",
        peer_name="textbook numpy, feature products per pair",
        library="numpy",
        make=_systems(12, 300, 1000, (3, 40, 60)),
        ours=_ours_all_pairs(cka()),
        peer=lambda data: _all_pairs(data.xs, feature_cka),
        agree=largest,
        tolerance=1e-12,
        target=Target("faster", 50),
        note="the textbook takes each pair (and each diagonal) once, i <= j",
    ),
    Case(
        name="cka_pair_gram",
        peer_name="textbook numpy, Grams",
        library="numpy",
        make=_systems(2, 300, 1000, (2, 40, 60)),
        ours=lambda data: rc.cka(*data.xs),
        peer=lambda data: gram_cka(*data.xs),
        agree=largest,
        tolerance=1e-12,
        note="one pair through the direct door, input checks included",
    ),
    Case(
        name="procrustes_all_pairs_svd",
        peer_name="textbook numpy, align by p x p SVD per pair",
        library="numpy",
        make=_systems(5, 300, 1000, (3, 40, 60)),
        ours=_ours_all_pairs(procrustes()),
        peer=lambda data: _all_pairs(data.xs, align_and_measure),
        agree=_cosines,
        tolerance=1e-12,
        target=Target("faster", 20),
        note="the textbook also has the rotations; angles compared by cosine (arccos loses digits near 0)",
    ),
    Case(
        name="procrustes_pair_scipy",
        peer_name="scipy orthogonal_procrustes",
        library="scipy",
        make=_systems(2, 300, 500, (2, 40, 60)),
        ours=lambda data: rc.procrustes(*data.xs, score="similarity"),
        peer=_shape_of_scipy,
        agree=largest,
        tolerance=1e-12,
        note="its second result is our similarity; it also has the rotation",
    ),
    Case(
        name="cca_textbook",
        peer_name="textbook numpy, QR + SVD",
        library="numpy",
        make=_related(1000, 60, (60, 4)),
        ours=_ours_cca,
        peer=_textbook_cca,
        agree=largest,
        tolerance=1e-10,
        note="in sample; ours cuts null directions by an SVD, which QR does not",
    ),
    Case(
        name="cca_sklearn",
        peer_name="scikit-learn CCA, all components",
        library="sklearn",
        make=_related(1000, 10, (60, 4)),
        ours=_ours_cca,
        peer=_sklearn_cca,
        agree=largest,
        tolerance=1e-6,
        note="in sample; theirs is iterative and has the weights too",
    ),
)
