"""Decode many sets of labels from the same rows and folds: the true one, permuted ones, and control tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repcompare.kernels.decoding import class_pair_sums
from repcompare.measures._measure import Folds, Index
from repcompare.measures.decoding._hat import Smoother, centred_kernel, kernel_smoothers, ridge_smoothers
from repcompare.measures.decoding._linear import (
    Fit,
    Kind,
    discriminant,
    fit_linear,
    one_hot_counts,
    sums_of,
    total_scale,
)
from repcompare.measures.decoding._margins import fit_margin
from repcompare.measures.decoding._scores import Counts, FoldScores, combine, score_fold
from repcompare.measures.decoding._shrunk import fit_shrunk
from repcompare.measures.decoding.models import Codes, Float64, Model

BATCH_BYTES = 32_000_000


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is decoded.

    Attributes
    ----------
    codes : ndarray of int, shape (n_sets, n_rows)
        Sets of labels, 0 ... n_classes - 1; the first is the true one.
    n_classes : int
        Number of classes.
    folds : Folds
        Train and test rows; ``groups`` are held out together by inner folds too.
    model : Model
        Decoder.
    scoring : str
        ``"balanced_accuracy"``, ``"accuracy"`` or ``"auc"``.
    """

    codes: Codes
    n_classes: int
    folds: Folds
    model: Model
    scoring: str


@dataclass(frozen=True)
class Scores:
    """Scores of every set of labels, and what else is kept of the first.

    Attributes
    ----------
    score : ndarray of shape (n_sets, ...)
        Further axes are times.
    fold_scores : ndarray of shape (..., n_folds)
        Of the first set.
    confusion : ndarray of int, shape (..., n_classes, n_classes)
        Of the first set, summed over folds; rows are the truth.
    """

    score: Float64
    fold_scores: Float64
    confusion: Counts


@dataclass(frozen=True)
class Responses:
    """Responses, with what decoders need of them whatever the labels and folds.

    Attributes
    ----------
    x : ndarray of shape (n_rows, n_units)
        No NaN.
    scale : float
        Unit of ``alpha``.
    kernel : ndarray of shape (n_rows, n_rows), optional
        Products of the centred rows, where the model can use them; made when it must be.
    """

    x: Float64
    scale: float
    kernel: Float64 | None = None


def prepare(x: Float64, model: Model | None = None) -> Responses:
    """Prepare responses (n_rows, n_units); for a model that sums over rows their products too, if there are more units.

    Raises
    ------
    MeasureError
        When nothing varies.
    """
    x = np.asarray(x, dtype=np.float64)
    wide = model is not None and model.smooths and x.shape[1] > len(x)
    return Responses(x, total_scale(x), centred_kernel(x) if wide else None)


def crossvalidate(x: Float64 | Responses, task: Task) -> Scores:
    """Decode every set of labels on rows that the fit has not seen.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units), or Responses
        Responses; no NaN.
    task : Task
        Labels, folds and model.

    Returns
    -------
    Scores

    Raises
    ------
    MeasureError
        When nothing varies, or the model cannot be fitted.

    Examples
    --------
    >>> from repcompare.measures.decoding.models import make_model
    >>> rows = np.arange(8)
    >>> folds = Folds(tuple((rows[rows // 2 != f], rows[rows // 2 == f]) for f in range(4)), 8)
    >>> task = Task(codes=rows[None] % 2, n_classes=2, folds=folds, model=make_model("ridge"), scoring="accuracy")
    >>> crossvalidate(np.eye(8)[:, :2] * 0.1 + (rows % 2)[:, None], task).score
    array([1.])
    """
    rows = x if isinstance(x, Responses) else prepare(x)
    smoothers = _smoothers(rows, task)
    kept = []
    for codes in batches(task.codes, task.n_classes * max(rows.x.shape)):
        folds = [_fold(rows, task, f, codes, smoothers[f]) for f in range(len(task.folds))]
        kept.append(combine(folds, task.scoring))
    return collected(kept)


def decisions(rows: Responses, task: Task) -> list[tuple[Float64, Kind]]:
    """Return the decision values of the test rows of each fold, (n_sets, n_classes, n_test), and what they are."""
    smoothers = _smoothers(rows, task)
    return [_decide(rows, task, f, task.codes, smoothers[f]) for f in range(len(task.folds))]


