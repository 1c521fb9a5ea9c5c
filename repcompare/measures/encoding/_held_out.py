"""What encoders share: a target centred for its folds, checks of the folds, and scores of held-out predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, choose
from repcompare.measures._measure import Array, Folds, HeldOut, Outcome
from repcompare.measures.encoding._plan import Mask
from repcompare.measures.encoding._scores import mean_over_folds

Double = npt.NDArray[np.float64]
Summary = Literal["mean", "median"]

ROUNDING = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class HeldTarget:
    """A target.

    Attributes
    ----------
    values : ndarray of shape (n, t)
        Minus the mean of each unit, in float64.
    constant_train, constant_test : ndarray of bool, shape (n_folds, t)
        Units that do not vary over the training (test) rows of a fold.
    folds : Folds
        Train and test rows.
    """

    values: Double
    constant_train: Mask
    constant_test: Mask
    folds: Folds

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        return int(self.values.nbytes)


def make_held_target(y: Array, folds: Folds) -> HeldTarget:
    """Centre a target of shape (n, t); a unit that is constant up to the rounding of its values counts as constant."""
    mean = y.mean(axis=0, dtype=np.float64)
    values = y - mean
    eps = np.finfo(y.dtype).eps if np.issubdtype(y.dtype, np.floating) else np.finfo(np.float64).eps
    slack = 4 * eps * np.abs(mean)
    train = np.array([np.ptp(values[rows], axis=0) <= slack for rows, _ in folds.splits])
    test = np.array([np.ptp(values[rows], axis=0) <= slack for _, rows in folds.splits])
    return HeldTarget(values, train, test, folds)


def centred_source(x: Array, model: str) -> Double:
    """Return x minus its column means, in float64.

    Raises
    ------
    MeasureError
        When no feature varies.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    values = x - mean
    size = max(float(np.abs(mean).max()), float(np.finfo(np.float64).tiny))
    if not np.sqrt(np.einsum("ij,ij->", values, values) / values.size) > ROUNDING / 8 * size:
        raise MeasureError(f"{model}: no feature of the source varies over its {len(x)} stimuli; check the source")
    return np.asarray(values, dtype=np.float64)


def check_folds(folds: Folds, model: str, fewest_test: int) -> None:
    """Raise ``MeasureError`` where a fold is too small."""
    for f, (train, test) in enumerate(folds.splits):
        if test.size < fewest_test:
            raise MeasureError(
                f"{model}: fold {f} has {test.size} test rows; expected at least {fewest_test}; the largest usable is "
                f"folds={max(folds.n // fewest_test, 1)}, or take a score that is pooled over folds, such as scoring='r2'"
            )
        if train.size < 3:
            raise MeasureError(f"{model}: fold {f} has {train.size} training rows; expected at least 3")


def check_scores(scoring: str, summary: str, scorings: tuple[str, ...] = ("pearson", "r2")) -> None:
    """Raise ``OptionError`` for an unknown score or summary."""
    choose(scoring, scorings, "scoring")
    choose(summary, ("mean", "median"), "summary")


def check_same_folds(a: Folds, b: Folds, model: str) -> None:
    """Raise ``MeasureError`` unless both sides were prepared with the same folds."""
    if a is b:
        return
    same = a.n == b.n and len(a) == len(b)
    pairs = zip(a.splits, b.splits, strict=False)
    if not (same and all(np.array_equal(s, t) for one, other in pairs for s, t in zip(one, other, strict=True))):
        raise MeasureError(f"{model}: source and target were prepared with different folds; use the same for both")


@dataclass(frozen=True)
class Kept:
    """Predictions and data of each fold, (n_test, t), filled fold by fold."""

    predicted: list[Double]
    truth: list[Double]

    def write(self, fold: int, units: slice, predicted: Double, truth: Double) -> None:
        """Write one fold of some units."""
        self.predicted[fold][:, units], self.truth[fold][:, units] = predicted, truth


def predictions(score: Callable[[Kept], Any], folds: Folds, n_units: int) -> tuple[HeldOut, ...]:
    """Return the held-out predictions of a model whose ``score`` writes them; NaN where it has none."""
    made = [[np.full((test.size, n_units), np.nan) for _, test in folds.splits] for _ in range(2)]
    score(Kept(*made))
    return tuple(HeldOut(p, y) for p, y in zip(*made, strict=True))


