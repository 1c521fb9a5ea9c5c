"""Inference for encoders from fixed out-of-sample predictions: block permutations and the bootstrap over rows.

What is exchanged or resampled are stimuli, or whole blocks, runs and groups of rows; never single rows of a time
series, and never target units (Nichols & Holmes 2002; Harris 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Index
from repcompare.statistics.resampling import permutation_pvalues, stream
from repcompare.statistics.two_factor import benjamini_hochberg

Float64 = npt.NDArray[np.float64]

SHORTEST_BLOCK = 10
FEWEST_BLOCKS = 5
FEW_BLOCKS = 20
MOST_BYTES = 1 << 26
TIE = 1e-10


@dataclass(frozen=True)
class Blocks:
    """Rows that are exchanged together.

    Attributes
    ----------
    rows : tuple of ndarray
        Row numbers of each block, in order.
    n_dropped : int
        Rows left over.
    """

    rows: tuple[Index, ...]
    n_dropped: int

    @property
    def length(self) -> int | None:
        """Number of rows of every block; None where they differ."""
        sizes = {rows.size for rows in self.rows}
        return sizes.pop() if len(sizes) == 1 else None


def make_blocks(
    rows: Sequence[Index], *, length: int = 1, groups: npt.NDArray[np.intp] | None = None
) -> tuple[Blocks, ...]:
    """Cut sets of rows into blocks that may be exchanged.

    Parameters
    ----------
    rows : sequence of ndarray
        Rows of each test set, ascending; neighbours in number are neighbours in time.
    length : int
        Rows of a block; 1 exchanges single rows, which only stimuli allow.
    groups : ndarray of shape (n,), optional
        Group of every row: whole groups are exchanged with others of the same size.

    Returns
    -------
    tuple of Blocks
        One per test set; pieces shorter than ``length`` are dropped and counted.

    Examples
    --------
    >>> found = make_blocks([np.array([0, 1, 2, 3, 4, 8, 9])], length=2)[0]
    >>> [b.tolist() for b in found.rows], found.n_dropped
    ([[0, 1], [2, 3], [8, 9]], 1)
    """
    found = []
    for some in rows:
        if groups is not None:
            found.append(Blocks(tuple(some[groups[some] == g] for g in np.unique(groups[some])), 0))
            continue
        pieces = np.split(some, np.flatnonzero(np.diff(some) > 1) + 1) if length > 1 else [some]
        blocks = [p[i : i + length] for p in pieces for i in range(0, p.size - length + 1, length)]
        found.append(Blocks(tuple(blocks), some.size - length * len(blocks)))
    return tuple(found)


@dataclass(frozen=True)
class Predictions:
    """Out-of-sample predictions of an encoder, test set by test set.

    Attributes
    ----------
    predicted, truth : tuple of ndarray of shape (n_test, n_units)
        One per fold, in units of the target.
    means : tuple of ndarray of shape (n_units,)
        Training means.
    blocks : tuple of Blocks
        What is exchanged, in rows of each test set (0 is its first).
    """

    predicted: tuple[npt.NDArray[np.floating], ...]
    truth: tuple[npt.NDArray[np.floating], ...]
    means: tuple[npt.NDArray[np.floating], ...]
    blocks: tuple[Blocks, ...]

    @property
    def n_units(self) -> int:
        """Number of target units."""
        return int(self.truth[0].shape[1])


@dataclass(frozen=True, eq=False)
class EncodingTest:
    """Result of a permutation test.

    Attributes
    ----------
    pvalue : float
        Of the mean over units.
    pvalues, pvalues_corrected, pvalues_fdr : ndarray of shape (n_units,)
        Raw, corrected by the maximum over units, and by Benjamini-Hochberg.
    observed : ndarray of shape (n_units,)
        The statistic: r over the rows of the blocks.
    null_mean : ndarray of shape (n_permutations,)
        Mean over units under each permutation.
    notes : tuple of str
        Rows dropped, few blocks.
    """

    pvalue: float
    pvalues: Float64
    pvalues_corrected: Float64
    pvalues_fdr: Float64
    observed: Float64
    null_mean: Float64
    notes: tuple[str, ...] = ()


def permutation_test(predictions: Predictions, *, n_permutations: int, seed: int) -> EncodingTest:
    """Test predictions by exchanging blocks of the data within each test set; nothing is fitted again.

    Predictions and data are z-scored within each test set; the statistic is their mean product, the mean of r over
    folds weighted by rows.  One permutation serves all units, which gives the max-statistic.

    Raises
    ------
    MeasureError
        Where there are too few blocks to exchange.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(40, 3))
    >>> blocks = make_blocks([np.arange(40)])
    >>> one = Predictions((truth + rng.normal(size=(40, 3)),), (truth,), (truth.mean(0),), blocks)
    >>> permutation_test(one, n_permutations=99, seed=0).pvalues_corrected
    array([0.01, 0.01, 0.01])
    """
    sizes = [len(b.rows) for b in predictions.blocks]
    check_blocks(predictions.blocks)
    rng = stream(seed, "encoding permutations")
    orders = [[_order(blocks, rng) for _ in range(n_permutations)] for blocks in predictions.blocks]
    t, n_rows = predictions.n_units, sum(rows.size for b in predictions.blocks for rows in b.rows)
    observed, null = np.zeros(t), np.zeros((n_permutations, t))
    for f, blocks in enumerate(predictions.blocks):
        rows = np.concatenate(blocks.rows) if blocks.rows else np.zeros(0, dtype=np.intp)
        for units in _batches(t, max(rows.size, sizes[f] ** 2)):
            p, y = (_z(v[f][rows][:, units]) for v in (predictions.predicted, predictions.truth))
            observed[units] += (p * y).sum(axis=0)
            null[:, units] += _products(p, y, blocks, orders[f])
    observed /= n_rows
    null /= n_rows
    return summarise(observed, null, predictions.blocks)


def summarise(observed: Float64, null: Float64, blocks: Sequence[Blocks]) -> EncodingTest:
    """Turn statistics (n_units,) and their null (n_permutations, n_units) into p-values; NaN units stay NaN."""
    good = np.isfinite(observed)
    raw, corrected, fdr = (np.full(observed.size, np.nan) for _ in range(3))
    if not good.any():
        raise MeasureError("no unit can be tested: all are constant in a test set; expected one that varies")
    clean = np.nan_to_num(null[:, good])
    level = observed[good] - TIE * np.abs(observed[good])  # an order that changes nothing counts, whatever its rounding
    raw[good], corrected[good] = permutation_pvalues(level, clean, greater=True)
    fdr[good] = benjamini_hochberg(raw[good])
    mean = clean.mean(axis=1)
    pvalue = (1 + int((mean >= level.mean()).sum())) / (1 + len(mean))
    dropped, count = sum(b.n_dropped for b in blocks), sum(len(b.rows) for b in blocks)
    notes: tuple[str, ...] = (
        (f"rows_dropped: {dropped} rows fill no block and are left out of the test",) if dropped else ()
    )
    if count < FEW_BLOCKS:
        notes += (f"few_blocks: {count} blocks are exchanged; p-values are rough below {FEW_BLOCKS}",)
    return EncodingTest(pvalue, raw, corrected, fdr, observed, mean, notes)


def check_blocks(blocks: Sequence[Blocks]) -> None:
    """Raise ``MeasureError`` unless some test set has blocks to exchange."""
    possible = sum(_exchangeable(b) for b in blocks)
    if possible < FEWEST_BLOCKS:
        raise MeasureError(
            f"{possible} blocks of test rows can be exchanged; expected at least {FEWEST_BLOCKS}; take longer test "
            "sets (fewer folds), shorter blocks, or null='refit'"
        )


def _exchangeable(blocks: Blocks) -> int:
    """Return how many blocks have another of their size."""
    sizes, counts = np.unique([rows.size for rows in blocks.rows], return_counts=True)
    return int(counts[(counts > 1) & (sizes > 0)].sum())


def _order(blocks: Blocks, rng: np.random.Generator) -> Index:
    """Draw an order of the blocks that gives each place one of its size."""
    sizes = np.array([rows.size for rows in blocks.rows])
    order = np.arange(sizes.size)
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        order[same] = rng.permutation(same)
    return order


def _products(p: Float64, y: Float64, blocks: Blocks, orders: Sequence[Index]) -> Float64:
    """Return the summed products of every permutation, (n_permutations, n_units)."""
    count, length = len(blocks.rows), blocks.length
    if length is not None and length > 1:  # a permutation's sum is one look-up per block
        table = np.einsum("alu,blu->abu", *(v.reshape(count, length, -1) for v in (p, y)), optimize=True)
        places = np.arange(count)
        return np.array([table[places, order].sum(axis=0) for order in orders])
    starts = np.concatenate([[0], np.cumsum([rows.size for rows in blocks.rows])])
    pieces = [np.arange(starts[i], starts[i + 1]) for i in range(count)]
    return np.array([np.einsum("ij,ij->j", p, y[np.concatenate([pieces[i] for i in order])]) for order in orders])


def _z(values: npt.NDArray[np.floating]) -> Float64:
    """Standardise columns; those that do not vary become NaN."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    sd = np.sqrt(np.einsum("ij,ij->j", centred, centred) / max(len(centred), 1))
    size = np.abs(values).max(axis=0, initial=0.0)
    fixed = sd <= 1e-12 * np.maximum(size, np.finfo(np.float64).tiny)
    return np.where(fixed, np.nan, centred / np.where(fixed, 1.0, sd))


