"""Plain-loop oracles of the comparators of RDMs: every method, with missing pairs and controls, and noise ceilings."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import scipy.linalg

from tests.naive_rsa import midranks, whitening


def sign(x):
    return int(x > 0) - int(x < 0)


def signs(v):
    """The signs of all differences: one entry per pair of items."""
    return np.array([float(sign(v[i] - v[j])) for i, j in combinations(range(len(v)), 2)])


def dot(x, inner, y):
    return float(x @ y) if inner is None else float(x @ inner @ y)


def square(d):
    k = round((1 + sqrt(1 + 8 * len(d))) / 2)
    out = np.zeros((k, k))
    for value, (i, j) in zip(d, combinations(range(k), 2), strict=True):
        out[i, j] = out[j, i] = value
    return out


def project_out(v, others, inner):
    """Return v without its projection on the others, in an inner product, one after the other."""
    basis = []
    for z in others:
        for _ in range(2):
            for q in basis:
                z = z - q * dot(q, inner, z)
        basis.append(z / sqrt(dot(z, inner, z)))
    for _ in range(2):
        for q in basis:
            v = v - q * dot(q, inner, v)
    return v


def compare(a, b, method, covariance=None, control=(), semipartial=False, centring="arithmetic"):
    """Return the score of two condensed RDMs over the pairs that both and the controls have."""
    if method == "bures":
        return bures(a, b)
    if method == "riemannian":
        return riemannian(a, b, covariance)
    rows = [np.asarray(v, dtype=float) for v in (a, b, *control)]
    k = len(square(rows[0]))
    here = [i for i in range(rows[0].size) if not any(np.isnan(v[i]) for v in rows)]
    rows = [v[here] for v in rows]
    n = len(here)
    inner = None
    tie_free = (n**3 - n) / 12
    if method.startswith("kendall"):
        rows = [signs(v) for v in rows]
        tie_free = n * (n - 1) / 2
    if method in ("rho_a", "spearman"):
        rows = [midranks(v) for v in rows]
    if method.startswith("whitened"):
        inner = np.linalg.inv(whitening(k, covariance)[np.ix_(here, here)])
    if method in ("rho_a", "spearman", "pearson", "whitened_pearson"):
        one = np.ones(n)
        plain = None if centring == "arithmetic" else inner
        rows = [v - one * dot(one, plain, v) / dot(one, plain, one) for v in rows]
    lengths = [dot(v, inner, v) for v in rows[:2]]
    more = [tie_free - own if method in ("rho_a", "kendall_tau_a") else 0.0 for own in lengths]
    x, y, *z = rows
    y = project_out(y, z, inner)
    x = x if semipartial else project_out(x, z, inner)
    return dot(x, inner, y) / sqrt((dot(x, inner, x) + more[0]) * (dot(y, inner, y) + more[1]))


def moment(d):
    k = len(square(d))
    h = np.eye(k) - 1 / k
    return -0.5 * h @ square(d) @ h


def positive_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def bures(a, b):
    p, q = positive_root(moment(a)), positive_root(moment(b))
    return float(np.linalg.svd(p @ q)[1].sum() / sqrt(np.trace(p @ p) * np.trace(q @ q)))


def riemannian(a, b, covariance=None, ridges=None):
    """Try many ridges; with the contrasts to the first stimulus, not an orthonormal basis."""
    k = len(square(a))
    p = np.hstack([-np.ones((k - 1, 1)), np.eye(k - 1)])
    covariance = np.eye(k) if covariance is None else np.asarray(covariance, dtype=float)
    covariance = np.diag(covariance) if covariance.ndim == 1 else covariance
    g, t, s = (p @ m @ p.T for m in (moment(a), moment(b), covariance))
    best = np.inf
    unit = np.trace(g) / np.trace(s)
    for r in [0.0, *(unit * np.exp(np.linspace(-14, 7, 4001)))] if ridges is None else ridges:
        values = scipy.linalg.eigh(g + r * s, t, eigvals_only=True)
        if values[0] > 0:
            logs = np.log(values)
            best = min(best, sqrt(float(((logs - logs.mean()) ** 2).sum())))
    return -best
