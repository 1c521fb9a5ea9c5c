"""How held-out predictivity by ridge grows with the training data, on test sets that stay the same.

Subsets of one draw are nested, so the rows fall into pieces (test set by increment) and the statistics of every training set
of every size, inner ones included, are sums of theirs: no size reads the data again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, suggest
from repcompare.measures._measure import Array, Folds, Outcome, as_outcome, check_values
from repcompare.measures.encoding._curve_solve import Data, solve
from repcompare.measures.encoding._factor import Double, Gram, make_gram
from repcompare.measures.encoding._held_out import check_folds
from repcompare.measures.encoding._options import Options, is_leave_one_out, make_options
from repcompare.measures.encoding._scores import Summary, edge_notes, outcome
from repcompare.measures.encoding._subsets import Pool, Sizes, check_smallest, make_pool, make_sizes
from repcompare.measures.encoding.ridge import ridge

SIZES = (0.1, 0.25, 0.5, 0.75, 1.0)
FIXED = {"nested": "alpha is chosen inside the rows of a size", "weights": "nothing is fitted on all rows"}


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Held-out scores by size of the training set.

    Attributes
    ----------
    sizes : ndarray of shape (n_sizes,)
        As given, ascending.
    n_train : ndarray of shape (n_sizes,)
        Training rows, mean over folds and draws.
    score, score_sd : ndarray of shape (n_sizes,)
        Mean over draws of the summary over the units that have a score at every size, and its SD over draws.
    draws : ndarray of shape (n_sizes, n_draws)
        Their scores.
    folds : ndarray of shape (n_sizes, n_folds)
        The same by test set, mean over draws.
    units, units_sd : ndarray of shape (n_sizes, n_units)
        Per target unit: mean and SD over draws; NaN where a unit has no score in some draw.
    alphas : ndarray of shape (n_sizes, n_units)
        Penalties, geometric mean over folds and draws.
    n_left_out : int
        Units without a score at some size.
    notes : tuple of str
        Warnings, code first.
    """

    sizes: npt.NDArray[np.generic]
    n_train: Double
    score: Double
    score_sd: Double
    draws: Double = field(repr=False)
    folds: Double = field(repr=False)
    units: Double = field(repr=False)
    units_sd: Double = field(repr=False)
    alphas: Double = field(repr=False)
    n_left_out: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class _Gathered:
    """Results of one size, draw by draw."""

    units: list[Double] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    by_fold: Any = 0.0
    log_alphas: Any = 0.0
    chosen: list[Double] = field(default_factory=list)

    def add(self, found: Outcome, plan_rows: Sequence[int], chosen: Double | None = None) -> None:
        by_fold = found.details.get("r_fold")
        self.by_fold = self.by_fold + (found.details["r2_fold"] if by_fold is None else by_fold)
        self.units.append(np.asarray(found.unit_scores, dtype=np.float64))
        self.rows.append(float(np.mean(plan_rows)))
        self.log_alphas = self.log_alphas + np.log(found.details["fold_alphas"]).mean(axis=0)
        if chosen is not None:
            self.chosen.append(chosen)


def ridge_learning_curve(  # noqa: PLR0913
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    folds: Folds,
    *,
    sizes: npt.ArrayLike = SIZES,
    n_draws: int = 10,
    seed: int = 0,
    together: tuple[npt.NDArray[np.generic] | None, str] = (None, "stimuli"),
    **options: Any,
) -> LearningCurve:
    """Score ridge regression on the test sets of some folds, fitted on nested random parts of their training rows.

    Parameters
    ----------
    x, y : array-like of shape (n, n_features), (n, n_units)
        Source and target; rows match.
    folds : Folds
        Train and test rows; leave-one-out is refused.
    sizes : array-like of shape (n_sizes,)
        Shares of the training data in (0, 1], or counts (whole numbers) of what is drawn.
    n_draws : int
        Random subsets per size; all rows are fitted once.
    seed : int
        Of the draws; draw d is the same whatever ``n_draws``.
    together : (ndarray of shape (n,) or None, str)
        Label of the rows: those of one label are drawn together; and what that is, in the plural.
    **options
        Of :func:`repcompare.measures.encoding.ridge.ridge`, without ``nested`` and ``weights``.

    Returns
    -------
    LearningCurve
        Scores in [-1, 1] for r, (-inf, 1] for R2.

    Raises
    ------
    OptionError
        For unknown options, and sizes that are none or draw the same.
    MeasureError
        For data that are not usable, and sizes too small to be fitted; the smallest that is not is named.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> found = ridge_learning_curve(x, y, folds, sizes=(0.25, 1.0), n_draws=4)
    >>> found.n_train.tolist(), bool(found.score[0] < found.score[1])
    ([12.0, 48.0], True)
    """
    known = _options(options)
    source, target = np.asarray(x), np.asarray(y)
    _check(source, target, folds, known, n_draws)
    pool = make_pool(folds, *together)
    asked = make_sizes(sizes, pool)
    orders = [pool.order(seed, draw) for draw in range(n_draws)]
    if asked.counts[0] < pool.n:
        check_smallest(asked, pool, orders, nested=known.searches_inside)
    found = [_Gathered() for _ in asked.counts]
    notes: tuple[str, ...] = ()
    gram = None
    if asked.counts[-1] == pool.n:
        gram, notes = _add_all(found[-1], source, target, folds, options)
    gram = gram or make_gram(known.typed(source), keep=known.standardize)
    part = asked.counts[asked.counts < pool.n]
    for order in orders if part.size else ():
        _add_draw(found, Data(gram, known.typed(source), known.typed(target)), (pool, order, asked), known)
    return _summarised(found, asked, known, notes)