def collected(batches: list[tuple[Float64, Float64, Counts]]) -> Scores:
    """Put batches of sets together; all but the scores is kept of the first set alone."""
    return Scores(np.concatenate([score for score, _, _ in batches]), batches[0][1][0], batches[0][2][0])


def batches(codes: Codes, width: int) -> list[Codes]:
    """Cut sets of labels so that ``width`` numbers for each fit the buffer."""
    step = max(1, BATCH_BYTES // (8 * width))
    return [np.ascontiguousarray(codes[i : i + step]) for i in range(0, len(codes), step)]


def fit(x: Float64, codes: Codes, task: Task, rows: Index, scale: float) -> Fit:
    """Fit training rows ``x`` (n_train, n_units) to sets of labels (n_sets, n_train); ``rows`` are their numbers."""
    model = task.model
    if model.name in ("logistic", "svm"):
        groups = None if task.folds.groups is None else task.folds.groups[rows]
        return fit_margin(model, x, codes, task.n_classes, groups)
    if model.shares_fits:
        return fit_linear(model, x, codes, task.n_classes, scale)
    return fit_shrunk(x, codes, task.n_classes)


def _smoothers(rows: Responses, task: Task) -> list[Smoother | None]:
    """Smoothers of all folds where they cost less than fits of the units."""
    model = task.model
    if not model.smooths or not _smoothers_are_cheaper(rows, task):
        return [None] * len(task.folds)
    kernel = centred_kernel(rows.x) if rows.kernel is None else rows.kernel
    if model.name == "nearest_centroid":
        return kernel_smoothers(kernel, task.folds)
    assert model.alpha is not None
    return ridge_smoothers(kernel, task.folds, model.alpha * rows.scale)


def _smoothers_are_cheaper(rows: Responses, task: Task) -> bool:
    """Count products: one n x n problem and sums over rows, against a problem per fold and weights of the units."""
    n, p = rows.x.shape
    once, per_set = n * n * p * (rows.kernel is None) + n**3, 0
    once_units, per_set_units = 0, 0
    for train, test in task.folds.splits:
        a, b = len(train), len(test)
        inside = task.model.name != "ridge"
        once += a * a * (n - a) if inside else 0
        per_set += a * (a + b) if inside else a * b
        side = min(a, p)
        once_units += a * p * side + side**3
        per_set_units += a * p + task.n_classes * (side * side + b * p)
    return bool(once + len(task.codes) * per_set < once_units + len(task.codes) * per_set_units)


def _fold(rows: Responses, task: Task, f: int, codes: Codes, smoother: Smoother | None) -> FoldScores:
    values, kind = _decide(rows, task, f, codes, smoother)
    truth = np.ascontiguousarray(codes[:, task.folds.splits[f][1]])
    return score_fold(np.ascontiguousarray(values), truth, kind, task.scoring)


def _decide(rows: Responses, task: Task, f: int, codes: Codes, smoother: Smoother | None) -> tuple[Float64, Kind]:
    train, test = task.folds.splits[f]
    labels = np.ascontiguousarray(codes[:, train])
    if smoother is not None:
        return smoothed(task.model, smoother, labels, task.n_classes)
    fitted = fit(rows.x[train], labels, task, train, rows.scale)
    return fitted.decide(rows.x[test]), fitted.kind


def smoothed(model: Model, smoother: Smoother, codes: Codes, n_classes: int) -> tuple[Float64, Kind]:
    """Decision values (n_sets, n_classes, n_test) from sums of the smoother's rows over the classes."""
    counts = one_hot_counts(codes, n_classes)
    predicted = sums_of(smoother.test, codes, n_classes)
    if model.name == "ridge":
        return predicted + (counts / codes.shape[1])[:, :, None], "values"
    pairs = np.empty((len(codes), n_classes, n_classes))
    class_pair_sums(sums_of(smoother.train, codes, n_classes), codes, pairs)
    if model.name == "nearest_centroid":
        held = np.maximum(counts, 1)
        square = np.diagonal(pairs, axis1=1, axis2=2) / held**2
        offset = np.where(counts > 0, -0.5 * square, -np.inf)
        return predicted / held[:, :, None] + offset[:, :, None], "values"
    mix, offset = discriminant(pairs, counts)
    return mix.transpose(0, 2, 1) @ predicted + offset[:, :, None], "log"
