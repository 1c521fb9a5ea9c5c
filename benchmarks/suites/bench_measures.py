"""Measures on plain arrays: preparing a side, comparing states, the batched forms."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.model_selection import KFold

import repcompare as rc
from repcompare.measures.registry import make


def systems(count: int, n: int, p: int, dtype: str = "float64") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, 10))
    xs = (latent @ rng.normal(size=(10, p)) + rng.normal(size=(n, p)) for _ in range(count))
    return [x.astype(dtype) for x in xs]


class CKA:
    """Narrow sources keep their responses, wide ones their kernel."""

    params = ([(50, 10), (1000, 100), (1000, 5000)], ["float32", "float64"])
    param_names = ("n_p", "dtype")

    def setup(self, n_p, dtype):
        self.measure = make("cka")
        self.xs = systems(2, *n_p, dtype)
        self.states = [self.measure.prepared(x) for x in self.xs]

    def time_prepare(self, n_p, dtype):
        self.measure.prepared(self.xs[0])

    def time_compare(self, n_p, dtype):
        self.measure.compare(*self.states)

    def time_restrict(self, n_p, dtype):
        self.measure.restrict(self.states[0], np.arange(0, n_p[0], 2))

    def peakmem_prepare(self, n_p, dtype):
        self.measure.prepared(self.xs[0])


class CKAAllPairs:
    params = ([3, 30],)
    param_names = ("L",)

    def setup(self, count):
        self.measure = make("cka")
        n = 50 if count == 3 else 500
        self.states = [self.measure.prepared(x) for x in systems(count, n, 2 * n, "float32")]

    def time_compare_many(self, count):
        self.measure.compare_many(self.states, self.states)

    def peakmem_compare_many(self, count):
        self.measure.compare_many(self.states, self.states)


class RDM:
    params = ([(30, 50), (118, 500), (1000, 5000)], ["correlation", "euclidean"])
    param_names = ("K_P", "distance")

    def setup(self, k_p, distance):
        (self.x,) = systems(1, *k_p)
        self.missing = self.x.copy()
        self.missing[np.random.default_rng(1).random(self.x.shape) < 0.1] = np.nan

    def time_rdm(self, k_p, distance):
        rc.rdm(self.x, distance=distance)

    def time_rdm_pairwise(self, k_p, distance):
        rc.rdm(self.missing, distance=distance, nan="pairwise")

    def peakmem_rdm(self, k_p, distance):
        rc.rdm(self.x, distance=distance)


class CompareRDMs:
    params = ([20, 92, 300], ["rho_a", "pearson", "whitened_cosine"])
    param_names = ("K", "method")

    def setup(self, k, method):
        rdms = np.array([pdist(x, "sqeuclidean") for x in systems(28, k, 30)])
        self.a, self.b = rdms[:8], rdms[8:]

    def time_compare_rdms(self, k, method):
        rc.compare_rdms(self.a, self.b, method=method)


class Procrustes:
    params = ([(50, 10), (300, 100), (300, 2000)],)
    param_names = ("n_p",)

    def setup(self, n_p):
        self.measure = make("procrustes")
        self.xs = systems(2, *n_p)
        self.states = [self.measure.prepared(x) for x in self.xs]

    def time_prepare(self, n_p):
        self.measure.prepared(self.xs[0])

    def time_compare(self, n_p):
        self.measure.compare(*self.states)


class CCA:
    params = ([(60, 5), (1000, 60)],)
    param_names = ("n_p",)

    def setup(self, n_p):
        self.xs = systems(2, *n_p)

    def time_cca(self, n_p):
        rc.cca(*self.xs)


class Ridge:
    """Wide sources are fitted in the dual form."""

    params = ([(60, 10, 5), (1000, 200, 200), (500, 3000, 200)], [True, False])
    param_names = ("n_p_t", "nested")

    def setup(self, n_p_t, nested):
        n, p, t = n_p_t
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(n, p))
        self.y = self.x @ rng.normal(size=(p, t)) / np.sqrt(p) + rng.normal(size=(n, t))
        self.folds = list(KFold(5).split(self.x))

    def time_encode(self, n_p_t, nested):
        rc.encode(self.x, self.y, folds=self.folds, nested=nested)

    def peakmem_encode(self, n_p_t, nested):
        rc.encode(self.x, self.y, folds=self.folds, nested=nested)
