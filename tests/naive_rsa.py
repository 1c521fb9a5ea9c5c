"""Plain-loop oracles of RSA: slow, obvious, and independent of the code that they judge."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np


def pairs(k):
    return list(combinations(range(k), 2))


def distance(x, y, name, min_units=1):
    """Return the distance of two patterns over the units that are finite in both; NaN where undefined."""
    common = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if not (np.isnan(a) or np.isnan(b))]
    if len(common) < min_units:
        return np.nan
    if name in ("squared_euclidean", "euclidean"):
        mean = sum((a - b) ** 2 for a, b in common) / len(common)
        return mean if name == "squared_euclidean" else sqrt(mean)
    mx = sum(a for a, _ in common) / len(common) if name == "correlation" else 0.0
    my = sum(b for _, b in common) / len(common) if name == "correlation" else 0.0
    xx = sum((a - mx) ** 2 for a, _ in common)
    yy = sum((b - my) ** 2 for _, b in common)
    if xx == 0 or yy == 0:
        return np.nan
    return 1 - sum((a - mx) * (b - my) for a, b in common) / sqrt(xx * yy)


def rdm(values, name, min_units=1):
    return np.array([distance(values[i], values[j], name, min_units) for i, j in pairs(len(values))])


def midranks(v):
    """Count how many are smaller and how many are equal."""
    return np.array([sum(w < x for w in v) + (sum(w == x for w in v) + 1) / 2 for x in v])


def contrasts(k):
    c = np.zeros((k * (k - 1) // 2, k))
    for row, (i, j) in enumerate(pairs(k)):
        c[row, i], c[row, j] = 1, -1
    return c


def whitening(k, covariance=None):
    """Return V (n_pairs, n_pairs), dense."""
    covariance = np.ones(k) if covariance is None else np.asarray(covariance, dtype=float)
    if covariance.ndim == 1:
        covariance = np.diag(covariance)
    return (contrasts(k) @ covariance @ contrasts(k).T) ** 2


def compare(a, b, method, covariance=None):
    """Return the score of two condensed RDMs over the pairs that both have."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    k = round((1 + sqrt(1 + 8 * a.size)) / 2)
    here = [i for i in range(a.size) if not (np.isnan(a[i]) or np.isnan(b[i]))]
    a, b = a[here], b[here]
    if method in ("rho_a", "spearman"):
        a, b = midranks(a), midranks(b)
    if method in ("rho_a", "spearman", "pearson", "whitened_pearson"):
        a, b = a - a.mean(), b - b.mean()
    if method == "rho_a":
        return 12 * float(a @ b) / (len(here) ** 3 - len(here))
    inner = np.eye(len(here))
    if method.startswith("whitened"):
        inner = np.linalg.inv(whitening(k, covariance)[np.ix_(here, here)])
    return float(a @ inner @ b / np.sqrt((a @ inner @ a) * (b @ inner @ b)))


def biased_linear_cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.sum((x.T @ y) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2)))
