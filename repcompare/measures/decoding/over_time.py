"""Decoding at every time, and from every training time to every test time, with the same folds and sets of labels."""

from __future__ import annotations

import numpy as np

from repcompare.errors import MeasureError
from repcompare.measures.decoding._linear import Fit, total_scale, votes
from repcompare.measures.decoding._scores import FoldScores, combine, score_fold
from repcompare.measures.decoding.crossvalidate import Scores, Task, batches, collected, crossvalidate, fit
from repcompare.measures.decoding.models import Codes, Float64

BLOCK_BYTES = 64_000_000


def at_every_time(x: Float64, task: Task) -> Scores:
    """Decode each time by itself.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units, n_times)
        Responses; no NaN.
    task : Task
        Labels, folds and model.

    Returns
    -------
    Scores
        With an axis of times after that of the sets: ``score (n_sets, n_times)``, ``fold_scores (n_times, n_folds)``.
    """
    times = np.ascontiguousarray(np.moveaxis(x, 2, 0), dtype=np.float64)
    found = []
    for t, values in enumerate(times):
        try:
            found.append(crossvalidate(values, task))
        except MeasureError as error:
            raise MeasureError(f"time {t}: {error}") from error
    return Scores(
        np.stack([s.score for s in found], axis=1),
        np.stack([s.fold_scores for s in found]),
        np.stack([s.confusion for s in found]),
    )


def across_times(x: Float64, task: Task) -> Scores:
    """Fit at each time and decode at every time (King & Dehaene 2014).

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units, n_times)
        Responses; no NaN.
    task : Task
        Labels, folds and model.

    Returns
    -------
    Scores
        ``score (n_sets, n_train_times, n_test_times)``, ``fold_scores (n_train_times, n_test_times, n_folds)``.
    """
    times = np.ascontiguousarray(np.moveaxis(x, 2, 0), dtype=np.float64)
    n_times, _, p = times.shape
    scales = []
    for t, values in enumerate(times):
        try:
            scales.append(total_scale(values))
        except MeasureError as error:
            raise MeasureError(f"time {t}: {error}") from error
    width = n_times * max(n_times * task.n_classes**2, task.n_classes * p)
    kept = []
    for codes in batches(task.codes, width):
        folds = [_fold(times, task, codes, f, scales) for f in range(len(task.folds))]
        kept.append(combine(folds, task.scoring))
    return collected(kept)


def _fold(times: Float64, task: Task, codes: Codes, f: int, scales: list[float]) -> FoldScores:
    train, test = task.folds.splits[f]
    labels, truth = np.ascontiguousarray(codes[:, train]), codes[:, test]
    flat = np.ascontiguousarray(times[:, test]).reshape(-1, times.shape[2])
    size = 8 * len(codes) * len(flat) * task.n_classes**2
    step = max(1, BLOCK_BYTES // size)
    parts = []
    for start in range(0, len(times), step):
        chosen = range(start, min(start + step, len(times)))
        fits = [fit(times[t][train], labels, task, train, scales[t]) for t in chosen]
        parts.append(_block(fits, flat, truth, task.scoring))
    axes = (len(codes), -1, len(times))
    confusion = np.concatenate([p.confusion.reshape(*axes, task.n_classes, task.n_classes) for p in parts], axis=1)
    return FoldScores(confusion, np.concatenate([p.areas.reshape(axes) for p in parts], axis=1))


def _block(fits: list[Fit], flat: Float64, truth: Codes, scoring: str) -> FoldScores:
    """Score the fits of several training times on the test rows of all times, in one product."""
    sets, n_test = truth.shape
    n_times = len(flat) // n_test
    weights = np.stack([f.unit_weights() for f in fits], axis=1)  # (n_sets, n_fits, n_values, n_units)
    width = weights.shape[2]
    offset = np.stack([f.offset - f.unit_weights() @ f.mean for f in fits], axis=1)
    values = (weights.reshape(-1, weights.shape[-1]) @ flat.T).reshape(sets, len(fits), width, n_times, n_test)
    values += offset[..., None, None]
    rows = np.ascontiguousarray(values.transpose(0, 1, 3, 2, 4)).reshape(-1, width, n_test)
    if fits[0].kind == "pairs":
        rows = votes(rows, fits[0].n_classes)
    return score_fold(rows, np.repeat(truth, len(fits) * n_times, axis=0), fits[0].kind, scoring)
