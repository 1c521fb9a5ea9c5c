"""Tests of encoders from fixed out-of-sample predictions: permutations of blocks.

What is exchanged are stimuli, or whole blocks, runs and groups of rows; never single rows of a time
series, and never target units (Nichols & Holmes 2002; Harris 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
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
    test : ndarray
        All rows they were cut from.
    """

    rows: tuple[Index, ...]
    n_dropped: int
    test: Index = field(default_factory=lambda: np.zeros(0, dtype=np.intp), compare=False, repr=False)

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
            found.append(Blocks(tuple(some[groups[some] == g] for g in np.unique(groups[some])), 0, some))
            continue
        pieces = np.split(some, np.flatnonzero(np.diff(some) > 1) + 1) if length > 1 else [some]
        blocks = [p[i : i + length] for p in pieces for i in range(0, p.size - length + 1, length)]
        found.append(Blocks(tuple(blocks), some.size - length * len(blocks), some))
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


def permutation_test(predictions: Predictions, *, n_permutations: int, seed: int, width: float = 1.0) -> EncodingTest:
    """Test predictions by exchanging blocks of the data within each test set; nothing is fitted again.

    Predictions and data are z-scored within each test set; the statistic is their mean product, the mean of r over
    folds weighted by rows.  One permutation serves all units, which gives the max-statistic.  ``width`` of a
    cross-validated score is :func:`repcompare.statistics.held_out_tests.null_width`.

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
    sums = PermutationSums(predictions.blocks, n_permutations=n_permutations, seed=seed, width=width)
    sums.add(predictions)
    return sums.result()


class PermutationSums:
    """The permutation test of target units that come in batches: one permutation serves the units of all batches.

    Parameters
    ----------
    blocks : sequence of Blocks
        Of every test set.
    n_permutations, seed : int
        How many, and of which stream.
    width : float
        Factor of the null; see :func:`repcompare.statistics.held_out_tests.null_width`.

    Raises
    ------
    MeasureError
        Where there are too few blocks to exchange.
    """

    def __init__(self, blocks: Sequence[Blocks], *, n_permutations: int, seed: int, width: float = 1.0) -> None:
        check_blocks(blocks)
        rng = stream(seed, "encoding permutations")
        self._blocks = blocks
        self._orders = [[ordered(b, rng) for _ in range(n_permutations)] for b in blocks]
        self._count, self._width = n_permutations, width
        self._observed: list[Float64] = []
        self._null: list[Float64] = []

    def add(self, predictions: Predictions) -> None:
        """Add a batch of units."""
        t, n_rows = predictions.n_units, sum(rows.size for b in self._blocks for rows in b.rows)
        observed, null = np.zeros(t), np.zeros((self._count, t))
        for f, blocks in enumerate(self._blocks):
            rows = np.concatenate(blocks.rows) if blocks.rows else np.zeros(0, dtype=np.intp)
            table = len(blocks.rows) ** 2 if _by_table(blocks) else 0
            for units in unit_slices(t, max(rows.size, table)):
                p, y = (standardised(v[f][rows][:, units]) for v in (predictions.predicted, predictions.truth))
                observed[units] += (p * y).sum(axis=0)
                null[:, units] += _products(p, y, blocks, self._orders[f])
        self._observed.append(observed / n_rows)
        self._null.append(null * (self._width / n_rows))

    def result(self) -> EncodingTest:
        """Return the p-values of all units, in the order in which they were added."""
        return summarise(np.concatenate(self._observed), np.hstack(self._null), self._blocks)


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


def whole_groups(n: int, groups: npt.NDArray[np.intp]) -> tuple[Blocks, ...]:
    """Return all ``n`` rows as groups that may change places with others of their size, for fitting again.

    Raises
    ------
    MeasureError
        Where fewer than 5 groups have another of their size.

    Examples
    --------
    >>> [rows.tolist() for rows in whole_groups(10, np.repeat(np.arange(5), 2))[0].rows][:2]
    [[0, 1], [2, 3]]
    """
    found = make_blocks([np.arange(n)], groups=groups)
    possible = _exchangeable(found[0])
    if possible < FEWEST_BLOCKS:
        raise MeasureError(
            f"{possible} of {len(found[0].rows)} groups have another of their size to change places with; expected at "
            f"least {FEWEST_BLOCKS}: rows that are held out together are permuted together; give groups of one size, or "
            "leave out permutations="
        )
    return found


def _exchangeable(blocks: Blocks) -> int:
    """Return how many blocks have another of their size."""
    sizes, counts = np.unique([rows.size for rows in blocks.rows], return_counts=True)
    return int(counts[(counts > 1) & (sizes > 0)].sum())


def ordered(blocks: Blocks, rng: np.random.Generator) -> Index:
    """Draw an order of the blocks that gives each place one of its size.

    Examples
    --------
    >>> blocks = make_blocks([np.arange(4)], groups=np.array([0, 0, 0, 1]))[0]
    >>> ordered(blocks, np.random.default_rng(0)).tolist()
    [0, 1]
    """
    sizes = np.array([rows.size for rows in blocks.rows])
    order = np.arange(sizes.size)
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        order[same] = rng.permutation(same)
    return order


def _by_table(blocks: Blocks) -> bool:
    """Is a permutation's sum one look-up per block, in a table of all pairs of blocks?"""
    return blocks.length is not None and blocks.length > 1


def _products(p: Float64, y: Float64, blocks: Blocks, orders: Sequence[Index]) -> Float64:
    """Return the summed products of every permutation, (n_permutations, n_units)."""
    count = len(blocks.rows)
    if _by_table(blocks):
        table = np.einsum("alu,blu->abu", *(v.reshape(count, -1, v.shape[1]) for v in (p, y)), optimize=True)
        places = np.arange(count)
        return np.array([table[places, order].sum(axis=0) for order in orders])
    starts = np.concatenate([[0], np.cumsum([rows.size for rows in blocks.rows])])
    pieces = [np.arange(starts[i], starts[i + 1]) for i in range(count)]
    return np.array([np.einsum("ij,ij->j", p, y[np.concatenate([pieces[i] for i in order])]) for order in orders])


def standardised(values: npt.NDArray[np.floating], axis: int = 0) -> Float64:
    """Return values of mean 0 and SD 1 along an axis; those that do not vary become NaN.

    Examples
    --------
    >>> standardised(np.array([[1.0, 5.0], [3.0, 5.0]]))
    array([[-1., nan],
           [ 1., nan]])
    """
    centred = values.astype(np.float64) - values.mean(axis=axis, dtype=np.float64, keepdims=True)
    sd = np.sqrt((centred * centred).mean(axis=axis, keepdims=True))
    size = np.abs(values).max(axis=axis, initial=0.0, keepdims=True)
    fixed = sd <= 1e-12 * np.maximum(size, np.finfo(np.float64).tiny)
    return np.where(fixed, np.nan, centred / np.where(fixed, 1.0, sd))


def unit_slices(n_units: int, rows: int) -> Iterator[slice]:
    """Yield slices of units whose arrays of ``rows`` rows stay small."""
    size = max(1, MOST_BYTES // (8 * max(rows, 1)))
    for start in range(0, n_units, size):
        yield slice(start, min(start + size, n_units))


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
            places = ordered(some, rng)
            for place, source in zip(some.rows, places, strict=True):
                order[place] = some.rows[source]
        yield order
