"""Logistic regression and linear support vector machines: scikit-learn inside the fold, on rows scaled inside the fold.

Both penalise the squared length of the weights, so wide rows are first rotated to their principal scores: the fit is the
same, with fewer features than rows.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from repcompare.errors import MeasureError
from repcompare.measures._measure import Index
from repcompare.measures.decoding._linear import Fit, Kind, Principal, principal
from repcompare.measures.decoding.models import Codes, Float64, Model

INNER = 5
MAX_ITER = 10_000


def fit_margin(model: Model, x: Float64, codes: Codes, n_classes: int, groups: Index | None) -> Fit:
    """Fit every set of labels by itself.

    Parameters
    ----------
    model : Model
        ``"logistic"`` or ``"svm"``; with several penalties, inner folds choose.
    x : ndarray, shape (n_rows, n_units)
        Training rows.
    codes : ndarray of int, shape (n_sets, n_rows)
        Classes.
    n_classes : int
        Number of classes.
    groups : ndarray of shape (n_rows,), optional
        Groups that the inner folds hold out together.

    Raises
    ------
    MeasureError
        When a class has no training rows.
    """
    mean = x.mean(axis=0)
    scale = x.std(axis=0)
    scale[scale <= 1e-12 * np.abs(x).max(axis=0, initial=0.0)] = 1.0
    parts = principal((x - mean) / scale)
    fits = [_fit_one(model, x / scale, parts, labels, groups) for labels in codes]
    if any(len(np.unique(labels)) < n_classes for labels in codes):
        raise MeasureError(f"{model.name}: a class has no training rows; expected every class; use fewer folds")
    pairs = model.name == "svm" and n_classes > 2
    weights, offset = zip(*(_two_sided(w, b, pairs) for w, b in fits), strict=True)
    kind: Kind = "pairs" if pairs else "log" if model.name == "logistic" else "values"
    centre = mean + parts.mean * scale
    return Fit(centre, parts.basis / scale[:, None], np.stack(weights), np.stack(offset), kind, n_classes)


def _two_sided(weights: Float64, offset: Float64, pairs: bool) -> tuple[Float64, Float64]:
    """Give two classes a value each; scikit-learn has one for both."""
    if len(weights) > 1 or pairs:
        return weights, offset
    return np.concatenate([-weights / 2, weights / 2]), np.concatenate([-offset / 2, offset / 2])


def _fit_one(
    model: Model, x: Float64, parts: Principal, labels: Codes, groups: Index | None
) -> tuple[Float64, Float64]:
    """Return weights (n_values, r) on the principal scores, and offsets (n_values,)."""
    penalty = model.penalties[0] if len(model.penalties) == 1 else _choose(model, x, labels, groups)
    fitted = _fitted(model.name, penalty, parts.scores, labels)
    return np.asarray(fitted.coef_, dtype=np.float64), np.asarray(fitted.intercept_, dtype=np.float64)


def _fitted(name: str, penalty: float, rows: Float64, labels: Codes) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    if name == "svm":
        return SVC(C=penalty, kernel="linear").fit(rows, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return LogisticRegression(C=penalty, max_iter=MAX_ITER, tol=1e-6).fit(rows, labels)
        except ConvergenceWarning as error:
            raise MeasureError(
                f"logistic: no convergence in {MAX_ITER} steps at C={penalty:g}; use a smaller C"
            ) from error


def _choose(model: Model, x: Float64, labels: Codes, groups: Index | None) -> float:
    """Penalty with the highest mean balanced accuracy over inner folds of the training rows; the smallest of equals."""
    scores = np.zeros(len(model.penalties))
    for train, test in _inner(labels, groups):
        mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
        scale[scale <= 1e-12] = 1.0
        parts = principal((x[train] - mean) / scale)
        rows = ((x[test] - mean) / scale - parts.mean) @ parts.basis
        for i, penalty in enumerate(model.penalties):
            right = _fitted(model.name, penalty, parts.scores, labels[train]).predict(rows) == labels[test]
            scores[i] += np.mean([right[labels[test] == k].mean() for k in np.unique(labels[test])])
    return model.penalties[int(np.argmax(scores > scores.max() - 1e-12))]


def _inner(labels: Codes, groups: Index | None) -> list[tuple[Index, Index]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds: checked below
        if groups is None:
            k = min(INNER, int(np.bincount(labels)[np.unique(labels)].min()))
            drawn = list(StratifiedKFold(k).split(labels, labels)) if k > 1 else []
        else:
            k = min(INNER, len(np.unique(groups)))
            drawn = list(StratifiedGroupKFold(k).split(labels, labels, groups)) if k > 1 else []
    usable = [(a, b) for a, b in drawn if len(np.unique(labels[a])) == len(np.unique(labels)) and len(b)]
    if not usable:
        raise MeasureError(
            "C cannot be chosen: no inner fold of the training rows holds all classes; give one value of C"
        )
    return usable
