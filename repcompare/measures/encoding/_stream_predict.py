"""Held-out predictions of a streamed ridge: weights of every fold from the sums, then one more pass over the rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from repcompare.measures._measure import Array, HeldOut, Index
from repcompare.measures.encoding._factor import Double
from repcompare.measures.encoding._stream_solve import Batch


def predict_batch(batch: Batch, chosen: Double, chunks: Iterable[tuple[Array, Array, Index]]) -> tuple[HeldOut, ...]:
    """Return the predictions of every fold of the batch, each unit on a scale of its own.

    Parameters
    ----------
    batch : Batch
        Sums of a batch of b units.
    chosen : ndarray of shape (n_folds, b)
        Penalties, on the grid's scale.
    chunks : iterable of (x, y, rows)
        All rows again.
    """
    source, target = batch.source, batch.target
    fits = [_fold_weights(batch, j, chosen) for j in range(len(batch.plan.outer))]
    tests = [task.tests[0][1] for task in batch.plan.outer]
    predicted = [np.empty((rows.size, target.n_units), target.dtype) for rows in tests]
    truth = [np.empty_like(p) for p in predicted]
    for x, y, rows in chunks:
        xs = source.prepared(x, target.dtype)
        ys = ((y - target.shift) / target.scale).astype(target.dtype, copy=False)
        for f, test in enumerate(tests):
            place = np.minimum(np.searchsorted(test, rows), test.size - 1)
            own = np.flatnonzero(test[place] == rows)
            if own.size:
                weights, offset, mean = fits[f]
                predicted[f][place[own]] = xs[own] @ weights - offset
                truth[f][place[own]] = ys[own] - mean
    return tuple(HeldOut(p, y) for p, y in zip(predicted, truth, strict=True))


def _fold_weights(batch: Batch, place: int, chosen: Double) -> tuple[Array, Double, Array]:
    """Return weights (p, b), and predictions for the mean row and training means (b,), of an outer training set."""
    train, target = batch.factor(place), batch.target
    ((fold, _),) = batch.plan.outer[place].tests
    weights = np.empty((len(train.mean), target.n_units), target.dtype)
    mean = np.empty(target.n_units)
    for b, cols in enumerate(target.blocks):
        part = target.of(batch.place(place), b)
        mean[cols] = part.sum_y / part.n
        z = train.project(part, (train.mean, mean[cols]), train.n * train.mean)
        z /= (train.lam[:, None] + chosen[fold, cols] * train.unit).astype(z.dtype)
        weights[:, cols] = train.narrow @ z
    return weights, train.mean @ weights, mean
