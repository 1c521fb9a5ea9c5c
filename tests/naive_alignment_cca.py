"""Oracles of the CCA family and of regression geometry: formulas as they are written, nothing shared with the library."""

from __future__ import annotations

import numpy as np

from tests.naive import canonical_correlations


def projection(x):
    """Projection matrix (n, n) on the column space of x."""
    return x @ np.linalg.pinv(x)


def centred(x):
    return x - x.mean(0)


def principal(x, k):
    """Scores (n, k) on the first principal axes."""
    x = centred(x)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return x @ vectors[:, np.argsort(values)[::-1][:k]]


def components_for(x, variance):
    """Smallest count of components whose variances reach a share of the total."""
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    total = 0.0
    for k, value in enumerate(values, start=1):
        total += value
        if total >= variance * values.sum():
            return k
    return len(values)


def svcca(x, y, variance, below=min):
    kx, ky = components_for(x, variance), components_for(y, variance)
    return canonical_correlations(principal(x, kx), principal(y, ky)).sum() / below(kx, ky)


def variates(x, y):
    """Canonical correlations (k,) and unit-length variates of x (n, k), from the projections' product."""
    px, py = projection(centred(x)), projection(centred(y))
    k = min(np.linalg.matrix_rank(centred(x)), np.linalg.matrix_rank(centred(y)))
    values, vectors = np.linalg.eigh(px @ py @ px)
    order = np.argsort(values)[::-1][:k]
    return np.sqrt(np.clip(values[order], 0, 1)), vectors[:, order]


def pwcca(x, y, weights="absolute"):
    rho, h = variates(x, y)
    x = centred(x)
    total, above = 0.0, 0.0
    for i in range(len(rho)):
        dots = [float(h[:, i] @ x[:, j]) for j in range(x.shape[1])]
        w = sum(abs(d) for d in dots) if weights == "absolute" else sum(d * d for d in dots)
        above += w * rho[i]
        total += w
    return above / (total if weights == "absolute" else np.sum(x**2))


def gulp(x, y, regularization):
    """|H_x - H_y| with H = X (X'X/n + lambda)^-1 X'/n, |X| scaled to sqrt(n)."""

    def smoother(v):
        v = centred(v)
        n, p = v.shape
        v = v * np.sqrt(n) / np.linalg.norm(v)
        return v @ np.linalg.inv(v.T @ v / n + regularization * np.eye(p)) @ v.T / n

    return np.linalg.norm(smoother(x) - smoother(y))


def linear_r2(x, y):
    """Share of the variance of y that least squares from x explains, unit by unit."""
    n = len(x)
    design = np.column_stack([np.ones(n), x])
    left, total = 0.0, 0.0
    for j in range(y.shape[1]):
        beta = np.linalg.lstsq(design, y[:, j], rcond=None)[0]
        left += np.sum((y[:, j] - design @ beta) ** 2)
        total += np.sum((y[:, j] - y[:, j].mean()) ** 2)
    return 1 - left / total


def participation_ratio(x):
    values = np.linalg.eigvalsh(np.cov(x.T))
    return values.sum() ** 2 / (values**2).sum()


def ensd(x, y):
    x, y = centred(x), centred(y)
    k, l = x @ x.T, y @ y.T
    return np.trace(k) * np.trace(l) * np.sum(k * l) / (np.sum(k * k) * np.sum(l * l))


def eigenspace_overlap(x, y):
    px, py = projection(x), projection(y)
    return np.trace(px @ py) / max(np.linalg.matrix_rank(x), np.linalg.matrix_rank(y))
