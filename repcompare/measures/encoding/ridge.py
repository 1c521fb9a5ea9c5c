"""Ridge regression from one system to another, scored on held-out stimuli.

Minimises ``|y - x b|^2 + alpha |b|^2`` per target unit with an unpenalised intercept (scikit-learn's
convention), for every penalty of a grid at once; the penalty of a fold is chosen inside its training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, Folds, HeldOut, Measure, Outcome
from repcompare.measures.encoding._factor import Double, Gram, make_gram
from repcompare.measures.encoding._held_out import check_folds
from repcompare.measures.encoding._options import ALPHAS, Options, checked_alphas, is_leave_one_out, make_options
from repcompare.measures.encoding._plan import Plan, make_plan
from repcompare.measures.encoding._press import Hat, Residuals, left_out, make_hat
from repcompare.measures.encoding._refit_shared import make_on_all
from repcompare.measures.encoding._scores import SAME_FOLDS, Scored, Summary, edge_notes, outcome
from repcompare.measures.encoding._search import Source, fill, make_problem, predict_fold, problem_bytes
from repcompare.measures.encoding._target import Pattern, Target, make_target

CACHE_BYTES = 1 << 30  # factors beyond this are made again per target
TARGET_INVARIANCES = frozenset({"translation", "permutation", "scaling", "unit_scaling", "duplication"})
LEAST_REST = 1e-10  # of 1 minus the leverage of a row
MOST_FLOPS = 1e13  # for the factorisations of missing patterns


def ridge(  # noqa: PLR0913  (a public door: every option is keyword-only)
    alphas: npt.ArrayLike = ALPHAS,
    *,
    alpha_per_unit: bool = True,
    scoring: Literal["pearson", "r2"] = "pearson",
    summary: Literal["mean", "median"] = "mean",
    nested: bool = True,
    alpha_scale: Literal["absolute", "trace"] = "absolute",
    one_se: bool = False,
    select_by: Literal["error", "pearson"] = "error",
    refine: bool = False,
    precision: Literal["auto", "double"] = "auto",
    fisher_z: bool = False,
    standardize: bool = False,
    weights: bool = False,
) -> Measure:
    """Held-out predictivity of every target unit by ridge regression.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties, > 0, absolute; default 20 from 1e-3 to 1e6.
    alpha_per_unit : bool
        Choose per target unit; otherwise one penalty for all, by errors relative to the variance of each
        unit.
    scoring : {"pearson", "r2"}
        ``"pearson"``: r per fold, mean over folds, -1 to 1.  ``"r2"``: 1 - sum SSE / sum SST over folds, with
        SST around the *training* mean, -inf to 1.
    summary : {"mean", "median"}
        Over units.
    nested : bool
        Choose the penalty of a fold inside its training rows.  Otherwise it is chosen on the rows that are
        scored, which the result says.
    alpha_scale : {"absolute", "trace"}
        ``"trace"``: penalties in units of the mean eigenvalue of the training scatter, tr(S) / p, which makes
        one grid fit features of any size.
    one_se : bool
        Take the largest penalty whose error is within one standard error (over inner test sets) of the best.
    select_by : {"error", "pearson"}
        Choose by squared error, or by the mean r over inner test sets (blind to the scale of predictions).
    refine : bool
        Search between the penalties of the grid, by golden section on log alpha.
    precision : {"auto", "double"}
        ``"double"``: float64 throughout for float32 data too.
    fisher_z : bool
        Average r over folds as arctanh(r).
    standardize : bool
        Divide every feature by its SD over the training rows of the fit at hand.
    weights : bool
        Also fit all rows with the ``alphas`` found, where that shares its products with the scores: not with missing
        values, more features than training rows, leave-one-out or ``standardize``.

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,), ``fold_scores`` (n_folds,) and details
        ``alphas`` (n_units,) for a final refit on all rows and ``fold_alphas`` (n_folds, n_units), those that
        gave the scores, both absolute; ``alphas_relative`` and ``fold_alphas_relative`` in units of tr(S) / p;
        (n_folds, n_units) ``r2_fold`` (around the training mean) and ``r2_fold_testmean``, with
        ``scoring="pearson"`` also ``r_fold``;
        ``solver``, which of the equivalent forms was computed; with ``weights`` the ``coef`` (n_features, n_units) of a
        fit of all rows where it was shared.  Units that are constant in a training (for r
        also a test) set are NaN, counted, and not in the summary.  NaN in the target is accepted: each unit
        is fitted and scored on the stimuli seen.

    Raises
    ------
    OptionError
        For penalties that are not > 0, or an unknown option.

    Notes
    -----
    Hoerl & Kennard 1970.  Exact cross-validation from eigendecompositions of the training sets; all penalties
    of a unit from divided differences, ``d_i d_j = (d_i - d_j) / (lam_j - lam_i)`` with ``d = 1 / (lam +
    alpha)``.  Leave-one-out folds are computed in closed form (PRESS), their nested choice by leaving out
    pairs, exactly; with ``standardize``, ``refine``, ``one_se``, ``select_by`` or ``alpha_scale`` other than
    the defaults every row is refitted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> measure = ridge(scoring="r2")
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> measure.compare(state, target).unit_scores.round(2)
    array([0.95, 0.6 , 0.64])
    """
    options = Options(
        alphas=checked_alphas(alphas),
        alpha_per_unit=alpha_per_unit,
        scoring=scoring,
        summary=summary,
        nested=nested,
        alpha_scale=alpha_scale,
        one_se=one_se,
        select_by=select_by,
        refine=refine,
        precision=precision,
        fisher_z=fisher_z,
        standardize=standardize,
        weights=weights,
    )
    return Measure(
        name="ridge",
        options=options.named,
        prepare=partial(_prepare, options),
        prepare_target=partial(_prepare_target, options),
        compare=partial(_compare, options),
        kind="predictivity",
        symmetric=False,
        score_range=(-1.0, 1.0) if scoring == "pearson" else (-np.inf, 1.0),
        identical=np.nan,
        invariant_to=frozenset({"rotation", "translation", "permutation"}),
        target_invariant_to=TARGET_INVARIANCES,
        fitted=True,
        held_out=partial(_held_out, options),
        accepts_nan=True,
        ceiling="units",
        min_stimuli=6,
        reference="hoerl1970",
        revision=2,  # leave-one-out chooses by leaving out pairs
    )


def _prepare(options: Options, x: Array, folds: Folds) -> Source:
    check_folds(folds, "ridge", options.fewest_test)
    gram = make_gram(options.typed(x), keep=options.standardize)
    if is_leave_one_out(folds) and options.closed_form:
        hat = make_hat(gram)
        _check_leverage(hat, float(options.alphas[0]) / gram.scale**2)
        return Source(gram, Plan((), (), len(folds)), None, folds, hat)
    plan = make_plan(folds, nested=options.searches_inside)
    if options.searches_inside:
        informed = {fold for task in plan.inner for fold, _ in task.tests}
        missing = sorted(set(range(len(folds))) - informed)
        if missing:
            raise MeasureError(
                f"ridge: fold {missing[0]} has no inner folds with 3 training rows; give more rows, more "
                f"folds, or nested=False"
            )
    kept = problem_bytes(gram, plan) <= CACHE_BYTES
    problem = make_problem(gram, plan, options) if kept else None
    return Source(problem.gram if problem else gram, plan, problem, folds)


def _check_leverage(hat: Hat, lowest: float) -> None:
    """Raise where a row determines its own prediction, so that rounding decides what is left of it."""
    rest = hat.diagonal(np.array([lowest]))[0]
    if not hat.full and rest.min() < LEAST_REST:
        row = int(rest.argmin())
        raise MeasureError(
            f"ridge: at the smallest alpha row {row} is predicted by itself alone (leverage 1 - {rest[row]:.0e}), so "
            "leaving it out cannot be computed from all rows; give larger alphas, or folds=5",
            rows=[row],
        )


def _prepare_target(options: Options, y: Array, folds: Folds) -> Target:
    check_folds(folds, "ridge", options.fewest_test)
    return make_target(options.typed(y), folds)


def _check_cost(source: Source, patterns: tuple[Pattern, ...]) -> None:
    """Raise when fitting every missing pattern by itself would take unreasonably long."""
    flops = 0.0
    for pattern in patterns:
        if pattern.seen is None:
            continue
        share = float(pattern.seen.mean())
        for task in (*source.plan.outer, *source.plan.inner):
            flops += 9.0 * min(source.gram.p, share * task.train.size) ** 3
    if flops > MOST_FLOPS:
        count = sum(p.seen is not None for p in patterns)
        raise MeasureError(
            f"ridge: the target's units have {count} patterns of missing rows; fitting each would take "
            f"{flops:.1e} operations, more than {MOST_FLOPS:.0e}; use nan='drop_units' or nan='drop_stimuli'"
        )


def _compare(options: Options, source: Source, target: Target) -> Outcome:
    if not _same_folds(source.folds, target.folds):
        raise MeasureError("ridge: source and target were prepared with different folds; use the same for both")
    _check_cost(source, target.patterns)
    rows, gaps = source.hat is not None, any(pattern.seen is not None for pattern in target.patterns)
    same = rows and not gaps and not options.searches_inside
    scored = Scored.empty(source.plan.n_folds, target.values.shape[1], rows=rows, same=same)
    on_all = make_on_all(source, target, options) if options.weights else None
    fill(scored, source, target, options, on_all)
    flags = (target.constant_train, target.constant_test)
    notes = () if options.searches_inside or options.alphas.size == 1 else (SAME_FOLDS,)
    how = Summary(options.scoring, options.summary, options.fisher_z)
    result = outcome(scored, flags, how, len(target.patterns) if gaps else 0)
    edges = edge_notes(scored.final[~np.isnan(np.asarray(result.unit_scores))], options.alphas)
    details = dict(result.details) | _final(options, source.gram, scored) | {"solver": source.solver}
    if on_all is not None:
        details["coef"] = on_all.coef
    return replace(result, details=details, notes=(*result.notes, *notes, *edges))


def predictions_at(
    x: Array, y: Array, folds: Folds, given: Mapping[str, Any], fold_alphas: Double
) -> tuple[HeldOut, ...]:
    """Predict the test rows by penalties that are known: what ``held_out`` of :func:`ridge` gives, without a search.

    Parameters
    ----------
    x, y : ndarray of shape (n, p), (n, n_units)
        Both sides.
    folds : Folds
        Train and test rows.
    given : mapping
        Options of ridge.
    fold_alphas : ndarray of shape (n_folds, n_units)
        Absolute penalties.

    Raises
    ------
    MeasureError
        For missing values.

    Examples
    --------
    >>> x, rows = np.arange(6.0)[:, None], np.arange(6)
    >>> folds = Folds(((rows[:3], rows[3:]), (rows[3:], rows[:3])), 6)
    >>> found = predictions_at(x, 3 * x, folds, {"precision": "double"}, np.full((2, 1), 2.0))
    >>> bool(np.allclose(found[0].predicted, found[0].truth / 2))
    True
    """
    options = replace(make_options(given), nested=False)
    return _predicted(options, _prepare(options, x, folds), _prepare_target(options, y, folds), fold_alphas)


def _held_out(options: Options, source: Source, target: Target) -> tuple[HeldOut, ...]:
    """Predict the test rows by the penalties that gave the scores; data and predictions on the scale of the target."""
    _check_predicted(target)
    return _predicted(options, source, target, _compare(options, source, target).details["fold_alphas"])


def _check_predicted(target: Target) -> None:
    if any(pattern.seen is not None for pattern in target.patterns):
        raise MeasureError("ridge: predictions with missing values are not kept")


def _predicted(options: Options, source: Source, target: Target, alphas: Double) -> tuple[HeldOut, ...]:
    _check_predicted(target)
    if source.hat is not None:
        n, seen = source.gram.n, Residuals.of(source.hat, target.values.astype(np.float64, copy=False))
        rest = left_out(seen, alphas / source.gram.scale**2)
        truth = seen.centred * (n / (n - 1))
        rows = (int(test[0]) for _, test in source.folds.splits)
        return tuple(HeldOut((truth - rest)[[i]], truth[[i]]) for i in rows)
    back = 1.0 if options.standardize else source.gram.scale**2
    single = make_plan(source.folds, nested=False)
    problem = source.problem or make_problem(source.gram, single, options, n_targets=1)
    return tuple(predict_fold(fit, source.gram, target.values, alphas / back) for fit in problem.outer)


def _final(options: Options, gram: Gram, scored: Scored) -> dict[str, Any]:
    """Return the penalties of a refit on all rows, absolute and relative."""
    spread, back = gram.spread, gram.scale**2
    if options.standardize:
        spread, back = gram.varying * gram.n / gram.p, 1.0
    absolute = scored.final * (spread * back if options.alpha_scale == "trace" else 1.0)
    return {"alphas": absolute, "alphas_relative": absolute / (spread * back)}


def _same_folds(a: Folds, b: Folds) -> bool:
    if a is b:
        return True
    if a.n != b.n or len(a) != len(b):
        return False
    pairs = zip(a.splits, b.splits, strict=True)
    return all(np.array_equal(s, t) for one, other in pairs for s, t in zip(one, other, strict=True))