def _batches(n_units: int, rows: int) -> Iterator[slice]:
    size = max(1, MOST_BYTES // (8 * max(rows, 1)))
    for start in range(0, n_units, size):
        yield slice(start, min(start + size, n_units))


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
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r}; expected a number between 0 and 1, such as 0.95")
    if scoring == "r2":  # its sums run over all folds, so blocks of all folds are drawn together
        predictions = _pooled(predictions)
    rng = stream(seed, "encoding bootstrap")
    weights = [
        _weights(b, len(y), n_bootstraps, rng) for b, y in zip(predictions.blocks, predictions.truth, strict=True)
    ]
    t = predictions.n_units
    low, high, total, count = np.full(t, np.nan), np.full(t, np.nan), np.zeros(n_bootstraps), 0
    ends = 50 * (1 - confidence), 50 * (1 + confidence)
    for units in _batches(t, n_bootstraps * 8):
        scores = (_resampled_r if scoring == "pearson" else _resampled_r2)(predictions, weights, units)
        good = np.isfinite(scores).all(axis=0)
        places = np.arange(t)[units][good]
        if places.size:
            low[places], high[places] = np.percentile(scores[:, good], ends, axis=0)
            total += scores[:, good].sum(axis=1)
            count += places.size
    if count == 0:
        raise MeasureError("no unit has an interval: resampled test sets are constant; use larger test sets")
    mean = total / count
    ends_of_mean = np.percentile(mean, ends)
    return Interval(float(ends_of_mean[0]), float(ends_of_mean[1]), float(mean.std(ddof=1)), low, high)


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
        a, b = _z(p[:, units]), _z(y[:, units])
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


def shuffled_rows(blocks: Sequence[Blocks], n: int, count: int, seed: int) -> Iterator[Index]:
    """Yield orders of all ``n`` rows in which blocks have changed places; rows in no block stay.

    Examples
    --------
    >>> blocks = make_blocks([np.arange(6)], length=2)
    >>> order = next(shuffled_rows(blocks, 7, 1, seed=0))
    >>> sorted(order.tolist()) == list(range(7)), int(order[6])
    (True, 6)
    """
    rng = stream(seed, "encoding permutations")
    for _ in range(count):
        order = np.arange(n)
        for some in blocks:
            places = _order(some, rng)
            for place, source in zip(some.rows, places, strict=True):
                order[place] = some.rows[source]
        yield order
