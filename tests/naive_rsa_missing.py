"""Oracles of what is fitted to RDMs with missing pairs, or to resampled ones: every pair is a row of a regression."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from tests import naive_rsa
from tests.naive_rsa_inference import draws, resampled
from tests.naive_rsa_models import squared_differences


def weighted(components, data, method, covariance=None, nonnegative=True):
    """Regress the pool of the data RDMs on the components, on the pairs that all components have and some data RDM."""
    n = components.shape[1]
    k = round((1 + np.sqrt(1 + 8 * n)) / 2)
    v = naive_rsa.whitening(k, covariance) if method.startswith("whitened") else np.eye(n)
    usable = [p for p in range(n) if not np.isnan(components[:, p]).any()]
    sums, counts = np.zeros(n), np.zeros(n)
    for row in data:
        own = [p for p in usable if not np.isnan(row[p])]
        d = row[own] - row[own].mean() if "pearson" in method else row[own]
        sums[own] += d / np.sqrt(d @ np.linalg.inv(v[np.ix_(own, own)]) @ d)
        counts[own] += 1
    kept = np.flatnonzero(counts)
    target, x = sums[kept] / counts[kept], components[:, kept]
    if "pearson" in method:
        target, x = target - target.mean(), x - x.mean(axis=1, keepdims=True)
    half = np.linalg.cholesky(np.linalg.inv(v[np.ix_(kept, kept)])).T
    if nonnegative:
        return nnls(half @ x.T, half @ target)[0]
    return np.linalg.lstsq(half @ x.T, half @ target, rcond=None)[0]


def reweighted(values, rows, penalty, nonnegative=False):
    """Regress all RDMs together on squared differences, each RDM with its own intercept; return weights (n_features,)."""
    f = squared_differences(values)
    x = np.concatenate([f[np.isfinite(row)] - f[np.isfinite(row)].mean(axis=0) for row in rows])
    y = np.concatenate([row[np.isfinite(row)] - np.nanmean(row) for row in rows])
    n, p = x.shape
    scale = x.std(axis=0)
    x = np.vstack([x / scale, np.sqrt(n * penalty) * np.eye(p)])
    y = np.concatenate([y, np.zeros(p)])
    return (nnls(x, y)[0] if nonnegative else np.linalg.lstsq(x, y, rcond=None)[0]) / scale


def pairs_drawn(rdm, counts):
    """Return the values of a resampled RDM, pairs of copies left out."""
    return resampled(rdm, counts)[0]


def standardised(d):
    return (d - d.mean()) / d.std()


def drawn_r2(components, data, train, test, fit_to, ranked=False):
    """Return the R^2 of every data RDM on the draw ``test``, weights fitted to the data RDMs ``fit_to`` on ``train``.

    ``train`` and ``test`` are counts of stimuli; pairs that a model or the RDM lacks are left out.
    """

    def part(rdm, counts):
        values = [pairs_drawn(c, counts) for c in components]
        d = pairs_drawn(rdm, counts)
        kept = np.isfinite(d) & np.isfinite(values).all(axis=0)
        x, d = np.array(values)[:, kept], d[kept]
        if ranked:
            x, d = np.array([naive_rsa.midranks(c) for c in x]) / len(d), naive_rsa.midranks(d) / len(d)
        return x - x.mean(axis=1, keepdims=True), standardised(d)

    found = [part(data[s], train) for s in fit_to]
    x, y = np.concatenate([f[0] for f in found], axis=1), np.concatenate([f[1] for f in found])
    theta = np.linalg.lstsq(x.T, y, rcond=None)[0]
    out = []
    for rdm in data:
        x, y = part(rdm, test)
        out.append(1 - np.mean((y - theta @ x) ** 2))
    return np.array(out)


def bootstrap_r2(components, data, counts, who, fold=None, fold_of=None):
    """Return the mean R^2 over the RDMs drawn, each copy counted, on resampled RDMs."""
    if fold is None:
        own = [drawn_r2(components, data[[s]], counts, counts, [0])[0] for s in range(len(data))]
        return np.mean([own[s] for s in draws(who)])
    table = np.zeros(len(data))
    folds = sorted(set(fold) - {-1})
    for f in folds:
        train = [0 if g == f else c for c, g in zip(counts, fold, strict=True)]
        test = [c if g == f else 0 for c, g in zip(counts, fold, strict=True)]
        for h in sorted(set(fold_of) - {-1}):
            fit_to = [s for s in draws(who) if fold_of[s] != h]
            r2 = drawn_r2(components, data, train, test, fit_to)
            table += np.where(np.array(fold_of) == h, r2, 0) / len(folds)
    return np.mean([table[s] for s in draws(who)])
