"""Oracles of fitted RDM models: F is formed, every subset is regressed, every weight is tried."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from scipy.optimize import nnls

from tests import naive_rsa


def rows(stack, method, covariance=None):
    """Return RDMs in a Euclidean space whose dot products are those of the method."""
    stack = np.asarray(stack, dtype=float)
    if method in ("pearson", "whitened_pearson"):
        stack = stack - stack.mean(axis=1, keepdims=True)
    if method.startswith("whitened"):
        k = round((1 + np.sqrt(1 + 8 * stack.shape[1])) / 2)
        inverse = np.linalg.inv(naive_rsa.whitening(k, covariance))
        stack = stack @ np.linalg.cholesky(inverse)
    return stack


def mean_score(prediction, data, method, covariance=None):
    return np.mean([naive_rsa.compare(prediction, row, method, covariance) for row in data])


def weighted(components, data, method, covariance=None, nonnegative=True):
    """Regress the mean of the unit data on the components, as vectors."""
    x = rows(components, method, covariance).T
    y = rows(data, method, covariance)
    y = (y / np.linalg.norm(y, axis=1, keepdims=True)).mean(axis=0)
    return nnls(x, y)[0] if nonnegative else np.linalg.lstsq(x, y, rcond=None)[0]


def interpolated(components, data, method, steps=2001):
    """Try many points of every segment; return the best mean score."""
    best = -np.inf
    for first, second in pairwise(components):
        for w in np.linspace(0, 1, steps):
            best = max(best, mean_score(w * first + (1 - w) * second, data, method))
    return best


def squared_differences(values):
    """Return F (n_pairs, n_features)."""
    return np.array([(values[i] - values[j]) ** 2 for i, j in naive_rsa.pairs(len(values))])


def ridge(values, target, penalty):
    """Return weights and intercept of ridge regression on z-scored columns of F."""
    f = squared_differences(values)
    mean, scale = f.mean(axis=0), f.std(axis=0)
    scale[scale == 0] = np.inf
    z = (f - mean) / scale
    n, p = z.shape
    x = np.vstack([z, np.sqrt(n * penalty) * np.eye(p)])
    beta = np.linalg.lstsq(x, np.concatenate([target - target.mean(), np.zeros(p)]), rcond=None)[0]
    return beta / scale, target.mean() - mean @ (beta / scale)


def nonnegative_ridge(values, target, penalty):
    f = squared_differences(values)
    mean, scale = f.mean(axis=0), f.std(axis=0)
    z = (f - mean) / scale
    n, p = z.shape
    x = np.vstack([z, np.sqrt(n * penalty) * np.eye(p)])
    beta = nnls(x, np.concatenate([target - target.mean(), np.zeros(p)]))[0]
    return beta / scale, target.mean() - mean @ (beta / scale)


def within(rdm, chosen, k):
    """Return the pairs of a condensed RDM that lie within chosen stimuli, in their order."""
    square = np.zeros((k, k))
    for value, (i, j) in zip(rdm, naive_rsa.pairs(k), strict=True):
        square[i, j] = square[j, i] = value
    return np.array([square[i, j] for i, j in combinations(chosen, 2)])


def r2(components, data):
    """Return the in-sample R^2 of one RDM on a stack, with intercept, by ordinary regression."""
    x = np.column_stack([np.ones(len(data)), *components])
    residual = data - x @ np.linalg.lstsq(x, data, rcond=None)[0]
    return 1 - residual @ residual / np.sum((data - data.mean()) ** 2)


def held_out_r2(components, data, split, k):
    """Return the R^2 of each test RDM, weights from the mean of the standardised training RDMs."""

    def part(rdm, chosen):
        return within(rdm, chosen, k)

    def z(v):
        return (v - v.mean()) / v.std()

    y = np.mean([z(part(data[s], split[0])) for s in split[2]], axis=0)
    x = np.column_stack([np.ones(len(y)), *[part(c, split[0]) for c in components]])
    theta = np.linalg.lstsq(x, y, rcond=None)[0][1:]
    predicted = theta @ np.array([part(c, split[1]) for c in components])
    predicted = predicted - predicted.mean()
    return [1 - np.mean((z(part(data[s], split[1])) - predicted) ** 2) for s in split[3]]
