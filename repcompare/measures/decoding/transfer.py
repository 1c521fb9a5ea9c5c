"""Decoding across systems: fitted to one, tested on another, on stimuli that neither fit has seen."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from repcompare.errors import AlignmentError
from repcompare.measures._linalg import thin_factor
from repcompare.measures.decoding._linear import total_scale
from repcompare.measures.decoding._scores import FoldScores, combine, score_fold
from repcompare.measures.decoding.crossvalidate import Scores, Task, batches, collected, fit
from repcompare.measures.decoding.models import Codes, Float64

EPS = float(np.finfo(np.float64).eps)


def transfer(x: Float64, other: Float64, task: Task, *, align: bool) -> Scores:
    """Fit training rows of one system, decode test rows of another.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units)
        The system that is fitted.
    other : ndarray, shape (n_rows, n_other_units)
        The system that is tested; rows match.
    task : Task
        Labels, folds and model.
    align : bool
        Whether to rotate the other system to the first (Procrustes), on training rows alone; else units must match.

    Returns
    -------
    Scores

    Raises
    ------
    AlignmentError
        When the numbers of units differ and nothing aligns them.
    """
    if not align and x.shape[1] != other.shape[1]:
        raise AlignmentError(
            f"x has {x.shape[1]} units and the test source {other.shape[1]}; expected the same units; use align='procrustes'"
        )
    kept = []
    for codes in batches(task.codes, task.n_classes * max(x.shape)):
        folds = [_fold(x, other, task, (f, codes), align) for f in range(len(task.folds))]
        kept.append(combine(folds, task.scoring))
    return collected(kept)


def _fold(x: Float64, other: Float64, task: Task, batch: tuple[int, Codes], align: bool) -> FoldScores:
    f, codes = batch
    train, test = task.folds.splits[f]
    fitted, _ = _standard(x, train)
    there, rows = _standard(other, train, test)
    if align:
        rows = rotated(there, fitted, rows)
    decoder = fit(fitted, np.ascontiguousarray(codes[:, train]), task, train, total_scale(fitted))
    values = np.ascontiguousarray(decoder.decide(rows))
    return score_fold(values, np.ascontiguousarray(codes[:, test]), decoder.kind, task.scoring)


def _standard(x: Float64, train: Codes, test: Codes | None = None) -> tuple[Float64, Float64]:
    """Training and test rows, scaled by the means and standard deviations of the training rows."""
    mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
    scale[scale <= 1e-12 * np.abs(x[train]).max(axis=0, initial=0.0)] = np.inf  # a constant unit tells nothing
    return (x[train] - mean) / scale, ((x[test] if test is not None else x[:0]) - mean) / scale


def rotated(source: Float64, target: Float64, rows: Float64) -> Float64:
    """Rotate ``rows`` by the orthogonal map that takes ``source`` (n, p) nearest to ``target`` (n, q).

    The map is computed between the spans of the rows, so its cost is that of two thin factorisations.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, -2.0]])
    >>> np.allclose(rotated(x[:, ::-1], x, x[:, ::-1]), x)
    True
    """
    u, s, vt = thin_factor(source, EPS)
    a, b, ct = thin_factor(target, EPS)
    left, _, right = scipy.linalg.svd(s[:, None] * (u.T @ a) * b, full_matrices=False)
    turned: Float64 = ((rows @ vt.T) @ (left @ right)) @ ct
    return turned
