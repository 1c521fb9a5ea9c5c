"""From scores per fold and unit to the outcome: constant units, undefined ones, summaries and notes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from repcompare.errors import MeasureError
from repcompare.measures._measure import Index, Outcome
from repcompare.measures.encoding._factor import Double
from repcompare.measures.encoding._plan import Mask
from repcompare.measures.encoding._select import FoldScores

EDGE_SHARE = 0.05
SAME_FOLDS = "selection: same_folds; alpha was chosen on the rows that are scored; nested=True avoids this bias"
LIMIT = 1 - 1e-15  # arctanh of a perfect r stays finite


@dataclass(frozen=True)
class Scored:
    """Results per fold and unit, filled block by block.

    Attributes
    ----------
    folds : FoldScores
        r and squares, (n_folds, n_units).
    used : ndarray of bool, shape (n_folds, n_units)
        Folds in which the unit can be scored.
    chosen, alphas, relative : ndarray of shape (n_folds, n_units)
        Penalties of the scores: on the scale of the grid, absolute, and in units of the mean eigenvalue of the
        training scatter.
    final : ndarray of shape (n_units,)
        Penalties for a refit on all rows, on the scale of the grid.
    """

    folds: FoldScores
    used: Mask
    chosen: Double
    alphas: Double
    relative: Double
    final: Double

    @classmethod
    def empty(cls, n_folds: int, n_units: int, *, rows: bool = False, same: bool = False) -> Scored:
        """Return one to be filled; with ``rows`` folds are single rows, without r, which may have the ``same`` penalty."""
        shape = (n_folds, n_units)
        nothing = np.broadcast_to(np.nan, shape)
        chosen = as_strided(np.empty(n_units), shape, (0, 8)) if same else np.empty(shape)
        if rows:
            both = np.empty((2, *shape))  # one piece of memory: fewer pages
            folds = FoldScores(nothing, both[0], both[1], nothing)
            return cls(folds, np.empty(shape, dtype=bool), chosen, chosen, nothing, np.full(n_units, np.nan))
        alphas, relative = np.empty(shape), np.empty(shape)
        used = np.zeros(shape, dtype=bool)
        return cls(FoldScores.empty(*shape), used, chosen, alphas, relative, np.full(n_units, np.nan))

    def write(
        self,
        units: Index,
        folds: FoldScores,
        used: Mask,
        *,
        chosen: tuple[Double, Double],
        units_of: tuple[Double, Double] | None = None,
    ) -> None:
        """Write the results of some units; ``units_of`` turns their penalties into absolute and relative ones."""
        places = slice(units[0], units[-1] + 1) if units[-1] - units[0] + 1 == units.size else units
        for name, part in vars(folds).items():
            if getattr(self.folds, name).flags.writeable:
                getattr(self.folds, name)[:, places] = part
        self.used[:, places] = used
        some = slice(0, 1) if self.chosen.strides[0] == 0 else slice(None)
        self.chosen[some, places], self.final[places] = chosen[0][some], chosen[1]
        if units_of is not None:
            self.alphas[:, places], self.relative[:, places] = (chosen[0] * unit for unit in units_of)


@dataclass(frozen=True)
class Summary:
    """How scores are summarised: ``scoring``, ``summary`` over units, ``fisher_z`` over folds."""

    scoring: str
    summary: str
    fisher_z: bool = False


def outcome(scored: Scored, constant: tuple[Mask, Mask], how: Summary, n_patterns: int) -> Outcome:
    """Return the outcome; ``constant`` flags (n_folds, n_units) units in training and test rows.

    Raises
    ------
    MeasureError
        When no unit can be scored.
    """
    used, folds = scored.used, scored.folds
    pearson = how.scoring == "pearson"
    by_fold = folds.pearson if pearson else _r2(folds.error, folds.total)
    fixed = (constant[0] | constant[1] if pearson else constant[0]) & used
    fixed_units: Mask = np.any(fixed, axis=0)
    units = mean_over_folds(by_fold, used, how.fisher_z) if pearson else _pooled_r2(folds, used)
    units[fixed_units] = np.nan
    good = np.isfinite(units)
    counts = {"units_constant": int(fixed_units.sum()), "units_undefined": int((~good & ~fixed_units).sum())}
    if n_patterns:
        counts |= {"folds_skipped": int((~used).sum()), "missing_patterns": n_patterns}
    if not good.any():
        raise _nothing_scored(scored, counts, fixed_units, pearson)
    kept = by_fold if used.all() and good.all() else np.where(used & good, by_fold, np.nan)
    per_fold = _over_units(kept, how.summary)
    empty = int(np.isnan(per_fold).sum())
    notes = (f"empty_folds: {empty} folds have no unit that can be scored",) if empty else ()
    return Outcome(
        score=float((np.mean if how.summary == "mean" else np.median)(units[good])),
        unit_scores=units,
        fold_scores=per_fold,
        details={"fold_alphas": scored.alphas} | _by_fold(scored, by_fold, pearson),
        counts=counts,
        notes=notes,
    )


def _by_fold(scored: Scored, by_fold: Double, pearson: bool) -> dict[str, Double]:
    """Return scores per fold and unit; none where folds are single rows."""
    folds = scored.folds
    if not folds.pearson.flags.writeable:
        return {}
    found = {
        "fold_alphas_relative": scored.relative,
        "r2_fold": _r2(folds.error, folds.total) if pearson else by_fold,
        "r2_fold_testmean": _r2(folds.error, folds.spread),
    }
    return found | ({"r_fold": folds.pearson} if pearson else {})


def mean_over_folds(r: Double, used: Mask, fisher_z: bool) -> Double:
    """Average r over folds (n_units,); an undefined fold that counts makes the unit NaN."""
    count = used.sum(axis=0)
    values = np.arctanh(np.clip(r, -LIMIT, LIMIT)) if fisher_z else r
    sums = np.where(used, values, 0.0).sum(axis=0)
    found = np.divide(sums, count, out=np.full(count.shape, np.nan), where=count > 0)
    return np.asarray(np.tanh(found) if fisher_z else found)


def _pooled_r2(folds: FoldScores, used: Mask) -> Double:
    every = bool(used.all())
    error, total = (
        (values if every else np.where(used, values, 0.0)).sum(axis=0) for values in (folds.error, folds.total)
    )
    return _r2(error, total)


def _over_units(kept: Double, summary: str) -> Double:
    """Summarise (n_folds, n_units) over units that are not NaN; NaN where all are."""
    found = np.full(len(kept), np.nan)
    some = np.isfinite(kept)
    filled = some.any(axis=1)
    if summary == "mean":
        if some.all():
            return np.asarray(kept.mean(axis=1))
        np.divide(np.where(some, kept, 0.0).sum(axis=1), some.sum(axis=1), out=found, where=filled)
    elif filled.any():
        found[filled] = np.nanmedian(kept[filled], axis=1)
    return found


def _r2(error: Double, total: Double) -> Double:
    defined = total > 0
    found = np.empty(error.shape) if defined.all() else np.full(error.shape, np.nan)
    np.divide(error, total, out=found, where=defined)
    return np.asarray(np.subtract(1.0, found, out=found))


def _nothing_scored(scored: Scored, counts: dict[str, int], fixed: Mask, pearson: bool) -> MeasureError:
    flat = np.flatnonzero((scored.used & np.isnan(scored.folds.pearson) & ~fixed).any(axis=1))
    if pearson and flat.size:
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
