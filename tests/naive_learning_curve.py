"""A learning curve by plain loops: one subset, one fold, one penalty, one unit at a time, with scikit-learn's Ridge."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from tests.naive_encoding import pearson


def penalties(x, y, splits, f, drawn, alphas):
    """Return the penalty of each unit for fold f, chosen on the other test sets within the rows drawn."""
    errors = np.zeros((len(alphas), y.shape[1]))
    own = set(splits[f][0]) & drawn
    for g in range(len(splits)):
        if g == f:
            continue
        train = sorted(own & set(splits[g][0]))
        test = sorted(own & set(splits[g][1]))
        if len(train) < 3 or not test:
            continue
        for a, alpha in enumerate(alphas):
            model = Ridge(alpha=alpha, solver="svd").fit(x[train], y[train])
            errors[a] += ((y[test] - model.predict(x[test])) ** 2).sum(axis=0)
    return [alphas[a] for a in errors.argmin(axis=0)]


def unit_scores(x, y, splits, drawn, alphas, scoring="pearson"):
    """Return the held-out score of every unit, fitted on the training rows of each fold that are drawn."""
    found = []
    r, error, total = np.zeros((len(splits), y.shape[1])), np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for f, (train, test) in enumerate(splits):
        rows = sorted(set(train) & drawn)
        chosen = penalties(x, y, splits, f, drawn, alphas) if len(alphas) > 1 else [alphas[0]] * y.shape[1]
        for u in range(y.shape[1]):
            predicted = Ridge(alpha=chosen[u], solver="svd").fit(x[rows], y[rows, u]).predict(x[test])
            r[f, u] = pearson(predicted, y[test, u])
            error[u] += ((y[test, u] - predicted) ** 2).sum()
            total[u] += ((y[test, u] - y[rows, u].mean()) ** 2).sum()
        found.append(chosen)
    return (r.mean(axis=0) if scoring == "pearson" else 1 - error / total), np.array(found)
