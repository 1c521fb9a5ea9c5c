"""Banded and kernel ridge by plain loops: every fold, weighting, penalty and unit, one linear system each."""

from __future__ import annotations

import numpy as np

from tests.naive_ridge import inner_folds


def predict(x, y, train, test, penalties):
    """Fit one unit with a penalty per feature (inf: left out); return predictions, training mean and weights."""
    used = np.isfinite(penalties)
    mx, my = x[train].mean(axis=0)[used], y[train].mean()
    a = x[train][:, used] - mx
    rows = np.vstack([a, np.diag(np.sqrt(penalties[used]))])
    weights = np.linalg.lstsq(rows, np.append(y[train] - my, np.zeros(used.sum())), rcond=None)[0]
    full = np.zeros(len(used))
    full[used] = weights
    return (x[test][:, used] - mx) @ weights + my, my, full


def penalties_of(codes, gamma, alpha):
    return np.array([alpha / gamma[b] if gamma[b] > 0 else np.inf for b in codes])


def table(x, y, folds, codes, gammas, alphas):
    """Return summed held-out errors (n_gammas, n_alphas) of one unit."""
    found = np.zeros((len(gammas), len(alphas)))
    for train, test in folds:
        for g, gamma in enumerate(gammas):
            for a, alpha in enumerate(alphas):
                guess = predict(x, y, train, test, penalties_of(codes, gamma, alpha))[0]
                found[g, a] += ((y[test] - guess) ** 2).sum()
    return found


def best(errors):
    """Smallest error; ties go to the earlier weighting and the larger penalty."""
    low, place = np.inf, None
    for g, row in enumerate(errors):
        a = max(i for i, v in enumerate(row) if v <= row.min() * (1 + 1e-10))
        if row[a] < low * (1 - 1e-10):
            low, place = row[a], (g, a)
    return place


def banded_scores(x, y, splits, codes, gammas, alphas, *, nested=True):
    """Return r and R2 (n_units,), penalties (n_folds, n_bands, n_units), and those of a refit (n_bands, n_units)."""
    k, m, t = len(splits), len(gammas[0]), y.shape[1]
    r, r2 = np.zeros(t), np.zeros(t)
    chosen, final = np.zeros((k, m, t)), np.zeros((m, t))
    for u in range(t):
        g, a = best(table(x, y[:, u], splits, codes, gammas, alphas))
        final[:, u] = penalties_of(range(m), gammas[g], alphas[a])
        sse = sst = 0.0
        for f, (train, test) in enumerate(splits):
            if nested:
                g, a = best(table(x, y[:, u], inner_folds(splits, f, len(y)), codes, gammas, alphas))
            chosen[f, :, u] = penalties_of(range(m), gammas[g], alphas[a])
            guess, mean, _ = predict(x, y[:, u], train, test, penalties_of(codes, gammas[g], alphas[a]))
            r[u] += np.corrcoef(guess, y[test, u])[0, 1] / k
            sse += ((y[test, u] - guess) ** 2).sum()
            sst += ((y[test, u] - mean) ** 2).sum()
        r2[u] = 1 - sse / sst
    return r, r2, chosen, final


def delayed(x, delays, runs):
    """Features at several delays within runs, by loops."""
    n, p = x.shape
    out = np.zeros((n, len(delays) * p))
    for i in range(n):
        for j, d in enumerate(delays):
            if i - d >= 0 and runs[i - d] == runs[i]:
                out[i, j * p : (j + 1) * p] = x[i - d]
    return out
