"""Ridge by plain loops: every fold, every penalty, every unit, by least squares with ``sqrt(alpha)`` rows added."""

from __future__ import annotations

import numpy as np

MERGED, MOST_PAIRED = 5, 6


def predict(x, y, train, test, alpha):
    """Fit one unit on the training rows, predict the test rows; return also the training mean."""
    mx, my = x[train].mean(axis=0), y[train].mean()
    augmented = np.vstack([x[train] - mx, np.sqrt(alpha) * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(augmented, np.append(y[train] - my, np.zeros(x.shape[1])), rcond=None)[0]
    return (x[test] - mx) @ weights + my, my


def inner_folds(splits, f, n):
    """Return (train, test) of the inner loop of outer fold f."""
    train_f = set(splits[f][0].tolist())
    others = [g for g in range(len(splits)) if g != f]
    alone = all(len(test) == 1 and len(train) == n - 1 for train, test in splits)
    if len(splits) <= MOST_PAIRED or alone:
        parts = [[g] for g in others]
    else:
        blocks = all(np.ptp(test) == len(test) - 1 and len(test) > 1 for _, test in splits)
        parts = np.array_split(others, MERGED) if blocks else [others[i::MERGED] for i in range(MERGED)]
    found = []
    for part in parts:
        train, test = set(train_f), set()
        for g in part:
            train &= set(splits[g][0].tolist())
            test |= set(splits[g][1].tolist())
        found.append((np.array(sorted(train)), np.array(sorted(test & train_f))))
    return found


def errors(x, y, folds, alphas):
    """Return the summed held-out squared error of one unit for every penalty."""
    total = np.zeros(len(alphas))
    for train, test in folds:
        if len(train) < 3 or len(test) == 0:
            continue
        for i, alpha in enumerate(alphas):
            total[i] += ((y[test] - predict(x, y, train, test, alpha)[0]) ** 2).sum()
    return total


def best(total):
    return max(i for i, value in enumerate(total) if value <= total.min() * (1 + 1e-10))


def seen_only(folds, seen):
    rows = set(np.flatnonzero(seen).tolist())
    return [tuple(np.array([i for i in part if i in rows], dtype=int) for part in pair) for pair in folds]


def unit_score(x, y, splits, alphas, scoring):
    """Return the nested score of one unit and its penalties per fold, on the rows where it was seen."""
    alphas = np.sort(alphas)
    seen = ~np.isnan(y)
    scores, sse, sst, chosen = [], 0.0, 0.0, []
    for f, (train, test) in enumerate(seen_only(splits, seen)):
        i = best(errors(x, y, seen_only(inner_folds(splits, f, len(y)), seen), alphas))
        chosen.append(alphas[i])
        if len(test) < (3 if scoring == "pearson" else 1):
            continue
        predicted, mean = predict(x, y, train, test, alphas[i])
        if scoring == "pearson":
            scores.append(np.corrcoef(predicted, y[test])[0, 1])
        sse += ((y[test] - predicted) ** 2).sum()
        sst += ((y[test] - mean) ** 2).sum()
    return (np.mean(scores) if scoring == "pearson" else 1 - sse / sst), np.array(chosen)


def ridge_scores(x, y, splits, alphas, scoring="pearson"):
    """Return unit scores (n_units,) and fold penalties (n_folds, n_units)."""
    found = [unit_score(x, y[:, u], splits, alphas, scoring) for u in range(y.shape[1])]
    return np.array([s for s, _ in found]), np.array([a for _, a in found]).T
