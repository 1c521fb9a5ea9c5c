"""Intervals of encoders from predictions of held-out rows: the jackknife over stimuli or stretches of time, never units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Folds, HeldOut, Index, Measure
from repcompare.statistics.encoding_tests import Blocks, standardised, unit_slices
from repcompare.statistics.held_out_tests import null_width

Float64 = npt.NDArray[np.float64]

FEWEST_REMOVED = 10  # blocks, of which one at a time is left out
LEAST_LEFT = 3  # rows of a test set when a block is left out of it
FEWEST_FOLDS = 3  # for an interval over folds
COPIES = 16  # arrays of a test set that are held at once


@dataclass(frozen=True, kw_only=True)
class Score:
    """How an encoder's score follows from its predictions.

    Attributes
    ----------
    scoring : {"pearson", "r2"}
        Mean over test sets of r, or one minus all squared errors over all squares around the training means.
    summary : {"mean", "median"}
        Over units.
    fisher_z : bool
        r are averaged as arctanh(r).
    """

    scoring: Literal["pearson", "r2"] = "pearson"
    summary: Literal["mean", "median"] = "mean"
    fisher_z: bool = False


def score_of(measure: Measure) -> Score | None:
    """Return how the score of an encoder follows from its predictions; None where it does not."""
    options = measure.options
    scoring = options.get("scoring", "pearson")
    if measure.held_out is None or scoring not in ("pearson", "r2"):
        return None
    return Score(scoring=scoring, summary=options.get("summary", "mean"), fisher_z=bool(options.get("fisher_z", False)))


@dataclass(frozen=True, eq=False)
class HeldOutErrors:
    """Standard errors of an encoder's score, and of those of its units.

    Attributes
    ----------
    score : float
        Of the summary over units; NaN over fewer than 3 folds.
    n : int
        How many blocks, or folds, it is over.
    units : ndarray of shape (n_units,), optional
        NaN for units without a score; None over folds.
    why : str
        Why it is over folds; empty where it is not.
    """

    score: float
    n: int
    units: Float64 | None = field(default=None, repr=False)
    why: str = ""


def held_out_errors(
    predicted: Callable[[], Iterable[HeldOut]],
    blocks: Sequence[Blocks],
    how: Score | None,
    folds: Folds,
    fold_scores: Float64 | None,
) -> HeldOutErrors:
    """Return standard errors by :func:`jackknife_errors` or, where that does not do, over folds.

    Parameters
    ----------
    predicted : callable
        Returns the predictions of each test set; ``MeasureError`` where there are none.
    blocks, how, folds
        As there; without ``how`` the score does not follow from predictions.
    fold_scores : ndarray of shape (n_folds,), optional
        Scores of the folds.

    Examples
    --------
    >>> one = Folds(((np.arange(4), np.arange(4, 8)),), 8)
    >>> found = held_out_errors(lambda: [], [], None, one, np.array([0.1, 0.2, 0.3]))
    >>> round(found.score, 3), found.n, found.why
    (0.058, 3, 'its score is neither r nor R2')
    """
    why = "its score is neither r nor R2"
    if how is not None:
        try:
            return jackknife_errors(predicted(), blocks, how, folds)
        except MeasureError as problem:
            why = str(problem)
    return errors_over_folds(np.zeros(0) if fold_scores is None else fold_scores, why)


def errors_over_folds(fold_scores: Float64, why: str) -> HeldOutErrors:
    """Return the standard error of the mean over folds, with the reason for it; their training rows overlap.

    Examples
    --------
    >>> round(errors_over_folds(np.array([0.1, np.nan, 0.2, 0.3]), "no predictions").score, 3)
    0.058
    """
    scores = fold_scores[np.isfinite(fold_scores)]
    error = float(scores.std(ddof=1) / np.sqrt(scores.size)) if scores.size >= FEWEST_FOLDS else np.nan
    return HeldOutErrors(error, scores.size, why=why)


def jackknife_errors(held: Iterable[HeldOut], blocks: Sequence[Blocks], how: Score, folds: Folds) -> HeldOutErrors:
    """Return the standard errors of a cross-validated score over what blocks are of.

    Parameters
    ----------
    held : iterable of HeldOut
        Of each test set.
    blocks : sequence of Blocks
        What is left out, one at a time, from all test sets that have it, in rows of the data; rows in no block stay.
    how : Score
        The score.
    folds : Folds
        Train and test rows.

    Raises
    ------
    MeasureError
        For fewer than 10 blocks, or test sets with fewer than 3 rows when one is left out of them.

    Notes
    -----
    Where ``without`` says what a training row does to predictions, blocks are also left out of the training sets, to first
    order.  With V1 and V2 the parts of the variance that single blocks and pairs of blocks make (Efron & Stein 1981), the
    jackknife of test rows alone finds V1 + V2 / 2 and that of all rows V1 + 2 V2; two thirds of the one and a third of the
    other is V1 + V2.  For scores near 0, V2 is all there is.  Other models get V1 + V2 / 2 times the square of
    :func:`repcompare.statistics.held_out_tests.null_width`, at most 2: right for scores near 0, else too wide.

    References
    ----------
    Efron & Stein 1981, Annals of Statistics 9:586.

    Examples
    --------
    >>> from repcompare.statistics.encoding_tests import make_blocks
    >>> y = np.random.default_rng(0).normal(size=(40, 2))
    >>> one = Folds(((np.arange(40, 80), np.arange(40)),), 80)
    >>> found = jackknife_errors([HeldOut(y + y[::-1], y)], make_blocks([np.arange(40)]), Score(), one)
    >>> round(found.score, 2), found.n, found.units.shape
    (0.08, 40, (2,))
    """
    sums = JackknifeSums(blocks, how, folds)
    sums.add(held)
    return sums.result()


class JackknifeSums:
    """The jackknife of target units that come in batches; arguments and errors as in :func:`jackknife_errors`."""

    def __init__(self, blocks: Sequence[Blocks], how: Score, folds: Folds) -> None:
        self._place = _Places.of(blocks, folds)
        if self._place.n < FEWEST_REMOVED:
            raise MeasureError(
                f"{self._place.n} blocks can be left out of the test rows; expected at least {FEWEST_REMOVED}"
            )
        self._blocks, self._how, self._width = blocks, how, null_width(folds)
        self._units: list[Float64] = []
        self._parts: list[Float64] = []  # of the mean over units their sums, (2, n_blocks, 1), else all of them
        self._count = 0
        self._refitted = False

    def add(self, held: Iterable[HeldOut]) -> None:
        """Add a batch of units; test sets are taken one after the other, and may be made as they are asked for."""
        without = _r2_without if self._how.scoring == "r2" else _r_without
        found, self._refitted = without(held, self._blocks, self._place, self._how)
        good = np.isfinite(found[0]).all(axis=0)
        units = np.full(good.size, np.nan)
        units[good] = self._error(found[..., good])
        self._units.append(units)
        self._count += int(good.sum())
        together = self._how.summary == "mean"
        self._parts.append(found[..., good].sum(axis=2, keepdims=True) if together else found[..., good])

    def _error(self, found: Float64) -> Float64:
        """Return standard errors from scores without each block in the test sets, and in all, (2, n_blocks, ...)."""
        once, twice = found.var(axis=1, ddof=1)
        variance = (2 * once + twice) / 3 if self._refitted else once * self._width**2
        return np.asarray(np.sqrt((self._place.n - 1) ** 2 * variance / self._place.n))

    def result(self) -> HeldOutErrors:
        """Return the standard errors of the summary over all units, and of every unit in the order of adding."""
        if not self._count:
            raise MeasureError(
                "no unit has a score when a block is left out of its test set; expected larger test sets"
            )
        if self._how.summary == "mean":
            summary = np.sum(self._parts, axis=0)[..., 0] / self._count
        else:
            summary = np.median(np.concatenate(self._parts, axis=2), axis=2)
        return HeldOutErrors(float(self._error(summary)), self._place.n, np.concatenate(self._units))


@dataclass(frozen=True)
class _Places:
    """Number of the block of each row of the data, -1 where it is in none; how many there are; the training rows."""

    of_row: Index
    n: int
    trains: tuple[Index, ...]

    @classmethod
    def of(cls, blocks: Sequence[Blocks], folds: Folds) -> _Places:
        of_row, n = np.full(folds.n, -1, dtype=np.intp), 0
        for some in blocks:
            for rows in some.rows:
                if rows.size and of_row[rows[0]] < 0:
                    of_row[rows], n = n, n + 1
        return cls(of_row, n, tuple(train for train, _ in folds.splits))

    def add_training(self, moved: Float64, fold: int, change: npt.NDArray[np.floating]) -> None:
        """Add what leaving out the training rows of a fold (n_train, t) does to each block."""
        blocks = self.of_row[self.trains[fold]]
        np.add.at(moved, blocks[blocks >= 0], change[blocks >= 0])


def _r_without(held: Iterable[HeldOut], blocks: Sequence[Blocks], place: _Places, how: Score) -> tuple[Float64, bool]:
    """Return scores of units without each block in the test sets, and in all, (2, n_blocks, n_units), and if they differ."""
    k, refitted = len(blocks), False
    total: Float64 = np.zeros(0)
    moved, trained = np.zeros((2, place.n, 0))
    for f, (one, some) in enumerate(zip(held, blocks, strict=True)):
        if any(len(one.truth) - rows.size < LEAST_LEFT for rows in some.rows):
            raise MeasureError(
                f"{len(one.truth)} test rows, of which blocks of {max(rows.size for rows in some.rows)} are left out; "
                f"expected at least {LEAST_LEFT} to stay"
            )
        if not f:
            t = one.truth.shape[1]
            total, moved, trained = np.zeros(t), np.zeros((place.n, t)), np.zeros((place.n, t))
        gradient = None if one.without is None else np.empty(one.truth.shape)
        for units in unit_slices(total.size, COPIES * len(one.truth)):
            p, y = (standardised(np.asarray(v[:, units], dtype=np.float64)) for v in (one.predicted, one.truth))
            full, change = _r_changes(p, y, some, how)
            total[units] += full / k
            moved[place.of_row[[rows[0] for rows in some.rows]], units] += change / k
            if gradient is not None:
                gradient[:, units] = _slope(one.predicted[:, units], p, y, how) / k
        if one.without is not None and gradient is not None:
            place.add_training(trained, f, one.without(gradient))
            refitted = True
    moved += total
    found = np.stack([moved, moved + trained])
    return (np.tanh(found) if how.fisher_z else found), refitted


def _r_changes(p: Float64, y: Float64, some: Blocks, how: Score) -> tuple[Float64, Float64]:
    """Return r (t,) from both standardised, and what leaving out each block adds to it (n_blocks, t)."""
    each = np.stack([np.ones_like(p), p, y, p * p, y * y, p * y])
    parts = np.array([each[:, np.searchsorted(some.test, rows)].sum(axis=1) for rows in some.rows])
    whole = each.sum(axis=1)
    full = _correlation(whole, how)
    return full, _correlation(np.moveaxis(whole - parts.reshape(-1, 6, p.shape[1]), 1, 0), how) - full


def _slope(predicted: npt.NDArray[np.floating], p: Float64, y: Float64, how: Score) -> Float64:
    """Return the gradient of r by the predictions, from both standardised; 0 for units without a score."""
    r = (p * y).mean(axis=0)
    centred = predicted - predicted.mean(axis=0)
    sd = np.sqrt((centred**2).mean(axis=0))
    slope = (y - r * p) / (len(p) * np.where(sd > 0, sd, 1.0))
    return np.asarray(np.nan_to_num(slope / (1 - np.minimum(r**2, 1 - 1e-15)) if how.fisher_z else slope))


def _correlation(sums: Float64, how: Score) -> Float64:
    """Return r, or arctanh(r), from sums (6, ...) of 1, p, y, pp, yy, py."""
    n, p, y, pp, yy, py = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (pp - p**2 / n) * (yy - y**2 / n)
        r = np.where(spread > 0, (py - p * y / n) / np.sqrt(np.maximum(spread, 0)), np.nan)
    return np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15)) if how.fisher_z else r


def _r2_without(held: Iterable[HeldOut], blocks: Sequence[Blocks], place: _Places, how: Score) -> tuple[Float64, bool]:
    """Return R2 of units without each block in the test sets, and in all, (2, n_blocks, n_units); whether they differ."""
    refitted = False
    sums, parts, moved = np.zeros((2, 0)), np.zeros((place.n, 2, 0)), np.zeros((place.n, 0))
    for f, (one, some) in enumerate(zip(held, blocks, strict=True)):
        y = np.asarray(one.truth, dtype=np.float64)
        if not f:
            t = y.shape[1]
            sums, parts, moved = np.zeros((2, t)), np.zeros((place.n, 2, t)), np.zeros((place.n, t))
        rest = y - one.predicted
        each = np.stack([rest**2, y**2])
        sums += each.sum(axis=1)
        for rows in some.rows:
            parts[place.of_row[rows[0]]] += each[:, np.searchsorted(some.test, rows)].sum(axis=1)
        if one.without is not None:
            place.add_training(moved, f, one.without(np.nan_to_num(-2 * rest)))
            refitted = True
    error, total = np.moveaxis(sums - parts, 1, 0)
    total = np.where(total > 0, total, np.nan)
    return np.stack([1 - error / total, 1 - (error + moved) / total]), refitted


def check_confidence(confidence: float) -> None:
    """Raise ``OptionError`` for a coverage outside (0, 1)."""
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence!r}; expected a number between 0 and 1, such as 0.95")


def ends(score: Float64, error: Float64, n: Float64, confidence: float) -> tuple[Float64, Float64]:
    """Return the interval ``score -+ t(n - 1) error``.

    Examples
    --------
    >>> [round(float(end), 3) for end in ends(np.array(0.5), np.array(0.1), np.array(20.0), 0.95)]
    [0.291, 0.709]
    """
    reach = stats.t.ppf((1 + confidence) / 2, np.maximum(n - 1, 1)) * error
    return score - reach, score + reach
