"""Plain-loop oracles of RSA inference: every resampled RDM is built, ranked, whitened and compared on its own."""

from __future__ import annotations

from math import sqrt

import numpy as np

from tests.naive_rsa import contrasts, midranks


def draws(counts):
    """Return the stimuli of a draw, copies beside each other."""
    return [i for i, c in enumerate(counts) for _ in range(int(c))]


def resampled(rdm, counts):
    """Return the pairs of a resampled RDM without pairs of copies, and which copies they join."""
    k = len(counts)
    square = np.zeros((k, k))
    square[np.triu_indices(k, 1)] = rdm
    square = square + square.T
    rows = draws(counts)
    pairs = [(x, y) for x in range(len(rows)) for y in range(x + 1, len(rows)) if rows[x] != rows[y]]
    return np.array([square[rows[x], rows[y]] for x, y in pairs]), pairs


def inner(pairs, rows, variances):
    """Return V^-1 of the pairs of copies."""
    k = len(rows)
    v = (contrasts(k) @ np.diag(np.asarray(variances, dtype=float)[rows]) @ contrasts(k).T) ** 2
    place = {pair: n for n, pair in enumerate((x, y) for x in range(k) for y in range(x + 1, k))}
    kept = [place[p] for p in pairs]
    return np.linalg.inv(v[np.ix_(kept, kept)])


def kendall(a, b, method):
    conc = disc = tied_a = tied_b = 0
    n = len(a)
    for p in range(n):
        for q in range(p + 1, n):
            sign = np.sign(a[p] - a[q]) * np.sign(b[p] - b[q])
            conc, disc = conc + (sign > 0), disc + (sign < 0)
            tied_a, tied_b = tied_a + (a[p] == a[q]), tied_b + (b[p] == b[q])
    every = n * (n - 1) / 2
    return (conc - disc) / (every if method == "kendall_tau_a" else sqrt((every - tied_a) * (every - tied_b)))


def similarity(a, b, method, metric=None):
    """Return the score of two vectors of pairs."""
    if method.startswith("kendall"):
        return kendall(a, b, method)
    if method in ("rho_a", "spearman"):
        a, b = midranks(a), midranks(b)
    if method in ("rho_a", "spearman", "pearson", "whitened_pearson"):
        a, b = a - a.mean(), b - b.mean()
    if method == "rho_a":
        return 12 * float(a @ b) / (len(a) ** 3 - len(a))
    metric = np.eye(len(a)) if metric is None else metric
    return float(a @ metric @ b / np.sqrt((a @ metric @ a) * (b @ metric @ b)))


def pooled(vectors, method, metric=None):
    """Return the pool of subjects' RDMs that the method asks for."""
    out = np.zeros(len(vectors[0]))
    for d in vectors:
        if method in ("rho_a", "spearman") or method.startswith("kendall"):
            d = midranks(d) - (len(d) + 1) / 2
        if method in ("pearson", "whitened_pearson"):
            d = d - d.mean()
        if method == "spearman":
            d = d / np.linalg.norm(d)
        if method in ("pearson", "cosine"):
            d = d / np.linalg.norm(d)
        if method.startswith("whitened"):
            d = d / np.sqrt(d @ metric @ d)
        out = out + d
    return np.round(out, 9) if method in ("rho_a", "spearman") or method.startswith("kendall") else out


def sample(models, data, method, counts, subjects, variances=None):
    """Return the mean score of every model and both ceilings on one draw of stimuli and subjects."""
    variances = np.ones(len(counts)) if variances is None else variances
    pairs = resampled(data[0], counts)[1]
    metric = inner(pairs, draws(counts), variances) if method.startswith("whitened") else None
    m = [resampled(r, counts)[0] for r in models]
    d = [resampled(r, counts)[0] for r in data]
    drawn = draws(subjects)
    scores = [np.mean([similarity(a, d[s], method, metric) for s in drawn]) for a in m]
    lower = []
    for s in drawn:
        others = [d[q] for q in drawn if q != s]
        lower.append(similarity(pooled(others, method, metric), d[s], method, metric) if others else np.nan)
    every = pooled([d[s] for s in drawn], method, metric)
    return scores, np.mean(lower), np.mean([similarity(every, d[s], method, metric) for s in drawn])


def weights(model, components, target, metric=None):
    """Return the best weights of a model for a pooled target, by general-purpose optimisers."""
    from scipy.optimize import minimize_scalar, nnls

    metric = np.eye(len(target)) if metric is None else metric
    half = np.linalg.cholesky(metric).T
    x, y = (half @ components.T), half @ target

    def cosine(theta):
        return float(y @ x @ theta / np.linalg.norm(x @ theta))

    if model == "weighted":
        return nnls(x, y)[0]
    corners = list(np.eye(len(components)))
    if model == "interpolated":
        for i in range(len(components) - 1):
            found = minimize_scalar(
                lambda w, i=i: -cosine(w * corners[i] + (1 - w) * corners[i + 1]),
                bounds=(0, 1),
                method="bounded",
                options={"xatol": 1e-12},
            )
            corners.append(found.x * corners[i] + (1 - found.x) * corners[i + 1])
    return max(corners, key=cosine)


def folded(models, data, method, counts, subjects, fold, fold_of):
    """Return held-out scores (n_models, n_subjects), pairs and copies written out; ``models`` are (kind, components)."""
    linear = method if method in ("cosine", "pearson") else "pearson"
    table = [[[] for _ in data] for _ in models]
    for f in sorted(set(fold) - {-1}):
        train = [c if g != f else 0 for c, g in zip(counts, fold, strict=True)]
        test = [c if g == f else 0 for c, g in zip(counts, fold, strict=True)]
        for h in sorted(set(fold_of) - {-1}):
            b = [c if g != h else 0 for c, g in zip(subjects, fold_of, strict=True)]
            target = pooled([resampled(data[s], train)[0] for s in draws(b)], linear)
            for m, (kind, components) in enumerate(models):
                parts = np.array([resampled(r, train)[0] for r in components])
                if linear == "pearson":
                    parts = parts - parts.mean(axis=1, keepdims=True)
                theta = np.ones(1) if kind == "fixed" else weights(kind, parts, target)
                predicted = resampled(theta @ components, test)[0]
                for s, g in enumerate(fold_of):
                    if g == h:
                        table[m][s].append(similarity(predicted, resampled(data[s], test)[0], method))
    return np.array([[np.mean(v) if v else np.nan for v in row] for row in table])
