"""Plain-loop oracles of noise-aware and cross-validated distances: slow, obvious, and independent of the fast code."""

from __future__ import annotations

from itertools import combinations, permutations
from math import log

import numpy as np


def pairs(k):
    return list(combinations(range(k), 2))


def cells(values, stimulus, partition):
    """Return {(stimulus, partition): list of trials} and both lists of labels in order of first appearance."""
    groups = {}
    for row, s, m in zip(values, stimulus, partition, strict=True):
        groups.setdefault((s, m), []).append(np.asarray(row, dtype=float))
    return groups, list(dict.fromkeys(stimulus)), list(dict.fromkeys(partition))


def crossnobis(values, stimulus, partition, precision=None):
    """Mean over ordered pairs of common partitions of the product of differences; NaN for fewer than 2 partitions."""
    groups, names, parts = cells(values, stimulus, partition)
    p = len(values[0])
    omega = np.eye(p) if precision is None else precision
    mean = {key: np.mean(rows, axis=0) for key, rows in groups.items()}
    out = []
    for i, j in pairs(len(names)):
        common = [m for m in parts if (names[i], m) in mean and (names[j], m) in mean]
        delta = [mean[names[i], m] - mean[names[j], m] for m in common]
        products = [a @ omega @ b for a, b in permutations(delta, 2)]
        out.append(np.mean(products) / p if products else np.nan)
    return np.array(out)


def leave_one_out(values, stimulus, partition, precision):
    """Mean over partitions of the product of one with the mean of the others: a complete design, one trial per cell."""
    groups, names, parts = cells(values, stimulus, partition)
    p = len(values[0])
    out = []
    for i, j in pairs(len(names)):
        delta = [groups[names[i], m][0] - groups[names[j], m][0] for m in parts]
        folds = [d @ precision @ np.mean([e for e in delta if e is not d], axis=0) for d in delta]
        out.append(np.mean(folds) / p)
    return np.array(out)


def crossnobis_trials(values, stimulus, partition, precision=None):
    """Products of every two trials of different partitions."""
    names = list(dict.fromkeys(stimulus))
    p = len(values[0])
    omega = np.eye(p) if precision is None else precision

    def similarity(a, b):
        found = [
            values[s] @ omega @ values[t]
            for s in range(len(values))
            for t in range(len(values))
            if stimulus[s] == a and stimulus[t] == b and partition[s] != partition[t]
        ]
        return np.mean(found) if found else np.nan

    return np.array(
        [
            (similarity(names[i], names[i]) + similarity(names[j], names[j]) - 2 * similarity(names[i], names[j])) / p
            for i, j in pairs(len(names))
        ]
    )


def crossnobis_of_covariances(values, stimulus, partition, covariances):
    groups, names, parts = cells(values, stimulus, partition)
    p = len(values[0])
    out = []
    for i, j in pairs(len(names)):
        delta = [groups[names[i], m][0] - groups[names[j], m][0] for m in sorted(parts)]
        found = [
            delta[m] @ np.linalg.inv((covariances[m] + covariances[n]) / 2) @ delta[n] / p
            for m, n in combinations(range(len(parts)), 2)
        ]
        out.append(np.mean(found))
    return np.array(out)


def crossnobis_units(values, stimulus, partition, min_units=1):
    """Mean over units of each unit's own crossnobis, over the partitions in which both stimuli have it."""
    groups, names, parts = cells(values, stimulus, partition)
    p = len(values[0])
    out = []
    for i, j in pairs(len(names)):
        units = []
        for u in range(p):
            delta = []
            for m in parts:
                a = [row[u] for row in groups.get((names[i], m), []) if not np.isnan(row[u])]
                b = [row[u] for row in groups.get((names[j], m), []) if not np.isnan(row[u])]
                if a and b:
                    delta.append(sum(a) / len(a) - sum(b) / len(b))
            products = [a * b for a, b in permutations(delta, 2)]
            if products:
                units.append(sum(products) / len(products))
        out.append(np.mean(units) if len(units) >= min_units else np.nan)
    return np.array(out)


