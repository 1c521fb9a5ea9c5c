"""Oracles of the kernel, shape and CCA measures: formulas as they are written, nothing shared with the library."""

from __future__ import annotations

import numpy as np


def kernel(x, kind="linear", sigma=None):
    n = len(x)
    k = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if kind == "linear":
                k[i, j] = sum(x[i, a] * x[j, a] for a in range(x.shape[1]))
            elif kind == "laplace":
                distance = np.sqrt(sum((x[i, a] - x[j, a]) ** 2 for a in range(x.shape[1])))
                k[i, j] = np.exp(-distance / (np.sqrt(2) * sigma))
            else:
                k[i, j] = np.exp(-sum((x[i, a] - x[j, a]) ** 2 for a in range(x.shape[1])) / (2 * sigma**2))
    return k


def median_distance(x):
    n = len(x)
    return np.median([np.sqrt(np.sum((x[i] - x[j]) ** 2)) for i in range(n) for j in range(i + 1, n)])


def hsic_song(k, l):
    """Song et al. 2012, eq. 5: the unbiased estimator, with explicit traces and sums."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    one = np.ones(n)
    trace = np.trace(k @ l)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (trace + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def hsic_gretton(k, l):
    n = len(k)
    h = np.eye(n) - 1 / n
    return np.trace(k @ h @ l @ h)


def hsic_rv2(k, l):
    n = len(k)
    h = np.eye(n) - 1 / n
    k, l = h @ k @ h, h @ l @ h
    return sum(k[i, j] * l[i, j] for i in range(n) for j in range(n) if i != j)


def cka(x, y, hsic, kind="linear", sigma_x=None, sigma_y=None):
    x, y = x - x.mean(0), y - y.mean(0)
    k, l = kernel(x, kind, sigma_x), kernel(y, kind, sigma_y)
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def cka_stimulus_and_unit(x, y):
    def self_term(z):
        p = z.shape[1]
        whole = hsic_song(z @ z.T, z @ z.T)
        single = sum(hsic_song(np.outer(z[:, a], z[:, a]), np.outer(z[:, a], z[:, a])) for a in range(p))
        return (whole - single) / (p * (p - 1))

    x, y = x - x.mean(0), y - y.mean(0)
    cross = hsic_song(x @ x.T, y @ y.T) / (x.shape[1] * y.shape[1])
    return cross / np.sqrt(self_term(x) * self_term(y))


def cka_repeats(x, y):
    """x, y (n_repeats, n_stimuli, n_units)."""

    def signal(z):
        kernels = [r @ r.T for r in z - z.mean(1, keepdims=True)]
        pairs = [(a, b) for a in range(len(z)) for b in range(a + 1, len(z))]
        return np.mean([hsic_song(kernels[a], kernels[b]) for a, b in pairs])

    mx, my = (z.mean(0) - z.mean((0, 1)) for z in (x, y))
    return hsic_song(mx @ mx.T, my @ my.T) / np.sqrt(signal(x) * signal(y))


def nbs(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(x.T @ y, "nuc") / (np.linalg.norm(x) * np.linalg.norm(y))


def bures(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    squared = np.linalg.norm(x) ** 2 + np.linalg.norm(y) ** 2 - 2 * np.linalg.norm(x.T @ y, "nuc")
    return np.sqrt(max(0, squared))


def best_rotation_distance(x, y):
    """Distance of two planar systems by brute force over all rotations and reflections."""
    x, y = x - x.mean(0), y - y.mean(0)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    best = np.inf
    for angle in np.linspace(0, 2 * np.pi, 20001):
        c, s = np.cos(angle), np.sin(angle)
        for q in (np.array([[c, -s], [s, c]]), np.array([[c, s], [s, -c]])):
            best = min(best, np.linalg.norm(x - y @ q))
    return best


def canonical_correlations(x, y):
    """Square roots of the eigenvalues of Sxx^-1 Sxy Syy^-1 Syx (Hotelling 1936)."""
    x, y = x - x.mean(0), y - y.mean(0)
    m = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    values = np.sort(np.linalg.eigvals(m).real)[::-1][: min(x.shape[1], y.shape[1])]
    return np.sqrt(np.clip(values, 0, 1))


def held_out_cca(x, y, splits, summary="mean"):
    scores = []
    for train, test in splits:
        mx, my = x[train].mean(0), y[train].mean(0)
        cx, cy = np.cov((x[train] - mx).T), np.cov((y[train] - my).T)
        wx, wy = inverse_root(cx), inverse_root(cy)
        cross = (x[train] - mx).T @ (y[train] - my) / (len(train) - 1)
        u, _, vt = np.linalg.svd(wx @ cross @ wy)
        k = min(x.shape[1], y.shape[1])
        a, b = (x[test] - mx) @ wx @ u[:, :k], (y[test] - my) @ wy @ vt[:k].T
        rho = np.array([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(k)])
        total = {"mean": rho.mean(), "mean_squared": (rho * abs(rho)).mean()}
        total["yanai"] = (rho * abs(rho)).sum() / np.sqrt(x.shape[1] * y.shape[1])
        scores.append(total[summary])
    return np.mean(scores)


def inverse_root(c):
    values, vectors = np.linalg.eigh(c)
    return vectors @ np.diag(values**-0.5) @ vectors.T
