"""Bootstrap of fixed out-of-sample predictions of encoders over stimuli or blocks of rows, for ``interval="bootstrap"``.

It holds for one set of weights; other stimuli would give other weights, which
:mod:`repcompare.statistics.held_out_intervals` counts.  Target units are never resampled: that understates the error of
their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.statistics.encoding_tests import Blocks, Predictions, standardised, unit_slices
from repcompare.statistics.held_out_intervals import check_confidence
from repcompare.statistics.resampling import stream

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interval:
    """Bootstrap interval of an encoder's score: of the mean over units, and of every unit.

    Attributes
    ----------
    low, high, error : float
        Ends, and standard error.
    unit_low, unit_high : ndarray of shape (n_units,)
        Ends per unit.
    """

    low: float
    high: float
    error: float
    unit_low: Float64
    unit_high: Float64


def bootstrap(
    predictions: Predictions, *, scoring: str, confidence: float, seed: int, n_bootstraps: int = 1000
) -> Interval:
    """Resample the blocks of each test set (for r2: of all) with replacement; predictions stay as they are.

    Parameters
    ----------
    predictions : Predictions
        Of every fold.
    scoring : {"pearson", "r2"}
        Mean r over folds, or ``1 - sum SSE / sum SST`` around the training means.
    confidence : float
        Coverage in (0, 1); the interval is between percentiles.
    seed : int
        Of the resamples.
    n_bootstraps : int
        How many.

    Raises
    ------
    OptionError
        For a confidence outside (0, 1).
    """
    sums = BootstrapSums(predictions.blocks, (scoring, confidence), seed=seed, n_bootstraps=n_bootstraps)
    sums.add(predictions)
    return sums.result()


class BootstrapSums:
    """The bootstrap of target units that come in batches: one resample serves the units of all batches.

    Parameters
    ----------
    blocks : sequence of Blocks
        Of every test set.
    how : (scoring, confidence)
        See :func:`bootstrap`.
    seed, n_bootstraps : int
        Of the resamples, and how many.

    Raises
    ------
    OptionError
        For a confidence outside (0, 1).
    """

    def __init__(
        self, blocks: Sequence[Blocks], how: tuple[str, float], *, seed: int, n_bootstraps: int = 1000
    ) -> None:
        self._scoring, confidence = how
        check_confidence(confidence)
        self._ends = 50 * (1 - confidence), 50 * (1 + confidence)
        self._blocks, self._seed, self._total = blocks, seed, np.zeros(n_bootstraps)
        self._weights: list[Float64] = []
        self._count = 0
        self._low: list[Float64] = []
        self._high: list[Float64] = []

    def add(self, predictions: Predictions) -> None:
        """Add a batch of units."""
        if self._scoring == "r2":  # its sums run over all folds, so blocks of all folds are drawn together
            predictions = _pooled(predictions)
        if not self._weights:
            rng, pairs = (
                stream(self._seed, "encoding bootstrap"),
                zip(predictions.blocks, predictions.truth, strict=True),
            )
            self._weights = [_weights(b, len(y), self._total.size, rng) for b, y in pairs]
        t = predictions.n_units
        low, high = np.full(t, np.nan), np.full(t, np.nan)
        for units in unit_slices(t, self._total.size * 8):
            resampled = _resampled_r if self._scoring == "pearson" else _resampled_r2
            scores = resampled(predictions, self._weights, units)
            good = np.isfinite(scores).all(axis=0)
            places = np.arange(t)[units][good]
            if places.size:
                low[places], high[places] = np.percentile(scores[:, good], self._ends, axis=0)
                self._total += scores[:, good].sum(axis=1)
                self._count += places.size
        self._low.append(low)
        self._high.append(high)

    def result(self) -> Interval:
        """Return the interval of the mean over all units, and of every unit in the order in which they were added."""
        if self._count == 0:
            raise MeasureError("no unit has an interval: resampled test sets are constant; use larger test sets")
        mean = self._total / self._count
        low, high = np.percentile(mean, self._ends)
        return Interval(
            float(low), float(high), float(mean.std(ddof=1)), np.concatenate(self._low), np.concatenate(self._high)
        )


def _pooled(predictions: Predictions) -> Predictions:
    """Join all test sets, each about its own training mean."""
    parts = list(zip(predictions.predicted, predictions.truth, predictions.means, strict=True))
    starts = np.cumsum([0, *(len(y) for _, y, _ in parts)])
    rows = [some + start for b, start in zip(predictions.blocks, starts, strict=False) for some in b.rows]
    blocks = Blocks(tuple(rows), sum(b.n_dropped for b in predictions.blocks))
    predicted = np.concatenate([p.astype(np.float64) - m for p, _, m in parts])
    truth = np.concatenate([y.astype(np.float64) - m for _, y, m in parts])
    return Predictions((predicted,), (truth,), (np.zeros(predictions.n_units),), (blocks,))


def _weights(blocks: Blocks, n_rows: int, count: int, rng: np.random.Generator) -> Float64:
    """Return how often each row is drawn, (n_bootstraps, n_rows)."""
    n_blocks = len(blocks.rows)
    drawn = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=count) if n_blocks else None
    found = np.zeros((count, n_rows))
    for i, rows in enumerate(blocks.rows):
        assert drawn is not None
        found[:, rows] = drawn[:, i : i + 1]
    return found


def _resampled_r(predictions: Predictions, weights: Sequence[Float64], units: slice) -> Float64:
    """Return the mean r over folds under every resample, (n_bootstraps, n_units)."""
    found, folds = np.zeros((len(weights[0]), len(range(predictions.n_units)[units]))), 0
    for w, p, y in zip(weights, predictions.predicted, predictions.truth, strict=True):
        a, b = standardised(p[:, units]), standardised(y[:, units])
        n = w.sum(axis=1, keepdims=True)
        ma, mb = (w @ a) / n, (w @ b) / n
        va, vb = (w @ (a * a)) / n - ma**2, (w @ (b * b)) / n - mb**2
        r = np.full(va.shape, np.nan)
        np.divide((w @ (a * b)) / n - ma * mb, np.sqrt(np.maximum(va * vb, 0)), out=r, where=(va > 1e-9) & (vb > 1e-9))
        found += r
        folds += 1
    return found / folds


def _resampled_r2(predictions: Predictions, weights: Sequence[Float64], units: slice) -> Float64:
    error, total = 0.0, 0.0
    for w, p, y, mean in zip(weights, predictions.predicted, predictions.truth, predictions.means, strict=True):
        truth = y[:, units].astype(np.float64)
        error = error + w @ (truth - p[:, units]) ** 2
        total = total + w @ (truth - mean[units]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - error / total)