def _options(given: Mapping[str, Any]) -> Options:
    names = [name for name in signature(ridge).parameters if name not in FIXED]
    for name in given:
        if name in FIXED:
            raise OptionError(f"learning_curve has no option {name!r}: {FIXED[name]}; leave it out")
        if name not in names:
            raise OptionError(
                f"learning_curve is of model='ridge', without delays, bands or kernels, and has no option {name!r}"
                f"{suggest(name, names)}"
            )
    return make_options(given)


def _check(x: Array, y: Array, folds: Folds, options: Options, n_draws: int) -> None:
    if isinstance(n_draws, bool) or not isinstance(n_draws, (int, np.integer)) or n_draws < 1:
        raise OptionError(f"n_draws={n_draws!r}; expected a whole number from 1")
    if x.shape[:1] != y.shape[:1] or folds.n != len(x):
        raise MeasureError(f"x has shape {x.shape}, y {y.shape} and the folds {folds.n} rows; expected matching rows")
    for values in (x, y):
        check_values(ridge(), values)
    missing = int(np.isnan(y).sum())
    if missing:
        raise MeasureError(
            f"learning_curve: {missing} missing values (NaN) in the target; sizes count rows that all units have; drop them "
            "with nan='drop_units' or nan='drop_stimuli'"
        )
    if is_leave_one_out(folds):
        raise OptionError("learning_curve has no leave-one-out, which fits every size once per row; give folds=5")
    check_folds(folds, "ridge", options.fewest_test)


def _add_all(
    found: _Gathered, x: Array, y: Array, folds: Folds, options: Mapping[str, Any]
) -> tuple[Gram, tuple[str, ...]]:
    """Fit all training rows, as encoding does; return the source, which smaller sizes share, and the notes."""
    measure = ridge(**options)
    source = measure.prepared(x, folds)
    result = as_outcome(measure.compare(source, measure.prepared(y, folds, side="target")))
    found.add(result, [train.size for train, _ in folds.splits])
    return source.gram, result.notes


def _add_draw(
    found: Sequence[_Gathered], data: Data, drawn: tuple[Pool, npt.NDArray[np.intp], Sizes], options: Options
) -> None:
    """Fit the sizes of one draw that are less than everything."""
    pool, order, sizes = drawn
    counts = sizes.counts[sizes.counts < pool.n]
    found_plans = (pool.plan(pool.seen(order, count), nested=options.searches_inside) for count in counts)
    plans = [plan for plan in found_plans if plan is not None]
    assert len(plans) == counts.size  # the smallest was checked
    how = Summary(options.scoring, options.summary, options.fisher_z)
    for s, solved in enumerate(solve(data, plans, pool.folds, options)):
        rows = [task.train.size for task in plans[s].outer]
        try:
            result = outcome(solved.scored, (solved.constant[0], solved.constant[1]), how, 0)
        except MeasureError as error:
            size = f"{sizes.given[s]} ({min(rows)} to {max(rows)} training rows)"
            raise MeasureError(f"at size {size} {error}") from error
        found[s].add(result, rows, solved.scored.chosen)


def _summarised(found: Sequence[_Gathered], sizes: Sizes, options: Options, notes: tuple[str, ...]) -> LearningCurve:
    units = [np.array(one.units) for one in found]
    good = np.logical_and.reduce([np.isfinite(values).all(axis=0) for values in units])
    if not good.any():
        raise MeasureError(
            f"no unit of {good.size} has a score at every size and draw (units that are constant in a subset have none); "
            "give larger sizes"
        )
    average = np.mean if options.summary == "mean" else np.median
    n_draws = max(len(values) for values in units)
    by_draw = [np.array([float(average(row[good])) for row in values]) for values in units]
    folds = [np.asarray(one.by_fold)[:, good] / len(one.units) for one in found]
    by_fold = [[average(r[np.isfinite(r)]) if np.isfinite(r).any() else np.nan for r in values] for values in folds]
    every = [not one.chosen for one in found]  # all rows: nothing is drawn
    return LearningCurve(
        sizes=sizes.given,
        n_train=np.array([np.mean(one.rows) for one in found]),
        score=np.array([np.mean(values) for values in by_draw]),
        score_sd=np.array([_sd(values, fixed) for values, fixed in zip(by_draw, every, strict=True)]),
        draws=np.array([np.broadcast_to(values, n_draws) for values in by_draw]),
        folds=np.array(by_fold),
        units=np.array([values.mean(axis=0) for values in units]),
        units_sd=np.array([_sd(values, fixed) for values, fixed in zip(units, every, strict=True)]),
        alphas=np.exp([one.log_alphas / len(one.units) for one in found]),
        n_left_out=int((~good).sum()),
        notes=(*notes, *_left_out(units, good), *_edges(found, sizes, options)),
    )


def _sd(values: Double, fixed: bool) -> Any:
    """Return the SD over draws: 0 where there is nothing to draw, NaN of a single draw."""
    if fixed:
        return np.where(np.isfinite(values[0]), 0.0, np.nan)
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def _left_out(units: Sequence[Double], good: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    lost = int((np.isfinite(units[-1]).all(axis=0) & ~good).sum())
    if not lost:
        return ()
    return (
        f"units_left_out: {lost} units have a score at the largest size and none in some smaller subset, where they are "
        "constant; score is of the others, so that its sizes compare the same units",
    )


def _edges(found: Sequence[_Gathered], sizes: Sizes, options: Options) -> list[str]:
    """Return a note for each size whose choices lie at an end of the grid; that of all rows has its own."""
    notes = []
    for size, one in zip(sizes.given, found, strict=True):
        if one.chosen:
            for note in edge_notes(np.concatenate([c.ravel() for c in one.chosen]), options.alphas):
                code, text = note.split(": ", 1)
                notes.append(f"{code}: size {size}: {text.replace('of units', 'of fits')}")
    return notes
