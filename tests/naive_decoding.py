"""Decoding by plain refits: the oracle of the fast forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def ridge_values(x, y, train, test, n_classes, damp):
    """Ridge regression on +-1 codes with an unpenalised intercept, by the normal equations in units; values as 0/1."""
    mean = x[train].mean(axis=0)
    xt = x[train] - mean
    out = []
    for k in range(n_classes):
        code = np.where(y[train] == k, 1.0, -1.0)
        w = np.linalg.solve(xt.T @ xt + damp * np.eye(x.shape[1]), xt.T @ (code - code.mean()))
        out.append(((x[test] - mean) @ w + code.mean() + 1) / 2)
    return np.array(out)


def lda_values(x, y, train, test, n_classes, covariance):
    """Log posteriors up to a term of the row, for a covariance of the training rows; every class explicitly."""
    inverse = np.linalg.inv(covariance)
    out = []
    for k in range(n_classes):
        inside = x[train][y[train] == k]
        m = inside.mean(axis=0)
        out.append([row @ inverse @ m - 0.5 * m @ inverse @ m + np.log(len(inside) / len(train)) for row in x[test]])
    return np.array(out)


def within(x, y, train, n_classes):
    """Within-class scatter of the training rows."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for i in train:
        centre = np.mean([x[j] for j in train if y[j] == y[i]], axis=0)
        total += np.outer(x[i] - centre, x[i] - centre)
    return total


def centroid_values(x, y, train, test, n_classes):
    out = np.empty((n_classes, len(test)))
    for k in range(n_classes):
        m = x[train][y[train] == k].mean(axis=0)
        out[k] = [-0.5 * ((row - m) ** 2).sum() for row in x[test]]
    return out


def confusion(values, truth, n_classes):
    table = np.zeros((n_classes, n_classes), dtype=int)
    for i, label in enumerate(truth):
        table[label, int(np.argmax(values[:, i]))] += 1
    return table


def balanced_accuracy(table):
    return float(np.mean([table[k, k] / table[k].sum() for k in range(len(table))]))


def area(values, positive):
    won = [float(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    return float(np.mean(won))


def votes(pair_values, n_classes):
    """One vote per pair of classes; values of shape (n_pairs, n_rows), positive for the first."""
    count = np.zeros((n_classes, pair_values.shape[1]))
    for pair, (i, j) in enumerate(combinations(range(n_classes), 2)):
        for row in range(pair_values.shape[1]):
            count[i if pair_values[pair, row] > 0 else j, row] += 1
    return count


def log_odds(values):
    """Log odds of each class against the others, from log posteriors (n_classes, n_rows) up to a term of the row."""
    out = np.empty_like(values)
    for k in range(len(values)):
        for i in range(values.shape[1]):
            rest = np.delete(values[:, i], k)
            out[k, i] = values[k, i] - rest.max() - np.log(np.exp(rest - rest.max()).sum())
    return out
