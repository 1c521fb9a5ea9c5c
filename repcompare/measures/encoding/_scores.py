"""From scores per fold and unit to the outcome: constant units, undefined ones, summaries and notes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repcompare.errors import MeasureError
from repcompare.measures._measure import Outcome
from repcompare.measures.encoding._factor import Double
from repcompare.measures.encoding._plan import Mask

EDGE_SHARE = 0.05


@dataclass(frozen=True)
class Scored:
    """Results per fold and unit, filled block by block.

    Attributes
    ----------
    pearson, error, total : ndarray of shape (n_folds, n_units)
        r, squared error, and squares around the training mean.
    used : ndarray of bool, shape (n_folds, n_units)
        Folds in which the unit can be scored.
    alphas : ndarray of shape (n_folds, n_units)
        Penalties of the scores.
    final : ndarray of shape (n_units,)
        Penalties for a refit on all rows.
    """

    pearson: Double
    error: Double
    total: Double
    used: Mask
    alphas: Double
    final: Double

    @classmethod
    def empty(cls, n_folds: int, n_units: int) -> Scored:
        """Return one to be filled."""
        shape = (n_folds, n_units)
        one, two, three, four = (np.full(shape, np.nan) for _ in range(4))
        return cls(one, two, three, np.zeros(shape, dtype=bool), four, np.full(n_units, np.nan))


def outcome(scored: Scored, constant: tuple[Mask, Mask], scoring: str, summary: str, n_patterns: int) -> Outcome:
    """Return the outcome; ``constant`` flags (n_folds, n_units) units in training and test rows.

    Raises
    ------
    MeasureError
        When no unit can be scored.
    """
    used = scored.used
    by_fold = scored.pearson if scoring == "pearson" else _r2(scored.error, scored.total)
    fixed = (constant[0] | constant[1] if scoring == "pearson" else constant[0]) & used
    fixed_units: Mask = np.any(fixed, axis=0)
    count = used.sum(axis=0)
    if scoring == "pearson":
        sums = np.where(used, by_fold, 0.0).sum(axis=0)  # an undefined fold that counts makes the unit NaN
        units = np.divide(sums, count, out=np.full(count.shape, np.nan), where=count > 0)
    else:
        error, total = (np.where(used, values, 0.0).sum(axis=0) for values in (scored.error, scored.total))
        units = _r2(error, total)
    units[fixed_units] = np.nan
    good = np.isfinite(units)
    counts = {"units_constant": int(fixed_units.sum()), "units_undefined": int((~good & ~fixed_units).sum())}
    if n_patterns:
        counts |= {"folds_skipped": int((~used).sum()), "missing_patterns": n_patterns}
    if not good.any():
        raise _nothing_scored(scored, counts, fixed_units)
    average = np.mean if summary == "mean" else np.median
    kept = np.where(used & good, by_fold, np.nan)
    folds = np.array([average(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in kept])
    empty = int(np.isnan(folds).sum())
    notes = (f"empty_folds: {empty} folds have no unit that can be scored",) if empty else ()
    return Outcome(
        score=float(average(units[good])),
        unit_scores=units,
        fold_scores=folds,
        details={"alphas": scored.final, "fold_alphas": scored.alphas},
        counts=counts,
        notes=notes,
    )


def _r2(error: Double, total: Double) -> Double:
    found = np.full(error.shape, np.nan)
    np.divide(error, total, out=found, where=total > 0)
    return np.asarray(1.0 - found)


def _nothing_scored(scored: Scored, counts: dict[str, int], fixed: Mask) -> MeasureError:
    flat = np.flatnonzero((scored.used & np.isnan(scored.pearson) & ~fixed).any(axis=1))
    if flat.size:
        return MeasureError(
            f"ridge: predictions are constant in test fold {flat[0]}, so r is undefined for every unit "
            f"that varies ({counts['units_constant']} of {fixed.size} are constant); use scoring='r2'"
        )
    return MeasureError(
        f"ridge: no unit can be scored: {counts['units_constant']} of {fixed.size} target units are "
        f"constant in a fold and {counts['units_undefined']} have too few stimuli; expected one that varies"
    )


def edge_notes(alphas: Double, grid: Double) -> list[str]:
    """Return a note for each end of the grid that more than 5 % of the units chose, with the next grid.

    Examples
    --------
    >>> edge_notes(np.array([1.0, 10.0, 100.0, 100.0]), np.logspace(-1, 2, 4))[0]
    'alpha_edge: 50 % of units chose the largest alpha, 100; next grid: alphas=np.logspace(-1, 5, 7)'
    """
    if grid.size < 2 or alphas.size == 0:
        return []
    notes = []
    for which, end in (("smallest", grid[0]), ("largest", grid[-1])):
        share = float(np.mean(alphas == end))
        if share > EDGE_SHARE:
            low, high = np.log10(grid[0]), np.log10(grid[-1])
            step = (high - low) / (grid.size - 1)
            low, high = (low - 3, high) if which == "smallest" else (low, high + 3)
            notes.append(
                f"alpha_edge: {100 * share:.0f} % of units chose the {which} alpha, {end:.3g}; next grid: "
                f"alphas=np.logspace({low:.3g}, {high:.3g}, {round((high - low) / step) + 1})"
            )
    return notes
