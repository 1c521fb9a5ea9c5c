"""Tests of many encoders at once, from predictions of held-out rows: nothing is fitted again.

Every source and target unit meets the same permutations, so that the largest statistic over all of them corrects for
having looked at so many (Nichols & Holmes 2002).  What is resampled are stimuli or stretches of time, never units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Folds, Index
from repcompare.statistics.encoding_tests import TIE, Blocks, ordered, shuffled_rows, standardised, whole_groups
from repcompare.statistics.resampling import permutations, stream
from repcompare.statistics.series import Phases

Float64 = npt.NDArray[np.float64]

MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class WithinTests:
    """Blocks of rows that change places inside their test set.

    Attributes
    ----------
    kept : tuple of ndarray
        Rows of each test set that lie in a block.
    orders : tuple of ndarray of shape (n_permutations, n_kept)
        Places among ``kept`` from which the data are taken.
    width : float
        See :func:`null_width`.
    """

    kept: tuple[Index, ...]
    orders: tuple[Index, ...]
    width: float = 1.0

    @property
    def count(self) -> int:
        """Number of permutations."""
        return len(self.orders[0])

    def draw(self, values: Float64) -> Iterator[Float64]:
        """Yield randomised targets of (n, n_units)."""
        for rows, orders in zip(self.kept, self.orders, strict=True):
            yield np.take(np.ascontiguousarray(standardised(values[rows]).T), orders, axis=1)


def null_width(folds: Folds) -> float:
    """Return how much wider the null of a cross-validated score is than that of fixed predictions.

    A fold's predictions are made of the data of the others: ``p_f = sum_g H_fg y_g``.  The products of predictions and data
    summed over folds are a quadratic form ``y' H y`` with H nearly symmetric, whose variance for unrelated data is
    ``2 |H|^2``, twice that of ``p' y`` with p fixed: what two folds owe to chance, they owe to each other.  Without the
    factor sqrt(2) a test at .05 errs in .07 to .13 of all cases (5 folds, 60 rows), with it in .03 to .05; a single test
    set needs none.

    Parameters
    ----------
    folds : Folds
        Train and test rows.

    Returns
    -------
    float
        ``sqrt(1 + s)``, with s the share of training rows that are predicted, in turn, from the test rows: 1 to sqrt(2).

    Examples
    --------
    >>> rows = np.arange(6)
    >>> split = rows[:4], rows[4:]
    >>> null_width(Folds((split,), 6)), round(null_width(Folds((split, split[::-1]), 6)), 3)
    (1.0, 1.414)
    """
    if _complete(folds):  # each row of a training set is predicted from each of its test sets
        return float(np.sqrt(2))
    shares = []
    for train, test in folds.splits:
        back = [other for rows, other in folds.splits if np.isin(test, rows).all()]
        shares.append(np.isin(train, np.concatenate([*back, test[:0]])).mean())
    return float(np.sqrt(1 + np.mean(shares)))


def _complete(folds: Folds) -> bool:
    """Whether each row is tested once, from all others that its fold does not test."""
    tested = np.concatenate([test for _, test in folds.splits])
    if tested.size != folds.n or np.unique(tested).size != folds.n or len(folds) < 2:
        return False
    return all(train.size == folds.n - test.size for train, test in folds.splits)


def within_tests(blocks: Sequence[Blocks], count: int, seed: int, width: float = 1.0) -> WithinTests:
    """Draw orders of the blocks of each test set; blocks of other sizes do not change places.

    Parameters
    ----------
    blocks : sequence of Blocks
        Of each test set, in rows of the data.
    count : int
        Number of permutations.
    seed : int
        Of the orders; the same as :func:`repcompare.statistics.encoding_tests.permutation_test` draws.
    width : float
        See :func:`null_width`.

    Examples
    --------
    >>> from repcompare.statistics.encoding_tests import make_blocks
    >>> drawn = within_tests(make_blocks([np.array([3, 5, 8])]), 2, seed=0)
    >>> drawn.kept[0].tolist(), sorted(drawn.orders[0][1].tolist())
    ([3, 5, 8], [0, 1, 2])
    """
    rng = stream(seed, "encoding permutations")
    kept, orders = [], []
    for some in blocks:
        starts = np.concatenate([[0], np.cumsum([rows.size for rows in some.rows])]).astype(np.intp)
        pieces = [np.arange(starts[i], starts[i + 1]) for i in range(len(some.rows))]
        kept.append(np.concatenate([*some.rows, np.zeros(0, dtype=np.intp)]))
        drawn = [ordered(some, rng) for _ in range(count)]
        orders.append(np.array([np.concatenate([pieces[i] for i in order] or [starts[:0]]) for order in drawn]))
    return WithinTests(tuple(kept), tuple(orders), width)


def whole_orders(n: int, groups: Index | None, count: int, seed: int) -> list[Index]:
    """Return random orders of all rows; where there are groups, they change places whole with others of their size.

    Raises
    ------
    MeasureError
        Where fewer than 5 groups have another of their size.

    Examples
    --------
    >>> order = whole_orders(10, np.repeat(np.arange(5), 2), 1, seed=0)[0]
    >>> np.unique(order.reshape(5, 2) // 2, axis=1).shape
    (5, 1)
    """
    if groups is None:
        return permutations(n, count, seed)
    return list(shuffled_rows(whole_groups(n, groups), n, count, seed))


@dataclass(frozen=True)
class AcrossTests:
    """Rows that change places over all of the data, or phases that are drawn anew.

    Attributes
    ----------
    kept : tuple of ndarray
        Rows of each test set.
    drawn : sequence of ndarray of shape (n,), or of Phases
        One per permutation.
    width : float
        See :func:`null_width`.
    """

    kept: tuple[Index, ...]
    drawn: Sequence[Index | Phases]
    width: float = 1.0

    @property
    def count(self) -> int:
        """Number of permutations."""
        return len(self.drawn)

    def draw(self, values: Float64) -> Iterator[Float64]:
        """Yield randomised targets of (n, n_units)."""
        whole = self._randomised(np.ascontiguousarray(values.T))
        for rows in self.kept:
            yield standardised(whole[..., rows], axis=-1)

    def _randomised(self, values: Float64) -> Float64:
        """Return (n_units, n_permutations, n)."""
        phases = [one for one in self.drawn if isinstance(one, Phases)]
        if not phases:
            return values[:, np.array(self.drawn)]
        out = np.empty((len(values), self.count, values.shape[1]))
        for piece, rows in enumerate(phases[0].pieces):
            spectrum = np.fft.rfft(values[:, None, rows], axis=-1)
            factors = np.array([one.factors[piece] for one in phases])
            out[..., rows] = np.fft.irfft(spectrum * factors, rows.size, axis=-1)
        return out


Exchange = WithinTests | AcrossTests


@dataclass(frozen=True)
class UnitStatistics:
    """Statistics of some target units: the mean over test sets of r, weighted by rows.

    Attributes
    ----------
    observed : ndarray of shape (n_sources, n_units)
    null : ndarray of shape (n_permutations, n_sources, n_units)
    """

    observed: Float64
    null: Float64


def unit_statistics(predicted: Sequence[Sequence[Array]], values: Array, exchange: Exchange) -> UnitStatistics:
    """Hold predictions against randomised data.

    Parameters
    ----------
    predicted : sequence over sources of sequences over test sets of ndarray (n_kept, n_units)
        Predictions of the rows that count.
    values : ndarray of shape (n, n_units)
        The target.
    exchange : Exchange
        What is exchanged.

    Returns
    -------
    UnitStatistics
        NaN for units whose predictions or data do not vary over a test set.

    Examples
    --------
    >>> from repcompare.statistics.encoding_tests import make_blocks
    >>> y = np.random.default_rng(0).normal(size=(30, 1))
    >>> drawn = within_tests(make_blocks([np.arange(30)]), 99, seed=0)
    >>> found = unit_statistics([[2 * y + 1]], y, drawn)
    >>> found.observed.round(6).item(), bool(found.null.max() < 0.8)
    (1.0, True)
    """
    y = values.astype(np.float64)
    n_sources, t = len(predicted), y.shape[1]
    observed, null, n_rows = np.zeros((n_sources, t)), np.zeros((t, exchange.count, n_sources)), 0
    for f, (rows, random) in enumerate(zip(exchange.kept, exchange.draw(y), strict=True)):
        own = np.array([standardised(one[f]) for one in predicted])  # (n_sources, n_kept, n_units)
        observed += np.einsum("siu,iu->su", own, standardised(y[rows]))
        null += random @ np.ascontiguousarray(own.transpose(2, 1, 0))
        n_rows += rows.size
    return UnitStatistics(observed / n_rows, null.transpose(1, 2, 0) * (exchange.width / n_rows))


@dataclass(frozen=True)
class Counted:
    """What is kept of :class:`UnitStatistics`.

    Attributes
    ----------
    observed, above : ndarray of shape (n_sources, n_units)
        The statistic, and how many randomised targets reach it.
    null : ndarray of shape (n_permutations, n_sources)
        Sums over units.
    largest : ndarray of shape (n_permutations,)
        Over sources and units.
    """

    observed: Float64
    above: Float64
    null: Float64
    largest: Float64


def count_units(predicted: Sequence[Sequence[Array]], values: Array, exchange: Exchange) -> Counted:
    """Reduce :func:`unit_statistics`, whose arguments these are, to what tests need."""
    found = unit_statistics(predicted, values, exchange)
    good = np.isfinite(found.observed)
    above = np.where(good, (found.null >= lowered(found.observed)).sum(axis=0), np.nan)
    largest = np.where(good, found.null, -np.inf).max(axis=(1, 2), initial=-np.inf)
    return Counted(found.observed, above, np.where(good, found.null, 0.0).sum(axis=2), largest)


def lowered(observed: Float64) -> Float64:
    """Return statistics less a rounding error, so that an order that changes nothing reaches them.

    Examples
    --------
    >>> bool(lowered(np.array(0.5)) < 0.5)
    True
    """
    return observed - TIE * np.abs(observed)


def above_largest(observed: Float64, largest: Float64) -> Float64:
    """Return how many of the largest statistics of each permutation reach each observed one.

    Examples
    --------
    >>> above_largest(np.array([0.5, np.nan]), np.array([0.1, 0.5, 0.7]))
    array([ 2., nan])
    """
    below = np.searchsorted(np.sort(largest), lowered(observed), side="left")
    return np.where(np.isfinite(observed), largest.size - below, np.nan)


def unit_batches(n_units: int, n_rows: int, count: int) -> list[slice]:
    """Return slices of units whose randomised data fit in 64 MB."""
    size = max(1, MOST_BYTES // (8 * max(n_rows, 1) * max(count, 1)))
    return [slice(start, min(start + size, n_units)) for start in range(0, n_units, size)]
