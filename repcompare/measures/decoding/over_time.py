"""Decoding at every time, and from every training time to every test time, with the same folds and sets of labels."""

from __future__ import annotations

import numpy as np

from repcompare.errors import MeasureError
from repcompare.measures._measure import Index
from repcompare.measures.decoding._linear import total_scale, votes
from repcompare.measures.decoding._scores import FoldScores, combine, score_fold
from repcompare.measures.decoding._stacked import Stack, fit_stack, stacks
from repcompare.measures.decoding.crossvalidate import Scores, Task, batches, collected, crossvalidate, fit
from repcompare.measures.decoding.models import Codes, Float64

BLOCK_BYTES = 64_000_000
CACHE_BYTES = 1_000_000  # of the responses that are fitted together


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
        stack = _fitted(times[chosen.start : chosen.stop], labels, task, train, scales[chosen.start : chosen.stop])
        parts.append(_block(stack, flat, truth, task))
    axes = (len(codes), -1, len(times))
    confusion = np.concatenate([p.confusion.reshape(*axes, task.n_classes, task.n_classes) for p in parts], axis=1)
    return FoldScores(confusion, np.concatenate([p.areas.reshape(axes) for p in parts], axis=1))


def _fitted(times: Float64, labels: Codes, task: Task, train: Index, scales: list[float]) -> Stack:
    """Fit every time of (n_times, n_rows, n_units): together where the model allows, else one by one."""
    if stacks(task.model, len(labels)):
        step = max(1, CACHE_BYTES // (8 * len(train) * times.shape[2]))
        found = [
            fit_stack(task.model, times[i : i + step, train], labels, task.n_classes, np.array(scales[i : i + step]))
            for i in range(0, len(times), step)
        ]
        weights, offset = (
            np.concatenate(some, axis=1) for some in zip(*((s.weights, s.offset) for s in found), strict=True)
        )
        return Stack(weights, offset, found[0].kind)
    fits = [fit(x[train], labels, task, train, scale) for x, scale in zip(times, scales, strict=True)]
    weights = np.stack([f.unit_weights() for f in fits], axis=1)
    offset = np.stack([f.offset - f.unit_weights() @ f.mean for f in fits], axis=1)
    return Stack(weights, offset, fits[0].kind)


def _block(stack: Stack, flat: Float64, truth: Codes, task: Task) -> FoldScores:
    """Score the fits of several training times on the test rows of all times, in one product."""
    sets, n_fits, width, p = stack.weights.shape
    n_test = truth.shape[1]
    n_times = len(flat) // n_test
    values = (stack.weights.reshape(-1, p) @ flat.T).reshape(sets, n_fits, width, n_times, n_test)
    values += stack.offset[..., None, None]
    rows = np.ascontiguousarray(values.transpose(0, 1, 3, 2, 4)).reshape(-1, width, n_test)
    if stack.kind == "pairs":
        rows = votes(rows, task.n_classes)
    return score_fold(rows, np.repeat(truth, n_fits * n_times, axis=0), stack.kind, task.scoring)