@dataclass(frozen=True)
class Scores:
    """Scores per fold and unit, filled fold by fold.

    Attributes
    ----------
    pearson : ndarray of shape (n_folds, t)
        r.
    gain, total : ndarray of shape (n_folds, t)
        A pooled score is the sum of gains over the sum of totals: for R2 the squared error saved and the squares
        around the training mean.
    details : dict
        Further results by name.
    notes : list of str
        Warnings.
    kept : Kept, optional
        Where predictions are written too.
    """

    pearson: Double
    gain: Double
    total: Double
    details: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kept: Kept | None = None

    @classmethod
    def empty(cls, n_folds: int, n_units: int, kept: Kept | None = None) -> Scores:
        """Return one to be filled."""
        one, two, three = (np.full((n_folds, n_units), np.nan) for _ in range(3))
        return cls(one, two, three, kept=kept)

    def fill(self, fold: int, predicted: Double, truth: Double, reach: Double, units: slice = slice(None)) -> None:
        """Score one fold: predictions and data (n_test, t) about the training means; ``reach`` (t,) as in pearson."""
        if self.kept is not None:
            self.kept.write(fold, units, predicted, truth)
        rest = truth - predicted
        self.total[fold, units] = np.einsum("ij,ij->j", truth, truth)
        self.gain[fold, units] = self.total[fold, units] - np.einsum("ij,ij->j", rest, rest)
        self.pearson[fold, units] = pearson(predicted, truth, reach)


def pearson(predicted: Double, truth: Double, reach: Double) -> Double:
    """Return r per column (t,) of (n_test, t); NaN where predictions vary within rounding, or the truth not at all.

    ``reach`` (t,) is the largest size that a prediction could have had: |row| |weights|.

    Examples
    --------
    >>> pearson(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [6.0]]), np.ones(1))
    array([1.])
    """
    p, t = predicted - predicted.mean(axis=0), truth - truth.mean(axis=0)
    pp, tt = np.einsum("ij,ij->j", p, p), np.einsum("ij,ij->j", t, t)
    defined = (np.sqrt(pp) > ROUNDING * np.sqrt(len(p)) * reach) & (tt > 0)
    r = np.full(pp.shape, np.nan)
    np.divide(np.einsum("ij,ij->j", p, t), np.sqrt(pp) * np.sqrt(tt), out=r, where=defined)
    return np.clip(r, -1.0, 1.0)


def reach(rows: Double, weights: Double) -> Double:
    """Return |row| |weights| of the longest row of (n_test, p), for weights (p, t)."""
    longest = np.sqrt(np.einsum("ij,ij->i", rows, rows).max(initial=0.0))
    return np.asarray(longest * np.sqrt(np.einsum("ij,ij->j", weights, weights)))


@dataclass(frozen=True)
class Excluded:
    """Units that have no score, (n_folds, t) each, and how they are counted."""

    constant: Mask
    other: Mapping[str, Mask] = field(default_factory=dict)


def outcome(
    model: str, scores: Scores, excluded: Excluded, *, pooled: bool, summary: Summary, fisher_z: bool = False
) -> Outcome:
    """Return the outcome: pooled scores over folds, or r per fold and their mean.

    Raises
    ------
    MeasureError
        When no unit can be scored.
    """
    by_fold = _ratio(scores.gain, scores.total) if pooled else scores.pearson
    if pooled:
        units = _ratio(scores.gain.sum(axis=0), scores.total.sum(axis=0))
    else:
        units = mean_over_folds(by_fold, np.ones(by_fold.shape, dtype=bool), fisher_z)
    counts, out = {}, np.zeros(units.shape, dtype=bool)
    for name, mask in {**excluded.other, "units_constant": excluded.constant}.items():
        found: Mask = np.any(mask, axis=0) & ~out
        counts[name] = int(found.sum())
        out |= found
    units[out] = np.nan
    good = np.isfinite(units)
    counts["units_undefined"] = int((~good & ~out).sum())
    if not good.any():
        raise _nothing_scored(model, units.size, counts)
    average = np.mean if summary == "mean" else np.median
    kept = [row[good & np.isfinite(row)] for row in by_fold]
    return Outcome(
        score=float(average(units[good])),
        unit_scores=units,
        fold_scores=np.array([average(row) if row.size else np.nan for row in kept]),
        details=scores.details,
        counts=counts,
        notes=tuple(scores.notes),
    )


def _ratio(gain: Double, total: Double) -> Double:
    return np.asarray(np.divide(gain, total, out=np.full(gain.shape, np.nan), where=total > 0))


def _nothing_scored(model: str, n_units: int, counts: Mapping[str, int]) -> MeasureError:
    named = ", ".join(f"{count} {name.removeprefix('units_')}" for name, count in counts.items() if count)
    return MeasureError(
        f"{model}: no unit can be scored: of {n_units} target units {named} (undefined: predictions or data do not "
        f"vary over a test set); expected one that varies; for constant predictions take a pooled score"
    )
