"""From decision values to confusions and scores, for every set of labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.decoding import mean_areas, tally
from repcompare.measures._measure import Folds
from repcompare.measures.decoding._linear import Kind
from repcompare.measures.decoding.models import Codes, Float64

Counts = npt.NDArray[np.int64]
UNEVEN = 0.01  # of a score: classes dealt out to folds as evenly as their numbers allow stay below


@dataclass(frozen=True)
class FoldScores:
    """What a fold leaves of its decision values, per set of labels.

    Attributes
    ----------
    confusion : ndarray of shape (n_sets, n_classes, n_classes)
        Rows are the truth.
    areas : ndarray of shape (n_sets,)
        Area under the ROC curve; NaN where not asked for, or where the fold lacks a class.
    """

    confusion: Counts
    areas: Float64


def score_fold(values: Float64, truth: Codes, kind: Kind, scoring: str) -> FoldScores:
    """Score decision values (n_sets, n_classes, n_rows) against ``truth`` (n_sets, n_rows)."""
    sets, n_classes, _ = values.shape
    confusion = np.empty((sets, n_classes, n_classes), dtype=np.int64)
    tally(values, truth, confusion)
    areas = np.full(sets, np.nan)
    if scoring == "auc":
        mean_areas(np.ascontiguousarray(comparable(values, kind)), truth, areas)
    return FoldScores(confusion, areas)


def comparable(values: Float64, kind: Kind) -> Float64:
    """Make decision values comparable between rows: log odds of a class, or its distance from the mean of the others.

    Parameters
    ----------
    values : ndarray, shape (n_sets, n_classes, n_rows)
        Known up to a term that all classes of a row share.
    kind : {"values", "log", "pairs"}
        Log posteriors, or other values.
    """
    if kind != "log":
        finite = np.where(np.isfinite(values), values, np.nan)
        with np.errstate(invalid="ignore"):
            centre = np.nanmean(finite, axis=1, keepdims=True)
        centred: Float64 = values - centre
        return centred
    out = np.empty_like(values)
    for k in range(values.shape[1]):
        others = np.delete(values, k, axis=1)
        top = others.max(axis=1)
        out[:, k] = values[:, k] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    return out


def combine(folds: list[FoldScores], scoring: str) -> tuple[Float64, Float64, Counts]:
    """Return scores (n_sets, ...), fold scores (n_sets, ..., n_folds) and confusions (n_sets, ..., n_classes, n_classes)."""
    confusion: Counts = np.sum([f.confusion for f in folds], axis=0)
    if scoring == "auc":
        per_fold = np.stack([f.areas for f in folds], axis=-1)
        known = ~np.isnan(per_fold)
        if not known.any(axis=-1).all():
            raise MeasureError("auc: no fold has test rows of every class; use fewer folds or another scoring")
        return np.where(known, per_fold, 0.0).sum(axis=-1) / known.sum(axis=-1), per_fold, confusion
    with np.errstate(invalid="ignore", divide="ignore"):
        by_fold = np.stack([accuracy(f.confusion, scoring) for f in folds], axis=-1)
        score = accuracy(confusion, scoring)
    if np.isnan(score).any():
        raise MeasureError("balanced_accuracy: a class has no test rows in any fold; expected some; use other folds")
    return score, by_fold, confusion


def accuracy(confusion: Counts, scoring: str) -> Float64:
    """Share of right rows, or its mean over classes (NaN where one has no row), over the last two axes."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    if scoring == "accuracy":
        found: Float64 = right.sum(axis=-1) / confusion.sum(axis=(-2, -1))
        return found
    rate: Float64 = (right / confusion.sum(axis=-1)).mean(axis=-1)
    return rate


def guessed_score(folds: Folds, codes: Codes) -> float:
    """Balanced accuracy of guesses by the proportions of the classes among the training rows.

    The mean over classes is 1 / number of classes where every fold keeps the proportions.  Where they differ between runs, a
    class is rarer in training just where most of its rows are tested, so that a decoder without information scores less:
    permutations within the runs keep the proportions, and show it.

    Parameters
    ----------
    folds : Folds
        Train and test rows.
    codes : ndarray of int, shape (n_rows,)
        Class of each row.

    Examples
    --------
    >>> rows, codes = np.arange(8), np.array([0, 0, 0, 1, 0, 1, 1, 1])
    >>> halves = (rows[:4], rows[4:]), (rows[4:], rows[:4])
    >>> guessed_score(Folds(halves, 8), codes)
    0.375
    """
    n_classes = int(codes.max()) + 1
    right, tested = np.zeros(n_classes), np.zeros(n_classes)
    for train, test in folds.splits:
        counts = np.bincount(codes[test], minlength=n_classes)
        right += counts * np.bincount(codes[train], minlength=n_classes) / len(train)
        tested += counts
    return float((right / np.maximum(tested, 1)).mean())


def proportion_notes(folds: Folds, codes: Codes, scoring: str) -> tuple[str, ...]:
    """Say where classes are mixed so differently in training and test rows that noise scores off chance."""
    if scoring != "balanced_accuracy":
        return ()
    guessed, even = guessed_score(folds, codes), 1 / (int(codes.max()) + 1)
    if abs(guessed - even) < UNEVEN:
        return ()
    return (
        f"unequal_proportions: the classes are mixed differently in training and test rows: guesses by the training "
        f"proportions score {guessed:.3f}, not {even:.3f}, and so does noise; judge by the permutations, which keep this",
    )


def chance(codes: Codes, n_classes: int, scoring: str) -> float:
    """Score of a decoder without information."""
    if scoring == "accuracy":
        return float(np.bincount(codes).max() / len(codes))
    return 0.5 if scoring == "auc" else 1 / n_classes
