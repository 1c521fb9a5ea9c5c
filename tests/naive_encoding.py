"""Encoding models by plain loops and textbook formulas: one fold, one unit, one component at a time."""

from __future__ import annotations

import numpy as np


def moments(x, y, rows, mean_x, mean_y):
    """Return n, sums and cross-products of some rows about given means, row by row."""
    p, t = x.shape[1], y.shape[1]
    sum_x, sum_y, xx, xy, yy = np.zeros(p), np.zeros(t), np.zeros((p, p)), np.zeros((p, t)), np.zeros(t)
    for i in rows:
        a, b = x[i] - mean_x, y[i] - mean_y
        sum_x += a
        sum_y += b
        xx += np.outer(a, a)
        xy += np.outer(a, b)
        yy += b * b
    return len(rows), sum_x, sum_y, xx, xy, yy


def pls(x, y, n_components, tol=None, max_iter=500):
    """Return coefficients (n_components, p, t) and iteration counts by deflating x and y themselves.

    With ``tol`` by power iterations from the first column of y, else with the leading singular direction.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    weights, loadings, targets, found, counts = [], [], [], [], []
    for _ in range(n_components):
        w, count = _direction(x, y, tol, max_iter)
        score = x @ w
        load, target = x.T @ score / (score @ score), y.T @ score / (score @ score)
        x, y = x - np.outer(score, load), y - np.outer(score, target)
        weights.append(w)
        loadings.append(load)
        targets.append(target)
        counts.append(count)
        big_w, big_p = np.array(weights).T, np.array(loadings).T
        found.append(big_w @ np.linalg.solve(big_p.T @ big_w, np.array(targets)))
    return np.array(found), np.array(counts)


def _direction(x, y, tol, max_iter):
    if tol is None:
        return np.linalg.svd(x.T @ y, full_matrices=False)[0][:, 0], 0
    score, old, count = y[:, 0], None, 0
    while count < max_iter:
        count += 1
        w = x.T @ score
        w = w / np.sqrt(w @ w)
        target = y.T @ (x @ w)
        score = y @ target
        if y.shape[1] == 1 or (old is not None and ((w - old) ** 2).sum() < tol):
            break
        old = w
    return w, count


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def scores(x, y, splits, fit, scoring):
    """Return unit scores of ``fit(x_train, y_train) -> predict(x_test)``."""
    found = np.zeros(y.shape[1])
    for u in range(y.shape[1]):
        rs, sse, sst = [], 0.0, 0.0
        for train, test in splits:
            predicted = fit(x[train], y[train])(x[test])[:, u]
            rs.append(pearson(predicted, y[test, u]))
            sse += ((y[test, u] - predicted) ** 2).sum()
            sst += ((y[test, u] - y[train, u].mean()) ** 2).sum()
        found[u] = np.mean(rs) if scoring == "pearson" else 1 - sse / sst
    return found


def fit_pls(n_components, tol=None):
    def fit(x, y):
        weights = pls(x, y, n_components, tol)[0][-1]
        return lambda new: (new - x.mean(axis=0)) @ weights + y.mean(axis=0)

    return fit


def fit_linear(x, y):
    """Least squares of minimum norm."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    weights = np.linalg.lstsq(x - mean_x, y - mean_y, rcond=None)[0]
    return lambda new: (new - mean_x) @ weights + mean_y


def fit_best_unit(x, y):
    """One source unit per target unit, the one with the highest training r; scaled by least squares, sign kept."""
    picked, slopes, offsets = [], [], []
    for u in range(y.shape[1]):
        r = [pearson(x[:, j], y[:, u]) if np.ptp(x[:, j]) > 0 else -np.inf for j in range(x.shape[1])]
        j = int(np.argmax(r))
        a = x[:, j] - x[:, j].mean()
        slope = (a * (y[:, u] - y[:, u].mean())).sum() / (a * a).sum()
        picked.append(j)
        slopes.append(slope)
        offsets.append(y[:, u].mean() - slope * x[:, j].mean())
    return lambda new: np.array(offsets) + new[:, picked] * slopes


def poisson_objective(x, y, weights, offset, alpha):
    """Return the penalised negative log-likelihood of one unit, without the term in y alone."""
    eta = x @ weights + offset
    return (np.exp(eta) - y * eta).sum() + alpha / 2 * (weights**2).sum()


def poisson(x, y, alpha, steps=100):
    """Fit one unit by damped Newton steps; return weights and offset."""
    design = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.full(design.shape[1], float(alpha))
    penalty[-1] = 0.0
    b = np.zeros(design.shape[1])
    b[-1] = np.log(y.mean())
    for _ in range(steps):
        mu = np.exp(design @ b)
        gradient = design.T @ (mu - y) + penalty * b
        step = np.linalg.solve(design.T @ (mu[:, None] * design) + np.diag(penalty), gradient)
        size = 1.0
        before = poisson_objective(x, y, b[:-1], b[-1], alpha)
        while poisson_objective(x, y, (b - size * step)[:-1], (b - size * step)[-1], alpha) > before and size > 1e-10:
            size /= 2
        b = b - size * step
    return b[:-1], b[-1]


def deviance(y, mu):
    """Return the Poisson deviance, term by term."""
    total = 0.0
    for a, m in zip(y, mu, strict=True):
        total += 2 * ((a * np.log(a / m) if a > 0 else 0.0) - a + m)
    return total


def log_likelihood(y, mu):
    return sum(a * np.log(m) - m for a, m in zip(y, mu, strict=True))
