"""Oracles of the neighbourhood, dependence and descriptor measures: loops as the formulas are written."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np

from tests.naive import hsic_song


def distances(x):
    return np.array([[np.sqrt(sum((a - b) ** 2)) for b in x] for a in x])


def u_centre(d):
    n = len(d)
    out = np.zeros((n, n))
    for i, j in product(range(n), repeat=2):
        if i != j:
            out[i, j] = d[i, j] - d[i].sum() / (n - 2) - d[:, j].sum() / (n - 2) + d.sum() / ((n - 1) * (n - 2))
    return out


def distance_correlation(x, y, debiased=True, power=1):
    d, e = distances(x) ** power, distances(y) ** power
    if debiased:
        a, b = u_centre(d), u_centre(e)
        return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    n = len(x)
    h = np.eye(n) - 1 / n
    a, b = h @ d @ h, h @ e @ h
    return np.sqrt((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def rsm_norm(x, y, norm="frobenius"):
    gap = distances(x) - distances(y)
    return np.linalg.norm(gap, 2) if norm == "spectral" else np.sqrt((np.triu(gap, 1) ** 2).sum())


def cosines(x):
    return np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in x] for a in x])


def neighbours(x, k, kind="cosine", digits=11):
    """Lists of the k nearest, self excluded, ties by lower index."""
    near = cosines(x) if kind == "cosine" else -(distances(x) ** 2)
    near = near.round(digits)
    found = []
    for i in range(len(x)):
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j: (-near[i, j], j))
        found.append(set(others[:k]))
    return found


def mutual_knn(x, y, k, kind="cosine"):
    return np.mean([len(a & b) / k for a, b in zip(neighbours(x, k, kind), neighbours(y, k, kind), strict=True)])


def jaccard(x, y, k, kind="cosine"):
    return np.mean(
        [len(a & b) / len(a | b) for a, b in zip(neighbours(x, k, kind), neighbours(y, k, kind), strict=True)]
    )


def jaccard_null(n, k):
    total = comb(n - 1, k)
    return sum(comb(k, h) * comb(n - 1 - k, k - h) / total * h / (2 * k - h) for h in range(k + 1))


def second_order_cosine(x, y, k):
    c, d = cosines(x), cosines(y)
    scores = []
    for i, (a, b) in enumerate(zip(neighbours(x, k), neighbours(y, k), strict=True)):
        both = sorted(a | b)
        u, v = c[i, both], d[i, both]
        scores.append(u @ v / np.sqrt((u @ u) * (v @ v)))
    return np.mean(scores)


def directed_hsic(a, b):
    """Mean of Song's estimator over both orders of transposition: h of the two halves that make A and B symmetric."""
    n = len(a)
    one = np.ones(n)
    middle = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
    return np.trace(a @ b) + middle - (one @ a @ b @ one + one @ b @ a @ one) / (n - 2)


def cknna(x, y, k):
    kx, ky = cosines(x), cosines(y)
    masks = []
    for v in (x, y):
        mask = np.zeros((len(v), len(v)))
        for i, near in enumerate(neighbours(v, k)):
            mask[i, list(near)] = 1
        masks.append(mask)
    mx, my = masks
    cross = directed_hsic(mx * my * kx, mx * my * ky)
    return cross / np.sqrt(directed_hsic(mx * kx, mx * kx) * directed_hsic(my * ky, my * ky))


def debiased_cka_of_normalised(x, y):
    k, l = cosines(x), cosines(y)
    return hsic_song(k, l) / np.sqrt(hsic_song(k, k) * hsic_song(l, l))


def aligned_cosine(x, y):
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (x, y))
    u, _, vt = np.linalg.svd(x.T @ y)
    z = x @ u @ vt
    return np.mean([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(z, y, strict=True)])


def magnitude(x):
    return np.sqrt(sum(v.mean() ** 2 for v in x.T))


def uniformity(x, t=2.0):
    return np.log(np.mean([np.exp(-t * sum((a - b) ** 2)) for a in x for b in x]))


def concentricity(x):
    m = x.mean(0)
    return np.mean([a @ m / np.sqrt((a @ a) * (m @ m)) for a in x])