def crossnobis_common_units(values, stimulus, partition, covariance):
    """Units that both stimuli have in all their common partitions, in the inverse of their sub-block of the covariance."""
    groups, names, parts = cells(values, stimulus, partition)
    mean = {key: np.mean(rows, axis=0) for key, rows in groups.items()}
    out = []
    for i, j in pairs(len(names)):
        common = [m for m in parts if (names[i], m) in mean and (names[j], m) in mean]
        delta = [mean[names[i], m] - mean[names[j], m] for m in common]
        u = np.all(np.isfinite(delta), axis=0)
        inverse = np.linalg.inv(covariance[np.ix_(u, u)])
        out.append(np.mean([a[u] @ inverse @ b[u] for a, b in permutations(delta, 2)]) / u.sum())
    return np.array(out)


def mahalanobis(x, precision):
    p = x.shape[1]
    return np.array([(x[i] - x[j]) @ precision @ (x[i] - x[j]) / p for i, j in pairs(len(x))])


def divergence(a, b, c, d):
    """Mean over units of (a - b)(log c - log d)."""
    found = [(a[u] - b[u]) * (log(c[u]) - log(d[u])) for u in range(len(a)) if np.isfinite(a[u] + b[u])]
    return sum(found) / len(found)


def poisson(x, prior=(1.0, 0.1)):
    rate = (np.asarray(x, dtype=float) + prior[0] * prior[1]) / (1 + prior[1])
    return np.array([divergence(rate[i], rate[j], rate[i], rate[j]) for i, j in pairs(len(rate))])


def poisson_cv(values, stimulus, partition, prior=(1.0, 0.1)):
    groups, names, parts = cells(values, stimulus, partition)
    mean = {key: np.mean(rows, axis=0) for key, rows in groups.items()}

    def rate(x):
        return (x + prior[0] * prior[1]) / (1 + prior[1])

    out = []
    for i, j in pairs(len(names)):
        folds = []
        for m in parts:
            a, b = (rate(np.mean([mean[names[s], n] for n in parts if n != m], axis=0)) for s in (i, j))
            folds.append(divergence(a, b, rate(mean[names[i], m]), rate(mean[names[j], m])))
        out.append(np.mean(folds))
    return np.array(out)


def generalised(values, stimulus, partition, precision):
    """Products of different partitions at different times, (n_times, n_times, n_pairs)."""
    times = values.shape[2]
    out = []
    for a in range(times):
        for b in range(times):
            first, names, parts = cells(values[:, :, a], stimulus, partition)
            second, _, _ = cells(values[:, :, b], stimulus, partition)
            for i, j in pairs(len(names)):
                x = [np.mean(first[names[i], m], axis=0) - np.mean(first[names[j], m], axis=0) for m in parts]
                y = [np.mean(second[names[i], m], axis=0) - np.mean(second[names[j], m], axis=0) for m in parts]
                found = [x[m] @ precision @ y[n] for m, n in permutations(range(len(parts)), 2)]
                out.append(np.mean(found) / values.shape[1])
    return np.array(out).reshape(times, times, -1)


def residuals(values, *groups):
    """Trials minus the least-squares fit of one dummy per level of each grouping, and the rank of those dummies."""
    columns = [[float(g == level) for g in group] for group in groups for level in dict.fromkeys(group)]
    design = np.array(columns).T
    fit = np.linalg.lstsq(design, values, rcond=None)[0]
    return values - design @ fit, int(np.linalg.matrix_rank(design))


def schaefer_strimmer(z):
    """Sum over i != j of Var(r_ij) over the sum of r_ij squared, entry by entry, with r around means of zero."""
    n, p = z.shape
    x = z / np.sqrt(np.mean(z**2, axis=0))
    variances = squares = 0.0
    for i in range(p):
        for j in range(p):
            if i != j:
                w = x[:, i] * x[:, j]
                variances += n / (n - 1) ** 3 * sum((w - w.mean()) ** 2)
                squares += (n / (n - 1) * w.mean()) ** 2
    return min(1.0, max(0.0, variances / squares))
