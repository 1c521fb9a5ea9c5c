"""Oracles of shape metrics and unit matching: formulas as they are written, nothing shared with the library."""

from __future__ import annotations

from itertools import permutations
from math import lcm

import numpy as np
from scipy.optimize import linear_sum_assignment


def correlations(x, y):
    return np.array([[np.corrcoef(a, b)[0, 1] for b in y.T] for a in x.T])


def best_pairing(weights):
    """Largest sum over one-to-one pairings of min(p, q) units, by trying all of them."""
    if weights.shape[0] > weights.shape[1]:
        weights = weights.T
    p, q = weights.shape
    return max(sum(weights[i, order[i]] for i in range(p)) for order in permutations(range(q), p))


def best_transport(weights):
    """Largest sum of T times weights over plans with uniform masses: every unit split into equal grains."""
    p, q = weights.shape
    grains = lcm(p, q)
    fine = np.repeat(np.repeat(weights, grains // p, axis=0), grains // q, axis=1)
    rows, columns = linear_sum_assignment(-fine)
    return fine[rows, columns].sum() / grains


def square_distances(x, y):
    return np.array([[((a - b) ** 2).sum() for b in y.T] for a in x.T])


def soft_euclidean(x, y):
    return np.sqrt(-best_transport(-square_distances(x - x.mean(0), y - y.mean(0))))


def soft_cosine(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    x, y = x / np.sqrt((x**2).sum(0).mean()), y / np.sqrt((y**2).sum(0).mean())
    return best_transport(x.T @ y)


def permutation_cosine(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return best_pairing(x.T @ y) / (np.linalg.norm(x) * np.linalg.norm(y))


def partly_whitened(x, alpha):
    """Spec of the alignment measures, section 4: x V (alpha + (1 - alpha) S^-1) V' with S of mean square 1, unit norm."""
    x = x - x.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    keep = values > values.max() * 1e-12
    s, v = np.sqrt(values[keep]), vectors[:, keep]
    s = s * np.sqrt(len(s)) / np.linalg.norm(s)
    g = x @ v @ np.diag(alpha + (1 - alpha) / s) @ v.T
    return g / np.linalg.norm(g)


def alpha_cosine(x, y, alpha):
    return np.linalg.norm(partly_whitened(x, alpha).T @ partly_whitened(y, alpha), "nuc")


def netrep_whitened(x, alpha, floor=1e-7):
    x = x - x.mean(0)
    if alpha > 1 - floor:
        return x
    lam, v = np.linalg.eigh(x.T @ x)
    lam = np.maximum(lam, floor)
    d = alpha + (1 - alpha) * lam**-0.5
    d *= np.sqrt(lam.sum() / (d**2 * lam).sum())
    return x @ (v * d) @ v.T


def netrep_distance(x, y, alpha, score):
    """Fit, transform, score, as netrep's LinearMetric does; the narrower side padded."""
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(netrep_whitened(v, alpha), ((0, 0), (0, width - v.shape[1]))) for v in (x, y))
    u, _, vt = np.linalg.svd(x.T @ y)
    x, y = x @ u, y @ vt.T
    if score == "euclidean":
        return np.linalg.norm(x - y)
    return np.arccos(np.clip((x * y).sum() / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1))


def held_out_rotation(x, y, splits):
    """Cosine on test rows under the rotation fitted on training rows (full-rank data, p = q)."""
    found = []
    for train, test in splits:
        mx, my = x[train].mean(0), y[train].mean(0)
        u, _, vt = np.linalg.svd((x[train] - mx).T @ (y[train] - my))
        a, b = (x[test] - mx) @ (u @ vt), y[test] - my
        found.append((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
    return np.mean(found)


def stochastic_objective(means, roots, rotation, alpha):
    """mean_z of alpha |mu_x - Q' mu_y|^2 + (2 - alpha) Bures^2(Sx, Q' Sy Q); roots (z, p, p) symmetric."""
    (mx, my), (rx, ry) = means, roots
    total = 0.0
    for z in range(len(mx)):
        total += alpha * ((mx[z] - my[z] @ rotation) ** 2).sum()
        turned = rotation.T @ ry[z] @ rotation
        total += (2 - alpha) * ((rx[z] ** 2).sum() + (turned**2).sum() - 2 * np.linalg.norm(rx[z] @ turned, "nuc"))
    return total / len(mx)
