"""What encoding gives back, and what follows from its held-out predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from repcompare.errors import MeasureError, OptionError
from repcompare.functional._encode_rows import Rows, longest_delay, segments_of
from repcompare.functional._encoding_labels import labelled_weights, places_of
from repcompare.functional._pair import Data, one_side
from repcompare.labels.schema import text
from repcompare.measures._measure import Folds, HeldOut, as_outcome
from repcompare.measures.encoding.fits import Fitted
from repcompare.measures.encoding.result import MODELS, EncodingResult, encode_arrays
from repcompare.measures.encoding.ridge import predictions_at
from repcompare.statistics.encoding_intervals import Interval, bootstrap
from repcompare.statistics.encoding_tests import (
    SHORTEST_BLOCK,
    Blocks,
    EncodingTest,
    Predictions,
    check_blocks,
    make_blocks,
    permutation_test,
    shuffled_rows,
    summarise,
    whole_groups,
)
from repcompare.statistics.held_out_intervals import (
    FEWEST_FOLDS,
    HeldOutErrors,
    Score,
    check_confidence,
    ends,
    held_out_errors,
    score_of,
)
from repcompare.statistics.held_out_tests import null_width

Float64 = npt.NDArray[np.float64]
STACKED = 2048  # permuted units that are fitted together: they share the decompositions of the source


@dataclass(frozen=True, eq=False)
class Encoded(EncodingResult):
    """Held-out scores of an encoding model, with what was asked for beside them.

    Attributes
    ----------
    gap : int
        Rows left out on either side of a test block.
    forced : tuple of str
        Guards that were overridden; ``n_forced`` counts them.
    unit_ids : ndarray of shape (n_units,), optional
        Names of the units that are scored, where the target is a representation.
    score_reverse, score_mean : float, optional
        With ``direction="both"``: the score from y to x, and the mean of both; ``reverse`` has the rest.
    score_low, score_high, score_se : float, optional
        With ``confidence``: interval of the score, and its standard error.
    unit_low, unit_high : ndarray of shape (n_units,), optional
        Intervals of the unit scores.
    pvalue : float, optional
        With ``permutations``: of the mean over units.
    pvalues, pvalues_corrected, pvalues_fdr : ndarray of shape (n_units,), optional
        Per unit: raw, corrected by the maximum over units, and by Benjamini-Hochberg.
    fitted : Weights or KernelWeights, optional
        With ``weights=True``: the model fitted on all rows with what was chosen; see ``weights``, ``predict``.
    unit_ids, feature_ids, row_ids : ndarray of str, optional
        Names of the target units, source units and rows of representations.
    """

    gap: int = 0
    forced: tuple[str, ...] = ()
    score_reverse: float | None = field(default=None, repr=False)
    score_mean: float | None = field(default=None, repr=False)
    reverse: EncodingResult | None = field(default=None, repr=False)
    score_low: float | None = field(default=None, repr=False)
    score_high: float | None = field(default=None, repr=False)
    score_se: float | None = field(default=None, repr=False)
    unit_low: Float64 | None = field(default=None, repr=False)
    unit_high: Float64 | None = field(default=None, repr=False)
    pvalue: float | None = field(default=None, repr=False)
    pvalues: Float64 | None = field(default=None, repr=False)
    pvalues_corrected: Float64 | None = field(default=None, repr=False)
    pvalues_fdr: Float64 | None = field(default=None, repr=False)
    fitted: Fitted | None = field(default=None, repr=False)
    unit_ids: npt.NDArray[np.str_] | None = field(default=None, repr=False)
    feature_ids: npt.NDArray[np.str_] | None = field(default=None, repr=False)
    row_ids: npt.NDArray[np.str_] | None = field(default=None, repr=False)

    @property
    def n_forced(self) -> int:
        """How many guards were overridden."""
        return len(self.forced)

    @property
    def coef(self) -> npt.NDArray[Any]:
        """Weights of the fit on all rows, (n_features, n_units); with delays (n_delays * n_features, n_units).

        ``OptionError`` for a kernel without features, whose weights of the rows are ``fitted.dual``.
        """
        return self._fitted().coef

    @property
    def intercept(self) -> npt.NDArray[Any]:
        """Intercepts of the fit on all rows, (n_units,): of y, or of the log rate of poisson."""
        return self._fitted().intercept

    @property
    def weights(self) -> xr.DataArray:
        """The fit on all rows with names: ``(feature, unit)``, or ``(row, unit)`` of a kernel that has no features.

        Coordinates ``feature_id``, ``unit_id`` (``row_id``) of representations, and ``delay`` (``basis`` of response
        functions) along ``feature``.  ``OptionError`` without ``weights=True``.
        """
        return labelled_weights(self._fitted(), self.feature_ids, self.unit_ids, self.row_ids)

    def predict(self, x: Data, *, runs: Any = None) -> npt.NDArray[Any]:
        """Predict the units of y for a new source, with the fit on all rows.

        Parameters
        ----------
        x : representation, or array-like of shape (n, n_features)
            The units that were fitted, by name or, of arrays, in their order.  Of a precomputed kernel: inner products
            (n, n_fitted) with the rows that were fitted.
        runs : str or array-like of shape (n,), optional
            With delays: run of each row, which are in time order; delays stop where a run does.  The default is the
            coordinates ``run`` and ``session`` of a representation, and one run of an array.

        Returns
        -------
        ndarray of shape (n, n_units)
            Rows in the order of x (of trials averaged by stimulus, sorted by name); of poisson expected counts.

        Raises
        ------
        OptionError
            Without ``weights=True``.
        AlignmentError, MeasureError
            When units that were fitted are not there, or values are missing.
        """
        fitted = self._fitted()
        values, names = one_side(x)
        if isinstance(x, xr.Dataset) and self.feature_ids is not None:
            values = values[:, places_of(text(x["unit_id"].values).astype(str), self.feature_ids)]
        if getattr(fitted, "lags", None) is None:
            if runs is not None:
                raise OptionError("runs= says where delays stop, and this model has none; leave it out")
            return fitted.predict(values)
        if isinstance(x, xr.Dataset):
            runs = segments_of([x], names) if runs is None else x[runs].values if isinstance(runs, str) else runs
        return fitted.predict(values, runs)  # type: ignore[call-arg]

    def _fitted(self) -> Fitted:
        if self.fitted is None:
            raise OptionError("nothing was fitted on all rows; ask for it by encode(..., weights=True)")
        return self.fitted


@dataclass(frozen=True)
class Call:
    """One call of ``encode``: its rows, folds, model and options."""

    rows: Rows
    folds: Folds
    model: str
    nan: str
    options: dict[str, Any]

    def scored(self) -> EncodingResult:
        """Score the model."""
        return encode_arrays(
            self.rows.x,
            self.rows.y,
            self.folds,
            model=self.model,
            nan="pairwise" if self.nan == "pairwise" else "raise",
            **self.options,
        )

    @property
    def units_apart(self) -> bool:
        """Whether the fit of a target unit does not depend on the others, so that any number can be fitted together."""
        together = self.options.get("shared", False) or not self.options.get("alpha_per_unit", True)
        return self.model != "pls" and not together

    def scorer(self) -> Callable[[npt.NDArray[Any]], Float64]:
        """Return what scores the units of other targets from the same source, which is prepared once."""
        measure = MODELS[self.model](**self.options)
        source = measure.prepared(self.rows.x, self.folds)

        def score(y: npt.NDArray[Any]) -> Float64:
            outcome = as_outcome(measure.compare(source, measure.prepared(y, self.folds, side="target")))
            return np.asarray(outcome.unit_scores, dtype=np.float64)

        return score

    def reversed(self) -> EncodingResult:
        """Score the model from y to x, on the same folds."""
        if np.isnan(self.rows.y.sum()):
            raise OptionError(
                "direction='both' needs a y without missing values; use nan='drop_units' or 'drop_stimuli'"
            )
        if self.options.get("bands") is not None or self.options.get("kernel") == "precomputed":
            raise OptionError(
                "direction='both' has no bands, or kernel, of y; encode each direction by itself: encode(y, x, ...)"
            )
        return encode_arrays(self.rows.y, self.rows.x, self.folds, model=self.model, **self.options)

    @property
    def scoring(self) -> str:
        """Which score."""
        return str(self.options.get("scoring", "deviance" if self.model == "poisson" else "pearson"))

    @property
    def block_length(self) -> int:
        """Rows that are exchanged together: 1 for stimuli."""
        return max(self.folds.gap, longest_delay(self.options), SHORTEST_BLOCK) if self.rows.sample == "time" else 1

    @property
    def exchanged_groups(self) -> npt.NDArray[np.intp] | None:
        """Groups that are exchanged whole; stimuli of a run are exchanged singly, blocks of a recording lie within runs."""
        return None if self.rows.sample == "time" or self.rows.runs else self.folds.groups

    @property
    def tested(self) -> tuple[Blocks, ...]:
        """What is left out together, in rows of the data, test set by test set."""
        tests = [test for _, test in self.folds.splits]
        return make_blocks(tests, length=self.block_length, groups=self.exchanged_groups)

    @property
    def exchanged(self) -> tuple[Blocks, ...]:
        """The same in rows of each test set."""
        return tuple(type(b)(tuple(np.searchsorted(b.test, rows) for rows in b.rows), b.n_dropped) for b in self.tested)

    @property
    def how(self) -> Score | None:
        """How the score follows from predictions; None where it does not."""
        return score_of(MODELS[self.model](**self.options))

    def held(self, found: EncodingResult) -> tuple[HeldOut, ...]:
        """Return held-out predictions about the training means; ``MeasureError`` where none are kept."""
        x, y = self.rows.x, self.rows.y
        if self.model == "ridge":
            return predictions_at(x, y, self.folds, self.options, found.fold_alphas)
        if np.isnan(y.sum()):
            raise MeasureError(f"{self.model}: predictions with missing values are not kept")
        measure = MODELS[self.model](**self.options)
        assert measure.held_out is not None
        return measure.held_out(measure.prepared(x, self.folds), measure.prepared(y, self.folds, side="target"))

    def predictions(self, found: EncodingResult) -> Predictions:
        """Return held-out predictions, with what may be exchanged in each test set."""
        if np.isnan(self.rows.y.sum()):
            raise OptionError("inference needs a y without missing values; use nan='drop_units' or 'drop_stimuli'")
        tested = np.concatenate([test for _, test in self.folds.splits])
        if np.unique(tested).size < tested.size:
            raise OptionError(
                "rows are in several test sets, so their predictions are not independent of each other; expected each once; "
                "take folds=5, or compare(..., permutations=) and null='refit'"
            )
        return as_predictions(self.held(found), self.exchanged)


def as_predictions(held: Sequence[HeldOut], blocks: tuple[Blocks, ...]) -> Predictions:
    """Return predictions about the training means, with what may be exchanged in each test set."""
    means = tuple(np.zeros(one.truth.shape[1]) for one in held)
    return Predictions(tuple(h.predicted for h in held), tuple(h.truth for h in held), means, blocks)


def assess_predictions(call: Call, found: EncodingResult, *, permutations: int, null: str, seed: int) -> dict[str, Any]:
    """Return p-values as fields of the result."""
    if null == "refit":
        tested = _refitted(call, found, permutations, seed)
    elif min(test.size for _, test in call.folds.splits) < 3:
        raise OptionError("permutations need test sets of 3 rows or more; leave-one-out has one; give folds=5")
    else:
        width = null_width(call.folds)
        tested = permutation_test(call.predictions(found), n_permutations=permutations, seed=seed, width=width)
    fields = ("pvalue", "pvalues", "pvalues_corrected", "pvalues_fdr")
    return {name: getattr(tested, name) for name in fields} | {"notes": tested.notes}


def _refitted(call: Call, found: EncodingResult, permutations: int, seed: int) -> EncodingTest:
    """Fit again under every permutation of whole blocks of the target."""
    n = len(call.rows.y)
    runs = call.folds.groups if call.rows.sample == "time" else None
    pieces = [np.arange(n)] if runs is None else [np.flatnonzero(runs == r) for r in np.unique(runs)]
    if call.exchanged_groups is not None:
        blocks = whole_groups(n, call.exchanged_groups)
    else:
        blocks = make_blocks(pieces, length=call.block_length)
        check_blocks(blocks)
    score, t = call.scorer(), call.rows.y.shape[1]
    orders = list(shuffled_rows(blocks, n, permutations, seed))
    step = max(1, STACKED // t) if call.units_apart else 1
    null = [
        score(np.hstack([call.rows.y[order] for order in orders[i : i + step]])).reshape(-1, t)
        for i in range(0, len(orders), step)
    ]
    return summarise(found.unit_scores, np.vstack(null), blocks)


def score_interval(call: Call, found: EncodingResult, *, confidence: float, interval: str, seed: int) -> dict[str, Any]:
    """Return an interval as fields of the result."""
    check_confidence(confidence)
    if interval == "jackknife":
        errors = held_out_errors(partial(call.held, found), call.tested, call.how, call.folds, found.fold_scores)
        return interval_fields(found, errors, confidence)
    if call.how is None:
        raise OptionError(
            f"interval='bootstrap' is for r and R2, and scoring={call.scoring!r}; take interval='jackknife'"
        )
    return bootstrap_fields(bootstrap(call.predictions(found), scoring=call.scoring, confidence=confidence, seed=seed))


def interval_fields(found: EncodingResult, errors: HeldOutErrors, confidence: float) -> dict[str, Any]:
    """Return the interval of the score, and of units where they have one, as fields of the result."""
    if not np.isfinite(errors.score):
        raise MeasureError(
            f"{errors.n} folds have a score; an interval over folds needs at least {FEWEST_FOLDS}; of predictions there "
            f"is none: {errors.why}"
        )
    n = np.array(float(errors.n))
    low, high = ends(np.array(found.score), np.array(errors.score), n, confidence)
    fields: dict[str, Any] = {"score_low": float(low), "score_high": float(high), "score_se": errors.score}
    if errors.units is not None:
        fields["unit_low"], fields["unit_high"] = ends(found.unit_scores, errors.units, n, confidence)
    if errors.why:
        fields["notes"] = (f"interval_over_folds: {errors.why}; it may be too narrow",)
    return fields


def bootstrap_fields(found: Interval) -> dict[str, Any]:
    """Return a bootstrap interval as fields of the result."""
    return {
        "score_low": found.low,
        "score_high": found.high,
        "score_se": found.error,
        "unit_low": found.unit_low,
        "unit_high": found.unit_high,
    }
